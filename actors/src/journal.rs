//! The journal: makes what accounts decided durable, everything that waits in one commit.
//!
//! While one commit runs the next batch fills, and for a moment longer where many write. The queue lives
//! outside the actor, so a panic in it loses nothing: the batch in work is given to the store again, and
//! stores know a repeat.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opencredits_schema::AccountId;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::account::{Answer, Done};
use crate::fault::{Fault, planted};
use crate::store::{Batch, Rejection, Store, Write};
use crate::system::AskError;

/// The pauses between tries while the store is unavailable.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LAST: Duration = Duration::from_secs(1);

/// How long behind its beginning the next commit may begin: while many write, each costs a sync and a round
/// of wakes, which more writes share then.
const fn gap(writes: usize) -> Duration {
    Duration::from_millis(match writes {
        0..8 => 0,
        8..16 => 1,
        16.. => 2,
    })
}

/// Someone who waits for a write, and what to say when it is durable.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) reply: oneshot::Sender<Result<Answer, AskError>>,
    pub(crate) answer: Answer,
}

#[derive(Debug)]
enum Item {
    Write {
        write: Arc<Write>,
        waiting: Option<Waiting>,
        durable: Arc<AtomicU64>,
    },
    /// An answer that rests on writes before it.
    Answer {
        account: AccountId,
        waiting: Waiting,
    },
    /// What its account queued before is durable or dropped; where a new incarnation waits for it,
    /// the account's chain begins anew.
    Barrier {
        account: AccountId,
        renews: bool,
        passed: oneshot::Sender<()>,
    },
}

/// What the door and readiness ask of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalState {
    /// Writes that wait or are being written, and answers behind them.
    pub waiting: usize,
    /// Whether the last commit went through.
    pub healthy: bool,
}

/// The journal's queue, shared by the account actors and the journal's own.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    queue: Mutex<Vec<Item>>,
    /// The batch that is being committed: kept here until its askers are answered.
    working: Mutex<Vec<Item>>,
    broken: Mutex<HashSet<AccountId>>,
    waiting: AtomicUsize,
    failing: AtomicBool,
    awake: AtomicBool,
    idle: Notify,
    actor: Mutex<Option<ActorRef<Wake>>>,
}

/// There may be something to write.
#[derive(Debug)]
pub(crate) struct Wake;

impl Journal {
    /// Hands over a write; `waiting` is answered once it is durable.
    pub(crate) fn append(&self, write: Write, waiting: Option<Waiting>, durable: &Arc<AtomicU64>) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = match waiting {
            Some(Waiting { reply, answer }) if planted(Fault::AnswerBeforeCommit) => {
                drop(reply.send(Ok(answer)));
                None
            }
            waiting => waiting,
        };
        let (write, durable) = (Arc::new(write), Arc::clone(durable));
        self.push(Item::Write { write, waiting, durable });
    }

    /// Gives an answer once all that this account queued before is durable.
    pub(crate) fn answer_behind(&self, account: AccountId, waiting: Waiting) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.push(Item::Answer { account, waiting });
    }

    /// Resolves when all that this account queued before is durable, or dropped with its askers
    /// told. Only then may a new incarnation read the account.
    pub(crate) async fn barrier(&self, account: AccountId) {
        self.pass(account, true).await;
    }

    /// Resolves like the barrier, for one who looks on: writes of a chain that broke stay dropped.
    pub(crate) async fn settled(&self, account: AccountId) {
        self.pass(account, false).await;
    }

    async fn pass(&self, account: AccountId, renews: bool) {
        let (passed, wait) = oneshot::channel();
        self.push(Item::Barrier { account, renews, passed });
        // A journal that is gone for good writes nothing any more: there is nothing to wait for.
        drop(wait.await);
    }

    /// What waits, and whether the store takes it.
    pub(crate) fn state(&self) -> JournalState {
        JournalState {
            waiting: self.waiting.load(Ordering::Relaxed),
            healthy: !self.failing.load(Ordering::Relaxed),
        }
    }

    /// Resolves when nothing waits any more.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.waiting.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Names the actor that empties the queue, at the start and after a panic.
    pub(crate) fn runs_in(&self, actor: ActorRef<Wake>) {
        self.awake.store(true, Ordering::Release);
        wake(&actor);
        *lock(&self.actor) = Some(actor);
        if planted(Fault::LoseBatch) {
            lock(&self.working).clear();
        }
    }

    fn push(&self, item: Item) {
        lock(&self.queue).push(item);
        if !self.awake.swap(true, Ordering::AcqRel)
            && let Some(actor) = lock(&self.actor).as_ref()
        {
            wake(actor);
        }
    }

    /// The next batch of so many writes at most, or `None` when the queue is empty and the actor may
    /// sleep.
    fn take(&self, max: usize) -> Option<()> {
        let mut working = lock(&self.working);
        if !working.is_empty() {
            return Some(());
        }
        let mut queue = lock(&self.queue);
        if queue.is_empty() {
            self.awake.store(false, Ordering::Release);
            return None;
        }
        if queue.len() <= max {
            std::mem::swap(&mut *working, &mut *queue);
        } else {
            working.extend(queue.drain(..max));
        }
        Some(())
    }

    /// The writes of the batch in work, without those of accounts whose chain is broken.
    fn batch(&self) -> (Batch, Vec<usize>) {
        let broken = lock(&self.broken);
        let mut writes = Vec::new();
        let mut places = Vec::new();
        for (place, item) in lock(&self.working).iter().enumerate() {
            if let Item::Write { write, .. } = item
                && !broken.contains(&write.account())
            {
                writes.push(Arc::clone(write));
                places.push(place);
            }
        }
        (Arc::new(writes), places)
    }

    /// Answers everyone in the batch. An account whose write was refused is told first: who was answered
    /// and asks on must not meet the incarnation that decided it.
    fn finish(&self, places: &[usize], rejected: &[crate::store::Rejected], on_broken: &OnBroken) {
        let items = std::mem::take(&mut *lock(&self.working));
        let mut refused = std::collections::HashMap::new();
        for rejection in rejected {
            if let Some(place) = places.get(rejection.index) {
                refused.insert(*place, rejection.why.clone());
            }
        }
        let mut broken = lock(&self.broken);
        let mut written = 0usize;
        for (place, item) in items.into_iter().enumerate() {
            match item {
                Item::Barrier { account, renews, passed } => {
                    if renews || planted(Fault::HealTooEarly) {
                        broken.remove(&account);
                    }
                    // The one who waited may be gone.
                    passed.send(()).ok();
                }
                Item::Answer { account, waiting } => {
                    written = written.saturating_add(1);
                    let lost = broken.contains(&account);
                    let result = if lost { Err(AskError::Lost) } else { Ok(waiting.answer) };
                    // The asker may be gone.
                    drop(waiting.reply.send(result));
                }
                Item::Write { write, waiting, durable } => {
                    written = written.saturating_add(1);
                    let account = write.account();
                    if let Some(why) = refused.remove(&place) {
                        broken.insert(account);
                        on_broken(account);
                        if why == Rejection::Fenced {
                            metrics::counter!("opencredits_entries_refused_total").increment(1);
                            tracing::warn!(%account, "an entry was refused: the account has another owner");
                        }
                        refuse(waiting, &why);
                    } else if broken.contains(&account) {
                        answer(waiting, Err(AskError::Lost));
                    } else {
                        if let Write::Event { head, .. } = write.as_ref() {
                            durable.store(head.seq, Ordering::Release);
                        }
                        if let Some(Waiting { reply, answer }) = waiting {
                            drop(reply.send(Ok(answer)));
                        }
                    }
                }
            }
        }
        drop(broken);
        let before = self.waiting.fetch_sub(written, Ordering::AcqRel);
        if before == written {
            self.idle.notify_waiters();
        }
    }
}

/// Tells the asker of a refused write what the store knows of it.
fn refuse(waiting: Option<Waiting>, why: &Rejection) {
    let Some(Waiting { reply, answer }) = waiting else { return };
    let result = match why {
        Rejection::Duplicate(Some(outcome)) => {
            Ok(Answer { done: Done::Settled(*outcome), ..answer })
        }
        Rejection::Duplicate(None) => Err(AskError::Refused(opencredits_schema::Refusal::Received)),
        Rejection::Fenced => Err(AskError::Lost),
    };
    drop(reply.send(result));
}

fn answer(waiting: Option<Waiting>, result: Result<Answer, AskError>) {
    if let Some(Waiting { reply, .. }) = waiting {
        // The asker may be gone.
        drop(reply.send(result));
    }
}

fn wake(actor: &ActorRef<Wake>) {
    // A journal that has just died wakes by itself when it starts again.
    drop(actor.cast(Wake));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called with the accounts whose events the store refused.
pub(crate) type OnBroken = Arc<dyn Fn(AccountId) + Send + Sync>;

/// The actor that empties the queue.
pub(crate) struct JournalActor {
    pub(crate) journal: Arc<Journal>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) on_broken: OnBroken,
}

impl Actor for JournalActor {
    type Msg = Wake;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _me: ActorRef<Wake>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _me: ActorRef<Wake>,
        _wake: Wake,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        while self.journal.take(self.store.batch_max()).is_some() {
            let (batch, places) = self.journal.batch();
            let started = Instant::now();
            let rejected = self.commit(&batch).await;
            self.journal.finish(&places, &rejected, &self.on_broken);
            let gap = gap(batch.len());
            if !gap.is_zero() {
                tokio::time::sleep_until(started + gap).await;
            }
        }
        Ok(())
    }
}

impl JournalActor {
    /// Commits a batch; tries until the store takes it, for nothing acknowledged may be lost.
    async fn commit(&self, batch: &Batch) -> Vec<crate::store::Rejected> {
        if batch.is_empty() {
            return Vec::new();
        }
        let mut pause = RETRY_FIRST;
        loop {
            let started = Instant::now();
            match self.store.commit(Arc::clone(batch)).await {
                Ok(rejected) => {
                    self.journal.failing.store(false, Ordering::Relaxed);
                    observe(batch.len(), started.elapsed());
                    return rejected;
                }
                Err(_) if planted(Fault::TakeErrorForDone) => return Vec::new(),
                Err(error) => {
                    self.journal.failing.store(true, Ordering::Relaxed);
                    metrics::counter!("opencredits_journal_failures_total").increment(1);
                    tracing::error!(%error, writes = batch.len(), "the store took no commit");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(RETRY_LAST);
                }
            }
        }
    }
}

fn observe(writes: usize, took: Duration) {
    let writes = u32::try_from(writes).unwrap_or(u32::MAX);
    metrics::histogram!("opencredits_journal_batch_writes").record(f64::from(writes));
    metrics::histogram!("opencredits_journal_commit_seconds").record(took.as_secs_f64());
}

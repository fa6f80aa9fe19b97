//! The directory: from an account's id to its one actor, started from the store when needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use opencredits_schema::{AccountId, Hold, Timestamp};
use ractor::{Actor, ActorCell, ActorId, ActorRef, SpawnErr};
use tokio::sync::OnceCell;

use crate::account::{AccountActor, AccountMsg};
use crate::fault::{Fault, planted};
use crate::journal::Journal;
use crate::nodes::{Nodes, Turn};
use crate::running::RunningHolds;
use crate::store::Store;
use crate::system::{AskError, Settings};

/// How often an ask is tried on a new incarnation before the asker is told.
const TRIES_MAX: usize = 16;

/// One account's place: its actor while it has one, and the holds of its running requests, which
/// outlive an incarnation that panics.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    actor: OnceCell<ActorRef<AccountMsg>>,
    pub(crate) running: Arc<RunningHolds>,
    /// Whether this node may decide, where there are several.
    pub(crate) turn: Arc<Turn>,
    holds: AtomicUsize,
    pub(crate) used: AtomicI64,
    /// An incarnation failed and has no successor yet. What the store has open of it needs one.
    orphaned: AtomicBool,
}

impl Slot {
    pub(crate) fn note_holds(&self, holds: usize) {
        self.holds.store(holds, Ordering::Relaxed);
    }

    /// The same place for the next incarnation.
    fn next(&self) -> Self {
        if planted(Fault::ForgetHolds) {
            return Self::default();
        }
        let (running, turn) = (Arc::clone(&self.running), Arc::clone(&self.turn));
        Self { running, turn, ..Self::default() }
    }
}

/// All active accounts.
#[derive(Debug)]
pub(crate) struct Directory {
    slots: DashMap<AccountId, Arc<Slot>, RandomState>,
    by_actor: DashMap<ActorId, AccountId, RandomState>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) store: StoreHandle,
    pub(crate) settings: Settings,
    /// The other nodes, where there are several.
    pub(crate) nodes: Option<Nodes>,
    supervisor: OnceCell<ActorCell>,
}

/// A store that can stand in a `Debug` struct.
#[derive(Clone)]
pub(crate) struct StoreHandle(pub(crate) Arc<dyn Store>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl std::ops::Deref for StoreHandle {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref()
    }
}

impl Directory {
    pub(crate) fn new(
        journal: Arc<Journal>,
        store: Arc<dyn Store>,
        settings: Settings,
        nodes: Option<Nodes>,
    ) -> Self {
        Self {
            slots: DashMap::default(),
            by_actor: DashMap::default(),
            journal,
            store: StoreHandle(store),
            settings,
            nodes,
            supervisor: OnceCell::new(),
        }
    }

    pub(crate) fn supervised_by(&self, supervisor: ActorCell) {
        // Set once, at the start.
        drop(self.supervisor.set(supervisor));
    }

    /// Sends a message to the account's actor; a message that an incarnation hands back undecided
    /// goes to the next one.
    pub(crate) async fn send(
        self: &Arc<Self>,
        account: AccountId,
        mut message: AccountMsg,
    ) -> Result<(), AskError> {
        for _ in 0..TRIES_MAX {
            let slot = self.slot(account);
            slot.used.store(self.settings.now().millis(), Ordering::Relaxed);
            let actor = self.actor(account, &slot).await?;
            message = match actor.cast(message) {
                Ok(()) => return Ok(()),
                Err(ractor::MessagingErr::SendErr(message)) => message,
                Err(error) => return Err(AskError::Unavailable(error.to_string())),
            };
            // It is stopping: wait until it has left the directory, then ask its successor.
            drop(actor.wait(None).await);
            self.orphan(account, actor.get_id());
        }
        Err(AskError::Unavailable(format!("account {account} does not stay up")))
    }

    /// Sends a message only to an actor that runs.
    pub(crate) fn tell(&self, account: AccountId, message: AccountMsg) {
        let slot = self.known(account);
        if let Some(actor) = slot.as_ref().and_then(|slot| slot.actor.get()) {
            // One that is stopping needs it no more.
            drop(actor.cast(message));
        }
    }

    /// Expires what is due and lets idle accounts rest, in the order of their ids: what happens must
    /// not depend on how a map is laid out.
    pub(crate) fn sweep(self: &Arc<Self>, now: Timestamp) {
        let idle_since = now.millis().saturating_sub(self.settings.passivate_after_millis());
        let (mut due, mut down) = (Vec::new(), Vec::new());
        for entry in &self.slots {
            let slot = entry.value();
            let Some(actor) = slot.actor.get() else {
                if slot.orphaned.load(Ordering::Acquire) {
                    down.push(*entry.key());
                }
                continue;
            };
            let idle = slot.used.load(Ordering::Relaxed) <= idle_since;
            if slot.holds.load(Ordering::Relaxed) > 0 && !planted(Fault::RestWithHolds) {
                due.push((*entry.key(), actor.clone(), AccountMsg::Expire(now)));
            } else if idle {
                due.push((*entry.key(), actor.clone(), AccountMsg::Idle));
            }
        }
        due.sort_unstable_by_key(|(account, ..)| *account);
        for (_, actor, message) in due {
            drop(actor.cast(message));
        }
        // It could not be read when its actor failed, and its leases end all the same.
        down.sort_unstable();
        down.into_iter().for_each(|account| self.start_again(account));
        // Places that someone still held when their actor left.
        self.slots.retain(|_, slot| !is_forsaken(slot));
    }

    /// The number of active accounts.
    pub(crate) fn active(&self) -> usize {
        self.slots.len()
    }

    /// Takes an incarnation out of the directory; the account it was, if it was still in.
    ///
    /// Holds of running requests stay for the next incarnation.
    pub(crate) fn remove(&self, account: AccountId, actor: ActorId) -> Option<AccountId> {
        self.by_actor.remove(&actor);
        let is_it = |slot: &Slot| slot.actor.get().is_some_and(|a| a.get_id() == actor);
        let mut entry = self.slots.get_mut(&account)?;
        if !is_it(&entry) {
            return None;
        }
        entry.turn.end(actor);
        let next = Arc::new(entry.next());
        let rests = next.running.is_empty();
        *entry = next;
        drop(entry);
        if rests {
            self.slots.remove_if(&account, |_, slot| is_forsaken(slot));
        }
        Some(account)
    }

    /// The account of an incarnation that failed; it needs a successor.
    pub(crate) fn failed(&self, actor: ActorId) -> Option<AccountId> {
        let account = self.by_actor.get(&actor).map(|account| *account)?;
        self.orphan(account, actor);
        Some(account)
    }

    /// Takes an incarnation that failed out of the directory. One that has ended in order is out.
    fn orphan(&self, account: AccountId, actor: ActorId) {
        if self.remove(account, actor).is_some() {
            self.slot(account).orphaned.store(true, Ordering::Release);
        }
    }

    /// Starts the account's actor if it does not run.
    pub(crate) async fn start(self: &Arc<Self>, account: AccountId) -> Result<(), AskError> {
        let slot = self.slot(account);
        slot.used.store(self.settings.now().millis(), Ordering::Relaxed);
        self.actor(account, &slot).await.map(|_| ())
    }

    /// Starts an account whose incarnation failed: its leases end even if nobody asks.
    pub(crate) fn start_again(self: &Arc<Self>, account: AccountId) {
        let directory = Arc::clone(self);
        // Not here: loading waits for the journal.
        tokio::spawn(async move {
            if directory.starts_elsewhere(account).await {
                return;
            }
            if let Err(error) = directory.start(account).await {
                tracing::error!(%account, %error, "the account did not start again");
            }
        });
    }

    /// Has an account that failed here start on the node that it lives on by now; whether it does.
    async fn starts_elsewhere(self: &Arc<Self>, account: AccountId) -> bool {
        let Some(nodes) = &self.nodes else { return false };
        if self.elsewhere(nodes, account).is_none() {
            return false;
        }
        if self.view_anywhere(nodes, account).await.is_ok() {
            self.slot(account).orphaned.store(false, Ordering::Release);
        }
        true
    }

    /// Whether this node may decide: always, unless it is one of several and its lease has ended.
    pub(crate) fn may_decide(&self) -> bool {
        self.nodes.as_ref().is_none_or(Nodes::may_decide)
    }

    /// Whether an account has an actor here.
    pub(crate) fn runs_here(&self, account: AccountId) -> bool {
        self.slots.get(&account).is_some_and(|slot| slot.actor.initialized())
    }

    /// The accounts that have a place here.
    pub(crate) fn accounts_here(&self) -> Vec<AccountId> {
        let mut accounts: Vec<_> = self.slots.iter().map(|slot| *slot.key()).collect();
        accounts.sort_unstable();
        accounts
    }

    /// The holds of requests that run here.
    pub(crate) fn running_holds(&self) -> Vec<(AccountId, Hold)> {
        let of = |account: AccountId, slot: &Slot| {
            slot.running.holds().into_iter().map(move |hold| (account, hold))
        };
        let mut holds: Vec<_> = self.slots.iter().flat_map(|slot| of(*slot.key(), &slot)).collect();
        holds.sort_unstable_by_key(|(account, hold)| (*account, hold.request));
        holds
    }

    /// An account's place, if it has one.
    pub(crate) fn known(&self, account: AccountId) -> Option<Arc<Slot>> {
        self.slots.get(&account).map(|slot| Arc::clone(&slot))
    }

    pub(crate) fn slot(&self, account: AccountId) -> Arc<Slot> {
        if let Some(slot) = self.slots.get(&account) {
            return Arc::clone(&slot);
        }
        Arc::clone(&self.slots.entry(account).or_default())
    }

    async fn actor(
        self: &Arc<Self>,
        account: AccountId,
        slot: &Arc<Slot>,
    ) -> Result<ActorRef<AccountMsg>, AskError> {
        let start = || async {
            if let Some(nodes) = &self.nodes
                && (!nodes.may_decide() || nodes.owner_elsewhere(account).is_some())
            {
                return Err(AskError::Moving);
            }
            let supervisor = self.supervisor.get().cloned();
            let supervisor = supervisor.ok_or_else(|| unavailable("the system is not up"))?;
            let actor = AccountActor { directory: Arc::clone(self), slot: Arc::clone(slot) };
            match Actor::spawn_linked(None, actor, account, supervisor).await {
                Ok((actor, _join)) => {
                    self.by_actor.insert(actor.get_id(), account);
                    slot.orphaned.store(false, Ordering::Release);
                    Ok(actor)
                }
                Err(error) => {
                    if planted(Fault::TwoIncarnations) {
                        self.slots.remove(&account);
                    }
                    Err(not_started(&error))
                }
            }
        };
        slot.actor.get_or_try_init(start).await.cloned()
    }
}

/// The place of an actor that did not start stays until the sweep finds it alone: another asker may
/// be about to start the actor there, and two places would be two incarnations.
fn not_started(error: &SpawnErr) -> AskError {
    let why = match error {
        SpawnErr::StartupFailed(why) => why.downcast_ref::<AskError>().cloned(),
        SpawnErr::ActorAlreadyStarted | SpawnErr::ActorAlreadyRegistered(_) => None,
    };
    why.unwrap_or_else(|| unavailable(&error.to_string()))
}

/// Whether a place has neither an actor nor a need of one, and nobody is about to use it.
fn is_forsaken(slot: &Arc<Slot>) -> bool {
    let empty = !slot.actor.initialized() && slot.running.is_empty();
    empty && !slot.orphaned.load(Ordering::Acquire) && Arc::strong_count(slot) == 1
}

fn unavailable(why: &str) -> AskError {
    AskError::Unavailable(why.to_owned())
}

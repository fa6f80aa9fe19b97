//! The account's actor: a shell around the pure account. Decide, apply, hand on, answer when due.

mod answer;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opencredits_schema::{
    Account, AccountId, Checkpoint, Command, Credits, Event, Hold, Outcome, Place, RequestId,
    SettledBy, Timestamp,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

pub use self::answer::{Answer, Done, View};
use crate::directory::{Directory, Slot};
use crate::fault::{Fault, planted};
use crate::journal::Waiting;
use crate::nodes::Deciding;
use crate::store::Write;
use crate::system::AskError;

/// Where the request runs that asks: its node keeps the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Here,
    There,
}

pub(crate) type Reply = oneshot::Sender<Result<Answer, AskError>>;

/// What an account actor hears.
#[derive(Debug)]
pub(crate) enum AccountMsg {
    Ask(Command, Reply, Origin),
    Checkpoint(Box<Checkpoint>),
    View(oneshot::Sender<View>),
    /// Settle or release what has expired.
    Expire(Timestamp),
    /// Stop if nothing is open.
    Idle,
    /// The store has refused an event of this account: start again from what it has.
    Abandon,
    /// Panics, so that tests see what a panic does.
    Fail,
}

/// The behaviour; its state is [`Running`].
pub(crate) struct AccountActor {
    pub(crate) directory: Arc<Directory>,
    pub(crate) slot: Arc<Slot>,
}

/// One incarnation of an account.
pub(crate) struct Running {
    account: Account,
    /// The newest checkpoint of each hold that has one.
    checkpoints: HashMap<RequestId, Box<Checkpoint>>,
    /// The last durable event's number.
    durable: Arc<AtomicU64>,
}

impl Actor for AccountActor {
    type Msg = AccountMsg;
    type State = Running;
    type Arguments = AccountId;

    async fn pre_start(
        &self,
        me: ActorRef<AccountMsg>,
        id: AccountId,
    ) -> Result<Running, ActorProcessingErr> {
        Ok(self.load(me, id).await?)
    }

    async fn handle(
        &self,
        me: ActorRef<AccountMsg>,
        message: AccountMsg,
        state: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AccountMsg::Ask(_, reply, _) if !self.directory.may_decide() => {
                // The asker may be gone.
                drop(reply.send(Err(AskError::Moving)));
            }
            AccountMsg::Ask(mut command, reply, origin) => {
                // A lease begins with its hold, however long the ask had to wait for the store, and by
                // the clock of whoever ends it.
                if let Command::Place(Place { expires_at, .. })
                | Command::Renew { expires_at, .. } = &mut command
                {
                    *expires_at = (*expires_at).max(self.lease_from_now());
                }
                self.ask(state, &command, Some(reply), origin);
            }
            AccountMsg::Checkpoint(checkpoint) => self.checkpoint(state, checkpoint),
            AccountMsg::View(reply) => {
                // The asker may be gone.
                drop(reply.send(state.view()));
            }
            AccountMsg::Expire(now) if self.directory.may_decide() => self.expire(state, now),
            AccountMsg::Expire(_) => {}
            AccountMsg::Idle => {
                let seq = state.account.head().seq;
                let durable = state.durable.load(Ordering::Acquire) >= seq;
                let open = state.account.open_holds() > 0;
                if planted(Fault::RestWithHolds) {
                    self.slot.running.holds().iter().for_each(|h| self.slot.running.end(h.request));
                    me.drain()?;
                } else if durable && !open {
                    self.slot.running.forget_durable(seq);
                    // What comes after this mark is handed back and asked of the next incarnation.
                    me.drain()?;
                }
            }
            AccountMsg::Abandon => return Err("the store has refused an event".into()),
            // As a panic does, but for the message.
            AccountMsg::Fail => std::panic::resume_unwind(Box::new("told to panic")),
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        me: ActorRef<AccountMsg>,
        state: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        self.directory.remove(state.account.head().id, me.get_id());
        Ok(())
    }
}

impl AccountActor {
    /// Reads the account behind the journal's barrier, takes over its running requests' holds, and
    /// ends what other incarnations of the process left open.
    async fn load(&self, me: ActorRef<AccountMsg>, id: AccountId) -> Result<Running, AskError> {
        if !planted(Fault::DecideBeforeBarrier) {
            self.directory.journal.barrier(id).await;
        }
        let taken = match &self.directory.nodes {
            Some(nodes) => Some(self.directory.take(nodes, id, &self.slot).await?),
            None => None,
        };
        let loaded = self.directory.store.load(id).await?;
        let mut loaded = loaded.ok_or(AskError::NoAccount)?;
        if planted(Fault::ForgetRecovered) {
            loaded.recent.clear();
        }
        if planted(Fault::SkipTakeover) {
            loaded.checkpoints.clear();
        }
        let durable = Arc::new(AtomicU64::new(loaded.head.seq));
        if let Some(taken) = &taken {
            let deciding = Deciding { actor: me, durable: Arc::clone(&durable) };
            if !self.slot.turn.decide(taken.turn, deciding) || !self.directory.may_decide() {
                return Err(AskError::Moving);
            }
        }
        let account = Account::load(loaded.head, loaded.recent);
        let mut state = Running { account, checkpoints: HashMap::new(), durable };
        let now = self.directory.settings.now();
        let expires_at = self.lease_from_now();
        // What was settled and is not durable behind the barrier was dropped.
        self.slot.running.pass_on(state.account.head().seq);
        for hold in self.slot.running.holds() {
            // What asked to renew it meanwhile found nobody.
            let expires_at = hold.expires_at.max(expires_at);
            let command = Command::Place(resumed(&Hold { expires_at, ..hold }));
            self.ask(&mut state, &command, None, Origin::Here);
        }
        for hold in taken.iter().flat_map(|taken| &taken.holds) {
            let expires_at = hold.expires_at.max(expires_at);
            let command = Command::Place(resumed(&Hold { expires_at, ..hold.clone() }));
            self.ask(&mut state, &command, None, Origin::There);
        }
        for checkpoint in loaded.checkpoints {
            let request = checkpoint.hold.request;
            let runs = checkpoint.node == self.directory.settings.node
                || taken.as_ref().is_some_and(|taken| taken.members.has(checkpoint.node));
            let running = state.account.hold(request).is_some();
            if !running {
                let hold = Hold { expires_at, ..checkpoint.hold.clone() };
                state.account.apply(&Event::Placed(hold));
            }
            state.checkpoints.insert(request, Box::new(checkpoint));
            // Without others, the one incarnation that could run it held the store's lock and is gone.
            if !runs {
                self.end(&mut state, request, SettledBy::Checkpoint, now);
            }
        }
        self.slot.note_holds(state.account.open_holds());
        Ok(state)
    }

    fn lease_from_now(&self) -> Timestamp {
        let settings = &self.directory.settings;
        settings.now().plus_millis(settings.lease_millis())
    }

    /// Four steps and no rules: decide, apply, hand to the journal, answer when due.
    fn ask(&self, state: &mut Running, command: &Command, reply: Option<Reply>, origin: Origin) {
        let event = match state.account.decide(command) {
            Ok(event) => event,
            Err(refusal) => {
                if let Some(reply) = reply {
                    drop(reply.send(Err(AskError::Refused(refusal))));
                }
                return;
            }
        };
        state.account.apply(&event);
        self.note(state, command, &event, origin);
        let answer = state.answer(&event);
        if event.is_durable() {
            let ended = event.charged().map(|charged| charged.request);
            let noted = ended.is_some_and(|r| state.checkpoints.remove(&r).is_some());
            let forget = noted && !planted(Fault::KeepCheckpoint);
            if reply.is_none() && planted(Fault::ApplyUnjournaled) {
                return;
            }
            let head = state.account.head().clone();
            let waiting = reply.map(|reply| Waiting { reply, answer });
            let write = Write::Event { event, head, forget };
            self.directory.journal.append(write, waiting, &state.durable);
            return;
        }
        if let Event::Released { request, .. } = event
            && state.checkpoints.remove(&request).is_some()
        {
            let write = Write::Forget { account: state.account.head().id, request };
            self.directory.journal.append(write, None, &state.durable);
        }
        let Some(reply) = reply else { return };
        let head = state.account.head();
        let undurable = state.durable.load(Ordering::Acquire) < head.seq;
        let early = planted(Fault::AnswerRepeatsEarly);
        if undurable && !early && matches!(event, Event::Repeated(_)) {
            // What is repeated may not be durable yet.
            self.directory.journal.answer_behind(head.id, Waiting { reply, answer });
            return;
        }
        drop(reply.send(Ok(answer)));
    }

    /// Keeps the table of requests that run here, beside the directory, true.
    fn note(&self, state: &Running, command: &Command, event: &Event, origin: Origin) {
        let running = &self.slot.running;
        let again = matches!(command, Command::Place(place) if place.resumed);
        match event {
            Event::Placed(_) | Event::Renewed { .. } if origin == Origin::There => {}
            Event::Placed(hold) if again => running.run_again(hold.clone()),
            Event::Placed(hold) => running.run(hold.clone()),
            Event::Renewed { request, .. } => {
                if let Some(hold) = state.account.hold(*request) {
                    running.run(hold.clone());
                }
            }
            Event::Released { request, .. } => running.end(*request),
            Event::Settled(settlement) => {
                running.forget_durable(state.durable.load(Ordering::Acquire));
                running.settled(settlement.charged.request, state.account.head().seq);
            }
            Event::Adjusted(_)
            | Event::Received(_)
            | Event::Refunded(_)
            | Event::Disputed(_)
            | Event::Repeated(_) => {}
        }
        self.slot.note_holds(state.account.open_holds());
    }

    fn checkpoint(&self, state: &mut Running, checkpoint: Box<Checkpoint>) {
        let request = checkpoint.hold.request;
        let older = state.checkpoints.get(&request).is_some_and(|c| c.number > checkpoint.number);
        if state.account.hold(request).is_none() || older {
            return;
        }
        let write = Write::Checkpoint(checkpoint.clone());
        self.directory.journal.append(write, None, &state.durable);
        state.checkpoints.insert(request, checkpoint);
    }

    fn expire(&self, state: &mut Running, now: Timestamp) {
        if planted(Fault::KeepExpired) {
            return;
        }
        let mut expired: Vec<_> = state
            .account
            .holds()
            .filter(|hold| hold.expires_at <= now)
            .map(|hold| hold.request)
            .collect();
        expired.sort_unstable();
        for request in expired {
            metrics::counter!("opencredits_holds_expired_total").increment(1);
            tracing::warn!(%request, "a hold's lease ended");
            self.end(state, request, SettledBy::Expiry, now);
        }
    }

    /// Settles a hold by its last checkpoint; releases it where there is none.
    fn end(&self, state: &mut Running, request: RequestId, by: SettledBy, at: Timestamp) {
        let charged = state.checkpoints.get(&request).and_then(|c| c.charged.clone());
        let command = match charged {
            _ if planted(Fault::ReleaseCheckpointed) => Command::Release { request, by },
            Some(charged) => Command::Settle { charged, by, at },
            None => Command::Release { request, by },
        };
        self.ask(state, &command, None, Origin::Here);
    }
}

impl Running {
    fn view(&self) -> View {
        View {
            balance: self.account.balance(),
            held: self.account.held(),
            open_holds: self.account.open_holds(),
        }
    }

    fn answer(&self, event: &Event) -> Answer {
        let done = match event {
            Event::Placed(hold) => Done::Placed(hold.clone()),
            Event::Renewed { .. } => Done::Renewed,
            Event::Settled(settlement) => Done::Settled(Outcome::from(settlement.as_ref())),
            // The event tells the difference, its asker the whole.
            Event::Adjusted(settlement) => {
                let difference = Outcome::from(settlement.as_ref());
                let whole = self.account.outcome(difference.request);
                Done::Settled(whole.copied().unwrap_or(difference))
            }
            Event::Repeated(outcome) => Done::Settled(*outcome),
            Event::Released { request, by } => Done::Settled(Outcome {
                request: *request,
                provider_cost: opencredits_schema::PicoUsd(0),
                cost: Credits::ZERO,
                share: Credits::ZERO,
                by: *by,
                released: true,
            }),
            Event::Received(_) | Event::Refunded(_) | Event::Disputed(_) => Done::Moved,
        };
        let (balance, held) = (self.account.balance(), self.account.held());
        Answer { done, balance, held, seq: self.account.head().seq }
    }
}

/// A running request's hold, placed again in a new incarnation: never refused.
pub(crate) fn resumed(hold: &Hold) -> Place {
    Place {
        request: hold.request,
        key: hold.key,
        partner: hold.partner,
        amount: hold.amount,
        least: hold.amount,
        headroom: Credits::ZERO,
        key_limit: None,
        partner_extra: None,
        holds_max: usize::MAX,
        expires_at: hold.expires_at,
        resumed: true,
    }
}

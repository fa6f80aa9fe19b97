//! Asks an account wherever it lives, and hears what other nodes ask of those that live here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opencredits_schema::{AccountId, Checkpoint, Command, RequestId};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::message::{NodeAnswer, NodeAsk};
use super::{Member, Nodes, PATIENCE};
use crate::account::{AccountMsg, Answer, Done, Origin, View};
use crate::directory::{Directory, Slot};
use crate::fault::{Fault, planted};
use crate::system::AskError;

/// How long another node may take for an answer from memory, and for one that is durable.
const MEMORY_WAIT: Duration = Duration::from_secs(3);
const DURABLE_WAIT: Duration = Duration::from_secs(10);

/// The pauses before an account that passes from one node to another is asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LAST: Duration = Duration::from_millis(500);

impl Directory {
    /// Asks an account where it lives, until the outcome is known or the patience ends.
    pub(crate) async fn ask_anywhere(
        self: &Arc<Self>,
        nodes: &Nodes,
        account: AccountId,
        command: Command,
    ) -> Result<Answer, AskError> {
        let slot = self.slot(account);
        slot.used.store(self.settings.now().millis(), Ordering::Relaxed);
        if let Command::Release { request, .. } = &command {
            // It runs no more, whether its owner hears that or the lease ends.
            slot.running.end(*request);
        }
        let mut patience = Patience::new();
        loop {
            let asked = match self.elsewhere(nodes, account) {
                Some(owner) => self.ask_there(nodes, &owner, (account, &slot), &command).await,
                None => self.ask_once(account, command.clone(), Origin::Here).await,
            };
            match asked {
                Err(AskError::Lost | AskError::Moving) => patience.pause().await?,
                Ok(answer) => {
                    if let Some(request) = settles(&command) {
                        slot.running.end(request);
                    }
                    return Ok(answer);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How an account is, wherever it lives.
    pub(crate) async fn view_anywhere(
        self: &Arc<Self>,
        nodes: &Nodes,
        account: AccountId,
    ) -> Result<View, AskError> {
        let mut patience = Patience::new();
        loop {
            let asked = match self.elsewhere(nodes, account) {
                Some(owner) => {
                    let ask = nodes.channel.ask(&owner, NodeAsk::View { account });
                    match timeout(MEMORY_WAIT, ask).await {
                        Ok(Some(NodeAnswer::View(view))) => view,
                        Ok(_) | Err(_) => Err(AskError::Moving),
                    }
                }
                None => self.view_once(account).await,
            };
            match asked {
                Err(AskError::Lost | AskError::Moving) => patience.pause().await?,
                view => return view,
            }
        }
    }

    /// Notes what a request that runs here has used, wherever its account lives. Once: the next one
    /// tells more.
    pub(crate) async fn note_anywhere(self: &Arc<Self>, nodes: &Nodes, noted: Box<Checkpoint>) {
        match self.elsewhere(nodes, noted.account) {
            Some(owner) => {
                let ask = nodes.channel.ask(&owner, NodeAsk::Checkpoint(noted));
                drop(timeout(MEMORY_WAIT, ask).await);
            }
            None => drop(self.send(noted.account, AccountMsg::Checkpoint(noted)).await),
        }
    }

    /// Answers another node.
    pub(crate) async fn hear(self: &Arc<Self>, nodes: &Nodes, ask: NodeAsk) -> NodeAnswer {
        match ask {
            NodeAsk::GiveUp { account } => NodeAnswer::GivenUp(self.give_up(account).await),
            NodeAsk::Command { account, .. } | NodeAsk::View { account }
                if self.elsewhere(nodes, account).is_some() =>
            {
                NodeAnswer::NotHere
            }
            NodeAsk::Command { account, command } => {
                NodeAnswer::Command(self.ask_once(account, command, Origin::There).await)
            }
            NodeAsk::View { account } => NodeAnswer::View(self.view_once(account).await),
            NodeAsk::Checkpoint(noted) => {
                if self.elsewhere(nodes, noted.account).is_none() {
                    drop(self.send(noted.account, AccountMsg::Checkpoint(noted)).await);
                }
                NodeAnswer::Noted
            }
        }
    }

    /// The other node that an account has to be asked on; `None` if it is here, or belongs here.
    pub(crate) fn elsewhere(&self, nodes: &Nodes, account: AccountId) -> Option<Member> {
        if self.runs_here(account) { None } else { nodes.owner_elsewhere(account) }
    }

    /// Asks the account's incarnation on this node, which is started if need be.
    pub(crate) async fn ask_once(
        self: &Arc<Self>,
        account: AccountId,
        command: Command,
        origin: Origin,
    ) -> Result<Answer, AskError> {
        let (reply, answer) = oneshot::channel();
        self.send(account, AccountMsg::Ask(command, reply, origin)).await?;
        answer.await.unwrap_or(Err(AskError::Lost))
    }

    /// How the account's incarnation on this node is, which is started if need be.
    pub(crate) async fn view_once(self: &Arc<Self>, account: AccountId) -> Result<View, AskError> {
        let (reply, answer) = oneshot::channel();
        self.send(account, AccountMsg::View(reply)).await?;
        answer.await.map_err(|_| AskError::Lost)
    }

    async fn ask_there(
        &self,
        nodes: &Nodes,
        owner: &Member,
        (account, slot): (AccountId, &Slot),
        command: &Command,
    ) -> Result<Answer, AskError> {
        let wait = match command {
            // Nobody would ask a node without a lease for the holds of its requests.
            Command::Place(_) if !nodes.may_decide() => return Err(AskError::Moving),
            Command::Place(_) | Command::Renew { .. } | Command::Release { .. } => MEMORY_WAIT,
            Command::Settle { .. }
            | Command::Receive { .. }
            | Command::Dispute { .. }
            | Command::Refund { .. } => DURABLE_WAIT,
        };
        let turn = slot.turn.number();
        let ask = NodeAsk::Command { account, command: command.clone() };
        let answer = match timeout(wait, nodes.channel.ask(owner, ask)).await {
            Ok(Some(NodeAnswer::Command(answer))) => answer?,
            Ok(Some(NodeAnswer::NotHere)) => return Err(AskError::Moving),
            Ok(_) | Err(_) if planted(Fault::LoseUnknown) => return Err(AskError::NoAccount),
            Ok(_) | Err(_) => return Err(AskError::Lost),
        };
        // A new owner that has asked for this node's holds was not told of this one: it is placed again
        // there, under the same name.
        let noted = slot.turn.during(turn, || match (&answer.done, command) {
            (Done::Placed(hold), Command::Place(place)) if place.resumed => {
                slot.running.run_again(hold.clone());
            }
            (Done::Placed(hold), _) => slot.running.run(hold.clone()),
            (Done::Renewed, Command::Renew { request, expires_at }) => {
                slot.running.renew(*request, *expires_at);
            }
            (Done::Renewed | Done::Settled(_) | Done::Moved, _) => {}
        });
        let placed = matches!(answer.done, Done::Placed(_));
        if placed && !noted && !planted(Fault::KeepLateHold) {
            return Err(AskError::Lost);
        }
        Ok(answer)
    }
}

/// The request that a command ends by a charge.
fn settles(command: &Command) -> Option<RequestId> {
    match command {
        Command::Settle { charged, .. } => Some(charged.request),
        Command::Place(_)
        | Command::Renew { .. }
        | Command::Release { .. }
        | Command::Receive { .. }
        | Command::Dispute { .. }
        | Command::Refund { .. } => None,
    }
}

/// How long an asker goes on asking.
struct Patience {
    ends: Instant,
    pause: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { ends: Instant::now() + PATIENCE, pause: PAUSE_FIRST }
    }

    async fn pause(&mut self) -> Result<(), AskError> {
        if Instant::now() >= self.ends {
            return Err(AskError::Unavailable("the account passes between nodes".to_owned()));
        }
        sleep(self.pause).await;
        self.pause = self.pause.saturating_mul(2).min(PAUSE_LAST);
        Ok(())
    }
}

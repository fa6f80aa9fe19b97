//! An account passes from one node to another: every other node gives it up, or its lease has ended,
//! before anybody decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opencredits_schema::{AccountId, Hold};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::message::{NodeAnswer, NodeAsk};
use super::{Deciding, Member, Members, Nodes, PATIENCE};
use crate::directory::{Directory, Slot};
use crate::fault::{Fault, planted};
use crate::system::AskError;

/// How long a node may take to give an account up before it is asked again.
const GIVE_UP_WAIT: Duration = Duration::from_secs(4);

/// How long a node waits for its events of an account that it gives up to be durable. Those that are
/// not are refused once the account is taken, and asked again there.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// The pause before the nodes that have not answered are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// An account that every other node has given up.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The turn in which it was taken.
    pub(crate) turn: u64,
    /// The nodes that run.
    pub(crate) members: Arc<Members>,
    /// The holds of requests that run on other nodes.
    pub(crate) holds: Vec<Hold>,
}

impl Directory {
    /// Waits until no other node decides for an account.
    ///
    /// # Errors
    /// [`AskError::Moving`] when a node that runs does not give it up.
    pub(crate) async fn take(
        &self,
        nodes: &Nodes,
        account: AccountId,
        slot: &Slot,
    ) -> Result<Taken, AskError> {
        // From here on nothing counts that a former owner has answered and this node has not noted.
        let turn = slot.turn.next();
        let give_up = Instant::now() + PATIENCE;
        let mut given_up: BTreeMap<u64, Vec<Hold>> = BTreeMap::new();
        loop {
            // Asked anew: whoever took the account meanwhile had said before that it runs.
            let members = self.members().await?;
            nodes.see(&members);
            let others = members.others(nodes.me.node);
            let left: Vec<_> =
                others.filter(|m| !given_up.contains_key(&m.node)).cloned().collect();
            if left.is_empty() || planted(Fault::TakeUnasked) {
                // Who is gone cannot tell its holds; what it told before it went does not count.
                let told = given_up.into_iter().filter(|(node, _)| members.has(*node));
                let holds = told.flat_map(|(_, holds)| holds).collect();
                let holds = if planted(Fault::ForgetTheirHolds) { Vec::new() } else { holds };
                return Ok(Taken { turn, members, holds });
            }
            given_up.extend(ask_all(nodes, account, left).await);
            if Instant::now() >= give_up || slot.turn.number() != turn {
                return Err(AskError::Moving);
            }
            if members.others(nodes.me.node).any(|member| !given_up.contains_key(&member.node)) {
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }

    /// Decides nothing more for an account; the holds of its requests that run here.
    pub(crate) async fn give_up(&self, account: AccountId) -> Vec<Hold> {
        let Some(slot) = self.known(account) else { return Vec::new() };
        if let Some(Deciding { actor, durable }) = slot.turn.give_up() {
            // What is behind this mark is handed back, and asked of the next owner.
            drop(actor.drain());
            drop(actor.wait(None).await);
            self.remove(account, actor.get_id());
            drop(timeout(FLUSH_WAIT, self.journal.settled(account)).await);
            slot.running.pass_on(durable.load(Ordering::Acquire));
        }
        slot.running.holds()
    }
}

/// Asks nodes to give an account up; the holds of those that did.
async fn ask_all(
    nodes: &Nodes,
    account: AccountId,
    members: Vec<Member>,
) -> BTreeMap<u64, Vec<Hold>> {
    let mut asks = JoinSet::new();
    for member in members {
        let asking = nodes.channel.ask(&member, NodeAsk::GiveUp { account });
        asks.spawn(async move { (member.node, timeout(GIVE_UP_WAIT, asking).await) });
    }
    let mut given_up = BTreeMap::new();
    while let Some(asked) = asks.join_next().await {
        if let Ok((node, Ok(Some(NodeAnswer::GivenUp(holds))))) = asked {
            given_up.insert(node, holds);
        }
    }
    given_up
}

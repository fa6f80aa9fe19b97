//! An account passes from one node to another: every other node gives it up, or its lease has ended,
//! before anybody decides.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opencredits_schema::{AccountId, Hold};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

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

/// How often a node that takes an account looks whether those that have not answered still run.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

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
        let patience = Instant::now() + PATIENCE;
        let (mut asks, mut asked) = (JoinSet::new(), HashSet::new());
        let mut given_up: BTreeMap<u64, Vec<Hold>> = BTreeMap::new();
        loop {
            // Asked anew: whoever took the account meanwhile had said before that it runs.
            let members = self.members().await?;
            nodes.see(&members);
            for other in members.others(nodes.me.node) {
                let is_left = !given_up.contains_key(&other.node) && !planted(Fault::TakeUnasked);
                if is_left && asked.insert(other.node) {
                    asks.spawn(ask_for(nodes, account, other));
                }
            }
            let is_left = |given_up: &BTreeMap<u64, Vec<Hold>>| {
                members.others(nodes.me.node).any(|other| !given_up.contains_key(&other.node))
            };
            let look_again = Instant::now() + LOOK_AGAIN;
            while is_left(&given_up)
                && let Ok(Some(answer)) = timeout_at(look_again, asks.join_next()).await
            {
                let Ok((node, holds)) = answer else { continue };
                match holds {
                    Some(holds) => drop(given_up.insert(node, holds)),
                    None => drop(asked.remove(&node)),
                }
            }
            if !is_left(&given_up) || planted(Fault::TakeUnasked) {
                // Who is gone cannot tell its holds; what it told before it went does not count.
                let told = given_up.into_iter().filter(|(node, _)| members.has(*node));
                let holds = told.flat_map(|(_, holds)| holds).collect();
                let holds = if planted(Fault::ForgetTheirHolds) { Vec::new() } else { holds };
                return Ok(Taken { turn, members, holds });
            }
            if Instant::now() >= patience || slot.turn.number() != turn {
                return Err(AskError::Moving);
            }
            sleep_until(look_again).await;
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

/// Asks a node to give an account up; the holds of requests that run there, if it did.
fn ask_for(
    nodes: &Nodes,
    account: AccountId,
    member: &Member,
) -> impl Future<Output = (u64, Option<Vec<Hold>>)> + Send + use<> {
    let (node, asking) = (member.node, nodes.channel.ask(member, NodeAsk::GiveUp { account }));
    async move {
        let holds = match timeout(GIVE_UP_WAIT, asking).await {
            Ok(Some(NodeAnswer::GivenUp(holds))) => Some(holds),
            Ok(_) | Err(_) => None,
        };
        (node, holds)
    }
}

//! Several nodes over one store in memory, on a network that loses what it is told to: one decides, and
//! what it did not make durable is asked again of the next.

#[cfg(feature = "planted-faults")]
mod seeded;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opencredits_schema::{AccountId, Command, Event, RequestId, Timestamp};
use tokio::time::{sleep, timeout};

use super::{LONG, grant, partner, place, settings, settle};
use crate::nodes::{Answering, Channel, Door, Members, NodeAsk, ROW_LASTS};
use crate::{Answer, AskError, Member, MemoryStore, Store, System};

/// Long enough for every row of a node that is away to end, and for the others to see that.
const AWAY: Duration = ROW_LASTS.saturating_add(Duration::from_secs(3));

/// The network between nodes.
#[derive(Default)]
struct Network(Mutex<State>);

#[derive(Default)]
struct State {
    doors: HashMap<u64, Door>,
    /// Nodes that neither hear nor are heard.
    cut: HashSet<u64>,
    /// So many commands are lost on their way.
    lose: usize,
    /// How long an answer to a command is on its way.
    slow: Duration,
}

/// A node's way into the network.
struct Wire {
    network: Arc<Network>,
    me: u64,
}

impl Network {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    fn cut(&self, node: u64, cut: bool) {
        self.set(|state| {
            state.cut.remove(&node);
            state.cut.extend(cut.then_some(node));
        });
    }

    /// Where an ask arrives, if it does, and how long its answer takes.
    fn way(&self, from: u64, to: u64, ask: &NodeAsk) -> Option<(Door, Duration)> {
        let mut state = self.0.lock().unwrap();
        if state.cut.contains(&from) || state.cut.contains(&to) {
            return None;
        }
        let is_command = matches!(ask, NodeAsk::Command { .. });
        if is_command && state.lose > 0 {
            state.lose -= 1;
            return None;
        }
        let slow = if is_command { state.slow } else { Duration::ZERO };
        Some((state.doors.get(&to)?.clone(), slow))
    }
}

impl Channel for Wire {
    fn serve(&self, door: Door) {
        self.network.set(|state| {
            state.doors.insert(self.me, door);
        });
    }

    fn ask(&self, to: &Member, ask: NodeAsk) -> Answering {
        let way = self.network.way(self.me, to.node, &ask);
        Box::pin(async move {
            // Whoever hears nothing waits until it gives up.
            let Some((door, slow)) = way else { return std::future::pending().await };
            sleep(Duration::from_millis(1)).await;
            let heard = tokio::spawn(async move { door.hear(ask).await });
            let answer = heard.await.unwrap();
            sleep(slow).await;
            answer
        })
    }

    fn keep(&self, _members: &Members) {}
}

/// A node that runs.
struct Node {
    system: Arc<System>,
    store: Arc<MemoryStore>,
    number: u64,
}

/// Nodes over one store, on one network.
struct World {
    store: MemoryStore,
    network: Arc<Network>,
    account: AccountId,
}

impl World {
    /// Two nodes, and an account that lives on the first, with some credits; on the second once that is
    /// gone, a third one or not.
    async fn new(micro: i64) -> (Self, Node, Node) {
        let account = (1..)
            .map(AccountId::new)
            .find(|account| owner(*account, &[1, 2, 3]) == 1 && owner(*account, &[2, 3]) == 2);
        let world = Self {
            store: MemoryStore::default(),
            network: Arc::default(),
            account: account.unwrap(),
        };
        world.store.put_partner(partner()).await.unwrap();
        world.store.create_account(world.account, None, Timestamp::default()).await.unwrap();
        let (first, second) = (world.node(1).await, world.node(2).await);
        // Until both know of each other.
        sleep(Duration::from_secs(2)).await;
        second.system.ask(world.account, grant("g", micro)).await.unwrap();
        (world, first, second)
    }

    async fn node(&self, number: u64) -> Node {
        let store = Arc::new(self.store.of_node());
        let wire = Arc::new(Wire { network: Arc::clone(&self.network), me: number });
        let joining = System::join_by(
            Arc::clone(&store) as Arc<dyn Store>,
            settings(number),
            member(number).address,
            wire,
        );
        Node { system: Arc::new(joining.await.unwrap()), store, number }
    }

    /// Neither the store nor any node hears from a node.
    fn hang(&self, node: &Node) {
        node.store.fail(true);
        self.network.cut(node.number, true);
    }

    fn come_back(&self, node: &Node) {
        node.store.fail(false);
        self.network.cut(node.number, false);
    }

    /// Asks on a node; what came of it in a minute.
    async fn ask(&self, node: &Node, command: Command) -> Result<Answer, AskError> {
        let asked = timeout(Duration::from_secs(60), node.system.ask(self.account, command)).await;
        asked.unwrap_or_else(|_| Err(AskError::Unavailable("a minute".to_owned())))
    }

    /// What a node sees of the account: its balance, and what is held.
    async fn view(&self, node: &Node) -> (i64, i64) {
        let view = node.system.view(self.account).await.unwrap();
        (view.balance.micro(), view.held.micro())
    }

    /// The balance that is durable.
    async fn stored(&self) -> i64 {
        self.store.head(self.account).await.unwrap().unwrap().balance.micro()
    }

    /// What is wrong with the books, and with the requests that must have been charged, once each.
    async fn differences(&self, settled: &[u128]) -> Vec<String> {
        let mut lines = self.store.audit().await.unwrap().differences;
        let (rows, _) = self.store.history(self.account, 1000, 0).await.unwrap();
        for request in settled {
            let is_its = |event: &Event| matches!(event, Event::Settled(s) if s.charged.request == RequestId::new(*request));
            let count = rows.iter().filter(|row| is_its(&row.event)).count();
            if count != 1 {
                lines.push(format!("request {request} was charged {count} times"));
            }
        }
        lines
    }
}

fn owner(account: AccountId, nodes: &[u64]) -> u64 {
    Members::new(nodes.iter().copied().map(member).collect()).owner(account).unwrap().node
}

fn member(node: u64) -> Member {
    Member { node, address: format!("node-{node}:7000"), started: 0, leaving: false }
}

fn refused(result: &Result<Answer, AskError>) -> bool {
    matches!(result, Err(AskError::Refused(_)))
}

/// A story about nodes: what went wrong in it.
type Wrong = Vec<String>;

fn wrong(is_wrong: bool, what: &str) -> Wrong {
    if is_wrong { vec![what.to_owned()] } else { Vec::new() }
}

/// Any node takes any request, and holds are those of all nodes.
async fn any_node() -> Wrong {
    let (world, first, second) = World::new(100).await;
    let mut found = wrong(world.ask(&second, place(1, 60)).await.is_err(), "no place");
    found.extend(wrong(!refused(&world.ask(&first, place(2, 60)).await), "overspent"));
    found.extend(wrong(world.view(&second).await != (100, 60), "another view"));
    found.extend(wrong(world.ask(&second, settle(1, 50)).await.is_err(), "not settled"));
    found.extend(wrong(world.view(&first).await != (45, 0), "another balance"));
    found.extend(world.differences(&[1]).await);
    found
}

/// A new owner knows the holds of the requests that run on nodes that answer.
async fn the_owner_dies() -> Wrong {
    let (world, first, second) = World::new(100).await;
    let third = world.node(3).await;
    world.ask(&third, place(1, 60)).await.unwrap();
    world.hang(&first);
    sleep(AWAY).await;
    let mut found = wrong(!refused(&world.ask(&second, place(2, 60)).await), "overspent");
    found.extend(wrong(world.ask(&third, settle(1, 50)).await.is_err(), "not settled"));
    found.extend(wrong(world.view(&second).await != (45, 0), "another balance"));
    found.extend(world.differences(&[1]).await);
    found
}

/// A node that comes takes accounts with all holds of those that had them.
async fn a_node_joins() -> Wrong {
    let (world, first, second) = World::new(100).await;
    world.ask(&first, place(1, 60)).await.unwrap();
    let third = (3..).find(|number| owner(world.account, &[1, 2, *number]) == *number);
    let third = world.node(third.unwrap()).await;
    // The others have not seen it yet.
    let mut found = wrong(!refused(&world.ask(&third, place(2, 60)).await), "overspent");
    sleep(AWAY).await;
    found.extend(wrong(!refused(&world.ask(&second, place(3, 60)).await), "overspent later"));
    found.extend(wrong(world.ask(&first, settle(1, 50)).await.is_err(), "not settled"));
    found.extend(wrong(world.view(&third).await != (45, 0), "another balance"));
    found.extend(world.differences(&[1]).await);
    found
}

/// What an owner had not made durable before it hung is refused when it comes back, and asked again of
/// the next owner.
async fn a_stale_owner_comes_back() -> Wrong {
    let (world, first, second) = World::new(1000).await;
    world.ask(&first, place(1, 60)).await.unwrap();
    world.hang(&first);
    let system = Arc::clone(&first.system);
    let account = world.account;
    let settling = tokio::spawn(async move { system.insist(account, settle(1, 50)).await });
    sleep(AWAY).await;
    let before = world.view(&second).await;
    let mut found = wrong(before.0 != 1000, "nothing is settled yet");
    world.come_back(&first);
    while world.stored().await == 1000 {
        sleep(Duration::from_millis(1)).await;
    }
    let stored = world.stored().await;
    found.extend(wrong(world.view(&second).await.0 != stored, "decides by another balance"));
    found.extend(wrong(timeout(LONG, settling).await.is_err(), "not settled"));
    sleep(AWAY).await;
    found.extend(wrong(world.ask(&second, settle(2, 10)).await.is_err(), "not settled"));
    found.extend(wrong(world.view(&first).await != (1000 - 55 - 11, 0), "another balance"));
    found.extend(world.differences(&[1, 2]).await);
    found
}

/// A node without its lease decides nothing.
async fn a_node_loses_its_lease() -> Wrong {
    let (world, first, second) = World::new(100).await;
    world.ask(&first, place(1, 10)).await.unwrap();
    world.hang(&first);
    sleep(AWAY).await;
    let mut found = wrong(world.ask(&second, place(2, 80)).await.is_err(), "no take-over");
    found.extend(wrong(world.ask(&first, place(3, 80)).await.is_ok(), "decided without a lease"));
    world.come_back(&first);
    sleep(AWAY).await;
    // The hold of the request that runs on the node that was away counts again.
    found.extend(wrong(world.view(&second).await != (100, 90), "another view"));
    found.extend(wrong(world.ask(&first, settle(1, 10)).await.is_err(), "not settled"));
    found.extend(wrong(world.ask(&second, settle(2, 10)).await.is_err(), "not settled"));
    found.extend(world.differences(&[1, 2]).await);
    found
}

/// A settlement whose way is lost is asked again.
async fn a_message_is_lost() -> Wrong {
    let (world, _first, second) = World::new(100).await;
    world.ask(&second, place(1, 60)).await.unwrap();
    world.network.set(|state| state.lose = 2);
    drop(timeout(LONG, second.system.insist(world.account, settle(1, 50))).await);
    world.differences(&[1]).await
}

/// A hold whose answer comes late, when a new owner has asked for the node's holds, is placed again.
async fn an_answer_is_late() -> Wrong {
    let (world, first, second) = World::new(100).await;
    world.network.set(|state| state.slow = Duration::from_secs(2));
    let (system, account) = (Arc::clone(&second.system), world.account);
    let placing = tokio::spawn(async move { system.ask(account, place(1, 60)).await });
    sleep(Duration::from_millis(100)).await;
    world.network.set(|state| state.slow = Duration::ZERO);
    first.system.leave().await.unwrap();
    let mut found = wrong(world.ask(&first, place(2, 1)).await.is_err(), "no take-over");
    found.extend(wrong(placing.await.unwrap().is_err(), "not placed"));
    found.extend(wrong(world.view(&second).await != (100, 61), "a hold is missing"));
    found.extend(wrong(world.ask(&second, settle(1, 50)).await.is_err(), "not settled"));
    found.extend(wrong(world.ask(&first, settle(2, 1)).await.is_err(), "not settled"));
    found.extend(wrong(!first.system.stop(LONG).await, "not durable"));
    found.extend(world.differences(&[1, 2]).await);
    found
}

/// A node that is cut off from the others, and not from the store, keeps its accounts: nobody else
/// decides for them.
async fn the_network_is_cut() -> Wrong {
    let (world, first, second) = World::new(100).await;
    world.ask(&first, place(1, 60)).await.unwrap();
    world.network.cut(2, true);
    sleep(AWAY).await;
    let mut found = wrong(world.ask(&second, place(2, 60)).await.is_ok(), "decided twice");
    found.extend(wrong(world.ask(&first, settle(1, 50)).await.is_err(), "not settled"));
    world.network.cut(2, false);
    found.extend(wrong(world.ask(&second, place(3, 45)).await.is_err(), "not healed"));
    found.extend(wrong(world.ask(&second, settle(3, 40)).await.is_err(), "not settled"));
    found.extend(world.differences(&[1, 3]).await);
    found
}

macro_rules! stories {
    ($($story:ident: $rule:ident;)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $rule() {
                assert_eq!($story().await, Wrong::new());
            }
        )*
    };
}

stories! {
    any_node: any_node_takes_any_request;
    the_owner_dies: a_new_owner_knows_the_holds_of_those_that_live;
    a_node_joins: a_node_that_joins_takes_accounts_with_their_holds;
    a_stale_owner_comes_back: a_stale_owners_entries_are_refused_and_asked_again;
    a_node_loses_its_lease: a_node_without_its_lease_decides_nothing;
    a_message_is_lost: a_lost_settlement_is_asked_again;
    an_answer_is_late: a_late_hold_is_placed_again;
    the_network_is_cut: a_node_that_answers_nobody_keeps_its_accounts;
}

#[cfg(feature = "planted-faults")]
mod planted {
    use super::*;
    use crate::Fault;

    macro_rules! caught {
        ($($fault:ident: $story:ident, $rule:ident;)*) => {
            $(
                #[tokio::test(start_paused = true)]
                async fn $rule() {
                    Fault::plant(Some(Fault::$fault));
                    let found = timeout(Duration::from_secs(3600), $story()).await;
                    Fault::plant(None);
                    assert!(!matches!(found, Ok(found) if found.is_empty()), "not caught");
                }
            )*
        };
    }

    caught! {
        SkipFence: a_stale_owner_comes_back, a_fence_that_is_skipped_is_caught;
        KeepEpoch: a_stale_owner_comes_back, an_epoch_that_is_not_raised_is_caught;
        LoseUnknown: a_message_is_lost, an_unknown_outcome_that_is_lost_is_caught;
        DecideUnleased: a_node_loses_its_lease, a_decision_without_a_lease_is_caught;
        TakeUnasked: a_node_joins, a_take_over_that_asks_nobody_is_caught;
        ForgetTheirHolds: the_owner_dies, a_take_over_that_forgets_holds_is_caught;
        KeepLateHold: an_answer_is_late, a_hold_that_nobody_was_told_of_is_caught;
    }
}

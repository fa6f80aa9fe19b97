//! One run: steps that the seed chooses, then quiet, and everything must be as it was promised.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opencredits_schema::{AccountId, Refusal, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::super::super::{grant, partner};
use super::super::{AWAY, member};
use super::client::{self, Plan};
use super::ledger::Ledger;
use super::network::{Network, Wire};
use crate::{AskError, Clock, MemoryStore, Settings, Store, System};

const ACCOUNTS: u64 = 2;
const STEPS: u32 = 45;
/// Nodes at the same time.
const NODES: usize = 3;
/// What an account has, in microcredits: three or four holds.
const CREDITS: i64 = 400;
const HOLD_MAX: i64 = 130;
/// Longer than any request here runs, were it not for what goes wrong.
const HOLD_LEASE: Duration = Duration::from_secs(90);
/// In quiet everything ends within it.
const QUIET: Duration = Duration::from_secs(300);

/// How a run went.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) trace: (u64, u64),
    pub(super) kinds: BTreeMap<&'static str, u64>,
    pub(super) broken: Option<String>,
}

struct Node {
    system: Arc<System>,
    store: Arc<MemoryStore>,
    number: u64,
    clients: Vec<JoinHandle<()>>,
    is_away: bool,
}

struct World {
    choices: fastrand::Rng,
    store: MemoryStore,
    network: Arc<Network>,
    ledger: Arc<Ledger>,
    nodes: Vec<Node>,
    began: Instant,
    /// Of nodes that leave: their clients run to the end.
    leaving: Vec<Node>,
    cuts: Vec<(u64, u64)>,
    next_node: u64,
    next_request: u128,
}

/// Runs a seed.
pub(super) async fn run(seed: u64, shown: bool) -> Run {
    let ledger = Arc::new(Ledger::new(shown));
    let mut world = World {
        choices: fastrand::Rng::with_seed(seed),
        store: MemoryStore::default(),
        network: Arc::new(Network::new(seed, Arc::clone(&ledger))),
        ledger: Arc::clone(&ledger),
        nodes: Vec::new(),
        began: Instant::now(),
        leaving: Vec::new(),
        cuts: Vec::new(),
        next_node: 1,
        next_request: 1,
    };
    world.store.put_partner(partner()).await.unwrap();
    for number in 1..=ACCOUNTS {
        let account = AccountId::new(number);
        world.store.create_account(account, None, Timestamp::default()).await.unwrap();
    }
    for _ in 0..NODES {
        world.join().await;
    }
    sleep(Duration::from_secs(2)).await;
    for number in 1..=ACCOUNTS {
        let grant = grant(&format!("g{number}"), CREDITS);
        let granted = world.nodes[0].system.insist(AccountId::new(number), grant).await;
        // Asked again because its answer was lost, it is refused: it is there.
        assert!(matches!(granted, Ok(_) | Err(AskError::Refused(Refusal::Received))));
    }
    for _ in 0..STEPS {
        world.step().await;
        world.compare().await;
        if ledger.broken().is_some() {
            break;
        }
    }
    if ledger.broken().is_none() {
        world.quiet().await;
    }
    for _ in 0..world.store.fenced() {
        ledger.note("fenced", format_args!(""));
    }
    Run { trace: ledger.trace(), kinds: ledger.kinds(), broken: ledger.broken() }
}

impl World {
    async fn join(&mut self) {
        let number = self.next_node;
        self.next_node += 1;
        let store = Arc::new(self.store.of_node());
        let wire = Arc::new(Wire { network: Arc::clone(&self.network), me: number });
        let began = self.began;
        let clock = Clock::new(move || {
            let passed = i64::try_from(began.elapsed().as_millis()).unwrap();
            Timestamp::from_millis(1_700_000_000_000 + passed)
        });
        let settings =
            Settings { hold_lease: HOLD_LEASE, passivate_after: HOLD_LEASE, node: number, clock };
        let address = member(number).address;
        let joining =
            System::join_by(Arc::clone(&store) as Arc<dyn Store>, settings, address, wire);
        let system = Arc::new(joining.await.unwrap());
        self.nodes.push(Node { system, store, number, clients: Vec::new(), is_away: false });
        self.ledger.note("joined", format_args!("{number}"));
    }

    async fn step(&mut self) {
        let at = self.choices.usize(..self.nodes.len().max(1));
        match self.choices.u8(..32) {
            0 => self.kill(at),
            1..=3 => self.isolate(at),
            4..=6 => self.come_back(),
            7 => self.leave(at).await,
            8 | 9 => self.cut(),
            10 | 11 => self.mend(),
            12 => self.lose_answers(at),
            13 | 14 => self.heal(at),
            _ => self.request(at),
        }
        if self.nodes.len() < NODES && self.choices.u8(..4) == 0 {
            self.join().await;
        }
        let pause = if self.choices.u8(..6) == 0 { 5_000 } else { 400 };
        sleep(Duration::from_millis(self.choices.u64(1..=pause))).await;
    }

    /// Nothing that a node does from now on reaches anybody.
    fn kill(&mut self, at: usize) {
        if self.nodes.len() < 2 {
            return;
        }
        let node = self.nodes.remove(at);
        self.ledger.note("killed", format_args!("{}", node.number));
        node.clients.iter().for_each(JoinHandle::abort);
        node.store.fail(true);
        self.network.cut(node.number, node.number);
        self.ledger.away(node.number, true);
    }

    fn isolate(&mut self, at: usize) {
        let Some(node) = self.nodes.get_mut(at).filter(|node| !node.is_away) else { return };
        node.is_away = true;
        node.store.fail(true);
        self.network.cut(node.number, node.number);
        self.ledger.away(node.number, true);
        self.ledger.note("isolated", format_args!("{}", node.number));
    }

    fn come_back(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.is_away) {
            node.is_away = false;
            node.store.fail(false);
            self.network.mend(node.number, node.number);
            self.ledger.away(node.number, false);
            self.ledger.note("came back", format_args!("{}", node.number));
        }
    }

    async fn leave(&mut self, at: usize) {
        if self.nodes.len() < 2 || self.nodes.get(at).is_none_or(|node| node.is_away) {
            return;
        }
        let node = self.nodes.remove(at);
        let left = timeout(AWAY, node.system.leave()).await.is_ok_and(|left| left.is_ok());
        let kind = if left { "left" } else { "could not leave" };
        self.ledger.note(kind, format_args!("{}", node.number));
        self.leaving.push(node);
    }

    fn cut(&mut self) {
        let (Some(a), Some(b)) = (self.nodes.first(), self.nodes.last()) else { return };
        if a.number != b.number {
            self.network.cut(a.number, b.number);
            self.cuts.push((a.number, b.number));
            self.ledger.note("cut", format_args!("{} {}", a.number, b.number));
        }
    }

    fn mend(&mut self) {
        for (a, b) in self.cuts.drain(..) {
            self.network.mend(a, b);
        }
    }

    /// The store does what a node asks, and the node is not told.
    fn lose_answers(&mut self, at: usize) {
        let Some(node) = self.nodes.get(at) else { return };
        node.store.lose_answers(true);
        self.ledger.note("store answers lost", format_args!("{}", node.number));
    }

    fn heal(&mut self, at: usize) {
        let Some(node) = self.nodes.get(at) else { return };
        node.store.lose_answers(false);
    }

    fn request(&mut self, at: usize) {
        let amount = self.choices.i64(30..=HOLD_MAX);
        let plan = Plan {
            number: self.next_request,
            account: AccountId::new(self.choices.u64(1..=ACCOUNTS)),
            node: self.nodes[at].number,
            amount,
            cost: self.choices.i64(1..=amount * 10 / 11 - 1),
            runs: Duration::from_millis(self.choices.u64(10..=8_000)),
            checkpoint: self.choices.bool(),
            releases: self.choices.u8(..5) == 0,
            expires_at: self.nodes[at].system.now().plus_millis(90_000),
        };
        self.next_request += 1;
        let (system, ledger) = (Arc::clone(&self.nodes[at].system), Arc::clone(&self.ledger));
        self.nodes[at].clients.push(tokio::spawn(client::run(system, ledger, plan)));
    }

    async fn compare(&self) {
        for number in 1..=ACCOUNTS {
            let account = AccountId::new(number);
            let (rows, _) = self.store.history(account, usize::MAX, 0).await.unwrap();
            let head = self.store.head(account).await.unwrap().unwrap();
            self.ledger.compare(account, head.balance.micro(), &rows);
        }
    }

    /// An owner decides by what is durable.
    async fn compare_views(&self) {
        for number in 1..=ACCOUNTS {
            let account = AccountId::new(number);
            let view = timeout(QUIET, self.nodes[0].system.view(account)).await;
            let seen = view.ok().and_then(Result::ok).map(|view| view.balance);
            let stored = self.store.head(account).await.unwrap().unwrap().balance;
            self.ledger.check(
                seen == Some(stored),
                format_args!("{account} has {stored}, its owner knows of {seen:?}"),
            );
        }
    }

    /// Everything works again: all that was asked ends, nothing is held, the books hold.
    async fn quiet(&mut self) {
        self.come_back();
        self.mend();
        self.network.calm();
        for node in self.nodes.iter().chain(&self.leaving) {
            node.store.lose_answers(false);
        }
        for node in self.nodes.iter_mut().chain(&mut self.leaving) {
            for client in std::mem::take(&mut node.clients) {
                let ended = timeout(QUIET, client).await;
                let number = node.number;
                self.ledger.check(ended.is_ok(), format_args!("a request on {number} never ends"));
            }
        }
        sleep(AWAY).await;
        self.compare_views().await;
        for node in std::mem::take(&mut self.leaving) {
            let stopped = node.system.stop(QUIET).await;
            self.ledger.check(stopped, format_args!("{} is not durable", node.number));
        }
        // A hold that nobody ends ends with its lease, which whoever takes its account begins anew.
        for _ in 0..3 {
            sleep(HOLD_LEASE).await;
            for node in &self.nodes {
                node.system.sweep(node.system.now());
            }
        }
        sleep(AWAY).await;
        self.compare().await;
        for number in 1..=ACCOUNTS {
            let account = AccountId::new(number);
            for node in &self.nodes {
                let view = timeout(QUIET, node.system.view(account)).await;
                let held = view.ok().and_then(Result::ok).map(|view| view.held.micro());
                let node = node.number;
                self.ledger.check(held == Some(0), format_args!("{node} holds {held:?}"));
            }
            let (rows, _) = self.store.history(account, usize::MAX, 0).await.unwrap();
            self.ledger.tell_ends(&rows);
        }
        let books = self.store.audit().await.unwrap();
        self.ledger.check(books.differences.is_empty(), format_args!("{:?}", books.differences));
    }
}

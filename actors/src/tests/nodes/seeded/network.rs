//! The network between nodes: it delays, overtakes, loses and cuts, as the seed says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use super::ledger::Ledger;
use crate::Member;
use crate::nodes::{Answering, Channel, Door, Members, NodeAsk};

/// The longest way of an ask or an answer, in milliseconds.
const WAY_MAX: u64 = 60;

/// The network.
pub(super) struct Network {
    state: Mutex<State>,
    ledger: Arc<Ledger>,
}

struct State {
    choices: fastrand::Rng,
    doors: BTreeMap<u64, Door>,
    /// Pairs that do not hear each other; a node with itself: it hears nobody.
    cut: BTreeSet<(u64, u64)>,
    calm: bool,
    /// Asks that were sent to a node, and the last of them that arrived.
    sent: BTreeMap<u64, (u64, u64)>,
}

/// A node's way into the network.
pub(super) struct Wire {
    pub(super) network: Arc<Network>,
    pub(super) me: u64,
}

/// What becomes of an ask.
struct Way {
    door: Door,
    number: u64,
    there: Duration,
    back: Duration,
    ask_lost: bool,
    answer_lost: bool,
}

impl Network {
    pub(super) fn new(seed: u64, ledger: Arc<Ledger>) -> Self {
        let state = State {
            choices: fastrand::Rng::with_seed(seed ^ 0x6e65_7477),
            doors: BTreeMap::new(),
            cut: BTreeSet::new(),
            calm: false,
            sent: BTreeMap::new(),
        };
        Self { state: Mutex::new(state), ledger }
    }

    pub(super) fn cut(&self, a: u64, b: u64) {
        self.state.lock().unwrap().cut.insert((a.min(b), a.max(b)));
    }

    pub(super) fn mend(&self, a: u64, b: u64) {
        self.state.lock().unwrap().cut.remove(&(a.min(b), a.max(b)));
    }

    /// Nothing is lost any more, and nobody cut off.
    pub(super) fn calm(&self) {
        self.state.lock().unwrap().calm = true;
    }

    fn way(&self, from: u64, to: u64) -> Option<Way> {
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        let door = state.doors.get(&to)?.clone();
        let lossy = !state.calm;
        let (sent, _) = state.sent.entry(to).or_default();
        *sent += 1;
        let number = *sent;
        let mut millis = || Duration::from_millis(state.choices.u64(1..=WAY_MAX));
        let (there, back) = (millis(), millis());
        let ask_lost = lossy && state.choices.u8(..40) == 0;
        let answer_lost = lossy && state.choices.u8(..40) == 0;
        (!self.is_cut(state, from, to)).then_some(Way {
            door,
            number,
            there,
            back,
            ask_lost,
            answer_lost,
        })
    }

    #[expect(clippy::unused_self, reason = "it reads as what it is")]
    fn is_cut(&self, state: &State, from: u64, to: u64) -> bool {
        let pairs = [(from, from), (to, to), (from.min(to), from.max(to))];
        pairs.iter().any(|pair| state.cut.contains(pair))
    }

    fn passes(&self, from: u64, to: u64) -> bool {
        let state = self.state.lock().unwrap();
        !self.is_cut(&state, from, to)
    }

    fn arrived(&self, to: u64, number: u64) {
        let mut state = self.state.lock().unwrap();
        let (_, last) = state.sent.entry(to).or_default();
        if number < *last {
            self.ledger.note("overtaken", format_args!("{number} at {to}"));
        }
        *last = number.max(*last);
    }
}

impl Channel for Wire {
    fn serve(&self, door: Door) {
        self.network.state.lock().unwrap().doors.insert(self.me, door);
    }

    fn ask(&self, to: &Member, ask: NodeAsk) -> Answering {
        let (network, me, to) = (Arc::clone(&self.network), self.me, to.node);
        let way = network.way(me, to);
        Box::pin(async move {
            // Whoever hears nothing waits until it gives up.
            let Some(way) = way else { return std::future::pending().await };
            sleep(way.there).await;
            if way.ask_lost || !network.passes(me, to) {
                network.ledger.note("ask lost", format_args!("{me} to {to}"));
                return std::future::pending().await;
            }
            network.arrived(to, way.number);
            let answer = tokio::spawn(async move { way.door.hear(ask).await }).await.unwrap();
            sleep(way.back).await;
            if way.answer_lost || !network.passes(me, to) {
                network.ledger.note("answer lost", format_args!("{to} to {me}"));
                return std::future::pending().await;
            }
            answer
        })
    }

    fn keep(&self, _members: &Members) {}
}

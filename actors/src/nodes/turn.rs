//! Whose turn it is to decide for an account: an incarnation here, until another node takes the account.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::{ActorId, ActorRef};

use crate::account::AccountMsg;

/// The incarnation that decides.
#[derive(Clone, Debug)]
pub(crate) struct Deciding {
    pub(crate) actor: ActorRef<AccountMsg>,
    /// The number of its last durable event.
    pub(crate) durable: Arc<AtomicU64>,
}

/// An account's turn on this node. Its number changes whenever the account passes from one node to
/// another, as far as this one is told: what began under another number does not count.
#[derive(Debug, Default)]
pub(crate) struct Turn(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    number: u64,
    deciding: Option<Deciding>,
}

impl Turn {
    /// The number of this turn.
    pub(crate) fn number(&self) -> u64 {
        self.state().number
    }

    /// Begins the next turn; its number.
    pub(crate) fn next(&self) -> u64 {
        let mut state = self.state();
        state.number = state.number.saturating_add(1);
        state.number
    }

    /// Ends the turn, as another node is about to take the account; who has decided so far.
    pub(crate) fn give_up(&self) -> Option<Deciding> {
        let mut state = self.state();
        state.number = state.number.saturating_add(1);
        state.deciding.clone()
    }

    /// From here on an incarnation decides; `false` if the turn has ended meanwhile.
    pub(crate) fn decide(&self, number: u64, deciding: Deciding) -> bool {
        let mut state = self.state();
        let still = state.number == number;
        if still {
            state.deciding = Some(deciding);
        }
        still
    }

    /// An incarnation has ended.
    pub(crate) fn end(&self, actor: ActorId) {
        let mut state = self.state();
        if state.deciding.as_ref().is_some_and(|deciding| deciding.actor.get_id() == actor) {
            state.deciding = None;
        }
    }

    /// Does something while nobody can end the turn; `false` if it has ended.
    pub(crate) fn during(&self, number: u64, work: impl FnOnce()) -> bool {
        let state = self.state();
        let still = state.number == number;
        if still {
            work();
        }
        still
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

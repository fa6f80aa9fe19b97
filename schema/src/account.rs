//! The account: a pure value that decides what may happen to a user's money.
//!
//! `decide` looks and changes nothing, `apply` changes and refuses nothing. Everything durable is
//! in [`Head`]; open holds and the recent outcomes live only in memory.

mod command;
mod decide;
mod dispute;
mod head;
mod refusal;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use foldhash::HashMap;
use serde::{Deserialize, Serialize};

pub use command::{Command, Place};
pub use head::Head;
pub use refusal::{Limit, Refusal, Shortfall};

use crate::{
    AccountId, Credits, Event, KeyId, Outcome, PartnerId, PicoUsd, RequestId, Settlement, Timestamp,
};

/// How many ended requests an account remembers, so that a repeat gets its first answer without
/// asking the store.
pub const RECENT_MAX: usize = 128;

/// Credits set aside for a running request: the most that it can cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The request, which names the hold.
    pub request: RequestId,
    /// What is set aside.
    pub amount: Credits,
    /// The key that the request came with.
    pub key: KeyId,
    /// The partner that the key belongs to.
    pub partner: PartnerId,
    /// The end of its lease unless it is renewed.
    pub expires_at: Timestamp,
}

/// A user's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    head: Head,
    holds: HashMap<RequestId, Hold>,
    held: Credits,
    recent: VecDeque<Outcome>,
    /// The largest request that was ever remembered: a larger one is not, which most are, for requests
    /// are numbered by time.
    newest: Option<RequestId>,
}

impl Account {
    /// A new account without money.
    #[must_use]
    pub fn new(id: AccountId) -> Self {
        Self::load(Head::new(id), [])
    }

    /// An account as the store has it: nothing held.
    ///
    /// `recent` are outcomes whose own request may still come to correct them.
    #[must_use]
    pub fn load(head: Head, recent: impl IntoIterator<Item = Outcome>) -> Self {
        let recent: VecDeque<_> = recent.into_iter().take(RECENT_MAX).collect();
        let newest = recent.iter().map(|outcome| outcome.request).max();
        Self { head, holds: HashMap::default(), held: Credits::ZERO, recent, newest }
    }

    /// The durable part.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// What was bought and granted less what was spent.
    #[must_use]
    pub const fn balance(&self) -> Credits {
        self.head.balance
    }

    /// The sum of the open holds.
    #[must_use]
    pub const fn held(&self) -> Credits {
        self.held
    }

    /// What a new hold can take: balance − held.
    #[must_use]
    pub const fn available(&self) -> Credits {
        self.head.balance.minus(self.held)
    }

    /// The open holds.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values()
    }

    /// The number of open holds.
    #[must_use]
    pub fn open_holds(&self) -> usize {
        self.holds.len()
    }

    /// The open hold of a request.
    #[must_use]
    pub fn hold(&self, request: RequestId) -> Option<&Hold> {
        self.holds.get(&request)
    }

    /// When the first lease ends.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.holds.values().map(|hold| hold.expires_at).min()
    }

    /// Does what was decided, live or from the journal. Refuses nothing.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Placed(hold) => {
                self.close(hold.request);
                self.held = self.held.plus(hold.amount);
                self.holds.insert(hold.request, hold.clone());
            }
            Event::Renewed { request, expires_at } => {
                if let Some(hold) = self.holds.get_mut(request) {
                    hold.expires_at = *expires_at;
                }
            }
            Event::Released { request, by } => {
                self.close(*request);
                self.remember(Outcome {
                    request: *request,
                    provider_cost: PicoUsd(0),
                    cost: Credits::ZERO,
                    share: Credits::ZERO,
                    by: *by,
                    released: true,
                });
            }
            Event::Settled(settlement) => {
                self.close(settlement.charged.request);
                self.remember(Outcome::from(settlement.as_ref()));
                self.head.apply(event);
            }
            Event::Adjusted(settlement) => {
                self.correct(settlement);
                self.head.apply(event);
            }
            Event::Received(_) | Event::Refunded(_) | Event::Disputed(_) => {
                self.head.apply(event);
            }
            Event::Repeated(_) => {}
        }
    }

    /// How a request has ended, adjustments included, as far as it is remembered.
    #[must_use]
    pub fn outcome(&self, request: RequestId) -> Option<&Outcome> {
        if Some(request) > self.newest {
            return None;
        }
        self.recent.iter().rev().find(|outcome| outcome.request == request)
    }

    fn close(&mut self, request: RequestId) {
        if let Some(hold) = self.holds.remove(&request) {
            self.held = self.held.minus(hold.amount);
        }
    }

    fn remember(&mut self, outcome: Outcome) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.newest = self.newest.max(Some(outcome.request));
        self.recent.push_back(outcome);
    }

    /// After an adjustment the request's outcome is what it said itself.
    fn correct(&mut self, settlement: &Settlement) {
        let difference = Outcome::from(settlement);
        let outcome = self.recent.iter_mut().rev().find(|o| o.request == difference.request);
        if let Some(outcome) = outcome {
            *outcome = outcome.corrected(&difference);
        }
    }
}

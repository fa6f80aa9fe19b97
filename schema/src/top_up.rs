//! Auto top-up: whether a user's saved card may be charged now, by what the user agreed to.
//!
//! A charge is begun here before Stripe hears of it, and ended by how its order ended. So at most one
//! is under way, whoever asks, however often, and after whatever crash.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Credits, Currency, KeyId, OrderId, PartnerId, Timestamp, civil};

/// The rest after a charge, in milliseconds: a runaway app is seen before it has spent a month's cap.
pub const REST_MS: i64 = 120_000;
/// The rest after a charge that did not succeed, in milliseconds: banks count attempts.
pub const REST_AFTER_DECLINE_MS: i64 = 3_600_000;
/// After so long whoever took it on to tell the user has failed, in milliseconds.
const NOTICE_MS: i64 = 600_000;
/// So many declines in a row switch it off.
pub const DECLINES_MAX: u32 = 3;

/// What a user agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpTerms {
    /// The card is charged when fewer credits than this are left.
    pub threshold: Credits,
    /// What is charged each time, in cents.
    pub cents: u32,
    /// The most that is charged in a calendar month (UTC), in cents.
    pub monthly_cents: u32,
    /// What both are in.
    pub currency: Currency,
}

/// A card that Stripe keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedCard {
    /// Stripe's customer, `cus_…`.
    pub customer: String,
    /// Stripe's payment method, `pm_…`.
    pub method: String,
}

/// A calendar month, UTC: year and month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Month(i64, i64);

impl Month {
    const fn of(at: Timestamp) -> Self {
        let (year, month, _) = civil(at.day());
        Self(year, month)
    }
}

/// Whether the card may be charged at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopUpState {
    /// It may, within the terms.
    On,
    /// It may not, until the user agrees again.
    Off(TopUpEnd),
}

/// Why it is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopUpEnd {
    /// The user said so.
    User,
    /// The bank wants the user to confirm each payment.
    Authentication,
    /// The card was declined so often in a row.
    Declined,
    /// The user's bank disputes a payment.
    Disputed,
}

/// A charge that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpCharge {
    /// Its order.
    pub order: OrderId,
    /// The key of the user's device when the user agreed.
    pub key: KeyId,
    /// What is charged, in cents.
    pub cents: u32,
    /// What it is charged in.
    pub currency: Currency,
    /// The card that is charged.
    pub card: SavedCard,
    /// When it began.
    pub since: Timestamp,
}

/// How a charge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopUpOutcome {
    /// The money came.
    Paid,
    /// The card was declined.
    Declined,
    /// The bank wants the user, who is away.
    NeedsAuthentication,
    /// It never reached the bank.
    Dropped,
}

/// Why the card is not charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTopUp {
    /// It is off.
    Off,
    /// Enough credits are left.
    Enough,
    /// A charge is under way.
    InFlight,
    /// The last charge is too recent.
    Resting(Timestamp),
    /// The month's cap would be passed.
    Capped,
}

/// What a user agreed to at a partner, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUp {
    /// Whose card it is.
    pub account: AccountId,
    /// At which partner: what is charged is bought there.
    pub partner: PartnerId,
    /// The key of the user's device when the user agreed.
    pub key: KeyId,
    /// What the user agreed to.
    pub terms: TopUpTerms,
    /// The card.
    pub card: SavedCard,
    /// Whether it may be charged.
    pub state: TopUpState,
    /// When the user last spoke of it.
    pub said: Timestamp,
    /// The charge that is under way.
    pub in_flight: Option<TopUpCharge>,
    /// The month of `charged_cents`; it never goes back, whatever clocks do.
    month: Month,
    /// What that month's charges come to, with the one under way and without failed ones, in cents. Both
    /// currencies count alike, so that a new agreement in another one does not start afresh.
    charged_cents: u32,
    /// No charge before this moment.
    pub rests_until: Timestamp,
    /// Declines since the last charge that succeeded.
    declines: u32,
    /// When the user is to be told that it switched itself off, if that has still to be done.
    pub notice_due: Option<Timestamp>,
}

impl TopUp {
    /// What a user agrees to for the first time, by a word of the moment `said`.
    #[must_use]
    pub const fn new(
        (account, partner, key): (AccountId, PartnerId, KeyId),
        terms: TopUpTerms,
        card: SavedCard,
        said: Timestamp,
    ) -> Self {
        Self {
            account,
            partner,
            key,
            terms,
            card,
            state: TopUpState::On,
            said,
            in_flight: None,
            month: Month::of(said),
            charged_cents: 0,
            rests_until: said,
            declines: 0,
            notice_due: None,
        }
    }

    /// The user agrees anew. A word that is not newer than the last one changes nothing: what was
    /// switched off since stays off, however often the old word is told.
    pub fn agree(&mut self, key: KeyId, terms: TopUpTerms, card: SavedCard, said: Timestamp) {
        if said <= self.said {
            return;
        }
        (self.key, self.terms, self.card, self.said) = (key, terms, card, said);
        self.state = TopUpState::On;
        self.declines = 0;
        self.notice_due = None;
    }

    /// Switches it off. A charge that is under way goes on: it may be at the bank.
    pub fn switch_off(&mut self, why: TopUpEnd, now: Timestamp) {
        if why == TopUpEnd::User {
            self.said = self.said.max(now);
            self.notice_due = None;
        }
        // The first reason stands, unless the user puts an end to it.
        if self.state == TopUpState::On || why == TopUpEnd::User {
            self.state = TopUpState::Off(why);
        }
    }

    /// The charge that is due with so many credits left; changes nothing.
    ///
    /// # Errors
    /// [`NoTopUp`]: a rule says no.
    pub fn decide(
        &self,
        order: OrderId,
        available: Credits,
        now: Timestamp,
    ) -> Result<TopUpCharge, NoTopUp> {
        if self.state != TopUpState::On {
            return Err(NoTopUp::Off);
        }
        if self.in_flight.is_some() {
            return Err(NoTopUp::InFlight);
        }
        let TopUpTerms { threshold, cents, monthly_cents, currency } = self.terms;
        if available >= threshold {
            return Err(NoTopUp::Enough);
        }
        if now < self.rests_until {
            return Err(NoTopUp::Resting(self.rests_until));
        }
        if self.charged_in(self.month_at(now)).saturating_add(cents) > monthly_cents {
            return Err(NoTopUp::Capped);
        }
        Ok(TopUpCharge {
            order,
            key: self.key,
            cents,
            currency,
            card: self.card.clone(),
            since: now,
        })
    }

    /// A charge that was decided is under way.
    pub fn begin(&mut self, charge: TopUpCharge) {
        let month = self.month_at(charge.since);
        self.charged_cents = self.charged_in(month).saturating_add(charge.cents);
        self.month = month;
        self.in_flight = Some(charge);
    }

    /// The charge of an order has ended; told again, or of another order, it changes nothing.
    pub fn end(&mut self, order: OrderId, outcome: TopUpOutcome, now: Timestamp) {
        let Some(charge) = self.in_flight.take_if(|charge| charge.order == order) else { return };
        let rest = match outcome {
            TopUpOutcome::Paid => REST_MS,
            TopUpOutcome::Declined | TopUpOutcome::NeedsAuthentication | TopUpOutcome::Dropped => {
                REST_AFTER_DECLINE_MS
            }
        };
        self.rests_until = now.plus_millis(rest);
        if outcome == TopUpOutcome::Paid {
            self.declines = 0;
            return;
        }
        if self.month_at(charge.since) == self.month {
            self.charged_cents = self.charged_cents.saturating_sub(charge.cents);
        }
        let end = match outcome {
            TopUpOutcome::Paid | TopUpOutcome::Dropped => None,
            TopUpOutcome::NeedsAuthentication => Some(TopUpEnd::Authentication),
            TopUpOutcome::Declined => {
                self.declines = self.declines.saturating_add(1);
                (self.declines >= DECLINES_MAX).then_some(TopUpEnd::Declined)
            }
        };
        if let Some(end) = end.filter(|_| self.state == TopUpState::On) {
            self.switch_off(end, now);
            self.notice_due = Some(now);
        }
    }

    /// Takes it on to tell the user, for a while: who asks meanwhile need not. `false` if nothing is due.
    pub fn take_notice(&mut self, now: Timestamp) -> bool {
        let is_due = self.notice_due.is_some_and(|due| due <= now);
        if is_due {
            self.notice_due = Some(now.plus_millis(NOTICE_MS));
        }
        is_due
    }

    /// The user was told.
    pub fn noticed(&mut self) {
        self.notice_due = None;
    }

    /// What was charged in the month of a moment, in cents.
    #[must_use]
    pub fn charged_at(&self, now: Timestamp) -> u32 {
        self.charged_in(self.month_at(now))
    }

    fn charged_in(&self, month: Month) -> u32 {
        if month == self.month { self.charged_cents } else { 0 }
    }

    fn month_at(&self, now: Timestamp) -> Month {
        Month::of(now).max(self.month)
    }
}

#[cfg(test)]
mod tests;

//! The decisions: flat lists of checks, each with its own refusal, the cheapest first.

use super::{Account, Command, Hold, Limit, Place, Refusal, Shortfall};
use crate::{
    Basis, Charged, Credits, Event, LotKind, MoneyIn, Outcome, PicoUsd, Refund, RequestId,
    SettledBy, Settlement, Timestamp,
};

impl Account {
    /// Decides what a command does. Changes nothing.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn decide(&self, command: &Command) -> Result<Event, Refusal> {
        match command {
            Command::Place(place) => self.decide_place(place),
            Command::Renew { request, expires_at } => match self.holds.get(request) {
                Some(_) => Ok(Event::Renewed { request: *request, expires_at: *expires_at }),
                None => Err(Refusal::HoldNotOpen(*request)),
            },
            Command::Release { request, by } => self.decide_release(*request, *by),
            Command::Settle { charged, by, at } => self.decide_settle(charged, *by, *at),
            Command::Receive { source, kind, credits, reason, partner, at } => {
                let event = self.decide_receive(source, *kind, *credits, reason, *at)?;
                Ok(Event::Received(MoneyIn { partner: *partner, ..event }))
            }
            Command::Dispute { source, dispute, stage, credits, at } => {
                self.decide_dispute(source, dispute, *stage, *credits, *at)
            }
            Command::Refund { source, cumulative, at } => {
                self.decide_refund(source, *cumulative, *at)
            }
        }
    }

    fn decide_place(&self, place: &Place) -> Result<Event, Refusal> {
        if let Some(hold) = self.holds.get(&place.request) {
            let same = hold.key == place.key
                && hold.partner == place.partner
                && (place.least..=place.amount).contains(&hold.amount);
            let repeated = Event::Placed(hold.clone());
            return if same { Ok(repeated) } else { Err(Refusal::HoldExists(place.request)) };
        }
        if self.outcome(place.request).is_some() {
            return Err(Refusal::HoldNotOpen(place.request));
        }
        if !place.amount.is_positive() || place.least > place.amount {
            return Err(Refusal::BadAmount(place.amount));
        }
        let placed = |amount| {
            let Place { request, key, partner, expires_at, .. } = *place;
            Event::Placed(Hold { request, amount, key, partner, expires_at })
        };
        if place.resumed {
            return Ok(placed(place.amount));
        }
        if self.holds.len() >= place.holds_max {
            return Err(Refusal::TooManyHolds(self.holds.len()));
        }
        let (coverable, limit) = self.coverable(place);
        if coverable < place.least.max(place.headroom) {
            return Err(Refusal::InsufficientCredits(Shortfall {
                required: place.least,
                coverable,
                available: self.available(),
                held: self.held,
                limit,
            }));
        }
        Ok(placed(place.amount.min(coverable)))
    }

    /// The most that a hold can take, and what limits it.
    fn coverable(&self, place: &Place) -> (Credits, Limit) {
        let mut least = (self.available(), Limit::Balance);
        let mut narrow = |limit: Option<Credits>, used: Credits, held: Credits, name: Limit| {
            let left = limit.map(|limit| limit.minus(used).minus(held));
            if let Some(left) = left.filter(|left| *left < least.0) {
                least = (left, name);
            }
        };
        if place.key_limit.is_some() {
            let used = self.head.spent_by_key(place.key);
            narrow(place.key_limit, used, self.held_where(|h| h.key == place.key), Limit::Key);
        }
        if let Some(extra) = place.partner_extra {
            let limit = Some(self.head.bought_at(place.partner).plus(extra));
            let used = self.head.spent_by_partner(place.partner);
            let held = self.held_where(|h| h.partner == place.partner);
            narrow(limit, used, held, Limit::Partner);
        }
        least
    }

    fn held_where(&self, matches: impl Fn(&Hold) -> bool) -> Credits {
        self.holds.values().filter(|hold| matches(hold)).map(|hold| hold.amount).sum()
    }

    fn decide_release(&self, request: RequestId, by: SettledBy) -> Result<Event, Refusal> {
        if self.holds.contains_key(&request) {
            return Ok(Event::Released { request, by });
        }
        match self.outcome(request) {
            Some(outcome) => Ok(Event::Repeated(*outcome)),
            None => Err(Refusal::HoldNotOpen(request)),
        }
    }

    fn decide_settle(
        &self,
        charged: &Charged,
        by: SettledBy,
        at: Timestamp,
    ) -> Result<Event, Refusal> {
        if charged.cost < Credits::ZERO || charged.share < Credits::ZERO {
            return Err(Refusal::BadAmount(charged.total()));
        }
        let ended = !self.holds.contains_key(&charged.request);
        // A release leaves nothing durable, so what its request asks after it is the first charge.
        let first = |ended: &&Outcome| {
            let own = by == SettledBy::Request && charged.total() != Credits::ZERO;
            !(ended.released && own)
        };
        match self.outcome(charged.request).filter(first) {
            Some(first) if ended => self.decide_again(first, charged, by, at),
            // An unknown request is charged in full: the actor was started anew meanwhile.
            Some(_) | None => {
                let (lots, debt) =
                    self.head.plan_spend(charged.total(), charged.share, Some(charged.partner));
                let charged = charged.clone();
                Ok(Event::Settled(Box::new(Settlement { charged, by, at, lots, debt })))
            }
        }
    }

    /// A settlement of a request that has ended before.
    fn decide_again(
        &self,
        first: &Outcome,
        charged: &Charged,
        by: SettledBy,
        at: Timestamp,
    ) -> Result<Event, Refusal> {
        let same = first.provider_cost == charged.provider_cost
            && first.cost == charged.cost
            && first.share == charged.share;
        let own = by == SettledBy::Request;
        if !own || same {
            return Ok(Event::Repeated(*first));
        }
        if first.by == SettledBy::Request {
            return Err(Refusal::SettledOtherwise(charged.request));
        }
        let mut difference = charged.clone();
        difference.cost = charged.cost.minus(first.cost);
        difference.share = charged.share.minus(first.share);
        difference.provider_cost =
            PicoUsd(charged.provider_cost.0.saturating_sub(first.provider_cost.0));
        // A share follows its cost: one that goes the other way is not of the same rate. Alone it
        // differs where the first charge was cut to the hold.
        let (cost, share) = (difference.cost.micro().signum(), difference.share.micro().signum());
        if cost.saturating_mul(share) < 0 {
            return Err(Refusal::SettledOtherwise(charged.request));
        }
        let total = difference.total();
        if total < Credits::ZERO && charged.basis != Basis::Provider {
            return Ok(Event::Repeated(*first));
        }
        let (lots, debt) = if total < Credits::ZERO {
            self.head.plan_return(total.negated(), difference.share.negated(), charged.partner)
        } else {
            self.head.plan_spend(total, difference.share, Some(charged.partner))
        };
        let settlement = Settlement { charged: difference, by, at, lots, debt };
        Ok(Event::Adjusted(Box::new(settlement)))
    }

    fn decide_receive(
        &self,
        source: &str,
        kind: LotKind,
        credits: Credits,
        reason: &str,
        at: Timestamp,
    ) -> Result<MoneyIn, Refusal> {
        if let Some(lot) = self.head.lot_of(kind, source) {
            let same = lot.amount == credits;
            return Err(if same { Refusal::Received } else { Refusal::ReceivedOtherwise });
        }
        let sum = self.head.balance.checked_add(credits).filter(|sum| *sum <= Credits::MAX);
        let takes_back = credits < Credits::ZERO;
        let fits = sum.is_some_and(|sum| sum >= Credits::MAX.negated());
        if credits == Credits::ZERO || !fits || (takes_back && kind == LotKind::Purchase) {
            return Err(Refusal::BadAmount(credits));
        }
        let (lots, debt) = if takes_back {
            self.head.plan_spend(credits.negated(), Credits::ZERO, None)
        } else {
            Default::default()
        };
        let repaid = self.head.plan_repayment(credits);
        let (source, reason) = (source.to_owned(), reason.to_owned());
        let partner = None;
        Ok(MoneyIn { source, kind, credits, reason, partner, at, repaid, lots, debt })
    }

    fn decide_refund(
        &self,
        source: &str,
        cumulative: Credits,
        at: Timestamp,
    ) -> Result<Event, Refusal> {
        let lot = self.head.lot_of(LotKind::Purchase, source).ok_or(Refusal::UnknownOrder)?;
        if cumulative > lot.amount {
            return Err(Refusal::BadAmount(cumulative));
        }
        // What a dispute has taken cannot go back a second time.
        let credits = cumulative.minus(lot.refunded).min(lot.disputable());
        if !credits.is_positive() {
            return Err(Refusal::Received);
        }
        let from_unspent = credits.min(lot.unspent);
        let from_spent = credits.minus(from_unspent);
        let reversed = lot.shares_of(from_spent, lot.spent());
        let (lots, debt) = self.head.plan_spend_beside(lot.seq, from_spent);
        let source = source.to_owned();
        Ok(Event::Refunded(Refund {
            source,
            cumulative,
            credits,
            from_unspent,
            reversed,
            lots,
            debt,
            at,
        }))
    }
}

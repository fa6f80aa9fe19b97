//! Disputes: credits whose payment is disputed leave the account, come back, or are lost for good.

use super::{Account, Refusal};
use crate::{Credits, Dispute, DisputeStage, Event, Lot, LotKind, Timestamp};

impl Account {
    /// Decides a step of a dispute. Whatever order the steps come in, a later one includes those before
    /// it, and an earlier one that comes after it changes nothing.
    pub(super) fn decide_dispute(
        &self,
        source: &str,
        dispute: &str,
        stage: DisputeStage,
        credits: Credits,
        at: Timestamp,
    ) -> Result<Event, Refusal> {
        let lot = self.head.lot_of(LotKind::Purchase, source).ok_or(Refusal::UnknownOrder)?;
        let known = lot.disputes.iter().find(|known| known.id == dispute);
        let ended = |known: DisputeStage| known != DisputeStage::Opened;
        if known.is_some_and(|known| ended(known.stage) || known.stage == stage) {
            return Err(Refusal::Received);
        }
        if !credits.is_positive() {
            return Err(Refusal::BadAmount(credits));
        }
        let mut step = Dispute {
            source: source.to_owned(),
            dispute: dispute.to_owned(),
            stage,
            credits: known.map_or_else(|| credits.min(lot.disputable()), |known| known.credits),
            was_open: known.is_some(),
            from_unspent: Credits::ZERO,
            lots: Default::default(),
            debt: None,
            repaid: Vec::new(),
            reversed: Vec::new(),
            at,
        };
        if step.balance_change() < Credits::ZERO {
            step.from_unspent = step.credits.min(lot.unspent);
            let from_spent = step.credits.minus(step.from_unspent);
            (step.lots, step.debt) = self.head.plan_spend_beside(lot.seq, from_spent);
        } else if step.balance_change().is_positive() {
            step.repaid = self.head.plan_repayment(step.credits);
        }
        if stage == DisputeStage::Lost {
            let from_spent = known
                .map_or_else(|| step.credits.minus(step.from_unspent), |known| known.from_spent);
            step.reversed = lost_shares(lot, from_spent, known.is_some());
        }
        Ok(Event::Disputed(step))
    }
}

/// The shares that were earned from what is lost. While a dispute is open its part counts no more as
/// spent, so it is added for the proportion.
fn lost_shares(lot: &Lot, from_spent: Credits, was_open: bool) -> Vec<(crate::PartnerId, Credits)> {
    let spent = if was_open { lot.spent().plus(from_spent) } else { lot.spent() };
    lot.shares_of(from_spent, spent)
}

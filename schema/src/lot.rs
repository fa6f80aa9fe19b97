//! Lots: money that came in, spent oldest first, grants before purchases.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{Credits, DisputeStage, PartnerId};

/// Where a lot's money came from; the order is the order of spending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LotKind {
    /// The operator's promotion.
    Grant,
    /// A purchase through Stripe.
    Purchase,
}

/// Money that came in at once and what became of it.
///
/// `amount = unspent + refunded + disputed + spent`; the shares were earned from the spent part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// The sequence number of the event that made it; a lot's name within its account.
    pub seq: u64,
    /// Where it came from.
    pub kind: LotKind,
    /// The outside id that it is keyed by: an order's or a grant's.
    pub source: Arc<str>,
    /// The partner in whose page it was bought.
    #[serde(default)]
    pub partner: Option<PartnerId>,
    /// What came in.
    pub amount: Credits,
    /// What is left to spend.
    pub unspent: Credits,
    /// What went back by refunds, cumulative.
    pub refunded: Credits,
    /// The disputes about its payment.
    #[serde(default)]
    pub disputes: Vec<LotDispute>,
    /// The shares that partners earned from it.
    pub shares: SmallVec<[(PartnerId, Credits); 1]>,
}

/// A dispute about a lot's payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotDispute {
    /// Its outside id.
    pub id: String,
    /// How far it is.
    pub stage: DisputeStage,
    /// What it keeps from the lot; nothing once it is won.
    pub credits: Credits,
    /// Of that: what was spent when it was opened, from which shares were earned.
    pub from_spent: Credits,
}

impl Lot {
    /// What disputes keep from it.
    #[must_use]
    pub fn disputed(&self) -> Credits {
        self.disputes.iter().map(|dispute| dispute.credits).sum()
    }

    /// What can still be refunded or disputed of it.
    #[must_use]
    pub fn disputable(&self) -> Credits {
        self.amount.minus(self.refunded).minus(self.disputed())
    }

    /// What requests and corrections used of it.
    #[must_use]
    pub fn spent(&self) -> Credits {
        self.amount.minus(self.unspent).minus(self.refunded).minus(self.disputed())
    }

    /// The parts of its shares that were earned from so much of what was spent; each rounded down.
    pub(crate) fn shares_of(&self, part: Credits, spent: Credits) -> Vec<(PartnerId, Credits)> {
        let shares = self.shares.iter();
        shares
            .map(|(partner, share)| (*partner, share.portion(part, spent)))
            .filter(|(_, share)| share.is_positive())
            .collect()
    }

    /// Books a share (or, negative, its reversal) on the lot.
    pub(crate) fn add_share(&mut self, partner: PartnerId, share: Credits) {
        if share == Credits::ZERO {
            return;
        }
        match self.shares.iter_mut().find(|(earner, _)| *earner == partner) {
            Some((_, earned)) => *earned = earned.plus(share),
            None => self.shares.push((partner, share)),
        }
    }
}

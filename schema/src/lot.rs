//! Lots: money that came in, spent oldest first, grants before purchases.

use serde::{Deserialize, Serialize};

use crate::{Credits, PartnerId};

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
/// `amount = unspent + refunded + spent`; the shares were earned from the spent part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// The sequence number of the event that made it; a lot's name within its account.
    pub seq: u64,
    /// Where it came from.
    pub kind: LotKind,
    /// The outside id that it is keyed by: an order's or a grant's.
    pub source: String,
    /// The partner in whose page it was bought.
    #[serde(default)]
    pub partner: Option<PartnerId>,
    /// What came in.
    pub amount: Credits,
    /// What is left to spend.
    pub unspent: Credits,
    /// What went back by refunds, cumulative.
    pub refunded: Credits,
    /// The shares that partners earned from it.
    pub shares: Vec<(PartnerId, Credits)>,
}

impl Lot {
    /// What requests and corrections used of it.
    #[must_use]
    pub fn spent(&self) -> Credits {
        self.amount.minus(self.unspent).minus(self.refunded)
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

//! What happened to an account: the events that `decide` makes and `apply` follows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    Basis, Credits, Hold, KeyId, LotKind, PartnerId, PicoUsd, ReferralRate, RequestId, Status,
    Timestamp, Usage,
};

/// Something that happened to an account. Placing, renewing and releasing holds stay in memory;
/// the others are journaled and make the account's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A hold was placed.
    Placed(Hold),
    /// A hold's lease was renewed.
    Renewed {
        /// The hold's request.
        request: RequestId,
        /// The lease's new end.
        expires_at: Timestamp,
    },
    /// A hold ended without a charge.
    Released {
        /// The hold's request.
        request: RequestId,
        /// Who released it.
        by: SettledBy,
    },
    /// A request was charged.
    Settled(Box<Settlement>),
    /// A charge was corrected by its own request, after a checkpoint or an expiry had settled it.
    Adjusted(Box<Settlement>),
    /// Money came in, or an operator took a grant back.
    Received(MoneyIn),
    /// A purchase was refunded, in part or whole.
    Refunded(Refund),
    /// A purchase's payment is disputed, or such a dispute ended.
    Disputed(Dispute),
    /// A command was repeated; nothing changes and the first answer is given again.
    Repeated(Outcome),
}

/// What a request is charged, and everything needed to recompute it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charged {
    /// The request, which is also the hold's name.
    pub request: RequestId,
    /// The key that it came with.
    pub key: KeyId,
    /// The partner that earns the share.
    pub partner: PartnerId,
    /// The model's id in the price book.
    pub model: Arc<str>,
    /// The content id of the price row, frozen when the hold was placed.
    pub price_id: Arc<str>,
    /// The partner's rate, frozen when the hold was placed.
    pub rate: ReferralRate,
    /// What was used.
    pub usage: Usage,
    /// The provider's cost before rounding.
    pub provider_cost: PicoUsd,
    /// The provider's cost.
    pub cost: Credits,
    /// The partner's share on top of it.
    pub share: Credits,
    /// Where the numbers come from.
    pub basis: Basis,
    /// How the request ended.
    pub status: Status,
}

impl Charged {
    /// What the user pays: cost + share, exactly.
    #[must_use]
    pub fn total(&self) -> Credits {
        self.cost.plus(self.share)
    }
}

/// Who settled a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettledBy {
    /// The request itself.
    Request,
    /// Recovery, from a checkpoint.
    Checkpoint,
    /// The end of its lease.
    Expiry,
}

/// A charge and where its money came from.
///
/// In an adjustment `charged` holds the differences to the first settlement, with their signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// The charge.
    pub charged: Charged,
    /// Who settled.
    pub by: SettledBy,
    /// When.
    pub at: Timestamp,
    /// The lots that paid, in the order of spending.
    pub lots: SmallVec<[LotSpend; 2]>,
    /// What no lot could pay: the account is below zero by this.
    pub debt: Option<Debt>,
}

/// What a lot paid of a charge, and the part of the share in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotSpend {
    /// The lot.
    pub lot: u64,
    /// What it paid; negative where an adjustment gives back.
    pub taken: Credits,
    /// The partner's share in what it paid.
    pub share: Credits,
}

/// An overdraft: spent, and not yet paid by any lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// Whose share accrues on it.
    pub partner: Option<PartnerId>,
    /// What is owed.
    pub amount: Credits,
    /// The share in it, accrued until the money that repays it moves it to the partner.
    pub share: Credits,
}

/// Money from outside, keyed by its outside id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoneyIn {
    /// The outside id: an order's or a grant's key.
    pub source: String,
    /// Where it came from.
    pub kind: MoneyInKind,
    /// How much; negative only for a grant that is taken back.
    pub credits: Credits,
    /// The operator's reason, or the order's description.
    pub reason: String,
    /// The partner in whose page it was bought.
    #[serde(default)]
    pub partner: Option<PartnerId>,
    /// When.
    pub at: Timestamp,
    /// Accrued shares that this money moved to their partners.
    pub repaid: Vec<Repaid>,
    /// What a negative grant took, by lot.
    pub lots: SmallVec<[LotSpend; 2]>,
    /// What a negative grant could not take from lots.
    pub debt: Option<Debt>,
}

/// The kinds of money that come in.
pub type MoneyInKind = LotKind;

/// A debt that new money repaid, wholly or in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaid {
    /// Whose accrued share moves.
    pub partner: Option<PartnerId>,
    /// What was repaid.
    pub amount: Credits,
    /// The share that moves from accrued to the partner.
    pub share: Credits,
}

/// Money that goes back to the buyer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The order that is refunded.
    pub source: String,
    /// The charge's cumulative refund after this one.
    pub cumulative: Credits,
    /// What this refund adds to it.
    pub credits: Credits,
    /// Of it: taken from the lot's unspent part.
    pub from_unspent: Credits,
    /// The shares that go back from partners to the operator's losses.
    pub reversed: Vec<(PartnerId, Credits)>,
    /// Where the spent part is taken from now.
    pub lots: SmallVec<[LotSpend; 2]>,
    /// What no lot could pay.
    pub debt: Option<Debt>,
    /// When.
    pub at: Timestamp,
}

/// How far a dispute is; a later stage includes the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStage {
    /// The money is withheld: its credits stand in the disputed account.
    Opened,
    /// The money came back: so do the credits.
    Won,
    /// The money is gone: so are the credits, and the shares that were earned from them.
    Lost,
}

/// A step of a dispute about a purchase's payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// The order whose payment it is about.
    pub source: String,
    /// Its outside id.
    pub dispute: String,
    /// How far it is now.
    pub stage: DisputeStage,
    /// What is disputed.
    pub credits: Credits,
    /// Whether its opening was told before.
    pub was_open: bool,
    /// Of the credits: taken from the lot's unspent part, when they are taken.
    pub from_unspent: Credits,
    /// Where the rest is taken from, when they are taken.
    pub lots: SmallVec<[LotSpend; 2]>,
    /// What no lot could pay, when they are taken.
    pub debt: Option<Debt>,
    /// The debts that they repay, when they come back.
    pub repaid: Vec<Repaid>,
    /// The shares that go back from partners, when they are lost.
    pub reversed: Vec<(PartnerId, Credits)>,
    /// When.
    pub at: Timestamp,
}

impl Dispute {
    /// What this step adds to the account's balance.
    #[must_use]
    pub fn balance_change(&self) -> Credits {
        match (self.stage, self.was_open) {
            (DisputeStage::Opened, _) | (DisputeStage::Lost, false) => self.credits.negated(),
            (DisputeStage::Won, true) => self.credits,
            (DisputeStage::Won, false) | (DisputeStage::Lost, true) => Credits::ZERO,
        }
    }
}

/// How a hold ended: the answer to a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The request.
    pub request: RequestId,
    /// The provider's cost before rounding.
    pub provider_cost: PicoUsd,
    /// The provider's cost.
    pub cost: Credits,
    /// The partner's share.
    pub share: Credits,
    /// Who settled it.
    pub by: SettledBy,
    /// Whether it was released without a charge.
    pub released: bool,
}

impl Outcome {
    /// What the user pays in the end.
    #[must_use]
    pub fn total(&self) -> Credits {
        self.cost.plus(self.share)
    }

    /// The outcome after the request's own adjustment, of which this is the difference.
    #[must_use]
    pub fn corrected(self, difference: &Self) -> Self {
        let provider_cost =
            PicoUsd(self.provider_cost.0.saturating_add(difference.provider_cost.0));
        let (cost, share) = (self.cost.plus(difference.cost), self.share.plus(difference.share));
        Self { provider_cost, cost, share, released: false, ..*difference }
    }
}

impl From<&Settlement> for Outcome {
    fn from(settlement: &Settlement) -> Self {
        let Charged { request, provider_cost, cost, share, .. } = settlement.charged;
        Self { request, provider_cost, cost, share, by: settlement.by, released: false }
    }
}

impl Event {
    /// Whether the event is journaled.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        match self {
            Self::Settled(_)
            | Self::Adjusted(_)
            | Self::Received(_)
            | Self::Refunded(_)
            | Self::Disputed(_) => true,
            Self::Placed(_) | Self::Renewed { .. } | Self::Released { .. } | Self::Repeated(_) => {
                false
            }
        }
    }

    /// What the event adds to the account's balance.
    #[must_use]
    pub fn credits(&self) -> Credits {
        match self {
            Self::Settled(s) | Self::Adjusted(s) => s.charged.total().negated(),
            Self::Received(money) => money.credits,
            Self::Refunded(refund) => refund.credits.negated(),
            Self::Disputed(dispute) => dispute.balance_change(),
            Self::Placed(_) | Self::Renewed { .. } | Self::Released { .. } | Self::Repeated(_) => {
                Credits::ZERO
            }
        }
    }

    /// When a durable event happened.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Settled(s) | Self::Adjusted(s) => s.at,
            Self::Received(money) => money.at,
            Self::Refunded(refund) => refund.at,
            Self::Disputed(dispute) => dispute.at,
            Self::Placed(_) | Self::Renewed { .. } | Self::Released { .. } | Self::Repeated(_) => {
                Timestamp::from_millis(0)
            }
        }
    }

    /// What a settlement or an adjustment charges.
    #[must_use]
    pub fn charged(&self) -> Option<&Charged> {
        match self {
            Self::Settled(settlement) | Self::Adjusted(settlement) => Some(&settlement.charged),
            Self::Placed(_)
            | Self::Renewed { .. }
            | Self::Released { .. }
            | Self::Received(_)
            | Self::Refunded(_)
            | Self::Disputed(_)
            | Self::Repeated(_) => None,
        }
    }

    /// What the event adds to partners' balances: shares that were paid, moved or reversed.
    #[must_use]
    pub fn shares(&self) -> SmallVec<[(PartnerId, Credits); 2]> {
        match self {
            Self::Settled(s) | Self::Adjusted(s) => {
                let paid = s.lots.iter().map(|spend| spend.share).sum::<Credits>();
                SmallVec::from_iter([(s.charged.partner, paid)])
            }
            Self::Received(money) => moved(&money.repaid).collect(),
            Self::Refunded(refund) => back(&refund.reversed).collect(),
            Self::Disputed(dispute) => {
                moved(&dispute.repaid).chain(back(&dispute.reversed)).collect()
            }
            Self::Placed(_) | Self::Renewed { .. } | Self::Released { .. } | Self::Repeated(_) => {
                SmallVec::new()
            }
        }
    }
}

/// Accrued shares that money moves to their partners.
fn moved(repaid: &[Repaid]) -> impl Iterator<Item = (PartnerId, Credits)> {
    repaid.iter().filter_map(|repaid| repaid.partner.map(|partner| (partner, repaid.share)))
}

/// Shares that go back from their partners.
fn back(reversed: &[(PartnerId, Credits)]) -> impl Iterator<Item = (PartnerId, Credits)> {
    reversed.iter().map(|(partner, share)| (*partner, share.negated()))
}

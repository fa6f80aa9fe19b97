//! What may be asked of an account.

use serde::{Deserialize, Serialize};

use crate::{
    Charged, Credits, DisputeStage, KeyId, LotKind, PartnerId, RequestId, SettledBy, Timestamp,
};

/// What may be asked of an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Set credits aside for a request.
    Place(Place),
    /// Keep a hold for longer.
    Renew {
        /// The hold's request.
        request: RequestId,
        /// The lease's new end.
        expires_at: Timestamp,
    },
    /// End a hold without a charge.
    Release {
        /// The hold's request.
        request: RequestId,
        /// Who releases it.
        by: SettledBy,
    },
    /// End a hold with a charge.
    Settle {
        /// The charge.
        charged: Box<Charged>,
        /// Who settles.
        by: SettledBy,
        /// When.
        at: Timestamp,
    },
    /// Money from outside.
    Receive {
        /// The outside id that keys it.
        source: String,
        /// Where it comes from.
        kind: LotKind,
        /// How much; negative takes a grant back.
        credits: Credits,
        /// For people.
        reason: String,
        /// The partner in whose page it was bought.
        partner: Option<PartnerId>,
        /// When.
        at: Timestamp,
    },
    /// A dispute about the payment of an order.
    Dispute {
        /// The order.
        source: String,
        /// The dispute's outside id.
        dispute: String,
        /// How far it is; a later stage includes the earlier ones.
        stage: DisputeStage,
        /// What is disputed.
        credits: Credits,
        /// When.
        at: Timestamp,
    },
    /// Money that went back to the buyer of an order.
    Refund {
        /// The order.
        source: String,
        /// The charge's cumulative refund: only an increase posts.
        cumulative: Credits,
        /// When.
        at: Timestamp,
    },
}

/// The wish for a hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The request.
    pub request: RequestId,
    /// Its key.
    pub key: KeyId,
    /// The key's partner.
    pub partner: PartnerId,
    /// What is wished for.
    pub amount: Credits,
    /// What will do if the account covers no more; at most `amount`.
    pub least: Credits,
    /// The hold is refused unless the account covers this as well: a coarse estimate is good
    /// enough only for an account that need not look at it.
    pub headroom: Credits,
    /// The key's spend limit.
    pub key_limit: Option<Credits>,
    /// For a key of the checkout: what the user lets this partner's keys spend beyond what was
    /// bought in its page. `None` = a key without such a limit.
    pub partner_extra: Option<Credits>,
    /// The most holds that the account may have.
    pub holds_max: usize,
    /// The end of the lease.
    pub expires_at: Timestamp,
    /// A running request places its hold again after the actor was started anew: never refused.
    pub resumed: bool,
}

//! Checkpoints: what is known of a hold that is open for longer than a second.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Charged, Hold, Timestamp};

/// The metering of a running request, written once a second while its counts change, so that a
/// crash costs at most the last second. A newer one replaces an older one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Whose request it is.
    pub account: AccountId,
    /// The hold as it was placed.
    pub hold: Hold,
    /// Counts up with each checkpoint of this request.
    pub number: u64,
    /// The incarnation of the gateway process that runs the request.
    pub node: u64,
    /// What the request would be charged for what it has delivered; `None` before the upstream's
    /// first body byte, when the hold is released instead.
    pub charged: Option<Box<Charged>>,
    /// When it was taken.
    pub at: Timestamp,
}

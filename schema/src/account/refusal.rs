//! The rules' expected "no", each by its own name.

use serde::{Deserialize, Serialize};

use crate::{Credits, RequestId};

/// Why an account refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The request has a hold with other fields.
    #[error("request {0} has a hold with other fields")]
    HoldExists(RequestId),
    /// The request has no open hold.
    #[error("request {0} has no open hold")]
    HoldNotOpen(RequestId),
    /// The request was settled with other fields.
    #[error("request {0} was settled with other fields")]
    SettledOtherwise(RequestId),
    /// The account has as many holds as it may.
    #[error("the account has {0} open holds, the most it may have")]
    TooManyHolds(usize),
    /// The amount cannot be: zero, of the wrong sign, or too large.
    #[error("{0} credits is not an amount that this can take")]
    BadAmount(Credits),
    /// The account does not cover the hold.
    #[error("{} credits are needed and {} are free", .0.required, .0.coverable)]
    InsufficientCredits(Shortfall),
    /// The money came before, with the same fields.
    #[error("received before")]
    Received,
    /// The money came before, with other fields.
    #[error("received before with another amount")]
    ReceivedOtherwise,
    /// No purchase has this order.
    #[error("no purchase of this order")]
    UnknownOrder,
}

/// What an account lacks for a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    /// The least that would do.
    pub required: Credits,
    /// What can be had: the least of available and of what the limits leave.
    pub coverable: Credits,
    /// Balance − held.
    pub available: Credits,
    /// What running requests hold.
    pub held: Credits,
    /// What sets `coverable`.
    pub limit: Limit,
}

/// What limits a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// The account's available balance.
    Balance,
    /// The key's spend limit.
    Key,
    /// The limit of what the partner's keys may spend.
    Partner,
}

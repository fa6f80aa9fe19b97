//! What clients were told, held against what the gateway wrote down: each difference is a line.
//!
//! A load run keeps a [`Receipt`] for each request that it made; [`audit`] then reads all that a
//! gateway tells of the same accounts and partners (histories, balances, holds, keys, requests and
//! earnings of partners, the operator's books) and says what does not agree. It asks by the public
//! interfaces only, so it can be pointed at any gateway whose admin token is known.

mod acknowledged;
mod ask;
mod compare;
mod told;

use std::sync::Arc;

use opencredits_schema::{Credits, RequestId};

use crate::client::Client;

pub use acknowledged::{Acknowledged, Totals};
pub(crate) use ask::exact;
pub use ask::{Access, AuditError};
pub use told::{End, Tokens, Told};

/// Everything that clients, Stripe and an operator know of what a gateway did.
#[derive(Clone, Debug, Default)]
pub struct Receipts {
    /// The partners that the payers came from.
    pub earners: Vec<Earner>,
    /// The accounts; [`Receipt::payer`] and [`Moved::payer`] count in here.
    pub payers: Vec<Payer>,
    /// Every request that was begun, whatever became of it.
    pub requests: Vec<Receipt>,
    /// Every amount that came in or went back beside requests.
    pub moved: Vec<Moved>,
}

/// A partner that earns.
#[derive(Clone, Debug)]
pub struct Earner {
    /// `prt_…`.
    pub id: String,
    /// `oc_rk_…`: reads its earnings.
    pub secret_key: String,
}

/// An account with its one key.
#[derive(Clone, Debug)]
pub struct Payer {
    /// `acc_…`.
    pub account: String,
    /// `oc_sk_…`: reads its history.
    pub key: String,
    /// Whose users it is of: counts in [`Receipts::earners`].
    pub earner: usize,
}

/// What a client has of one request.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Who paid, and by which key: counts in [`Receipts::payers`].
    pub payer: usize,
    /// The model's full id, as in `openai/gpt-4o`.
    pub model: Arc<str>,
    /// The gateway's name of the request (`x-opencredits-request-id`); none when no head came back.
    pub request: Option<RequestId>,
    /// What the client saw of its end.
    pub seen: Seen,
    /// The most that it may cost, if its client knows: what it could be held for.
    pub at_most: Option<Credits>,
}

/// What a client saw of a request's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The whole answer. It is a receipt: charged once, with exactly this.
    End(End),
    /// A refusal (status 4xx): never charged.
    Refused,
    /// No end, an error event, or a status of 5xx: charged at most once.
    Broken,
}

/// An amount that came in or went back beside requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moved {
    /// Whose it is: counts in [`Receipts::payers`].
    pub payer: usize,
    /// How.
    pub kind: MovedKind,
    /// What it adds to the balance; negative for what went back.
    pub credits: Credits,
}

/// How an amount came in or went back: a row's `type` in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MovedKind {
    /// From the operator.
    Grant,
    /// Bought.
    Purchase,
    /// Paid back.
    Refund,
    /// Disputed, won back or lost.
    Dispute,
}

/// Compares everything that is known with everything that a running gateway tells, once nothing
/// runs any more: every difference, as a line that names what and how much. Empty = the books hold.
///
/// # Errors
/// When the gateway does not answer, or not in its documented form.
pub async fn audit(
    client: &Client,
    access: &Access,
    receipts: &Receipts,
) -> Result<Vec<String>, AuditError> {
    let told = ask::everything(client, access, receipts).await?;
    Ok(compare::all(receipts, &told))
}

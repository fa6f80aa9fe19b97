//! Grants: the operator's promotion, given or taken back.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_actors::{Answer, AskError, StoreError};
use opencredits_schema::{AccountId, Command, Credits, Event, LotKind, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::accounts;
use super::attempt::Attempt;
use super::fields::{self, Decimal};
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::request::Incoming;

/// Rows of a history read at once in search of an earlier grant.
const PAGE: usize = 1000;

/// `POST /admin/v1/accounts/{id}/grants`.
pub(super) async fn create(
    gateway: &Arc<Gateway>,
    request: &Incoming,
    id: &str,
) -> Result<Response<Bytes>, ApiError> {
    let id = fields::account_id(id)?;
    let fields: Fields = request.json()?;
    let credits = fields::credits("credits", &fields.credits)?;
    if credits == Credits::ZERO {
        return Err(fields::bad("credits", "is zero"));
    }
    let reason = fields::text("reason", fields.reason)?;
    // An account that does not exist must not use up the idempotency key.
    accounts::view(gateway, id).await?;
    let attempt = Attempt::begin(gateway, request, "grant").await?;
    let source = attempt.name("grant");
    // A negative grant leaves no lot that would tell the account of it; the history does.
    let earlier = if attempt.repeat { earlier(gateway, id, &source).await? } else { None };
    let received = match earlier {
        Some(seq) => Received { seq, balance: None },
        None => receive(gateway, id, source, credits, &reason).await?,
    };
    let balance = match received.balance {
        Some(balance) => balance,
        None => accounts::view(gateway, id).await?.balance,
    };
    let entry = format!("{id}-{}", received.seq);
    attempt.answer(StatusCode::OK, Granted { entry, balance: balance.to_json() })
}

/// A grant that is in the history.
pub(super) struct Received {
    /// Its number there.
    pub(super) seq: u64,
    /// The balance after it, unless it came in before.
    pub(super) balance: Option<Credits>,
}

/// Gives a grant, once per source.
///
/// # Errors
/// 400 for an amount that the account cannot take; 409 when the source came with another amount;
/// 503 while the same grant is under way.
pub(super) async fn receive(
    gateway: &Gateway,
    account: AccountId,
    source: String,
    credits: Credits,
    reason: &str,
) -> Result<Received, ApiError> {
    let command = Command::Receive {
        source: source.clone(),
        kind: LotKind::Grant,
        credits,
        reason: reason.to_owned(),
        partner: None,
        at: gateway.system.now(),
    };
    let refusal = match gateway.system.ask(account, command).await {
        Ok(Answer { seq, balance, .. }) => return Ok(Received { seq, balance: Some(balance) }),
        Err(AskError::Refused(refusal)) => refusal,
        Err(
            error @ (AskError::NoAccount
            | AskError::Lost
            | AskError::Moving
            | AskError::Unavailable(_)),
        ) => {
            return Err(error.into());
        }
    };
    match refusal {
        Refusal::Received => {
            let seq = earlier(gateway, account, &source).await?;
            // It is on its way to the store by another request, and not promised before it is there.
            let seq = seq.ok_or_else(|| ApiError::overloaded(1))?;
            Ok(Received { seq, balance: None })
        }
        Refusal::ReceivedOtherwise => {
            const OTHER: &str = "This grant was given before with another amount.";
            Err(ApiError::new(ErrorCode::Conflict, OTHER))
        }
        Refusal::BadAmount(_) => Err(fields::bad("credits", "is more than an account can hold")),
        refusal @ (Refusal::HoldExists(_)
        | Refusal::HoldNotOpen(_)
        | Refusal::SettledOtherwise(_)
        | Refusal::TooManyHolds(_)
        | Refusal::InsufficientCredits(_)
        | Refusal::UnknownOrder) => Err(ApiError::internal(refusal)),
    }
}

/// The number of the grant with this source, if it is durable.
async fn earlier(
    gateway: &Gateway,
    account: AccountId,
    source: &str,
) -> Result<Option<u64>, StoreError> {
    let store = gateway.system.store();
    let head = store.head(account).await?;
    let lot = head.as_ref().and_then(|head| head.lot_of(LotKind::Grant, source));
    if let Some(lot) = lot {
        return Ok(Some(lot.seq));
    }
    let mut offset = 0;
    loop {
        let (rows, more) = store.history(account, PAGE, offset).await?;
        let found = rows.iter().find(|row| match &row.event {
            Event::Received(money) => money.kind == LotKind::Grant && money.source == source,
            Event::Settled(_)
            | Event::Adjusted(_)
            | Event::Refunded(_)
            | Event::Disputed(_)
            | Event::Placed(_)
            | Event::Renewed { .. }
            | Event::Released { .. }
            | Event::Repeated(_) => false,
        });
        if let Some(row) = found {
            return Ok(Some(row.seq));
        }
        if !more {
            return Ok(None);
        }
        offset += PAGE;
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    credits: Decimal,
    reason: String,
}

#[derive(Serialize)]
struct Granted {
    entry: String,
    balance: Box<RawValue>,
}

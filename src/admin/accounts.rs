//! Accounts: made with a first key and a first grant, and shown.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_actors::{AskError, StoreError};
use opencredits_schema::{AccountId, Credits, Head, Key, KeyId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::attempt::Attempt;
use super::fields::{self, Decimal};
use super::{grants, keys};
use crate::answer::json;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::keys::fingerprint;
use crate::request::Incoming;

/// `POST /admin/v1/accounts`.
pub(super) async fn create(
    gateway: &Arc<Gateway>,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let fields: Fields = request.json()?;
    let partner = keys::partner(gateway, &fields.partner).await?;
    let email = fields.email.map(|email| fields::email(&email)).transpose()?;
    let credits = fields.credits.map(|credits| fields::credits("credits", &credits)).transpose()?;
    let credits = credits.unwrap_or_default();
    if credits < Credits::ZERO {
        return Err(fields::bad("credits", "is below zero"));
    }
    let attempt = Attempt::begin(gateway, request, "account").await?;
    let id = AccountId::new(attempt.number("account"));
    let (system, at) = (&gateway.system, gateway.system.now());
    system.store().create_account(id, email, at).await.map_err(taken)?;
    if credits.is_positive() {
        // One account has one such grant, whatever the idempotency key was.
        grants::receive(gateway, id, format!("account:{id}"), credits, "first grant").await?;
    }
    let key_id = KeyId::new(attempt.number("key"));
    let limits = keys::Limits::default();
    let user_key = keys::put(gateway, key_id, id, partner, limits).await?;
    let balance = system.view(id).await?.balance.to_json();
    let user_key = user_key.as_ref().map(|key| key.expose());
    let (id, key_id) = (id.to_string(), key_id.to_string());
    attempt.answer(StatusCode::CREATED, Created { id, user_key, key_id, balance })
}

/// `GET /admin/v1/accounts/{id}`.
pub(super) async fn one(gateway: &Arc<Gateway>, id: &str) -> Result<Response<Bytes>, ApiError> {
    let id = fields::account_id(id)?;
    let view = view(gateway, id).await?;
    let store = gateway.system.store();
    let head = store.head(id).await?.ok_or_else(ApiError::not_found)?;
    let keys = store.keys_of(id).await?;
    let account = Account {
        id: id.to_string(),
        balance: view.balance.to_json(),
        held: view.held.to_json(),
        available: view.balance.minus(view.held).to_json(),
        open_holds: view.open_holds,
        keys: keys.iter().map(|key| KeyView::of(key, &head)).collect(),
    };
    json(StatusCode::OK, &account)
}

/// An account as it is now.
///
/// # Errors
/// 404 for one that does not exist.
pub(super) async fn view(
    gateway: &Gateway,
    id: AccountId,
) -> Result<opencredits_actors::View, ApiError> {
    gateway.system.view(id).await.map_err(|error| match error {
        AskError::NoAccount => ApiError::not_found(),
        error @ (AskError::Refused(_)
        | AskError::Lost
        | AskError::Moving
        | AskError::Unavailable(_)) => error.into(),
    })
}

/// An account is unique by its id and by its mail address, and its id is new.
fn taken(error: StoreError) -> ApiError {
    match error {
        StoreError::Conflict(_) => {
            const TAKEN: &str = "Another account has this email.";
            ApiError::new(ErrorCode::Conflict, TAKEN).with_param("email").with_source(error)
        }
        error @ (StoreError::Unavailable(_) | StoreError::Corrupt(_)) => error.into(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    partner: String,
    email: Option<String>,
    credits: Option<Decimal>,
}

#[derive(Serialize)]
struct Created<'a> {
    id: String,
    user_key: Option<&'a str>,
    key_id: String,
    balance: Box<RawValue>,
}

#[derive(Serialize)]
struct Account {
    id: String,
    balance: Box<RawValue>,
    held: Box<RawValue>,
    available: Box<RawValue>,
    open_holds: usize,
    keys: Vec<KeyView>,
}

#[derive(Serialize)]
struct KeyView {
    id: String,
    fingerprint: String,
    partner: String,
    created: i64,
    expires_at: Option<i64>,
    revoked: bool,
    revoked_at: Option<i64>,
    rate_limit: Option<String>,
    spend_limit: Option<Box<RawValue>>,
    spent: Box<RawValue>,
}

impl KeyView {
    fn of(key: &Key, head: &Head) -> Self {
        Self {
            id: key.id.to_string(),
            fingerprint: fingerprint(&key.hash),
            partner: key.partner.to_string(),
            created: key.created.seconds(),
            expires_at: key.expires_at.map(Timestamp::seconds),
            revoked: key.revoked_at.is_some(),
            revoked_at: key.revoked_at.map(Timestamp::seconds),
            rate_limit: key.rate_limit.clone(),
            spend_limit: key.spend_limit.map(Credits::to_json),
            spent: head.spent_by_key(key.id).to_json(),
        }
    }
}

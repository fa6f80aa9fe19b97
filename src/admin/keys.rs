//! User keys: made for an account in a partner's name, and revoked.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_schema::{AccountId, Credits, Key, KeyId, PartnerId, Timestamp};
use serde::{Deserialize, Serialize};

use super::accounts;
use super::attempt::Attempt;
use super::fields::{self, Decimal};
use crate::answer::json;
use crate::config::Secret;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::keys;
use crate::request::Incoming;

/// What a key may do at most.
#[derive(Default)]
pub(super) struct Limits {
    rate_limit: Option<String>,
    spend_limit: Option<Credits>,
    expires_at: Option<Timestamp>,
}

/// `POST /admin/v1/accounts/{id}/keys`.
pub(super) async fn create(
    gateway: &Arc<Gateway>,
    request: &Incoming,
    account: &str,
) -> Result<Response<Bytes>, ApiError> {
    let account = fields::account_id(account)?;
    let fields: Fields = request.json()?;
    accounts::view(gateway, account).await?;
    let partner = partner(gateway, &fields.partner).await?;
    let rate = fields.rate_limit.map(|rate| fields::rate_limit("rate_limit", rate));
    let spend = fields.spend_limit.map(|limit| fields::positive_credits("spend_limit", &limit));
    let end = fields.expires_at.map(|end| fields::moment("expires_at", &end));
    let limits = Limits {
        rate_limit: rate.transpose()?,
        spend_limit: spend.transpose()?,
        expires_at: end.transpose()?,
    };
    let attempt = Attempt::begin(gateway, request, "key").await?;
    let id = KeyId::new(attempt.number("key"));
    let user_key = put(gateway, id, account, partner, limits).await?;
    let user_key = user_key.as_ref().map(Secret::expose);
    attempt.answer(StatusCode::CREATED, Created { user_key, id: id.to_string() })
}

/// `DELETE /admin/v1/keys/{id}`: durable before its answer; running requests go on.
pub(super) async fn revoke(gateway: &Arc<Gateway>, id: &str) -> Result<Response<Bytes>, ApiError> {
    let id = fields::key_id(id)?;
    let key = gateway.system.store().revoke_key(id, gateway.system.now()).await?;
    let key = key.ok_or_else(ApiError::not_found)?;
    gateway.forget_key(&key.hash).await?;
    let revoked_at = key.revoked_at.map(Timestamp::seconds);
    json(StatusCode::OK, &Revoked { id: id.to_string(), revoked: true, revoked_at })
}

/// Makes a key under an id that may be there already; the key itself only if this call made it.
pub(super) async fn put(
    gateway: &Gateway,
    id: KeyId,
    account: AccountId,
    partner: PartnerId,
    limits: Limits,
) -> Result<Option<Secret>, ApiError> {
    let secret = keys::generate(keys::USER_KEY).map_err(ApiError::internal)?;
    let hash = keys::hash(secret.expose());
    let Limits { rate_limit, spend_limit, expires_at } = limits;
    let created = gateway.system.now();
    let key = Key {
        id,
        hash,
        account,
        partner,
        checkout: false,
        rate_limit,
        spend_limit,
        expires_at,
        revoked_at: None,
        created,
        last_use: None,
    };
    let store = gateway.system.store();
    store.put_key(key).await?;
    // The store keeps the first one under an id: ours only if it is found by our hash.
    Ok(store.key_by_hash(hash).await?.map(|_| secret))
}

/// The partner that a field names.
///
/// # Errors
/// 400 for one that does not exist.
pub(super) async fn partner(gateway: &Gateway, id: &str) -> Result<PartnerId, ApiError> {
    let unknown = || fields::bad("partner", "is not the id of a partner");
    let id = id.parse().map_err(|_| unknown())?;
    gateway.system.partner(id).await?.map(|partner| partner.id).ok_or_else(unknown)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    partner: String,
    rate_limit: Option<String>,
    spend_limit: Option<Decimal>,
    expires_at: Option<Decimal>,
}

#[derive(Serialize)]
struct Created<'a> {
    user_key: Option<&'a str>,
    id: String,
}

#[derive(Serialize)]
struct Revoked {
    id: String,
    revoked: bool,
    revoked_at: Option<i64>,
}

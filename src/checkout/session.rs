//! A device that is logged in: what it sees of the account, consent, logout.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_actors::StoreError;
use opencredits_schema::{AccountId, Credits, DocumentKind, Head, Key, PartnerId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::documents::{self, Versioned};
use super::{bad_field, top_up};
use crate::answer::json;
use crate::auth::Caller;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::request::Incoming;
use crate::{keys, random};

/// What the checkout shows of an account.
#[derive(Serialize)]
pub(super) struct Account {
    balance: Box<RawValue>,
    email: Option<String>,
    consent: ConsentState,
    /// What is charged by itself at this partner.
    top_up: Option<top_up::Shown>,
}

#[derive(Serialize)]
struct ConsentState {
    /// The account has credits that this partner's keys do not spend, and nobody was asked yet.
    needed: bool,
    /// Those credits.
    elsewhere: Box<RawValue>,
}

/// What a user lets a partner's keys spend beyond what was bought there.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Consent {
    /// In microcredits, as all credits in documents.
    pub(crate) extra: Credits,
}

/// Who may consent for an account at a partner, and how long.
#[derive(Serialize, Deserialize)]
struct MayConsent {
    account: AccountId,
    partner: PartnerId,
    ends: Timestamp,
}

/// How long after a login its user may consent.
const CONSENT_MS: i64 = 1_800_000;

/// The account of a key, as its partner's checkout shows it.
pub(super) async fn account(gateway: &Gateway, key: &Key) -> Result<Account, ApiError> {
    let consent = consent_of(gateway, key).await?;
    let (balance, here) = balances(gateway, key.account, key.partner).await?;
    let elsewhere = balance.minus(here.max(Credits::ZERO)).max(Credits::ZERO);
    let email = gateway.system.store().email_of(key.account).await?;
    Ok(Account {
        balance: balance.to_json(),
        email: email.as_deref().map(masked),
        consent: ConsentState {
            needed: consent.is_none() && elsewhere.is_positive(),
            elsewhere: elsewhere.to_json(),
        },
        top_up: top_up::shown(gateway, key).await?,
    })
}

/// What a partner's keys can still spend of an account, beside what running requests hold.
pub(super) async fn spendable(
    gateway: &Gateway,
    account: AccountId,
    partner: PartnerId,
) -> Result<Credits, ApiError> {
    let (balance, here) = balances(gateway, account, partner).await?;
    Ok(balance.min(here).minus(gateway.system.view(account).await?.held))
}

/// An account's balance, and what its user lets a partner's keys spend beyond what they have.
async fn balances(
    gateway: &Gateway,
    account: AccountId,
    partner: PartnerId,
) -> Result<(Credits, Credits), ApiError> {
    let head = gateway.system.store().head(account).await?;
    let head = head.unwrap_or_else(|| Head::new(account));
    let consent = consent_at(gateway, account, partner).await?;
    let extra = consent.map_or(Credits::ZERO, |consent| consent.extra);
    let here = head.bought_at(partner).plus(extra).minus(head.spent_by_partner(partner));
    Ok((head.balance, here))
}

/// `GET /checkout/me`.
///
/// # Errors
/// 401.
pub(super) async fn me(gateway: &Gateway, request: &Incoming) -> Result<Response<Bytes>, ApiError> {
    let caller = caller(gateway, request).await?;
    json(StatusCode::OK, &account(gateway, &caller.key).await?)
}

/// Lets whoever has just entered a code consent. The frame keeps it to itself: the key alone, which the
/// partner's page has, must not be enough to spend what was bought elsewhere.
pub(super) async fn consent_token(gateway: &Gateway, key: &Key) -> Result<String, ApiError> {
    let token = keys::hex(&random::bytes::<32>().map_err(ApiError::internal)?);
    let ends = gateway.system.now().plus_millis(CONSENT_MS);
    let may = MayConsent { account: key.account, partner: key.partner, ends };
    let id = may_consent_id(&token);
    documents::write(gateway, DocumentKind::Login, &id, 0, Some(ends), &may).await?;
    Ok(token)
}

/// `POST /checkout/consent`: what this partner's keys may spend beyond what is bought there.
///
/// # Errors
/// 400 for a bad limit; 401 for a bad key, and without the token of a login of the last half hour.
pub(super) async fn consent(
    gateway: &Gateway,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let caller = caller(gateway, request).await?;
    may_consent(gateway, request, &caller.key).await?;
    let fields: Fields = request.json()?;
    let dollars = Credits::parse(fields.limit.trim()).ok().filter(|limit| *limit >= Credits::ZERO);
    let credits = dollars.and_then(|dollars| dollars.micro().checked_mul(100));
    let extra = credits.map(Credits::from_micro).filter(|credits| *credits <= Credits::MAX);
    let extra = extra.ok_or_else(|| bad_field("limit", "is no amount in dollars"))?;
    let key = &caller.key;
    let id = consent_id(key.account, key.partner);
    loop {
        let found = documents::read::<Consent>(gateway, DocumentKind::Consent, &id).await?;
        let version = found.map_or(0, |found| found.version);
        let kind = DocumentKind::Consent;
        if documents::write(gateway, kind, &id, version, None, &Consent { extra }).await? {
            break;
        }
    }
    // Requests that start from now on go by it.
    for other in gateway.system.store().keys_of(key.account).await? {
        gateway.forget_key(&other.hash).await?;
    }
    json(StatusCode::OK, &serde_json::Map::new())
}

/// `POST /checkout/logout`: revokes the device's key, durably before the answer.
///
/// # Errors
/// 401 for a key that is not good any more.
pub(super) async fn logout(
    gateway: &Gateway,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let caller = caller(gateway, request).await?;
    gateway.system.store().revoke_key(caller.key.id, gateway.system.now()).await?;
    gateway.forget_key(&caller.key.hash).await?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// The device's key, within its rate limit.
pub(super) async fn caller(gateway: &Gateway, request: &Incoming) -> Result<Arc<Caller>, ApiError> {
    let caller = gateway.caller(&request.headers, request.peer).await?;
    let partner = gateway.system.partner(caller.key.partner).await?;
    let partner = partner.ok_or_else(ApiError::invalid_user_key)?;
    gateway.admit(&caller, &partner)?;
    Ok(caller)
}

/// What the user of a key consented to at its partner; `None` if nobody asked.
pub(crate) async fn consent_of(
    gateway: &Gateway,
    key: &Key,
) -> Result<Option<Consent>, StoreError> {
    consent_at(gateway, key.account, key.partner).await
}

async fn consent_at(
    gateway: &Gateway,
    account: AccountId,
    partner: PartnerId,
) -> Result<Option<Consent>, StoreError> {
    let id = consent_id(account, partner);
    let found = documents::read(gateway, DocumentKind::Consent, &id).await?;
    Ok(found.map(|found| found.value))
}

/// # Errors
/// 401 without the token of a login of the last half hour.
async fn may_consent(gateway: &Gateway, request: &Incoming, key: &Key) -> Result<(), ApiError> {
    if just_logged_in(gateway, request, key).await? { Ok(()) } else { Err(log_in_again()) }
}

/// Whether a request carries the token that its key's user got for a code in the last half hour.
pub(super) async fn just_logged_in(
    gateway: &Gateway,
    request: &Incoming,
    key: &Key,
) -> Result<bool, StoreError> {
    let token = request.headers.get("x-consent-token").and_then(|token| token.to_str().ok());
    let Some(token) = token else { return Ok(false) };
    let id = may_consent_id(token);
    let found = documents::read::<MayConsent>(gateway, DocumentKind::Login, &id).await?;
    Ok(found.is_some_and(|Versioned { value: may, .. }| {
        let fits = may.account == key.account && may.partner == key.partner;
        fits && gateway.system.now() < may.ends
    }))
}

/// 401: a key alone, which the partner's page has, may not say that.
pub(super) fn log_in_again() -> ApiError {
    const AGAIN: &str = "Log in again to change what this app may spend.";
    ApiError::new(ErrorCode::InvalidUserKey, AGAIN)
}

fn may_consent_id(token: &str) -> String {
    format!("consent:{}", keys::hex(&keys::hash(token)))
}

fn consent_id(account: AccountId, partner: PartnerId) -> String {
    format!("{account}:{partner}")
}

/// An address as somebody else may see it: `a•••@example.com`.
fn masked(email: &str) -> String {
    let (name, host) = email.rsplit_once('@').unwrap_or((email, ""));
    let first: String = name.chars().take(1).collect();
    format!("{first}•••@{host}")
}

#[derive(Deserialize)]
struct Fields {
    limit: String,
}

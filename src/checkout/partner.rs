//! The partner in whose page the checkout stands: who it is, and from where it may be opened.

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_schema::{Credits, Partner};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Desk, desk};
use crate::answer::json;
use crate::auth::matches_origin;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::keys;
use crate::request::Incoming;

/// Amounts that a buyer may pick, in dollars or euros.
const AMOUNTS: [u32; 5] = [5, 10, 25, 50, 100];

/// Where a partner without a list may open the checkout while no real money moves.
const DEVELOPMENT: [&str; 2] = ["http://localhost:*", "http://127.0.0.1:*"];

/// `GET /checkout/config?pk=…`: what the widget has to know before it shows anything.
///
/// # Errors
/// 404 `invalid_publishable_key`; 503 `checkout_off`.
pub(super) async fn config(
    gateway: &Gateway,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let desk = desk(gateway)?;
    let partner = by_key(gateway, request, &request.param("pk").unwrap_or_default()).await?;
    let orders = &gateway.config.orders;
    let usd = Credits::from_micro(100_000_000).to_json();
    let eur =
        orders.eur_rate.map(|rate| Credits::from_micro(rate.micro().saturating_mul(100)).to_json());
    let currencies = if eur.is_some() { vec!["usd", "eur"] } else { vec!["usd"] };
    json(
        StatusCode::OK,
        &Answer {
            origins: origins(&partner, desk),
            partner: Named { name: &partner.name },
            currencies,
            min: f64::from(orders.min_cents) / 100.0,
            max: f64::from(orders.max_cents) / 100.0,
            amounts: AMOUNTS,
            stripe: Stripe { publishable_key: &desk.stripe_key, js_url: &desk.js_url },
            credits_per_unit: PerUnit { usd, eur },
        },
    )
}

/// The partner with a publishable key.
///
/// # Errors
/// 404 `invalid_publishable_key`; 429 for an address that tries many.
pub(super) async fn by_key(
    gateway: &Gateway,
    request: &Incoming,
    key: &str,
) -> Result<Partner, ApiError> {
    const UNKNOWN: &str = "The publishable key is not known. Check publishableKey in \
                           OpenCredits.init().";
    let unknown = || ApiError::new(ErrorCode::InvalidPublishableKey, UNKNOWN);
    if !keys::is_well_formed(keys::PUBLISHABLE_KEY, key) {
        return Err(unknown());
    }
    let found = gateway.system.store().partner_by_publishable(key.to_owned()).await?;
    if let Some(partner) = found {
        return Ok(partner);
    }
    let limited = gateway.bad_keys.check(request.peer);
    limited.map_err(|limited| ApiError::rate_limited(limited.retry_after_s))?;
    Err(unknown())
}

/// The origins in whose pages a partner's checkout may stand.
pub(super) fn origins(partner: &Partner, desk: &Desk) -> Vec<String> {
    if partner.allowed_origins.is_empty() && !desk.live {
        return DEVELOPMENT.map(str::to_owned).into();
    }
    partner.allowed_origins.clone()
}

/// # Errors
/// 403 for an origin that is not one of the partner's.
pub(super) fn check_origin(partner: &Partner, desk: &Desk, origin: &str) -> Result<(), ApiError> {
    let known = origins(partner, desk).iter().any(|allowed| matches_origin(allowed, origin));
    if known { Ok(()) } else { Err(ApiError::origin_not_allowed()) }
}

#[derive(Serialize)]
struct Answer<'a> {
    partner: Named<'a>,
    origins: Vec<String>,
    currencies: Vec<&'static str>,
    min: f64,
    max: f64,
    amounts: [u32; 5],
    stripe: Stripe<'a>,
    credits_per_unit: PerUnit,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Stripe<'a> {
    publishable_key: &'a str,
    js_url: &'a str,
}

#[derive(Serialize)]
struct PerUnit {
    usd: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eur: Option<Box<RawValue>>,
}

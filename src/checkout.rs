//! The checkout: login by mail, orders, Stripe, and the credits that come of it.
//!
//! The routes under `/checkout/` serve the frame that the widget opens in a partner's page. A key
//! or an order's token travels in a header and never in a URL; there are no cookies.

mod account;
pub(crate) mod applications;
mod desk;
mod documents;
mod fulfil;
mod login;
mod mail;
mod orders;
mod pages;
mod partner;
mod session;
mod sweep;
mod top_up;
mod webhook;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};
use opencredits_actors::StoreError;
use opencredits_schema::{Credits, Key};

pub use desk::{CheckoutSetupError, Desk};
pub use sweep::{look_after, sweep};
pub(crate) use top_up::{left, load as watch};
pub use webhook::receive as webhook;

use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::request::Incoming;

/// All of `/checkout/…` and `/account…`.
///
/// # Errors
/// 503 `checkout_off` while no Stripe keys are configured; else as each route documents.
pub async fn handle(
    gateway: &Arc<Gateway>,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let Some(route) = request.path.strip_prefix("/checkout/") else {
        return account::handle(gateway, request).await;
    };
    let parts: Vec<_> = route.split('/').collect();
    match (&request.method, parts.as_slice()) {
        (&Method::GET | &Method::HEAD, ["frame"]) => pages::frame(gateway, request).await,
        (&Method::GET | &Method::HEAD, ["launch"]) => Ok(pages::launch()),
        (&Method::GET | &Method::HEAD, ["return"]) => Ok(pages::back()),
        (&Method::GET, ["config"]) => partner::config(gateway, request).await,
        (&Method::POST, ["login"]) => login::send_code(gateway, request).await,
        (&Method::POST, ["verify"]) => login::verify(gateway, request).await,
        (&Method::GET, ["me"]) => session::me(gateway, request).await,
        (&Method::POST, ["consent"]) => session::consent(gateway, request).await,
        (&Method::POST, ["logout"]) => session::logout(gateway, request).await,
        (&Method::POST, ["top-up", "off"]) => top_up::switch_off(gateway, request).await,
        (&Method::POST, ["orders"]) => orders::create(gateway, request).await,
        (&Method::GET, ["orders", id]) => orders::status(gateway, request, id).await,
        (&Method::POST, ["orders", id, "cancel"]) => orders::cancel(gateway, request, id).await,
        (_, parts) => {
            Err(allowed(parts).map_or_else(ApiError::not_found, ApiError::method_not_allowed))
        }
    }
}

/// The methods that a path knows.
fn allowed(parts: &[&str]) -> Option<&'static str> {
    match parts {
        ["frame" | "launch" | "return" | "config" | "me"] | ["orders", _] => Some("GET"),
        ["login" | "verify" | "consent" | "logout" | "orders"]
        | ["orders", _, "cancel"]
        | ["top-up", "off"] => Some("POST"),
        _ => None,
    }
}

/// What a key's user lets its partner's keys spend beyond what was bought there; `None` for a key
/// that the operator made, which has no such limit.
pub(crate) async fn partner_extra(
    gateway: &Gateway,
    key: &Key,
) -> Result<Option<Credits>, StoreError> {
    if !key.checkout {
        return Ok(None);
    }
    let consent = session::consent_of(gateway, key).await?;
    Ok(Some(consent.map_or(Credits::ZERO, |consent| consent.extra)))
}

/// `GET|POST /partners/apply`.
///
/// # Errors
/// As [`applications`] documents.
pub async fn apply(gateway: &Gateway, request: &Incoming) -> Result<Response<Bytes>, ApiError> {
    applications::handle(gateway, request).await
}

/// `GET /dev/mailbox`.
///
/// # Errors
/// 404 but in development and for callers on this machine.
pub fn mailbox(gateway: &Gateway, request: &Incoming) -> Result<Response<Bytes>, ApiError> {
    mail::mailbox(gateway, request)
}

/// What sells here, if anything does.
fn desk(gateway: &Gateway) -> Result<&Desk, ApiError> {
    const OFF: &str = "This gateway sells no credits: its operator has not configured Stripe.";
    gateway.desk.as_ref().ok_or_else(|| ApiError::new(ErrorCode::CheckoutOff, OFF))
}

fn bad_field(name: &'static str, what: &str) -> ApiError {
    ApiError::invalid_request(format!("`{name}` {what}.")).with_param(name)
}

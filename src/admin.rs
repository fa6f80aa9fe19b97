//! The operator's API: partners, accounts, grants, keys, payouts, books. Never on the public
//! address, never without the operator's token.

mod accounts;
mod applications;
mod attempt;
mod fields;
mod grants;
mod keys;
mod partners;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::answer::json;
use crate::books::Trial;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::request::Incoming;

/// All of `/admin/v1/…`.
///
/// # Errors
/// 404 for every path while no token is configured; 401 without it; 404, 405; 400 that names the
/// bad field; 409 for an idempotency key that was used with other fields; 503 when the store does
/// not answer.
pub async fn handle(
    gateway: &Arc<Gateway>,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    authorize(gateway, request)?;
    let route = request.path.strip_prefix("/admin/v1/").unwrap_or_default();
    let parts: Vec<_> = route.split('/').collect();
    match (&request.method, parts.as_slice()) {
        (&Method::POST, ["partners"]) => partners::create(gateway, request).await,
        (&Method::GET, ["partners"]) => partners::list(gateway).await,
        (&Method::GET, ["partners", id]) => partners::one(gateway, id).await,
        (&Method::PATCH, ["partners", id]) => partners::change(gateway, request, id).await,
        (&Method::POST, ["partners", id, "payouts"]) => {
            partners::pay_out(gateway, request, id).await
        }
        (&Method::POST, ["accounts"]) => accounts::create(gateway, request).await,
        (&Method::GET, ["accounts", id]) => accounts::one(gateway, id).await,
        (&Method::POST, ["accounts", id, "grants"]) => grants::create(gateway, request, id).await,
        (&Method::POST, ["accounts", id, "keys"]) => keys::create(gateway, request, id).await,
        (&Method::DELETE, ["keys", id]) => keys::revoke(gateway, id).await,
        (&Method::GET, ["applications"]) => applications::list(gateway).await,
        (&Method::POST, ["applications", id, "approve"]) => {
            applications::approve(gateway, request, id).await
        }
        (&Method::GET, ["books"]) => books(gateway).await,
        (_, parts) => {
            Err(allowed(parts).map_or_else(ApiError::not_found, ApiError::method_not_allowed))
        }
    }
}

/// The methods that a path knows.
fn allowed(parts: &[&str]) -> Option<&'static str> {
    match parts {
        ["partners"] => Some("GET, POST"),
        ["partners", _] => Some("GET, PATCH"),
        ["partners", _, "payouts"] | ["accounts"] | ["accounts", _, "grants" | "keys"] => {
            Some("POST")
        }
        ["accounts", _] | ["books"] | ["applications"] => Some("GET"),
        ["applications", _, "approve"] => Some("POST"),
        ["keys", _] => Some("DELETE"),
        _ => None,
    }
}

/// Lets the bearer of the operator's token pass, and takes as long to refuse any other.
///
/// # Errors
/// 404 while no token is configured; 401.
pub fn authorize(gateway: &Gateway, request: &Incoming) -> Result<(), ApiError> {
    const OFF: &str = "The admin API is off: OPENCREDITS_ADMIN_TOKEN is not set.";
    const MISSING: &str = "No admin token provided. Send it as Authorization: Bearer.";
    const WRONG: &str = "The admin token is wrong.";
    let token = gateway.config.admin_token.as_ref();
    let token = token.ok_or_else(|| ApiError::new(ErrorCode::NotFound, OFF))?;
    let given = request.bearer();
    let given = given.ok_or_else(|| ApiError::new(ErrorCode::MissingApiKey, MISSING))?;
    // Hashes are of one length, so not even the token's length shows.
    let (token, given) = (Sha256::digest(token.expose()), Sha256::digest(given));
    if bool::from(token.ct_eq(&given)) {
        Ok(())
    } else {
        Err(ApiError::new(ErrorCode::InvalidUserKey, WRONG))
    }
}

/// `GET /admin/v1/books`: the trial balance of one snapshot.
async fn books(gateway: &Arc<Gateway>) -> Result<Response<Bytes>, ApiError> {
    let books = gateway.system.store().audit().await?;
    json(StatusCode::OK, &Trial::from(&books))
}

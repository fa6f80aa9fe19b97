//! Applications of those who want to become partners: listed, and approved into partners.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::partners;
use crate::answer::json;
use crate::checkout::applications::{self, Application, ApplicationState};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::request::Incoming;

/// `GET /admin/v1/applications`: those that wait, the oldest first.
pub(super) async fn list(gateway: &Arc<Gateway>) -> Result<Response<Bytes>, ApiError> {
    let pending = applications::pending(gateway).await?;
    let data = pending.iter().map(|(id, application)| View::of(id, application)).collect();
    json(StatusCode::OK, &List { data })
}

/// `POST /admin/v1/applications/{id}/approve`: makes the partner, and mails its publishable key. A
/// repeat answers the same partner, without its secret.
///
/// # Errors
/// 404 for one that is not there or whose address is not verified.
pub(super) async fn approve(
    gateway: &Arc<Gateway>,
    request: &Incoming,
    id: &str,
) -> Result<Response<Bytes>, ApiError> {
    let found = applications::find(gateway, id).await?.ok_or_else(ApiError::not_found)?;
    if found.value.state == ApplicationState::Unverified {
        return Err(ApiError::not_found());
    }
    let fields: Fields = request.json()?;
    let Application { name, website, .. } = &found.value;
    let wish =
        Wish { name, referral_rate: &fields.referral_rate, allowed_origins: [website.as_str()] };
    let body = serde_json::to_vec(&wish).map_err(ApiError::internal)?;
    // The application is the idempotency key: approving twice makes one partner.
    let mut creation = Incoming { body: body.into(), ..request.clone() };
    let key = HeaderValue::try_from(format!("application-{id}")).map_err(ApiError::internal)?;
    creation.headers.insert("idempotency-key", key);
    let made = partners::create(gateway, &creation).await?;
    let partner: Made = serde_json::from_slice(made.body()).map_err(ApiError::internal)?;
    applications::approved(gateway, id, found, &partner.publishable_key).await?;
    Ok(made)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    referral_rate: Box<RawValue>,
}

/// What an operator would send to make the partner.
#[derive(Serialize)]
struct Wish<'a> {
    name: &'a str,
    referral_rate: &'a RawValue,
    allowed_origins: [&'a str; 1],
}

#[derive(Deserialize)]
struct Made {
    publishable_key: String,
}

#[derive(Serialize)]
struct List<'a> {
    data: Vec<View<'a>>,
}

#[derive(Serialize)]
struct View<'a> {
    id: &'a str,
    name: &'a str,
    website: &'a str,
    email: &'a str,
    created: i64,
}

impl<'a> View<'a> {
    fn of(id: &'a str, application: &'a Application) -> Self {
        let Application { name, website, email, created, .. } = application;
        Self { id, name, website, email, created: created.seconds() }
    }
}

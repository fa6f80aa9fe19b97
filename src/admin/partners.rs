//! Partners: made, listed, changed, paid out.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_actors::{Payout, PayoutOutcome};
use opencredits_schema::{Partner, PartnerBalance, PartnerId, PriceBook, ReferralRate};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::attempt::Attempt;
use super::fields::{self, Decimal, nullable};
use crate::answer::json;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::keys;
use crate::request::Incoming;

/// A partner's record can be overwritten, so looking for it and writing it must be one step when
/// the same creation is asked twice at once.
static CREATION: Mutex<()> = Mutex::const_new(());

/// `POST /admin/v1/partners`.
pub(super) async fn create(
    gateway: &Arc<Gateway>,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let fields: Fields = request.json()?;
    let fields = fields.checked(&gateway.book())?;
    let missing = |name| fields::bad(name, "is missing");
    let name = fields.name.ok_or_else(|| missing("name"))?;
    let referral_rate = fields.referral_rate.ok_or_else(|| missing("referral_rate"))?;
    let attempt = Attempt::begin(gateway, request, "partner").await?;
    let publishable_key = keys::generate(keys::PUBLISHABLE_KEY).map_err(ApiError::internal)?;
    let secret = keys::generate(keys::PARTNER_SECRET).map_err(ApiError::internal)?;
    let new = Partner {
        id: PartnerId::new(attempt.number("partner")),
        name,
        publishable_key: publishable_key.expose().to_owned(),
        secret_hash: keys::hash(secret.expose()),
        referral_rate,
        allowed_models: fields.allowed_models.flatten(),
        allowed_origins: fields.allowed_origins.unwrap_or_default(),
        rate_limit_per_key: fields.rate_limit_per_key.flatten(),
        created: gateway.system.now(),
    };
    let store = gateway.system.store();
    let creation = CREATION.lock().await;
    let known = store.partner(new.id).await?;
    // Whoever makes the record is the one who is told its secret.
    let secret_key = known.is_none().then(|| secret.expose());
    let partner = match known {
        Some(known) => known,
        None => {
            store.put_partner(new.clone()).await?;
            new
        }
    };
    drop(creation);
    let balance = store.partner_balance(partner.id).await?;
    let body = Created { partner: View::of(&partner, balance), secret_key };
    attempt.answer(StatusCode::CREATED, body)
}

/// `GET /admin/v1/partners`.
pub(super) async fn list(gateway: &Arc<Gateway>) -> Result<Response<Bytes>, ApiError> {
    let store = gateway.system.store();
    let partners = store.partners().await?;
    let mut data = Vec::with_capacity(partners.len());
    for partner in &partners {
        data.push(View::of(partner, store.partner_balance(partner.id).await?));
    }
    json(StatusCode::OK, &List { data })
}

/// `GET /admin/v1/partners/{id}`.
pub(super) async fn one(gateway: &Arc<Gateway>, id: &str) -> Result<Response<Bytes>, ApiError> {
    let partner = find(gateway, id).await?;
    show(gateway, &partner).await
}

/// `PATCH /admin/v1/partners/{id}`: holds for requests that start after the answer.
pub(super) async fn change(
    gateway: &Arc<Gateway>,
    request: &Incoming,
    id: &str,
) -> Result<Response<Bytes>, ApiError> {
    let id = find(gateway, id).await?.id;
    let fields: Fields = request.json()?;
    let fields = fields.checked(&gateway.book())?;
    let partner = gateway.system.change_partner(id, move |partner| fields.apply(partner)).await?;
    show(gateway, &partner).await
}

/// `POST /admin/v1/partners/{id}/payouts`.
pub(super) async fn pay_out(
    gateway: &Arc<Gateway>,
    request: &Incoming,
    id: &str,
) -> Result<Response<Bytes>, ApiError> {
    let partner = find(gateway, id).await?.id;
    let fields: PayoutFields = request.json()?;
    let credits = fields::positive_credits("credits", &fields.credits)?;
    let reference = fields::text("reference", fields.reference)?;
    let attempt = Attempt::begin(gateway, request, "payout").await?;
    let entry = format!("pay_{:016x}", attempt.number("payout"));
    let at = gateway.system.now();
    let payout = Payout { entry: entry.clone(), partner, credits, reference, at };
    match gateway.system.payout(payout).await? {
        PayoutOutcome::Done(payable) => {
            let paid = Paid { entry, payable: payable.to_json() };
            attempt.answer(StatusCode::OK, paid)
        }
        PayoutOutcome::TooMuch(payable) => {
            Err(fields::bad("credits", &format!("is more than the {payable} that are payable")))
        }
    }
}

async fn find(gateway: &Gateway, id: &str) -> Result<Arc<Partner>, ApiError> {
    let partner = gateway.system.partner(fields::partner_id(id)?).await?;
    partner.ok_or_else(ApiError::not_found)
}

async fn show(gateway: &Gateway, partner: &Partner) -> Result<Response<Bytes>, ApiError> {
    let balance = gateway.system.store().partner_balance(partner.id).await?;
    json(StatusCode::OK, &View::of(partner, balance))
}

/// What can be set, each field only if it is there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: Option<String>,
    referral_rate: Option<Decimal>,
    #[serde(default, deserialize_with = "nullable")]
    allowed_models: Option<Option<Vec<String>>>,
    allowed_origins: Option<Vec<String>>,
    #[serde(default, deserialize_with = "nullable")]
    rate_limit_per_key: Option<Option<String>>,
}

impl Fields {
    fn checked(self, book: &PriceBook) -> Result<Checked, ApiError> {
        const RATE: &str = "rate_limit_per_key";
        let models = self.allowed_models;
        let rate = self.rate_limit_per_key;
        let limit = |rate: Option<String>| rate.map(|r| fields::rate_limit(RATE, r)).transpose();
        let patterns = |models: Option<Vec<String>>| {
            models.map(|patterns| fields::allowed_models(patterns, book)).transpose()
        };
        Ok(Checked {
            name: self.name.map(|name| fields::text("name", name)).transpose()?,
            referral_rate: self.referral_rate.as_ref().map(fields::referral_rate).transpose()?,
            allowed_models: models.map(patterns).transpose()?,
            allowed_origins: self
                .allowed_origins
                .map(|origins| fields::allowed_origins(&origins))
                .transpose()?,
            rate_limit_per_key: rate.map(limit).transpose()?,
        })
    }
}

/// The same, known to be good.
struct Checked {
    name: Option<String>,
    referral_rate: Option<ReferralRate>,
    allowed_models: Option<Option<Vec<String>>>,
    allowed_origins: Option<Vec<String>>,
    rate_limit_per_key: Option<Option<String>>,
}

impl Checked {
    fn apply(self, partner: &mut Partner) {
        set(&mut partner.name, self.name);
        set(&mut partner.referral_rate, self.referral_rate);
        set(&mut partner.allowed_models, self.allowed_models);
        set(&mut partner.allowed_origins, self.allowed_origins);
        set(&mut partner.rate_limit_per_key, self.rate_limit_per_key);
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayoutFields {
    credits: Decimal,
    reference: String,
}

#[derive(Serialize)]
struct Paid {
    entry: String,
    payable: Box<RawValue>,
}

#[derive(Serialize)]
struct List<'a> {
    data: Vec<View<'a>>,
}

#[derive(Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    partner: View<'a>,
    secret_key: Option<&'a str>,
}

#[derive(Serialize)]
struct View<'a> {
    id: String,
    name: &'a str,
    publishable_key: &'a str,
    referral_rate: Box<RawValue>,
    allowed_models: Option<&'a [String]>,
    allowed_origins: &'a [String],
    rate_limit_per_key: Option<&'a str>,
    created: i64,
    earned: Box<RawValue>,
    paid_out: Box<RawValue>,
    payable: Box<RawValue>,
}

impl<'a> View<'a> {
    fn of(partner: &'a Partner, balance: PartnerBalance) -> Self {
        Self {
            id: partner.id.to_string(),
            name: &partner.name,
            publishable_key: &partner.publishable_key,
            referral_rate: partner.referral_rate.to_json(),
            allowed_models: partner.allowed_models.as_deref(),
            allowed_origins: &partner.allowed_origins,
            rate_limit_per_key: partner.rate_limit_per_key.as_deref(),
            created: partner.created.seconds(),
            earned: balance.earned.to_json(),
            paid_out: balance.paid_out.to_json(),
            payable: balance.payable().to_json(),
        }
    }
}

//! What partners read with their secret key: each request's share, and what they earned.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use opencredits_schema::{
    AccountId, Basis, Charged, Credits, EarningsRow, Event, HistoryRow, Partner, PartnerId,
    RequestId, Status, Timestamp, Usage, UsageQuery,
};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::answer::json;
use crate::dates;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::keys;
use crate::request::Incoming;

/// Rows on a page of requests, if the partner does not say; and at most.
const PAGE: usize = 50;
const PAGE_MAX: usize = 1000;

/// All of `/partner/v1/…`.
///
/// # Errors
/// 401 without a partner's secret key, 404, 405, 400 for bad parameters, 503 when the store does
/// not answer.
pub async fn handle(
    gateway: &Arc<Gateway>,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let partner = authenticate(gateway, request).await?;
    let route = request.path.strip_prefix("/partner/v1/").unwrap_or_default();
    if !matches!(route, "usage" | "earnings" | "profile") {
        return Err(ApiError::not_found());
    }
    if request.method != Method::GET {
        return Err(ApiError::method_not_allowed("GET"));
    }
    match route {
        "usage" => usage(gateway, request, partner.id).await,
        "earnings" => earnings(gateway, request, partner.id).await,
        _ => json(StatusCode::OK, &Profile::of(&partner)),
    }
}

async fn authenticate(gateway: &Arc<Gateway>, request: &Incoming) -> Result<Partner, ApiError> {
    const MISSING: &str = "No partner key provided. Send it as Authorization: Bearer oc_rk_….";
    const INVALID: &str = "The partner key is invalid.";
    let missing = || ApiError::new(ErrorCode::MissingApiKey, MISSING);
    let invalid = || ApiError::new(ErrorCode::InvalidUserKey, INVALID);
    let key = request.bearer().ok_or_else(missing)?;
    if !keys::is_well_formed(keys::PARTNER_SECRET, key) {
        return Err(invalid());
    }
    if let Some(partner) = gateway.system.store().partner_by_secret(keys::hash(key)).await? {
        return Ok(partner);
    }
    let limited = gateway.bad_keys.check(request.peer);
    limited.map_err(|limited| ApiError::rate_limited(limited.retry_after_s))?;
    Err(invalid())
}

/// The partner's requests, newest first. The rows of one request are never torn apart, so a page
/// can have one more than its limit.
async fn usage(
    gateway: &Arc<Gateway>,
    request: &Incoming,
    partner: PartnerId,
) -> Result<Response<Bytes>, ApiError> {
    let limit = request.number("limit", PAGE, PAGE_MAX)?.max(1);
    let after = request.param("after").map(|text| text.parse::<RequestId>()).transpose();
    let bad_after = |_| ApiError::invalid_request("`after` is not a request id.");
    let query = UsageQuery {
        // A request has a row for its charge and at most one more for its adjustment.
        limit: limit + 2,
        after: after.map_err(|error| bad_after(error).with_param("after"))?,
        from: moment(request, "from")?,
        to: moment(request, "to")?,
        model: request.param("model").map(|name| canonical(gateway, name)),
    };
    let rows = gateway.system.store().partner_usage(partner, query).await?;
    let rows: Vec<_> = rows.iter().filter_map(|row| Some((row, row.event.charged()?))).collect();
    let request_at = |at: usize| rows.get(at).map(|(_, charged)| charged.request);
    let torn = request_at(limit).is_some() && request_at(limit) == request_at(limit - 1);
    let shown = if torn { limit + 1 } else { limit };
    let next = if rows.len() > shown { request_at(shown - 1) } else { None };
    let data = rows.iter().take(shown);
    let data = data.map(|(row, charged)| RequestRow::of(partner, row, charged)).collect();
    json(StatusCode::OK, &RequestPage { data, next: next.map(|id| id.to_string()) })
}

/// What the partner earned: in a span of time if one is asked for, else ever. What was paid out
/// and what is payable are of all time.
async fn earnings(
    gateway: &Arc<Gateway>,
    request: &Incoming,
    partner: PartnerId,
) -> Result<Response<Bytes>, ApiError> {
    let (from, to) = (moment(request, "from")?, moment(request, "to")?);
    let store = gateway.system.store();
    let rows = store.earnings(partner, from, to).await?;
    let balance = store.partner_balance(partner).await?;
    let whole = from.is_none() && to.is_none();
    let in_span = || rows.iter().map(|row| row.share).sum();
    let mut days: BTreeMap<i64, Sum> = BTreeMap::new();
    let mut models: BTreeMap<&str, Sum> = BTreeMap::new();
    for row in &rows {
        days.entry(row.day).or_default().add(row);
        models.entry(&row.model).or_default().add(row);
    }
    let earnings = Earnings {
        earned: if whole { balance.earned } else { in_span() }.to_json(),
        paid_out: balance.paid_out.to_json(),
        payable: balance.payable().to_json(),
        by_day: days.into_iter().map(|(day, sum)| DayRow::of(day, &sum)).collect(),
        by_model: models.into_iter().map(|(model, sum)| ModelRow::of(model, &sum)).collect(),
    };
    json(StatusCode::OK, &earnings)
}

/// A query parameter that is a moment: seconds since 1970, a day, or RFC 3339.
fn moment(request: &Incoming, name: &'static str) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = request.param(name) else { return Ok(None) };
    dates::parse(&text).map(Some).ok_or_else(|| {
        let message = format!(
            "`{name}` is neither seconds since 1970 nor a day such as 2026-11-23 nor a moment \
             such as 2026-11-23T09:30:00Z."
        );
        ApiError::invalid_request(message).with_param(name)
    })
}

/// The id under which a model is charged, whatever name it was asked by.
fn canonical(gateway: &Arc<Gateway>, name: String) -> String {
    gateway.book().model(&name).map_or(name, |model| model.id.to_string())
}

/// Tells a partner its users apart and leads to no account.
fn reference(partner: PartnerId, account: AccountId) -> String {
    const DIGITS: usize = 16;
    let digest = Sha256::digest(format!("{partner}{account}"));
    keys::hex(&digest).chars().take(DIGITS).collect()
}

#[derive(Serialize)]
struct RequestPage<'a> {
    data: Vec<RequestRow<'a>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct RequestRow<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    created: i64,
    request_id: String,
    account: String,
    model: &'a str,
    usage: &'a Usage,
    provider_cost: Box<RawValue>,
    referral_share: Box<RawValue>,
    charge: Box<RawValue>,
    status: Status,
    basis: Basis,
}

impl<'a> RequestRow<'a> {
    fn of(partner: PartnerId, row: &HistoryRow, charged: &'a Charged) -> Self {
        let account = reference(partner, row.account);
        let adjusts = matches!(row.event, Event::Adjusted(_));
        Self {
            id: format!("{account}-{}", row.seq),
            kind: if adjusts { "adjustment" } else { "usage" },
            created: row.event.at().seconds(),
            request_id: charged.request.to_string(),
            account,
            model: &charged.model,
            usage: &charged.usage,
            provider_cost: charged.cost.to_json(),
            referral_share: charged.share.to_json(),
            charge: charged.total().to_json(),
            status: charged.status,
            basis: charged.basis,
        }
    }
}

#[derive(Default)]
struct Sum {
    requests: u64,
    cost: Credits,
    share: Credits,
}

impl Sum {
    const fn add(&mut self, row: &EarningsRow) {
        self.requests = self.requests.saturating_add(row.requests);
        self.cost = self.cost.plus(row.cost);
        self.share = self.share.plus(row.share);
    }
}

#[derive(Serialize)]
struct Earnings<'a> {
    earned: Box<RawValue>,
    paid_out: Box<RawValue>,
    payable: Box<RawValue>,
    by_day: Vec<DayRow>,
    by_model: Vec<ModelRow<'a>>,
}

#[derive(Serialize)]
struct DayRow {
    day: String,
    requests: u64,
    provider_cost: Box<RawValue>,
    referral_share: Box<RawValue>,
}

impl DayRow {
    fn of(day: i64, sum: &Sum) -> Self {
        Self {
            day: dates::day_text(day),
            requests: sum.requests,
            provider_cost: sum.cost.to_json(),
            referral_share: sum.share.to_json(),
        }
    }
}

#[derive(Serialize)]
struct ModelRow<'a> {
    model: &'a str,
    requests: u64,
    provider_cost: Box<RawValue>,
    referral_share: Box<RawValue>,
}

impl<'a> ModelRow<'a> {
    fn of(model: &'a str, sum: &Sum) -> Self {
        Self {
            model,
            requests: sum.requests,
            provider_cost: sum.cost.to_json(),
            referral_share: sum.share.to_json(),
        }
    }
}

#[derive(Serialize)]
struct Profile<'a> {
    id: String,
    name: &'a str,
    publishable_key: &'a str,
    referral_rate: Box<RawValue>,
    allowed_models: Option<&'a [String]>,
    allowed_origins: &'a [String],
}

impl<'a> Profile<'a> {
    fn of(partner: &'a Partner) -> Self {
        Self {
            id: partner.id.to_string(),
            name: &partner.name,
            publishable_key: &partner.publishable_key,
            referral_rate: partner.referral_rate.to_json(),
            allowed_models: partner.allowed_models.as_deref(),
            allowed_origins: &partner.allowed_origins,
        }
    }
}

#[cfg(test)]
mod tests;

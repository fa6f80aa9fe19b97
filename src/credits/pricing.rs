//! What a request with so many tokens costs on each model: "how many requests will this buy?"

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use opencredits_schema::{Partner, PriceError, Usage};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::answer::json;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::keys;
use crate::request::Incoming;

/// Input and output tokens of a request, if the caller does not say; and at most.
const TOKENS: u64 = 2500;
const TOKENS_MAX: u64 = 1_000_000_000;

/// `POST` and `GET /v1/credits/pricing`: the charge of a request, share included, on each model
/// that the partner's users may use now. A model that is asked for by name is priced even if it is
/// retired or its provider has no key.
///
/// # Errors
/// 400 for bad fields or a publishable key that no partner has; 405; 429 for an address that tries
/// too many of those; 503 when the store does not answer.
pub async fn pricing(
    gateway: &Arc<Gateway>,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let asked = Asked::of(request)?;
    let partner = partner_of(gateway, request, asked.publishable_key).await?;
    let input = tokens(asked.input_tokens, "input_tokens")?;
    let output = tokens(asked.output_tokens, "output_tokens")?;
    let usage = Usage { input, output, ..Usage::default() };
    let book = gateway.book();
    let wanted: Option<HashSet<_>> = asked.models.filter(|names| !names.is_empty()).map(|names| {
        names
            .iter()
            .filter_map(|name| book.model(name))
            .map(|model| Arc::clone(&model.id))
            .collect()
    });
    let shown = book.models().filter(|model| match &wanted {
        Some(ids) => ids.contains(&model.id),
        None => !model.is_retired() && gateway.upstream.has_key(model.provider),
    });
    let models = shown.filter(|model| partner.allows(&model.id)).map(|model| {
        let charge = model.charge(&book, &usage, partner.referral_rate)?;
        let credits_per_request = charge.total().to_json();
        Ok(Estimate { id: &model.id, name: &model.name, credits_per_request })
    });
    let models: Result<_, PriceError> = models.collect();
    let models = models.map_err(|error| ApiError::invalid_request(error.to_string()))?;
    json(StatusCode::OK, &Estimates { token_assumption: Assumption { input, output }, models })
}

/// What the caller asks, in the body or in the query.
#[derive(Deserialize)]
struct Asked {
    publishable_key: Option<String>,
    models: Option<Vec<String>>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Asked {
    fn of(request: &Incoming) -> Result<Self, ApiError> {
        match request.method {
            Method::POST => request.json(),
            Method::GET => Ok(Self {
                publishable_key: request.param("publishable_key"),
                models: request.param("models").map(|list| {
                    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
                    names.map(str::to_owned).collect()
                }),
                input_tokens: count(request, "input_tokens")?,
                output_tokens: count(request, "output_tokens")?,
            }),
            _ => Err(ApiError::method_not_allowed("GET, POST")),
        }
    }
}

fn count(request: &Incoming, name: &'static str) -> Result<Option<u64>, ApiError> {
    let number = request.param(name).map(|text| text.parse()).transpose();
    number.map_err(|_| bad_field(name, "is not a whole number"))
}

fn tokens(asked: Option<u64>, name: &'static str) -> Result<u64, ApiError> {
    let tokens = asked.unwrap_or(TOKENS);
    if tokens > TOKENS_MAX {
        return Err(bad_field(name, "is more than 1000000000"));
    }
    Ok(tokens)
}

async fn partner_of(
    gateway: &Arc<Gateway>,
    request: &Incoming,
    key: Option<String>,
) -> Result<Partner, ApiError> {
    const NAME: &str = "publishable_key";
    let key = key.ok_or_else(|| bad_field(NAME, "is missing"))?;
    if !keys::is_well_formed(keys::PUBLISHABLE_KEY, &key) {
        return Err(bad_field(NAME, "is not a publishable key"));
    }
    if let Some(partner) = gateway.system.store().partner_by_publishable(key).await? {
        return Ok(partner);
    }
    let limited = gateway.bad_keys.check(request.peer);
    limited.map_err(|limited| ApiError::rate_limited(limited.retry_after_s))?;
    Err(bad_field(NAME, "is not known"))
}

fn bad_field(name: &'static str, what: &str) -> ApiError {
    ApiError::invalid_request(format!("`{name}` {what}.")).with_param(name)
}

#[derive(Serialize)]
struct Estimates<'a> {
    token_assumption: Assumption,
    models: Vec<Estimate<'a>>,
}

#[derive(Serialize)]
struct Assumption {
    input: u64,
    output: u64,
}

#[derive(Serialize)]
struct Estimate<'a> {
    id: &'a str,
    name: &'a str,
    credits_per_request: Box<RawValue>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::admin::tests::Fixture;

    async fn ask(fixture: &Fixture, method: &str, query: &str, body: &Value) -> Value {
        let path = format!("/v1/credits/pricing{query}");
        let request = Fixture::request(method, &path, &body.to_string());
        Fixture::ok(pricing(&fixture.gateway, &request).await)
    }

    #[tokio::test]
    async fn a_request_is_priced_with_the_share_of_the_partner() {
        let fixture = Fixture::new().await;
        for (rate, credits) in [("0", json!(4.5)), ("0.10", json!(4.95))] {
            let partner = fixture.partner(&json!({"name": "A", "referral_rate": rate})).await;
            let key = &partner["publishable_key"];
            let body = json!({"publishable_key": key, "models": ["anthropic/claude-sonnet-4"]});
            let answer = ask(&fixture, "POST", "", &body).await;
            let expected = json!({"token_assumption": {"input": 2500, "output": 2500},
                "models": [{"id": "anthropic/claude-sonnet-4-20250514",
                    "name": "Claude Sonnet 4", "credits_per_request": credits}]});
            assert_eq!(answer, expected);
            let query = format!(
                "?publishable_key={}&models=claude-sonnet-4-20250514,none",
                key.as_str().unwrap()
            );
            assert_eq!(ask(&fixture, "GET", &query, &Value::Null).await, expected);
        }
    }

    #[tokio::test]
    async fn only_what_the_partner_may_use_now_is_priced() {
        let fixture = Fixture::new().await;
        let allowed = json!({"name": "A", "referral_rate": "0", "allowed_models": ["anthropic/*"]});
        let partner = fixture.partner(&allowed).await;
        let body = json!({"publishable_key": partner["publishable_key"], "input_tokens": 1000,
            "output_tokens": 0, "models": []});
        let answer = ask(&fixture, "POST", "", &body).await;
        assert_eq!(answer["token_assumption"], json!({"input": 1000, "output": 0}));
        let models = answer["models"].as_array().unwrap();
        assert!(!models.is_empty());
        let ids: Vec<_> = models.iter().map(|model| model["id"].as_str().unwrap()).collect();
        assert!(ids.iter().all(|id| id.starts_with("anthropic/")));
        assert!(!ids.contains(&"anthropic/claude-sonnet-4-20250514"));
    }

    #[tokio::test]
    async fn what_cannot_be_priced_is_refused_by_its_name() {
        let fixture = Fixture::new().await;
        let partner = fixture.partner(&json!({"name": "A", "referral_rate": "0"})).await;
        let key = &partner["publishable_key"];
        let unknown = keys::generate(keys::PUBLISHABLE_KEY).unwrap();
        for (body, param) in [
            (json!({}), "publishable_key"),
            (json!({"publishable_key": "oc_pk_x"}), "publishable_key"),
            (json!({"publishable_key": unknown.expose()}), "publishable_key"),
            (json!({"publishable_key": key, "input_tokens": 1_000_000_001}), "input_tokens"),
            (json!({"publishable_key": key, "output_tokens": u64::MAX}), "output_tokens"),
        ] {
            let request = Fixture::request("POST", "/v1/credits/pricing", &body.to_string());
            let error = pricing(&fixture.gateway, &request).await.unwrap_err();
            assert_eq!(error.code().status(), 400, "{body}");
            let body = error.body(crate::error::ErrorShape::OpenAi);
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["param"], param);
        }
        for (method, body, status) in [("PUT", "", 405), ("POST", "{", 400), ("POST", "[]", 400)] {
            let request = Fixture::request(method, "/v1/credits/pricing", body);
            let error = pricing(&fixture.gateway, &request).await.unwrap_err();
            assert_eq!(error.code().status(), status);
        }
    }
}

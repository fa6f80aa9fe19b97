//! The catalogue: the models that can be asked, as the SDKs of OpenAI and Anthropic read them.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_schema::{Model, Timestamp};
use serde::Serialize;

use crate::answer::json;
use crate::dates;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::request::Incoming;

/// `GET /v1/models`: every model whose provider has a key, the retired ones last.
///
/// # Errors
/// None but our own defects.
#[expect(clippy::unused_async, reason = "the routes await every handler alike")]
pub async fn list(
    gateway: &Arc<Gateway>,
    _request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let book = gateway.book();
    let served = book.models().filter(|model| gateway.upstream.has_key(model.provider));
    let data: Vec<_> = served.map(|model| ModelRow::of(model)).collect();
    let (first_id, last_id) = (data.first().map(|row| row.id), data.last().map(|row| row.id));
    let page = ModelPage { object: "list", first_id, last_id, has_more: false, data: &data };
    json(StatusCode::OK, &page)
}

/// `GET /v1/models/{id}`: one model by its id, alias or bare name, percent-encoded or not.
///
/// # Errors
/// 404 for a name that no model has, or whose provider has no key.
#[expect(clippy::unused_async, reason = "the routes await every handler alike")]
pub async fn one(
    gateway: &Arc<Gateway>,
    _request: &Incoming,
    id: &str,
) -> Result<Response<Bytes>, ApiError> {
    let id = percent_decoded(id);
    let book = gateway.book();
    let model = book.model(&id).filter(|model| gateway.upstream.has_key(model.provider));
    let model = model.ok_or_else(|| ApiError::model_not_found(&id))?;
    json(StatusCode::OK, &ModelRow::of(model))
}

#[derive(Serialize)]
struct ModelPage<'a> {
    object: &'static str,
    data: &'a [ModelRow<'a>],
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

#[derive(Serialize)]
struct ModelRow<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    context_window: u64,
    max_tokens: u64,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    display_name: &'a str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

impl<'a> ModelRow<'a> {
    fn of(model: &'a Model) -> Self {
        let released = released(&model.upstream_id);
        Self {
            id: &model.id,
            name: &model.name,
            kind: "language",
            context_window: model.context_window,
            max_tokens: model.max_output_tokens,
            object: "model",
            created: released.seconds(),
            owned_by: model.provider.as_str(),
            display_name: &model.name,
            created_at: dates::moment_text(released),
            status: model.is_retired().then_some("retired"),
        }
    }
}

/// The day at the end of a dated name, `…-20250514` or `…-2024-08-06`. For the others nothing is
/// known, which Anthropic's API tells as 1970 too.
fn released(upstream_id: &str) -> Timestamp {
    let tail = |length: usize| upstream_id.get(upstream_id.len().checked_sub(length)?..);
    let plain = || {
        let digits = tail(9)?.strip_prefix('-')?;
        let (year, rest) = digits.split_at_checked(4)?;
        let (month, day) = rest.split_at_checked(2)?;
        dates::day(&format!("{year}-{month}-{day}"))
    };
    let day = tail(10).and_then(dates::day).or_else(plain).unwrap_or(0);
    Timestamp::from_millis(day * 86_400_000)
}

/// A part of a path with its `%xx` decoded; one that is none stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let decoded = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::Fixture;

    #[test]
    fn a_dated_name_tells_when_the_model_came() {
        for (id, seconds) in [
            ("claude-sonnet-4-20250514", 1_747_180_800),
            ("gpt-4o-2024-08-06", 1_722_902_400),
            ("gpt-4o", 0),
            ("grok-4.20-0309", 0),
            ("o1", 0),
        ] {
            assert_eq!(released(id).seconds(), seconds, "{id}");
        }
    }

    #[test]
    fn a_path_is_percent_decoded_but_for_its_plus() {
        assert_eq!(percent_decoded("openai%2Fgpt-4o+x%2"), "openai/gpt-4o+x%2");
    }

    #[tokio::test]
    async fn the_list_has_the_models_of_providers_with_a_key_and_the_retired_ones_last() {
        let fixture = Fixture::new().await;
        let request = Fixture::request("GET", "/v1/models", "");
        let list = Fixture::ok(list(&fixture.gateway, &request).await);
        let data = list["data"].as_array().unwrap();
        assert!(data.iter().all(|row| row["owned_by"] != "google"));
        assert!(data.iter().any(|row| row["id"] == "openai/gpt-4o"));
        let retired = data.iter().position(|row| row["status"] == "retired").unwrap();
        assert!(data[retired..].iter().all(|row| row["status"] == "retired"));
        assert_eq!(list["first_id"], data[0]["id"]);
        assert_eq!(list["last_id"], data[data.len() - 1]["id"]);
        assert_eq!((&list["object"], &list["has_more"]), (&"list".into(), &false.into()));
        let row = data.iter().find(|row| row["id"] == "anthropic/claude-sonnet-4-20250514");
        let expected = serde_json::json!({"id": "anthropic/claude-sonnet-4-20250514",
            "name": "Claude Sonnet 4", "type": "language", "context_window": 200_000,
            "max_tokens": 64_000, "object": "model", "created": 1_747_180_800,
            "owned_by": "anthropic", "display_name": "Claude Sonnet 4",
            "created_at": "2025-05-14T00:00:00Z", "status": "retired"});
        assert_eq!(row, Some(&expected));
    }

    #[tokio::test]
    async fn a_model_is_found_by_each_of_its_names() {
        let fixture = Fixture::new().await;
        let request = Fixture::request("GET", "/v1/models/x", "");
        for name in [
            "anthropic/claude-opus-4-6",
            "anthropic%2fclaude-opus-4-6",
            "anthropic/claude-opus-4.6",
            "claude-opus-4-6",
        ] {
            let model = Fixture::ok(one(&fixture.gateway, &request, name).await);
            assert_eq!(model["id"], "anthropic/claude-opus-4-6", "{name}");
        }
        for name in ["openai/none", "google/gemini-2.5-pro", ""] {
            let error = one(&fixture.gateway, &request, name).await.unwrap_err();
            assert_eq!(error.code().status(), 404, "{name}");
        }
    }
}

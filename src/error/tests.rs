//! Every row of the documented table, in both shapes.

use opencredits_schema::Credits;
use serde_json::{Value, json};

use super::*;

const ID: &str = "0192f0c1-5b7e-7c3a-9d2e-1f0a3b4c5d6e";

fn shortage() -> Shortage {
    Shortage {
        required: Credits::from_micro(12_500_000),
        available: Credits::from_micro(3_200_000),
        held: Credits::from_micro(1_000_000),
        affordable_output: 812,
        limit: LimitedBy::Balance,
        waiting_helps: true,
    }
}

/// One error of each kind: status, type, `x-should-retry: false`, `Retry-After`.
#[rustfmt::skip]
fn table() -> Vec<(ApiError, u16, &'static str, bool, Option<&'static str>)> {
    vec![
        (ApiError::invalid_request("Bad."), 400, "invalid_request", true, None),
        (ApiError::missing_api_key(), 401, "missing_api_key", true, None),
        (ApiError::invalid_user_key(), 401, "invalid_user_key", true, None),
        (ApiError::insufficient_credits(&shortage()), 402, "insufficient_credits", true, None),
        (ApiError::model_not_allowed("a/b"), 403, "model_not_allowed", true, None),
        (ApiError::origin_not_allowed(), 403, "origin_not_allowed", true, None),
        (ApiError::model_not_found("a/b"), 404, "model_not_found", true, None),
        (ApiError::model_retired("a/b", Some("a/c")), 404, "model_not_found", true, None),
        (ApiError::not_found(), 404, "not_found", true, None),
        (ApiError::method_not_allowed("GET"), 405, "method_not_allowed", false, None),
        (ApiError::new(ErrorCode::Conflict, "Other fields."), 409, "conflict", true, None),
        (ApiError::request_too_large(32), 413, "request_too_large", false, None),
        (ApiError::rate_limited(7), 429, "rate_limited", false, Some("7")),
        (ApiError::internal("defect"), 500, "internal_error", false, None),
        (ApiError::upstream(), 502, "upstream_error", false, None),
        (ApiError::upstream().with_retry_after(9), 502, "upstream_error", false, Some("9")),
        (ApiError::overloaded(2), 503, "overloaded", false, Some("2")),
        (ApiError::settlement_unfinished(), 503, "overloaded", true, None),
        (ApiError::new(ErrorCode::Overloaded, "Busy."), 503, "overloaded", false, Some("1")),
    ]
}

#[test]
fn each_error_has_its_status_its_type_and_its_headers_in_both_shapes() {
    for shape in [ErrorShape::OpenAi, ErrorShape::Anthropic] {
        for (error, status, kind, forbids_retry, retry_after) in table() {
            let message = error.message().to_owned();
            let param = error.param.clone();
            let response = error.into_response(shape, ID);
            assert_eq!(response.status().as_u16(), status, "{kind}");
            let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
            assert_eq!(header("x-request-id"), Some(ID));
            assert_eq!(header("content-type"), Some("application/json"));
            assert_eq!(header("x-should-retry"), forbids_retry.then_some("false"), "{kind}");
            assert_eq!(header("retry-after"), retry_after, "{kind}");
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            let expected = match shape {
                ErrorShape::OpenAi => json!({"error": {
                    "message": message, "type": kind, "param": param, "code": status.to_string(),
                }}),
                ErrorShape::Anthropic => json!({
                    "type": "error", "error": {"type": kind, "message": message},
                }),
            };
            assert_eq!(body, expected);
        }
    }
}

#[test]
fn the_bodies_are_the_documented_ones_in_their_order() {
    let error = ApiError::new(
        ErrorCode::InsufficientCredits,
        "Insufficient credits. Please top up your balance.",
    );
    assert_eq!(
        error.body(ErrorShape::OpenAi),
        r#"{"error":{"message":"Insufficient credits. Please top up your balance.","type":"insufficient_credits","param":null,"code":"402"}}"#
    );
    assert_eq!(
        error.body(ErrorShape::Anthropic),
        r#"{"type":"error","error":{"type":"insufficient_credits","message":"Insufficient credits. Please top up your balance."}}"#
    );
}

#[test]
fn a_402_begins_with_the_documented_sentence_and_tells_what_helps() {
    let text = shortage().to_string();
    assert!(text.starts_with("Insufficient credits. Please top up your balance. "));
    for part in ["12.5 credits", "3.2 are available", "1 are held", "812 output", "Waiting"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let key = Shortage { limit: LimitedBy::Key, waiting_helps: false, ..shortage() }.to_string();
    assert!(key.contains("the key's spending limit leaves 3.2") && !key.contains("Waiting"));
}

#[test]
fn the_cause_is_for_the_log_only() {
    let error = ApiError::upstream().with_source("10.0.0.7 reset");
    assert_eq!(error.to_string(), "upstream_error: 10.0.0.7 reset");
    let response = error.into_response(ErrorShape::OpenAi, ID);
    let shown = format!("{:?} {:?}", response.headers(), response.body());
    assert!(!shown.contains("10.0.0.7"));
}

#[test]
fn a_405_names_the_methods_and_a_retired_model_its_successor() {
    let response = ApiError::method_not_allowed("GET, POST").into_response(ErrorShape::OpenAi, ID);
    assert_eq!(response.headers()["allow"], "GET, POST");
    let retired = ApiError::model_retired("a/b", Some("a/c"));
    assert_eq!(retired.message(), r#"The model "a/b" has been retired. Use "a/c" instead."#);
}

#[test]
fn a_bad_body_is_its_own_error() {
    assert_eq!(ApiError::from(BodyError::TooLarge { max: 5 }).code(), ErrorCode::RequestTooLarge);
    assert_eq!(ApiError::from(BodyError::Timeout).code(), ErrorCode::InvalidRequest);
    let broken = BodyError::Broken("reset".into());
    assert_eq!(ApiError::from(broken).code(), ErrorCode::InvalidRequest);
}

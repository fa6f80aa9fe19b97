//! Errors as the providers spell them, and what becomes of each.

use super::*;

fn check(provider: Provider, status: u16, body: &str, expected: UpstreamFault) {
    assert_eq!(classify_error(provider, status, body.as_bytes(), None), expected, "{body}");
}

fn bad(message: &str) -> UpstreamFault {
    UpstreamFault::BadRequest { message: message.into() }
}

#[test]
fn e1_a_fault_of_our_key_or_bill_is_never_the_callers() {
    use Provider::*;
    use UpstreamFault::*;
    let google = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.",
        "status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
    check(Google, 400, google, Ours);
    check(
        XAi,
        400,
        r#"{"code":"invalid-argument","error":"Incorrect API key provided: x."}"#,
        Ours,
    );
    check(XAi, 400, r#"{"code":"invalid-argument","error":"Bad n."}"#, bad("Bad n."));
    check(XAi, 403, r#"{"code":"x","error":"You have used all available credits."}"#, Ours);
    check(
        XAi,
        403,
        r#"{"code":"x","error":"Content violates usage guidelines"}"#,
        bad("Content violates usage guidelines"),
    );
    check(OpenAi, 401, r#"{"error":{"code":"invalid_api_key","message":"Incorrect"}}"#, Ours);
    check(OpenAi, 429, r#"{"error":{"type":"insufficient_quota","message":"You exceeded"}}"#, Ours);
    check(OpenAi, 402, "", Ours);
    let low = r#"{"type":"error","error":{"type":"invalid_request_error",
        "message":"Your credit balance is too low to access the Anthropic API."}}"#;
    check(Anthropic, 400, low, Ours);
    let disabled = r#"{"type":"error","error":{"type":"invalid_request_error",
        "message":"This organization has been disabled."}}"#;
    check(Anthropic, 400, disabled, Ours);
    let unverified = r#"{"error":{"type":"invalid_request_error","code":"unsupported_value",
        "message":"Your organization must be verified to stream this model."}}"#;
    check(OpenAi, 400, unverified, Ours);
    check(OpenAi, 429, r#"{"error":{"type":"billing_not_active","message":"Not active"}}"#, Ours);
    let spent = r#"{"code":"x","error":"Your team has used all available credits."}"#;
    check(XAi, 429, spent, Ours);
    let abroad = r#"[{"error":{"code":400,"status":"FAILED_PRECONDITION",
        "message":"User location is not supported for the API use."}}]"#;
    check(Google, 400, abroad, Ours);
}

#[test]
fn e1_a_busy_provider_is_502_with_its_own_time() {
    let check = |status, body: &str, header, retry_after| {
        let fault = classify_error(Provider::Google, status, body.as_bytes(), header);
        assert_eq!(fault, UpstreamFault::Overloaded { retry_after }, "{body}");
    };
    let google = r#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"quota",
        "details":[{"@type":"…RetryInfo","retryDelay":"48.9s"}]}}]"#;
    check(429, google, None, Some(49));
    check(429, google, Some("3"), Some(3));
    check(429, "", Some("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    check(503, "<html>", Some("1.000"), Some(1));
    check(529, r#"{"type":"error","error":{"type":"overloaded_error"}}"#, None, None);
    check(500, r#"{"type":"error","error":{"type":"overloaded_error"}}"#, None, None);
}

#[test]
fn other_statuses_are_ours_or_the_providers() {
    use UpstreamFault::*;
    check(Provider::OpenAi, 404, r#"{"error":{"code":"model_not_found"}}"#, NotFound);
    check(Provider::OpenAi, 400, r#"{"error":{"code":"model_not_found"}}"#, NotFound);
    check(Provider::Anthropic, 413, r#"{"error":{"message":"Too large"}}"#, bad("Too large"));
    check(Provider::OpenAi, 422, "{}", bad("The AI provider refused the request."));
    for status in [302, 405, 408, 409, 500, 502, 504] {
        check(Provider::XAi, status, r#"{"error":{"message":"secret host"}}"#, Failed);
    }
}

#[test]
fn an_error_event_tells_what_it_is() {
    let check = |data: &str, kind: &str, message: &str, fault| {
        let error = InBandError::read(data.as_bytes());
        assert_eq!(error, InBandError { kind: kind.into(), message: message.into(), fault });
    };
    check(
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        "overloaded_error",
        "Overloaded",
        UpstreamFault::Overloaded { retry_after: None },
    );
    check(
        r#"{"error":{"message":"Bad.","type":"invalid_request_error","code":null}}"#,
        "invalid_request_error",
        "Bad.",
        bad("Bad."),
    );
    check(r#"{"code":"internal","error":"oops"}"#, "internal", "oops", UpstreamFault::Failed);
    check("no json", "", "The AI provider refused the request.", UpstreamFault::Failed);
}

proptest::proptest! {
    #[test]
    fn no_body_panics(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200), text: String) {
        drop(classify_error(Provider::Google, 400, &body, Some(&text)));
        drop(scrubbed(&text));
        drop(InBandError::read(&body));
    }
}

//! Whole answers and errors, as recorded from the providers, against plain readings of their JSON.

#![expect(clippy::unwrap_used, reason = "a recording that can't be read fails the test")]

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use opencredits_schema::{Provider, Usage};
use opencredits_wire::{Dialect, UpstreamFault, add_cost, classify_error, usage_of_body};
use serde_json::{Value, json};

struct Recording {
    id: String,
    provider: Provider,
    dialect: Dialect,
    status: u16,
    body: Vec<u8>,
}

/// The recorded answers of the endpoints that the gateway calls, streams aside.
fn recordings() -> Vec<Recording> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../loadtest/fixtures"));
    let index: Value = serde_json::from_slice(&fs::read(root.join("index.json")).unwrap()).unwrap();
    let mut read = Vec::new();
    for entry in index.as_array().unwrap() {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let (id, response) = (text("id"), text("response"));
        let (provider, dialect) = match id.split('/').take(2).collect::<Vec<_>>()[..] {
            ["openai", "chat-completions"] => (Provider::OpenAi, Dialect::ChatCompletions),
            ["xai", "chat-completions"] => (Provider::XAi, Dialect::ChatCompletions),
            ["openai", "responses"] => (Provider::OpenAi, Dialect::Responses),
            ["xai", "responses"] => (Provider::XAi, Dialect::Responses),
            ["google", "generatecontent"] => (Provider::Google, Dialect::GenerateContent),
            ["google", "openai-compat"] => (Provider::Google, Dialect::ChatCompletions),
            ["anthropic", _] => (Provider::Anthropic, Dialect::Messages),
            _ => continue,
        };
        if !response.ends_with(".json") {
            continue;
        }
        let status = entry["status"].as_u64().unwrap_or(200).try_into().unwrap();
        let body = fs::read(root.join(response)).unwrap();
        read.push(Recording { id, provider, dialect, status, body });
    }
    assert!(read.len() > 100, "only {} recordings", read.len());
    read
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

#[test]
fn b5_b12_the_usage_of_recorded_answers_adds_up_to_the_providers_totals() {
    let mut seen = 0;
    for Recording { id, provider, dialect, status, body } in recordings() {
        let json: Value = serde_json::from_slice(&body).unwrap();
        let told = json.get("usage").or_else(|| json.get("usageMetadata"));
        let told = told.filter(|usage| usage.is_object());
        let usage = usage_of_body(provider, dialect, &body);
        let Some(told) = told.filter(|_| status == 200) else {
            assert_eq!(usage, None, "{id}");
            continue;
        };
        let usage = usage.unwrap_or_else(|| panic!("{id}: no usage"));
        seen += 1;
        match dialect {
            Dialect::ChatCompletions => check_chat(&id, provider, told, &usage),
            Dialect::Messages => check_message(&id, told, &usage),
            Dialect::Responses => check_response(&id, told, &usage),
            Dialect::GenerateContent => check_google(&id, told, &usage),
        }
    }
    assert!(seen > 150, "only {seen} with usage");
}

fn check_chat(id: &str, provider: Provider, told: &Value, usage: &Usage) {
    let n = |pointer| number(told, pointer);
    assert_eq!(usage.total_input(), n("/prompt_tokens"), "{id}");
    assert_eq!(usage.total_input() + usage.output, n("/total_tokens"), "{id}");
    let read = usage.cache_read + usage.cache_read_audio;
    assert_eq!(read, n("/prompt_tokens_details/cached_tokens"), "{id}");
    let reasoning = n("/completion_tokens_details/reasoning_tokens");
    let beside = if provider == Provider::XAi { reasoning } else { 0 };
    if provider != Provider::Google {
        assert_eq!(usage.output, n("/completion_tokens") + beside, "{id}");
    }
    assert_eq!(usage.reasoning, reasoning, "{id}");
    let ticks = told.get("cost_in_usd_ticks").and_then(Value::as_u64);
    assert_eq!(usage.cost_ticks, ticks, "{id}");
}

fn check_response(id: &str, told: &Value, usage: &Usage) {
    let n = |pointer| number(told, pointer);
    assert_eq!(usage.total_input(), n("/input_tokens"), "{id}");
    assert_eq!(usage.output, n("/output_tokens"), "{id}");
    assert_eq!(usage.total_input() + usage.output, n("/total_tokens"), "{id}");
    assert_eq!(usage.cache_read, n("/input_tokens_details/cached_tokens"), "{id}");
    assert_eq!(usage.reasoning, n("/output_tokens_details/reasoning_tokens"), "{id}");
    let ticks = told.get("cost_in_usd_ticks").and_then(Value::as_u64);
    assert_eq!(usage.cost_ticks, ticks, "{id}");
}

fn check_google(id: &str, told: &Value, usage: &Usage) {
    let n = |pointer| number(told, pointer);
    assert_eq!(usage.total_input() + usage.output, n("/totalTokenCount"), "{id}");
    assert_eq!(usage.output, n("/candidatesTokenCount") + n("/thoughtsTokenCount"), "{id}");
    let read = usage.cache_read + usage.cache_read_audio;
    assert_eq!(read, n("/cachedContentTokenCount"), "{id}");
}

fn check_message(id: &str, told: &Value, usage: &Usage) {
    let n = |pointer| number(told, pointer);
    let passes = told["iterations"].as_array().cloned().unwrap_or_default();
    let others: Vec<_> = passes.iter().filter(|pass| pass["type"] != "message").collect();
    assert_eq!(usage.passes.len(), others.len(), "{id}");
    for ((model, pass), told) in usage.passes.iter().zip(&others) {
        assert_eq!(model.as_deref(), told["model"].as_str(), "{id}");
        assert_eq!(pass.input, number(told, "/input_tokens"), "{id}");
        assert_eq!(pass.output, number(told, "/output_tokens"), "{id}");
    }
    let calls = usage.tool_calls;
    assert_eq!(calls.web_search, n("/server_tool_use/web_search_requests"), "{id}");
    assert_eq!(calls.web_fetch, n("/server_tool_use/web_fetch_requests"), "{id}");
    if others.iter().any(|pass| pass["type"] == "fallback_message") {
        return;
    }
    assert_eq!(usage.input, n("/input_tokens"), "{id}");
    assert_eq!(usage.cache_read, n("/cache_read_input_tokens"), "{id}");
    let written = usage.cache_write_5m + usage.cache_write_1h;
    assert_eq!(written, n("/cache_creation_input_tokens"), "{id}");
    assert_eq!(usage.output, n("/output_tokens"), "{id}");
}

#[test]
fn a_fallback_bills_each_model_for_its_own_pass() {
    let id = "anthropic-fallback";
    let found = recordings().into_iter().find(|recording| recording.id.ends_with(id)).unwrap();
    let usage = usage_of_body(found.provider, found.dialect, &found.body).unwrap();
    assert_eq!((usage.input, usage.output), (408, 0));
    let [(model, pass)] = &usage.passes[..] else { panic!("{usage:?}") };
    assert_eq!(model.as_deref(), Some("claude-opus-4-8"));
    assert_eq!((pass.input, pass.output), (412, 264));
}

#[test]
fn the_cost_is_all_that_is_added_to_a_recorded_answer() {
    for Recording { id, body, .. } in recordings() {
        let mut expected: Value = serde_json::from_slice(&body).unwrap();
        let with_cost = add_cost(Bytes::from(body.clone()), "0.25");
        match expected.get_mut("usage").and_then(Value::as_object_mut) {
            Some(usage) => {
                usage.insert("cost".to_owned(), json!(0.25));
                let read: Value = serde_json::from_slice(&with_cost).unwrap();
                assert_eq!(read, expected, "{id}");
            }
            None => assert_eq!(with_cost, body, "{id}"),
        }
    }
}

#[test]
fn e1_recorded_errors_mean_what_the_table_says() {
    let mut seen = 0;
    for Recording { id, provider, status, body, .. } in recordings() {
        if status < 400 {
            continue;
        }
        seen += 1;
        let fault = classify_error(provider, status, &body, Some("7"));
        let message = String::from_utf8(body).unwrap();
        let is_key = ["API key", "x-api-key"].iter().any(|words| message.contains(words));
        let right = match (&fault, status) {
            (UpstreamFault::Ours, _) => is_key || matches!(status, 401..=403),
            (UpstreamFault::BadRequest { message }, 400 | 413 | 422) => {
                !is_key && message != "The AI provider refused the request."
            }
            (UpstreamFault::NotFound, 400 | 404) => true,
            (UpstreamFault::Overloaded { retry_after }, 429 | 503 | 529) => *retry_after == Some(7),
            (UpstreamFault::Failed, 500..) => true,
            (
                UpstreamFault::BadRequest { .. }
                | UpstreamFault::NotFound
                | UpstreamFault::Overloaded { .. }
                | UpstreamFault::Failed,
                _,
            ) => false,
        };
        assert!(right, "{id}: {status} became {fault:?}");
    }
    assert!(seen > 10, "only {seen} errors");
}

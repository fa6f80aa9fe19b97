//! Usage as each provider tells it.

use std::fs;
use std::path::Path;

use opencredits_schema::ToolCalls;
use serde_json::{Value, json};

use super::*;

fn read(provider: Provider, dialect: Dialect, body: &Value) -> Option<Usage> {
    usage_of_body(provider, dialect, body.to_string().as_bytes())
}

fn chat_of(provider: Provider, usage: Value) -> Usage {
    read(provider, Dialect::ChatCompletions, &json!({ "choices": [], "usage": usage })).unwrap()
}

fn message_of(usage: Value) -> Usage {
    read(Provider::Anthropic, Dialect::Messages, &json!({ "usage": usage })).unwrap()
}

#[test]
fn b5_xai_reasoning_is_beside_completion_on_chat_and_inside_output_on_responses() {
    let chat = chat_of(
        Provider::XAi,
        json!({ "prompt_tokens": 288, "completion_tokens": 27, "total_tokens": 628,
            "prompt_tokens_details": { "text_tokens": 288, "cached_tokens": 287 },
            "completion_tokens_details": { "reasoning_tokens": 313 },
            "num_sources_used": 0, "cost_in_usd_ticks": 1_918_250 }),
    );
    let expected = Usage {
        input: 1,
        cache_read: 287,
        output: 340,
        reasoning: 313,
        cost_ticks: Some(1_918_250),
        ..Usage::default()
    };
    assert_eq!(chat, expected);
    let responses = chat_of(
        Provider::XAi,
        json!({ "input_tokens": 10, "output_tokens": 50, "total_tokens": 60,
            "output_tokens_details": { "reasoning_tokens": 40 },
            "server_side_tool_usage_details": { "web_search_calls": 2, "x_search_calls": 1,
                "code_interpreter_calls": 3, "file_search_calls": 4 } }),
    );
    assert_eq!((responses.output, responses.reasoning), (50, 40));
    let calls =
        ToolCalls { web_search: 2, x_search: 1, code_execution: 3, file_search: 4, web_fetch: 0 };
    assert_eq!(responses.tool_calls, calls);
    let no_total = json!({ "prompt_tokens": 1, "completion_tokens": 2,
        "completion_tokens_details": { "reasoning_tokens": 5 } });
    assert_eq!(chat_of(Provider::XAi, no_total.clone()).output, 7);
    assert_eq!(chat_of(Provider::OpenAi, no_total).output, 2);
}

#[test]
fn b6_gemini_adds_thoughts_and_tool_results_and_takes_cached_out() {
    let body = json!({ "usageMetadata": { "promptTokenCount": 100, "cachedContentTokenCount": 60,
        "candidatesTokenCount": 7, "thoughtsTokenCount": 20, "toolUsePromptTokenCount": 5,
        "totalTokenCount": 132, "serviceTier": "flex",
        "promptTokensDetails": [{ "modality": "AUDIO", "tokenCount": 30 }],
        "cacheTokensDetails": [{ "modality": 4, "tokenCount": 10 }] } });
    let usage = read(Provider::Google, Dialect::ChatCompletions, &body);
    let expected = Usage {
        input: 25,
        cache_read: 50,
        input_audio: 20,
        cache_read_audio: 10,
        output: 27,
        reasoning: 20,
        tier: Tier::Flex,
        ..Usage::default()
    };
    assert_eq!(usage, Some(expected));

    let mut stream = GoogleUsage::default();
    assert_eq!(stream.usage(), None);
    let chunk = |text| serde_json::from_str(text).unwrap();
    stream.merge(&chunk(r#"{"promptTokenCount": 9, "thoughtsTokenCount": 4}"#));
    stream.merge(&chunk(r#"{"promptTokenCount": 9, "candidatesTokenCount": 3}"#));
    assert_eq!(stream.usage().unwrap().output, 7);
}

#[test]
fn geminis_compatible_endpoint_hides_thoughts_in_the_total() {
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40 });
    assert_eq!(chat_of(Provider::Google, usage).output, 30);
}

#[test]
fn b9_an_explicit_zero_is_zero_and_nothing_is_none() {
    let zero = json!({ "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0 });
    assert_eq!(chat_of(Provider::OpenAi, zero), Usage::default());
    assert_eq!(message_of(json!({ "input_tokens": 0, "output_tokens": 0 })), Usage::default());
    for body in [json!({}), json!({ "usage": null }), json!({ "usage": {} }), json!([]), json!(1)] {
        for provider in Provider::ALL {
            for dialect in [Dialect::ChatCompletions, Dialect::Messages] {
                assert_eq!(read(provider, dialect, &body), None);
            }
        }
    }
    assert_eq!(usage_of_body(Provider::OpenAi, Dialect::Messages, b"{\"usage\":"), None);
}

#[test]
fn b12_openais_details_are_subsets_of_the_prompt() {
    let body = json!({ "service_tier": "priority", "usage": { "prompt_tokens": 100,
        "completion_tokens": 20, "total_tokens": 120,
        "prompt_tokens_details": { "cached_tokens": 30, "cache_write_tokens": 40,
            "audio_tokens": 10 },
        "completion_tokens_details": { "reasoning_tokens": 15, "audio_tokens": 3 } } });
    let expected = Usage {
        input: 20,
        cache_read: 30,
        cache_write_5m: 40,
        input_audio: 10,
        output: 20,
        output_audio: 3,
        reasoning: 15,
        tier: Tier::Priority,
        ..Usage::default()
    };
    assert_eq!(read(Provider::OpenAi, Dialect::ChatCompletions, &body), Some(expected));
    let nonsense = json!({ "prompt_tokens": 10, "completion_tokens": 1,
        "prompt_tokens_details": { "cached_tokens": 30, "audio_tokens": 9 } });
    let usage = chat_of(Provider::OpenAi, nonsense);
    assert_eq!((usage.total_input(), usage.cache_read), (10, 10));
    let huge = json!({ "prompt_tokens": u64::MAX, "completion_tokens": u64::MAX,
        "total_tokens": u64::MAX, "completion_tokens_details": { "reasoning_tokens": u64::MAX } });
    assert_eq!(chat_of(Provider::XAi, huge).output, u64::MAX);
}

#[test]
fn anthropics_cache_total_stands_above_its_split() {
    let written = |usage| {
        let usage = message_of(usage);
        (usage.cache_write_5m, usage.cache_write_1h)
    };
    let both = |five, hour| json!({ "ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour });
    let total = |total, split| json!({ "input_tokens": 1, "cache_creation_input_tokens": total, "cache_creation": split });
    assert_eq!(written(total(10, Value::Null)), (10, 0));
    assert_eq!(written(total(10, both(4, 6))), (4, 6));
    assert_eq!(written(total(12_174, both(291, 0))), (12_174, 0));
    assert_eq!(written(json!({ "input_tokens": 1, "cache_creation": both(4, 6) })), (4, 6));
}

#[test]
fn anthropics_tier_place_and_tools_are_read() {
    let usage = message_of(json!({ "input_tokens": 1, "output_tokens": 9,
        "service_tier": "priority", "inference_geo": "us",
        "output_tokens_details": { "thinking_tokens": 4 },
        "server_tool_use": { "web_search_requests": 2, "web_fetch_requests": 3 } }));
    assert_eq!((usage.tier, usage.geo.as_deref()), (Tier::Priority, Some("us")));
    assert_eq!((usage.tool_calls.web_search, usage.tool_calls.web_fetch), (2, 3));
    assert_eq!((usage.output, usage.reasoning), (9, 4));
    let usage =
        message_of(json!({ "output_tokens": 9, "speed": "fast", "inference_geo": "global" }));
    assert_eq!((usage.tier, usage.geo), (Tier::Fast, None));
}

#[test]
fn passes_beside_the_message_are_billed_on_top() {
    let pass = |kind: &str, model: Value, input, output| json!({ "type": kind, "model": model, "input_tokens": input, "output_tokens": output });
    let tokens = |input, output| Usage { input, output, ..Usage::default() };
    let usage = message_of(json!({ "input_tokens": 220, "output_tokens": 30, "iterations": [
        pass("compaction", Value::Null, 55_196, 500),
        pass("message", Value::Null, 100, 10),
        pass("advisor_message", json!("claude-opus-4-8"), 2_529, 38),
        pass("message", Value::Null, 120, 20)] }));
    let expected =
        [(None, tokens(55_196, 500)), (Some("claude-opus-4-8".to_owned()), tokens(2_529, 38))];
    assert_eq!((usage.input, usage.output), (220, 30));
    assert_eq!(usage.passes, expected);

    let usage = message_of(json!({ "input_tokens": 412, "output_tokens": 264, "iterations": [
        pass("message", json!("claude-fable-5"), 408, 0),
        pass("fallback_message", json!("claude-opus-4-8"), 412, 264)] }));
    assert_eq!((usage.input, usage.output), (408, 0));
    assert_eq!(usage.passes, [(Some("claude-opus-4-8".to_owned()), tokens(412, 264))]);
}

/// Calls `check` with each recorded body of a folder that tells usage under `key`.
fn each_body(folder: &str, key: &str, check: impl Fn(&str, &[u8], &Value)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../loadtest/fixtures").join(folder);
    let mut seen = 0;
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        if name.ends_with(".response.json") {
            let body = fs::read(&path).unwrap();
            let json: Value = serde_json::from_slice(&body).unwrap_or_default();
            if json[key].is_object() {
                check(&name, &body, &json[key]);
                seen += 1;
            }
        }
    }
    assert!(seen >= 2, "{folder}: {seen}");
}

#[test]
fn recorded_bodies_sum_to_their_own_totals() {
    for (provider, folder) in [
        (Provider::OpenAi, "openai/chat-completions"),
        (Provider::XAi, "xai/chat-completions"),
        (Provider::XAi, "xai/responses"),
        (Provider::Google, "google/openai-compat"),
    ] {
        each_body(folder, "usage", |name, body, told| {
            let usage = usage_of_body(provider, Dialect::ChatCompletions, body).unwrap();
            assert_eq!(
                Some(usage.total_input() + usage.output),
                told["total_tokens"].as_u64(),
                "{name}"
            );
            assert_eq!(usage.cost_ticks, told["cost_in_usd_ticks"].as_u64(), "{name}");
            assert!(usage.reasoning <= usage.output, "{name}");
        });
    }
    each_body("google/generatecontent", "usageMetadata", |name, body, told| {
        let usage = usage_of_body(Provider::Google, Dialect::ChatCompletions, body).unwrap();
        let total = usage.total_input() + usage.output;
        assert_eq!(Some(total), told["totalTokenCount"].as_u64(), "{name}");
    });
    each_body("anthropic/messages", "usage", |name, body, told| {
        let usage = usage_of_body(Provider::Anthropic, Dialect::Messages, body).unwrap();
        let input = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
        let total: u64 = input.iter().filter_map(|key| told[*key].as_u64()).sum();
        assert_eq!(usage.total_input(), total, "{name}");
        assert_eq!(Some(usage.output), told["output_tokens"].as_u64(), "{name}");
    });
}

proptest::proptest! {
    #[test]
    fn no_body_panics(body: Vec<u8>) {
        for provider in Provider::ALL {
            drop(usage_of_body(provider, Dialect::Messages, &body));
        }
    }
}

#[test]
fn b6_gemini_bills_thoughts_and_tool_results_and_reads_the_cache_out_of_the_prompt() {
    let mut usage = GoogleUsage::default();
    assert_eq!(usage.usage(), None);
    let chunks = [
        r#"{"promptTokenCount": 100, "cachedContentTokenCount": 40, "thoughtsTokenCount": 7,
            "toolUsePromptTokenCount": 11, "serviceTier": "flex"}"#,
        r#"{"promptTokenCount": 100, "candidatesTokenCount": 5}"#,
    ];
    for chunk in chunks {
        usage.merge(&serde_json::from_str(chunk).unwrap());
    }
    let expected = Usage {
        input: 71,
        cache_read: 40,
        output: 12,
        reasoning: 7,
        tier: Tier::Flex,
        ..Usage::default()
    };
    assert_eq!(usage.usage(), Some(expected));
}

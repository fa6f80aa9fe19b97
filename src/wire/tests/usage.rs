//! Usage that no recording shows, by the names of `providers.md` 6.

#![expect(clippy::unwrap_used, reason = "what can't be read fails the test")]

use bytes::Bytes;
use opencredits_schema::{Basis, Provider, Tier, ToolCalls, Usage};
use opencredits_wire::{Dialect, Meter, StreamEnd, usage_of_body};
use proptest::prelude::*;
use serde_json::json;

fn chat(provider: Provider, usage: &str) -> Option<Usage> {
    let body = format!(r#"{{"choices":[],"usage":{usage}}}"#);
    usage_of_body(provider, Dialect::ChatCompletions, body.as_bytes())
}

fn message(usage: &str) -> Option<Usage> {
    let body = format!(r#"{{"content":[],"usage":{usage}}}"#);
    usage_of_body(Provider::Anthropic, Dialect::Messages, body.as_bytes())
}

/// What a message's stream with these two usage objects tells, before and after the second.
fn streamed(start: &str, delta: &str) -> [Option<(Usage, Basis)>; 2] {
    // An event's data is one line.
    let [start, delta] = [start, delta].map(|usage| usage.replace('\n', ""));
    let mut meter = Meter::new(Provider::Anthropic, Dialect::Messages, false);
    let mut out = Vec::new();
    let start = format!(
        "event: message_start\ndata: {{\"type\":\"message_start\",\
         \"message\":{{\"usage\":{start}}}}}\n\n"
    );
    meter.push(Bytes::from(start), &mut out).unwrap();
    let before = meter.usage();
    let rest = format!(
        "event: message_delta\ndata: {{\"type\":\"message_delta\",\"usage\":{delta}}}\n\n\
         event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
    );
    meter.push(Bytes::from(rest), &mut out).unwrap();
    assert!(matches!(meter.end(), StreamEnd::Complete { .. }));
    [before, meter.usage()]
}

#[test]
fn b5_xai_bills_reasoning_beside_the_completion_and_others_inside_it() {
    let beside = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":22,
        "completion_tokens_details":{"reasoning_tokens":7},"cost_in_usd_ticks":123}"#;
    let usage = chat(Provider::XAi, beside).unwrap();
    assert_eq!((usage.output, usage.reasoning, usage.cost_ticks), (12, 7, Some(123)));
    let inside = r#"{"prompt_tokens":10,"completion_tokens":12,"total_tokens":22,
        "completion_tokens_details":{"reasoning_tokens":7}}"#;
    for provider in [Provider::OpenAi, Provider::XAi] {
        let usage = chat(provider, inside).unwrap();
        assert_eq!((usage.output, usage.reasoning), (12, 7));
    }
    let no_total = r#"{"prompt_tokens":10,"completion_tokens":5,
        "completion_tokens_details":{"reasoning_tokens":7}}"#;
    assert_eq!(chat(Provider::XAi, no_total).unwrap().output, 12);
    assert_eq!(chat(Provider::OpenAi, no_total).unwrap().output, 5);
}

#[test]
fn xai_tells_its_tool_calls() {
    let usage = r#"{"prompt_tokens":1,"completion_tokens":1,"num_sources_used":9,
        "server_side_tool_usage_details":{"web_search_calls":2,"x_search_calls":3,
        "code_interpreter_calls":4,"file_search_calls":5,"mcp_calls":6}}"#;
    let expected =
        ToolCalls { web_search: 2, x_search: 3, code_execution: 4, file_search: 5, web_fetch: 0 };
    assert_eq!(chat(Provider::XAi, usage).unwrap().tool_calls, expected);
}

#[test]
fn gemini_in_openais_dialect_bills_the_thinking_that_only_the_total_tells() {
    let usage = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":60}"#;
    assert_eq!(chat(Provider::Google, usage).unwrap().output, 50);
    let none = r#"{"prompt_tokens":10,"total_tokens":60}"#;
    assert_eq!(chat(Provider::Google, none).unwrap().output, 50);
}

#[test]
fn b7_the_last_value_of_a_streamed_message_counts() {
    let start = r#"{"input_tokens":10,"cache_creation_input_tokens":30,
        "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},
        "cache_read_input_tokens":4,"output_tokens":1,"service_tier":"priority",
        "inference_geo":"us"}"#;
    let delta = r#"{"input_tokens":25,"cache_read_input_tokens":null,"output_tokens":90,
        "output_tokens_details":{"thinking_tokens":60},
        "server_tool_use":{"web_search_requests":2,"web_fetch_requests":3}}"#;
    let [before, after] = streamed(start, delta);
    let partial = Usage {
        input: 10,
        cache_read: 4,
        cache_write_5m: 10,
        cache_write_1h: 20,
        output: 1,
        tier: Tier::Priority,
        geo: Some("us".into()),
        ..Usage::default()
    };
    assert_eq!(before, Some((partial.clone(), Basis::Partial)));
    let tool_calls = ToolCalls { web_search: 2, web_fetch: 3, ..ToolCalls::default() };
    let last = Usage { input: 25, output: 90, reasoning: 60, tool_calls, ..partial };
    assert_eq!(after, Some((last, Basis::Provider)));
}

#[test]
fn b9_an_explicit_zero_is_zero_and_nothing_told_is_not() {
    let zero = r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#;
    assert_eq!(chat(Provider::OpenAi, zero), Some(Usage::default()));
    assert_eq!(message(r#"{"input_tokens":0,"output_tokens":0}"#), Some(Usage::default()));
    for nothing in ["null", "{}", "[]", r#"{"prompt_tokens":null}"#, r#"{"input_tokens":"9"}"#] {
        assert_eq!(chat(Provider::OpenAi, nothing), None, "{nothing}");
        assert_eq!(message(nothing), None, "{nothing}");
    }
    let [_, after] = streamed(
        r#"{"input_tokens":10,"cache_read_input_tokens":4,"output_tokens":1}"#,
        r#"{"cache_read_input_tokens":0,"output_tokens":0}"#,
    );
    let usage = Usage { input: 10, ..Usage::default() };
    assert_eq!(after, Some((usage, Basis::Provider)));
}

#[test]
fn b12_the_cache_is_a_part_of_openais_prompt_and_beside_anthropics_input() {
    let openai = r#"{"prompt_tokens":100,"completion_tokens":1,"total_tokens":101,
        "prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30,"audio_tokens":4}}"#;
    let usage = chat(Provider::OpenAi, openai).unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.cache_write_5m), (6, 60, 30));
    assert_eq!((usage.input_audio, usage.total_input()), (4, 100));
    let anthropic = r#"{"input_tokens":3,"cache_creation_input_tokens":12304,"output_tokens":550}"#;
    let usage = message(anthropic).unwrap();
    assert_eq!((usage.input, usage.cache_write_5m, usage.total_input()), (3, 12304, 12307));
    let split = r#"{"input_tokens":0,"output_tokens":0,"cache_creation":
        {"ephemeral_5m_input_tokens":600,"ephemeral_1h_input_tokens":400}}"#;
    let usage = message(split).unwrap();
    assert_eq!((usage.cache_write_5m, usage.cache_write_1h), (600, 400));
}

#[test]
fn the_tier_is_the_one_that_was_used() {
    let check = |told: &str, tier| {
        let body = format!(r#"{{"service_tier":{told},"usage":{{"prompt_tokens":1}}}}"#);
        let usage = usage_of_body(Provider::OpenAi, Dialect::ChatCompletions, body.as_bytes());
        assert_eq!(usage.unwrap().tier, tier, "{told}");
    };
    check(r#""default""#, Tier::Standard);
    check(r#""flex""#, Tier::Flex);
    check(r#""priority""#, Tier::Priority);
    check("null", Tier::Standard);
    check("7", Tier::Standard);
    let fast = r#"{"input_tokens":1,"speed":"fast","service_tier":"standard"}"#;
    assert_eq!(message(fast).unwrap().tier, Tier::Fast);
}

fn counts() -> impl Strategy<Value = u64> {
    prop_oneof![0..1_000_u64, Just(u64::MAX), any::<u64>()]
}

proptest! {
    #[test]
    fn parts_never_sum_to_more_than_the_prompt(
        prompt in counts(), cached in counts(), written in counts(), audio in counts(),
        completion in counts(), reasoning in counts(), total in counts(),
    ) {
        let body = json!({"usage": {"prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": total,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written,
                "audio_tokens": audio},
            "completion_tokens_details": {"reasoning_tokens": reasoning}}});
        for provider in [Provider::OpenAi, Provider::XAi, Provider::Google] {
            let body = body.to_string();
            let usage = usage_of_body(provider, Dialect::ChatCompletions, body.as_bytes()).unwrap();
            prop_assert_eq!(usage.total_input(), prompt);
            prop_assert!(usage.output >= completion && usage.reasoning <= usage.output);
        }
    }

    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for dialect in [Dialect::ChatCompletions, Dialect::Messages] {
            prop_assert_eq!(usage_of_body(Provider::Google, dialect, &body), None);
        }
    }
}

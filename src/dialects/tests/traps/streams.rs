//! S1 to S8: streams.

use bytes::Bytes;
use opencredits_dialects::{Asked, Translator};
use opencredits_schema::{Provider, Usage};
use opencredits_wire::Dialect::{self, ChatCompletions, GenerateContent, Messages, Responses};
use serde_json::{Value, json};

/// The events that a client reads for these payloads of a provider.
fn told(provider: Provider, from: Dialect, to: Dialect, payloads: &[Value]) -> Vec<Value> {
    let asked = Asked { request: "1".to_owned(), usage_chunk: true, ..Asked::default() };
    let mut translator = Translator::new(provider, from, to, asked);
    let mut out = Vec::new();
    for payload in payloads {
        translator.push(Bytes::from(format!("data: {payload}\n\n")), &mut out).unwrap();
    }
    translator.end(&Usage { input: 5, output: 7, ..Usage::default() }, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn delta(delta: Value) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "delta": delta}]})
}

fn finish(reason: &str) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn messages(payloads: &[Value]) -> Vec<Value> {
    told(Provider::XAi, ChatCompletions, Messages, payloads)
}

/// The kinds of the events, with the block's kind behind its start.
fn kinds(events: &[Value]) -> Vec<String> {
    let kind = |event: &Value| {
        let own = event["type"].as_str().unwrap().to_owned();
        match event["content_block"]["type"].as_str() {
            Some(block) => format!("{own} {block}"),
            None => own,
        }
    };
    events.iter().map(kind).filter(|kind| kind != "ping").collect()
}

#[test]
fn s1_s2_a_message_starts_once_and_each_kind_has_its_block() {
    let events = messages(&[
        delta(json!({"role": "assistant", "reasoning_content": "a"})),
        delta(json!({"reasoning_content": "b"})),
        delta(json!({"content": "c"})),
        delta(
            json!({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}]}),
        ),
        finish("stop"),
    ]);
    assert_eq!(
        kinds(&events),
        [
            "message_start",
            "content_block_start thinking",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start text",
            "content_block_delta",
            "content_block_stop",
            "content_block_start tool_use",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let indices: Vec<_> = events.iter().filter_map(|event| event["index"].as_u64()).collect();
    assert!(indices.is_sorted() && indices.last() == Some(&2));
    let end = &events[events.len() - 2];
    assert_eq!(end["delta"]["stop_reason"], "tool_use", "whatever the provider says");
    assert_eq!(end["usage"]["output_tokens"], 7);
}

#[test]
fn s3_a_first_chunk_with_a_call_opens_no_text() {
    let call = json!({"tool_calls": [{"index": 0, "id": "t",
        "function": {"name": "f", "arguments": ""}}]});
    let events = messages(&[delta(call), finish("tool_calls")]);
    let expected = [
        "message_start",
        "content_block_start tool_use",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(kinds(&events), expected, "no empty text, no empty delta");
}

#[test]
fn s4_no_tool_calls_beside_a_text_are_text() {
    for none in [json!([]), json!(null)] {
        let events =
            messages(&[delta(json!({"content": "a", "tool_calls": none})), finish("stop")]);
        assert_eq!(kinds(&events)[1], "content_block_start text");
        assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "end_turn");
    }
}

#[test]
fn s5_arguments_that_come_at_their_end_only_are_not_lost() {
    let item = json!({"type": "function_call", "id": "fc", "call_id": "t", "name": "f",
        "arguments": ""});
    let done = json!({"type": "function_call", "id": "fc", "call_id": "t", "name": "f",
        "arguments": "{\"x\":1}"});
    let response = json!({"id": "r", "model": "m", "status": "completed"});
    let stream = |arguments_done: bool| {
        let mut payloads = vec![
            json!({"type": "response.created", "response": {"id": "r", "model": "m"}}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
        ];
        if arguments_done {
            payloads.push(json!({"type": "response.function_call_arguments.done",
                "output_index": 0, "item_id": "fc", "arguments": "{\"x\":1}"}));
        }
        payloads.push(json!({"type": "response.output_item.done", "output_index": 0,
            "item": done}));
        payloads.push(json!({"type": "response.completed", "response": response}));
        told(Provider::OpenAi, Responses, Messages, &payloads)
    };
    for arguments_done in [true, false] {
        let events = stream(arguments_done);
        let pieces: String =
            events.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
        assert_eq!(pieces, "{\"x\":1}");
        assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
    }
}

#[test]
fn s6_calls_are_counted_by_themselves() {
    let block = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    let events = told(
        Provider::Anthropic,
        Messages,
        ChatCompletions,
        &[
            json!({"type": "message_start", "message": {"id": "m", "model": "c", "content": []}}),
            block(0, json!({"type": "text", "text": ""})),
            json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": "a"}}),
            stop(0),
            block(1, json!({"type": "tool_use", "id": "t1", "name": "f", "input": {}})),
            stop(1),
            block(2, json!({"type": "tool_use", "id": "t2", "name": "g", "input": {}})),
            json!({"type": "content_block_delta", "index": 2,
                "delta": {"type": "input_json_delta", "partial_json": "{\"y\":2}"}}),
            stop(2),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
            json!({"type": "message_stop"}),
        ],
    );
    let mut calls = [String::new(), String::new()];
    let deltas = events.iter().map(|event| &event["choices"][0]["delta"]["tool_calls"][0]);
    for call in deltas.filter(|call| call.is_object()) {
        let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
        calls[at].push_str(call["function"]["arguments"].as_str().unwrap());
    }
    assert_eq!(calls, ["{}", "{\"y\":2}"], "a call without arguments has an object");
}

#[test]
fn s8_a_call_then_a_stop_in_a_later_chunk_is_a_call() {
    let chunk = |parts: Value, finish: Option<&str>| {
        json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0,
            "finishReason": finish}], "responseId": "r"})
    };
    let payloads = [
        chunk(json!([{"functionCall": {"name": "f", "args": {}}}]), None),
        chunk(json!([{"text": ""}]), Some("STOP")),
    ];
    let events = told(Provider::Google, GenerateContent, ChatCompletions, &payloads);
    let reasons = events.iter().filter_map(|e| e["choices"][0]["finish_reason"].as_str());
    assert_eq!(reasons.collect::<Vec<_>>(), ["tool_calls"]);
    let events = told(Provider::Google, GenerateContent, Messages, &payloads);
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
}

#[test]
fn s8_a_call_that_is_none_is_an_error_only_where_nothing_else_was_said() {
    let chunk = |parts: Value| json!({"candidates": [{"content": {"parts": parts}, "finishReason": "MALFORMED_FUNCTION_CALL"}]});
    let end = |payload: &Value| {
        let asked = Asked::default();
        let mut translator = Translator::new(Provider::Google, GenerateContent, Messages, asked);
        let mut out = Vec::new();
        translator.push(Bytes::from(format!("data: {payload}\n\n")), &mut out).unwrap();
        translator.end(&Usage::default(), &mut out).is_ok()
    };
    assert!(end(&chunk(json!([{"text": "a"}]))));
    assert!(!end(&chunk(json!([]))));
}

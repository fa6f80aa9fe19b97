//! T1 to T8: requests.

use opencredits_dialects::{Asked, translate_answer};
use opencredits_schema::{Provider, Usage};
use opencredits_wire::Dialect::{ChatCompletions, GenerateContent, Messages, Responses};
use serde_json::{Value, json};

use crate::{refused, sent};

const SONNET: &str = "anthropic/claude-sonnet-4-5";
const GEMINI: &str = "google/gemini-3.1-pro-preview";

fn call(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

fn with_tools(messages: Value) -> Value {
    let function = json!({"name": "f", "parameters": {"type": "object", "properties": {}}});
    json!({"model": "m", "messages": messages,
        "tools": [{"type": "function", "function": function}]})
}

fn answered() -> Value {
    with_tools(json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "tool_calls": [call("a", ""), call("b", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "user", "content": "and"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
    ]))
}

#[test]
fn t1_tool_results_are_one_message_and_stand_first() {
    let body = sent(ChatCompletions, SONNET, &answered());
    let content = &body["messages"][2]["content"];
    let kinds: Vec<_> = content.as_array().unwrap().iter().map(|b| &b["type"]).collect();
    assert_eq!(kinds, ["tool_result", "tool_result", "text"]);
    assert_eq!(body["messages"].as_array().unwrap().len(), 3);
    let body = sent(ChatCompletions, GEMINI, &answered());
    let parts = body["contents"][2]["parts"].as_array().unwrap();
    let has = |part: &Value, key: &str| part.get(key).is_some();
    assert!(has(&parts[0], "functionResponse") && has(&parts[1], "functionResponse"));
    assert_eq!(parts[2]["text"], "and");
}

#[test]
fn t2_empty_arguments_are_an_empty_object_and_bad_ones_are_refused() {
    let body = sent(ChatCompletions, SONNET, &answered());
    assert_eq!(body["messages"][1]["content"][0]["input"], json!({}));
    let bad = with_tools(json!([{"role": "assistant", "tool_calls": [call("a", "{")]}]));
    assert!(refused(ChatCompletions, SONNET, &bad).contains("arguments"));
}

#[test]
fn t3_no_tool_stays_no_tool() {
    let mut request = with_tools(json!([{"role": "user", "content": "go"}]));
    request["tool_choice"] = json!("none");
    assert_eq!(sent(ChatCompletions, SONNET, &request)["tool_choice"], json!({"type": "none"}));
    let body = sent(ChatCompletions, GEMINI, &request);
    assert_eq!(body["toolConfig"]["functionCallingConfig"]["mode"], "NONE");
}

#[test]
fn t4_one_tool_at_a_time_forces_none() {
    let mut request = with_tools(json!([{"role": "user", "content": "go"}]));
    request["parallel_tool_calls"] = json!(false);
    let choice = json!({"type": "auto", "disable_parallel_tool_use": true});
    assert_eq!(sent(ChatCompletions, SONNET, &request)["tool_choice"], choice);
    request.as_object_mut().unwrap().remove("tools");
    assert!(sent(ChatCompletions, SONNET, &request).get("tool_choice").is_none());
}

#[test]
fn t5_a_forced_tool_and_thinking() {
    let mut request = with_tools(json!([{"role": "user", "content": "go"}]));
    request["tool_choice"] = json!("required");
    request["reasoning_effort"] = json!("high");
    // An effort is a wish: the tool is left to the model.
    let body = sent(ChatCompletions, SONNET, &request);
    assert_eq!(body["tool_choice"], json!({"type": "auto"}));
    assert_eq!(body["thinking"]["type"], "enabled");
}

#[test]
fn t6_a_form_of_the_answer_keeps_the_tools() {
    let schema = json!({"type": "object", "properties": {"b": {"type": "object", "properties": {}},
        "a": {"type": "string"}}, "required": ["b"]});
    let mut request = with_tools(json!([{"role": "user", "content": "go"}]));
    request["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let body = sent(ChatCompletions, SONNET, &request);
    assert_eq!(body["tools"].as_array().unwrap().len(), 1);
    let format = &body["output_config"]["format"];
    assert_eq!(format["schema"]["additionalProperties"], json!(false));
    assert_eq!(format["schema"]["properties"]["b"]["additionalProperties"], json!(false));
    // The order of the keys is the caller's.
    let keys: Vec<_> = format["schema"]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["b", "a"]);
    let body = sent(ChatCompletions, GEMINI, &request);
    assert_eq!(body["generationConfig"]["responseJsonSchema"], schema);
    assert_eq!(body["tools"].as_array().unwrap().len(), 1);
}

/// A Gemini answer of two parallel calls, of which the first is sealed.
fn gemini_calls() -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": [
        {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2VhbA=="},
        {"functionCall": {"name": "f", "args": {"x": 2}}},
    ]}, "finishReason": "STOP", "index": 0}], "responseId": "r"})
}

fn shown(from: opencredits_wire::Dialect, to: opencredits_wire::Dialect, answer: &Value) -> Value {
    let provider = if from == GenerateContent { Provider::Google } else { Provider::Anthropic };
    let (usage, asked) = (Usage::default(), Asked { request: "1".to_owned(), ..Asked::default() });
    let body = answer.to_string();
    let shown = translate_answer(provider, from, to, body.as_bytes(), &usage, &asked).unwrap();
    serde_json::from_slice(&shown).unwrap()
}

#[test]
fn t7_geminis_seal_survives_a_typed_client_of_each_dialect() {
    // A typed client gives back what it knows: ids, names, arguments.
    let answer = shown(GenerateContent, ChatCompletions, &gemini_calls());
    let message = &answer["choices"][0]["message"];
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    let calls: Vec<_> = message["tool_calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| json!({"id": c["id"], "type": "function", "function": c["function"]}))
        .collect();
    let results = |id: &dyn Fn(usize) -> Value| {
        json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": null, "tool_calls": calls},
            {"role": "tool", "tool_call_id": id(0), "content": "1"},
            {"role": "tool", "tool_call_id": id(1), "content": "2"},
        ])
    };
    let again = with_tools(results(&|n| calls[n]["id"].clone()));
    check_sealed(&sent(ChatCompletions, GEMINI, &again));

    let answer = shown(GenerateContent, Messages, &gemini_calls());
    assert_eq!(answer["stop_reason"], "tool_use");
    let uses = answer["content"].as_array().unwrap();
    let results: Vec<_> = uses
        .iter()
        .map(|block| json!({"type": "tool_result", "tool_use_id": block["id"], "content": "1"}))
        .collect();
    let again = json!({"model": "m", "max_tokens": 100, "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": uses},
        {"role": "user", "content": results},
    ]});
    check_sealed(&sent(Messages, GEMINI, &again));

    let answer = shown(GenerateContent, Responses, &gemini_calls());
    let mut input = vec![json!({"role": "user", "content": "go"})];
    for item in answer["output"].as_array().unwrap() {
        input.push(item.clone());
    }
    for item in answer["output"].as_array().unwrap() {
        input.push(json!({"type": "function_call_output", "call_id": item["call_id"],
            "output": "1"}));
    }
    check_sealed(&sent(Responses, GEMINI, &json!({"model": "m", "input": input})));
    // Another provider gets neither the seal nor an id that it would refuse.
    let body = sent(Responses, SONNET, &json!({"model": "m", "input": input}));
    assert!(!body.to_string().contains("__ts_") && !body.to_string().contains("c2VhbA"));
}

fn check_sealed(body: &Value) {
    let parts = body["contents"][1]["parts"].as_array().unwrap();
    assert_eq!(parts[0]["thoughtSignature"], "c2VhbA==");
    assert!(parts[1].get("thoughtSignature").is_none());
    assert_eq!(parts[1]["functionCall"]["args"], json!({"x": 2}));
    let answers = body["contents"][2]["parts"].as_array().unwrap();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["functionResponse"]["id"], parts[0]["functionCall"]["id"]);
}

#[test]
fn t7_a_lost_seal_has_its_stand_in() {
    let body = sent(ChatCompletions, GEMINI, &answered());
    let parts = body["contents"][1]["parts"].as_array().unwrap();
    assert_eq!(parts[0]["thoughtSignature"], "skip_thought_signature_validator");
    assert!(parts[1].get("thoughtSignature").is_none());
    let body = sent(ChatCompletions, "google/gemini-2.5-flash", &answered());
    assert!(!body.to_string().contains("thoughtSignature"), "2.5 seals nothing");
}

#[test]
fn t8_anthropics_thinking_comes_back_through_chat_unchanged() {
    let answer = json!({"id": "msg_1", "model": "claude", "stop_reason": "tool_use", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "zzz"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
    ]});
    let shown = shown(Messages, ChatCompletions, &answer);
    let message = shown["choices"][0]["message"].clone();
    assert_eq!(message["reasoning_content"], "hm");
    let mut request = with_tools(json!([
        {"role": "user", "content": "go"}, message,
        {"role": "tool", "tool_call_id": "toolu_1", "content": "1"},
    ]));
    request["reasoning_effort"] = json!("low");
    let body = sent(ChatCompletions, SONNET, &request);
    assert_eq!(body["messages"][1]["content"], answer["content"]);
    assert_eq!(body["thinking"]["type"], "enabled");
    // Another provider gets none of it.
    let body = sent(ChatCompletions, GEMINI, &request);
    assert!(!body.to_string().contains("EqQB") && !body.to_string().contains("hm"));
    // Nor does Anthropic get another's, or thinking without a seal.
    request["messages"][1]["reasoning_details"] = json!([
        {"type": "reasoning.text", "text": "x", "signature": "oc1:google:c2VhbA=="},
        {"type": "reasoning.text", "text": "y"},
    ]);
    let body = sent(ChatCompletions, SONNET, &request);
    assert_eq!(body["messages"][1]["content"].as_array().unwrap().len(), 1);
    assert!(body.get("thinking").is_none(), "what led to the call is lost: no thinking now");
}

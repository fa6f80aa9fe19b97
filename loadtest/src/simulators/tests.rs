//! The simulators over real connections: shapes, scripts, gates, recordings.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::client::{Answer, Client};

const SOON: Duration = Duration::from_secs(20);
const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

async fn start() -> Providers {
    Providers::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap()
}

async fn send_as(key: &str, providers: &Providers, path: &str, body: &Value) -> Answer {
    let url = format!("{}{path}", providers.origin());
    let bearer = format!("Bearer {key}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-api-key", key),
        ("x-goog-api-key", key),
        ("anthropic-version", "2023-06-01"),
    ];
    Client::default().send(Method::POST, &url, &headers, body.to_string()).await.unwrap()
}

async fn send(providers: &Providers, path: &str, body: &Value) -> Answer {
    send_as("key", providers, path, body).await
}

/// Opens a streamed answer without reading it.
async fn open(providers: &Providers, text: &str) -> http::Response<hyper::body::Incoming> {
    let request = http::Request::post(format!("{}{CHAT}", providers.origin()))
        .header("authorization", "Bearer key")
        .body(Full::new(Bytes::from(chat(text, true).to_string())))
        .unwrap();
    Hyper::builder(TokioExecutor::new()).build_http().request(request).await.unwrap()
}

fn chat(text: &str, stream: bool) -> Value {
    json!({"model": "gpt-4o", "stream": stream, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": text}]})
}

fn with_model(body: Value, model: &str) -> Value {
    with(body, "model", json!(model))
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

fn message(text: &str, stream: bool) -> Value {
    json!({"model": "claude-sonnet-4-6", "stream": stream, "max_tokens": 1000,
        "messages": [{"role": "user", "content": text}]})
}

fn contents(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

/// The payloads of the `data:` lines.
fn events(answer: &Answer) -> Vec<Value> {
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn openai_answers_chat_completions_whole_and_streamed() {
    let providers = start().await;
    let whole = send(&providers, CHAT, &chat("Hi [[sim output=50 reasoning=20]]", false)).await;
    let body = whole.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["usage"]["completion_tokens"], 70);
    assert_eq!(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 20);

    let streamed = send(&providers, CHAT, &chat("Hi [[sim output=50 chunks=5]]", true)).await;
    assert!(streamed.headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let events = events(&streamed);
    assert_eq!(events.len(), 1 + 5 + 1 + 1 + 1);
    assert!(events[0]["usage"].is_null() && events[0].get("usage").is_some());
    let usage = &events[7];
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(50)));
    assert_eq!(events[8], "[DONE]");

    let quiet = with(chat("Hi", true), "stream_options", Value::Null);
    assert!(!send(&providers, CHAT, &quiet).await.body.windows(7).any(|w| w == b"\"usage\""));
}

#[tokio::test]
async fn a_usage_of_the_script_replaces_the_providers_own() {
    let providers = start().await;
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    let script = Script { usage: Some(usage.clone()), ..Script::default() };
    providers.script(script.for_model("gpt-4o")).unwrap();
    assert_eq!(send(&providers, CHAT, &chat("Hi", false)).await.json()["usage"], usage);
    let none = send(&providers, CHAT, &chat("Hi [[sim no_usage]]", false)).await;
    assert!(none.json().get("usage").is_none());
}

#[tokio::test]
async fn anthropic_answers_messages_whole_and_streamed() {
    let providers = start().await;
    let body = send(&providers, MESSAGES, &message("Hi [[sim output=9]]", false)).await.json();
    assert_eq!((&body["type"], &body["stop_reason"]), (&json!("message"), &json!("end_turn")));
    assert_eq!(body["content"][0]["type"], "text");
    assert_eq!(body["usage"]["output_tokens"], 9);

    let thinking = json!({"type": "enabled", "budget_tokens": 1024});
    let asked = message("Hi [[sim output=9 chunks=2 reasoning=8 cached=2]]", true);
    let asked = with(with(asked, "thinking", thinking), "max_tokens", json!(4096));
    let answer = send(&providers, MESSAGES, &asked).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.starts_with("event: message_start\ndata: {"));
    let events = events(&answer);
    let names = names(&events);
    assert_eq!(names[..3], ["message_start", "ping", "content_block_start"]);
    assert_eq!(names[names.len() - 2..], ["message_delta", "message_stop"]);
    assert_eq!(events[0]["message"]["content"], json!([]));
    assert_eq!(events[0]["message"]["usage"]["cache_read_input_tokens"], 2);
    assert_eq!(events[2]["content_block"]["type"], "thinking");
    assert_eq!(events[names.len() - 2]["usage"]["output_tokens"], 17);
    let deltas = events.iter().filter(|event| event["delta"]["type"] == "text_delta");
    assert_eq!(deltas.count(), 2);
}

#[tokio::test]
async fn anthropic_counts_tokens_and_wants_its_fields() {
    let providers = start().await;
    let path = "/v1/messages/count_tokens";
    let body = json!({"model": "claude-sonnet-4-6",
        "messages": [{"role": "user", "content": "12345678"}]});
    assert_eq!(send(&providers, path, &body).await.json(), json!({"input_tokens": 9}));
    let unlimited = send(&providers, MESSAGES, &body).await;
    assert_eq!(unlimited.status, StatusCode::BAD_REQUEST);
    assert_eq!(unlimited.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn xai_counts_reasoning_beside_the_completion() {
    let providers = start().await;
    let text = "Hi [[sim output=5 reasoning=20 ticks=77]]";
    let limited = with(with_model(chat(text, false), "grok-4.3"), "max_tokens", json!(5));
    let body = send(&providers, CHAT, &limited).await.json();
    let usage = &body["usage"];
    assert_eq!((&usage["completion_tokens"], &usage["cost_in_usd_ticks"]), (&json!(5), &json!(77)));
    let input = usage["prompt_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], input + 25);
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert!(body["choices"][0]["message"]["reasoning_content"].is_string());

    let streamed = send(&providers, CHAT, &with_model(chat(text, true), "grok-4.3")).await;
    let events = events(&streamed);
    assert_eq!(events[events.len() - 2]["usage"]["completion_tokens"], 5);
    assert!(events.iter().any(|e| !e["choices"][0]["delta"]["reasoning_content"].is_null()));
}

#[tokio::test]
async fn google_tells_its_usage_in_every_chunk() {
    let providers = start().await;
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    let body = send(&providers, path, &contents("Hi [[sim output=5 reasoning=3]]")).await.json();
    assert_eq!(body["candidates"][0]["finishReason"], "STOP");
    let usage = &body["usageMetadata"];
    let counts = ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"];
    let sum: u64 = counts.iter().map(|name| usage[*name].as_u64().unwrap()).sum();
    assert_eq!(usage["totalTokenCount"], sum);

    let path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
    let events = events(&send(&providers, path, &contents("Hi [[sim output=8 chunks=4]]")).await);
    let outputs: Vec<_> = events
        .iter()
        .map(|event| event["usageMetadata"]["candidatesTokenCount"].as_u64().unwrap())
        .collect();
    assert_eq!(outputs, [2, 4, 6, 8, 8]);
}

#[tokio::test]
async fn responses_are_answered_whole_and_streamed() {
    let providers = start().await;
    let asked = json!({"model": "gpt-5.5", "store": false, "input": "Hi [[sim output=4]]"});
    let body = send(&providers, "/v1/responses", &asked).await.json();
    assert_eq!(body["output"][0]["content"][0]["type"], "output_text");
    assert_eq!(body["usage"]["output_tokens"], 4);
    let answer = send(&providers, "/v1/responses", &with(asked, "stream", json!(true))).await;
    let events = events(&answer);
    assert_eq!(names(&events)[0], "response.created");
    assert_eq!(*names(&events).last().unwrap(), "response.completed");
}

#[tokio::test]
async fn an_offered_tool_is_called_and_its_result_answered_in_text() {
    let providers = start().await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tool = json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}]);
    let asked = with(chat("in parallel, please", false), "tools", tool);
    let choice = send(&providers, CHAT, &asked).await.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "tool_calls");
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!(calls[0]["function"]["arguments"], r#"{"city":"Paris"}"#);

    let mut answered = asked.clone();
    let result = json!({"role": "tool", "tool_call_id": calls[0]["id"], "content": "sun"});
    answered["messages"].as_array_mut().unwrap().extend([choice["message"].clone(), result]);
    let body = send(&providers, CHAT, &answered).await.json();
    assert_eq!(body["choices"][0]["finish_reason"], "stop");

    let tool = json!([{"name": "weather", "input_schema": schema}]);
    let asked = with(message("Weather?", true), "tools", tool);
    let events = events(&send(&providers, MESSAGES, &asked).await);
    let arguments: String =
        events.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    assert_eq!(arguments, r#"{"city":"Paris"}"#);
    assert!(events.iter().any(|event| event["delta"]["stop_reason"] == "tool_use"));

    let mut answered = asked.clone();
    let result = json!([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sun"}]);
    answered["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": result}));
    answered["stream"] = json!(false);
    assert_eq!(send(&providers, MESSAGES, &answered).await.json()["stop_reason"], "end_turn");
}

#[tokio::test]
async fn a_structured_answer_follows_its_schema() {
    let providers = start().await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}});
    let asked = with(chat("Hi", false), "response_format", format);
    let content =
        send(&providers, CHAT, &asked).await.json()["choices"][0]["message"]["content"].clone();
    assert_eq!(content, r#"{"city":"Paris"}"#);
    let asked = with(
        message("Hi", false),
        "output_config",
        json!({"format": {"type": "json_schema", "schema": schema}}),
    );
    let body = send(&providers, MESSAGES, &asked).await.json();
    assert_eq!(body["content"][0]["text"], r#"{"city":"Paris"}"#);
}

#[tokio::test]
async fn the_output_limit_ends_an_answer_in_every_dialect() {
    let providers = start().await;
    let text = "Hi [[sim output=50]]";
    let limited = with(chat(text, false), "max_completion_tokens", json!(10));
    let body = send(&providers, CHAT, &limited).await.json();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["usage"]["completion_tokens"], 10);
    let limited = with(message(text, false), "max_tokens", json!(10));
    let body = send(&providers, MESSAGES, &limited).await.json();
    assert_eq!(
        (&body["stop_reason"], &body["usage"]["output_tokens"]),
        (&json!("max_tokens"), &json!(10))
    );
    let limited = with(contents(text), "generationConfig", json!({"maxOutputTokens": 10}));
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    let body = send(&providers, path, &limited).await.json();
    assert_eq!(body["candidates"][0]["finishReason"], "MAX_TOKENS");
}

#[tokio::test]
async fn a_bad_key_is_refused_in_each_providers_way() {
    let providers = start().await;
    let refused = async |path: &str, body: Value| send_as(BAD_KEY, &providers, path, &body).await;
    let openai = refused(CHAT, chat("Hi", false)).await;
    assert_eq!(
        (openai.status.as_u16(), &openai.json()["error"]["code"]),
        (401, &json!("invalid_api_key"))
    );
    let xai = refused(CHAT, with_model(chat("Hi", false), "grok-4.3")).await;
    assert_eq!(xai.status, 400);
    assert!(xai.json()["error"].as_str().unwrap().starts_with("Incorrect API key"));
    let anthropic = refused(MESSAGES, message("Hi", false)).await;
    assert_eq!(
        (anthropic.status.as_u16(), &anthropic.json()["error"]["type"]),
        (401, &json!("authentication_error"))
    );
    let google = refused("/v1beta/models/gemini-2.5-flash:generateContent", contents("Hi")).await;
    assert_eq!(
        (google.status.as_u16(), &google.json()["error"]["details"][0]["reason"]),
        (400, &json!("API_KEY_INVALID"))
    );
    assert_eq!(send_as("", &providers, CHAT, &chat("Hi", false)).await.status, 401);
}

#[tokio::test]
async fn a_status_of_the_script_has_the_providers_shape() {
    let providers = start().await;
    let answer = send(&providers, CHAT, &chat("Hi [[sim status=429 retry_after=7]]", false)).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["retry-after"]),
        (429, &"7".parse().unwrap())
    );
    let answer = send(&providers, MESSAGES, &message("Hi [[sim status=529]]", true)).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]["type"]),
        (529, &json!("overloaded_error"))
    );
    let missing = with_model(chat("Hi", false), "does-not-exist");
    assert_eq!(send(&providers, CHAT, &missing).await.status, 404);
    assert_eq!(send(&providers, "/v1/else", &missing).await.status, 404);
    assert_eq!(send(&providers, CHAT, &chat("[[sim nonsense]]", false)).await.status, 400);
}

#[tokio::test]
async fn a_cut_breaks_the_connection_after_its_chunks() {
    let providers = start().await;
    for (k, expected) in [(0, 0), (3, 1 + 3)] {
        let text = format!("Hi [[sim chunks=9 cut_after={k}]]");
        let mut body = open(&providers, &text).await.into_body();
        let mut came = 0;
        // Only an error ends it: a clean end would be `None`.
        while timeout(SOON, body.frame()).await.unwrap().unwrap().is_ok() {
            came += 1;
        }
        assert_eq!(came, expected);
    }
    let url = format!("{}{CHAT}", providers.origin());
    let body = chat("Hi [[sim cut_after=1]]", false).to_string();
    let headers = [("authorization", "Bearer key")];
    assert!(Client::default().send(Method::POST, &url, &headers, body).await.is_err());
}

#[tokio::test]
async fn a_stream_can_end_without_its_end_marker() {
    let providers = start().await;
    let ended = events(&send(&providers, CHAT, &chat("[[sim chunks=9 end_after=2]]", true)).await);
    assert_eq!(ended.len(), 1 + 2);
    let whole = events(&send(&providers, MESSAGES, &message("[[sim no_done]]", true)).await);
    assert_eq!(*names(&whole).last().unwrap(), "message_delta");
}

#[tokio::test]
async fn an_error_in_mid_stream_is_the_last_event() {
    let providers = start().await;
    let text = "[[sim chunks=9 error_after=2]]";
    let chat_events = events(&send(&providers, CHAT, &chat(text, true)).await);
    assert_eq!(chat_events.len(), 1 + 2 + 1);
    assert_eq!(chat_events[3]["error"]["type"], "server_error");
    let answer = send(&providers, MESSAGES, &message(text, true)).await;
    assert!(String::from_utf8_lossy(&answer.body).contains("event: error\n"));
    assert_eq!(events(&answer).last().unwrap()["error"]["type"], "overloaded_error");
    let xai = send(&providers, CHAT, &with_model(chat(text, true), "grok-4.3")).await;
    assert!(events(&xai).last().unwrap()["error"].is_string());
    assert_eq!(send(&providers, CHAT, &chat(text, false)).await.status, 500);
}

#[tokio::test]
async fn a_gate_holds_a_stream_until_it_is_opened() {
    let providers = start().await;
    let mut body = open(&providers, "[[sim chunks=4 gate=half gate_after=2]]").await.into_body();
    timeout(SOON, providers.until_waiting_at("half")).await.unwrap();
    let counts = providers.counts();
    assert_eq!((counts.chunks, counts.open_streams), (2, 1));
    providers.open_gate("half");
    while let Some(frame) = timeout(SOON, body.frame()).await.unwrap() {
        frame.unwrap();
    }
    let counts = timeout(SOON, providers.until(|counts| counts.open_streams == 0)).await.unwrap();
    assert_eq!((counts.chunks, counts.finished, counts.clients_gone), (4, 1, 0));
    assert!(counts.waiting.is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_a_hanging_stream_is_seen() {
    let providers = start().await;
    let response = open(&providers, "[[sim chunks=4 hang=1]]").await;
    timeout(SOON, providers.until(|counts| counts.chunks == 1)).await.unwrap();
    drop(response);
    let gone = |counts: &Counts| counts.clients_gone == 1 && counts.open_streams == 0;
    timeout(SOON, providers.until(gone)).await.unwrap();
}

#[tokio::test]
async fn a_stop_is_bounded_with_streams_that_hang() {
    let providers = start().await;
    let mut body = open(&providers, "[[sim chunks=4 hang=1]]").await.into_body();
    timeout(SOON, providers.until(|counts| counts.chunks == 1)).await.unwrap();
    timeout(SOON, providers.stop()).await.unwrap();
    while let Some(Ok(_)) = timeout(SOON, body.frame()).await.unwrap() {}
}

#[tokio::test]
async fn what_came_in_can_be_read_again() {
    let providers = start().await;
    let sent = chat("Hi", false);
    send(&providers, CHAT, &sent).await;
    let seen = providers.last_request().unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", CHAT));
    assert_eq!((seen.json(), seen.header("authorization")), (sent, "Bearer key"));
    providers.clear_requests();
    assert!(providers.requests().is_empty());
}

#[tokio::test]
async fn every_recorded_answer_is_replayed_byte_for_byte() {
    let providers = start().await;
    let client = Client::default();
    let url = format!("{}{CHAT}", providers.origin());
    let body = chat("Hi", true).to_string();
    for recording in Recording::all() {
        // Whole, in odd pieces, and byte by byte where that is cheap.
        let byte_by_byte = recording.response.len() < 2_000;
        for split in [0, 7].into_iter().chain(byte_by_byte.then_some(1)) {
            providers.script(Script::recorded(recording, split)).unwrap();
            let headers = [("authorization", "Bearer key")];
            let answer = client.send(Method::POST, &url, &headers, body.clone()).await.unwrap();
            assert_eq!(answer.status.as_u16(), recording.status, "{}", recording.id);
            assert_eq!(answer.body, recording.body(), "{}", recording.id);
            assert_eq!(answer.headers["content-type"], recording.content_type());
        }
    }
}

#[tokio::test]
async fn a_directive_can_ask_for_a_recording() {
    let providers = start().await;
    let recording = Recording::all().iter().find(|r| r.provider == "xai" && r.is_stream()).unwrap();
    let text = format!("Hi [[sim fixture={}]]", recording.id);
    assert_eq!(send(&providers, CHAT, &chat(&text, true)).await.body, recording.body());
}

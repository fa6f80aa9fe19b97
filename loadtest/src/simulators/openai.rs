//! OpenAI's chat completions: what a request asks, and the exact shape of its answers.

use bytes::Bytes;
use serde_json::{Value, json};

use super::playback::Piece;
use super::turn::{Asked, Part, Tool, Turn, plain_text, text_bytes};

/// Reads a request; the error is what the provider would say about it.
pub(super) fn asked(body: &Value) -> Result<Asked, String> {
    let Some(messages) = body.get("messages").and_then(Value::as_array) else {
        return Err("Missing required parameter: 'messages'.".to_owned());
    };
    let role = |message: &Value| message.get("role").and_then(Value::as_str).map(str::to_owned);
    let last_user = messages.iter().rev().find(|m| role(m).as_deref() == Some("user"));
    // Instructions may follow what the user says.
    let mut said = messages.iter().rev().filter(|m| role(m).as_deref() != Some("system"));
    let users_turn = said.next().is_some_and(|m| role(m).as_deref() == Some("user"));
    let tools = tools(body);
    let no_tool = body.get("tool_choice").and_then(Value::as_str) == Some("none");
    let limit = body.get("max_completion_tokens").or_else(|| body.get("max_tokens"));
    let usage = body.pointer("/stream_options/include_usage");
    Ok(Asked {
        model: text_of(body, "model"),
        text: plain_text(last_user.and_then(|message| message.get("content"))),
        prompt_bytes: messages.iter().map(text_bytes).sum(),
        calls: users_turn && !tools.is_empty() && !no_tool,
        tools,
        schema: schema(body.get("response_format")),
        limit: limit.and_then(Value::as_u64),
        reasoning_beside_limit: false,
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: usage.and_then(Value::as_bool).unwrap_or(false),
        shows_reasoning: false,
        tier: body.get("service_tier").and_then(Value::as_str).map(str::to_owned),
        media: Vec::new(),
    })
}

/// A string field, empty where there is none.
pub(super) fn text_of(body: &Value, name: &str) -> String {
    body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn tools(body: &Value) -> Vec<Tool> {
    let chosen = body.pointer("/tool_choice/function/name").and_then(Value::as_str);
    let all = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let functions = all.filter_map(|tool| {
        let function = tool.get("function")?;
        let schema = function.get("parameters").cloned().unwrap_or(Value::Null);
        Some(Tool { name: text_of(function, "name"), schema })
    });
    functions.filter(|tool| chosen.is_none_or(|name| name == tool.name)).collect()
}

fn schema(format: Option<&Value>) -> Option<Value> {
    match format?.get("type")?.as_str()? {
        "json_schema" => format?.pointer("/json_schema/schema").cloned(),
        "json_object" => {
            Some(json!({"type": "object", "properties": {"answer": {"type": "string"}}}))
        }
        _ => None,
    }
}

/// The whole answer.
pub(super) fn answer(turn: &Turn) -> Value {
    let calls = tool_calls(turn);
    let content = if turn.calls() { Value::Null } else { json!(turn.text()) };
    let mut message =
        json!({"role": "assistant", "content": content, "refusal": null, "annotations": []});
    if let (false, Some(fields)) = (calls.is_empty(), message.as_object_mut()) {
        fields.insert("tool_calls".to_owned(), json!(calls));
    }
    let choice =
        json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish(turn)});
    let mut answer = json!({
        "id": id(turn), "object": "chat.completion", "created": turn.created, "model": turn.model,
        "choices": [choice], "service_tier": tier(turn), "system_fingerprint": "fp_simulated",
    });
    if let (Some(usage), Some(fields)) = (turn.usage_or(usage(turn)), answer.as_object_mut()) {
        fields.insert("usage".to_owned(), usage);
    }
    answer
}

fn tool_calls(turn: &Turn) -> Vec<Value> {
    let calls = turn.parts.iter().filter_map(|part| match part {
        Part::Call { id, name, pieces } => Some(json!({
            "id": call_id(*id), "type": "function",
            "function": {"name": name, "arguments": pieces.concat()},
        })),
        Part::Text(_) | Part::Reasoning(_) => None,
    });
    calls.collect()
}

/// The answer as a stream, with the usage chunk only if the request asked for it.
pub(super) fn stream(turn: &Turn, include_usage: bool) -> Vec<Piece> {
    let chunk = |delta: Value, finish: Value| {
        let choice =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        data(&envelope(turn, &choice, include_usage.then_some(Value::Null)))
    };
    let content = if turn.calls() { Value::Null } else { json!("") };
    let first = json!({"role": "assistant", "content": content, "refusal": null});
    let mut pieces = vec![Piece::frame(chunk(first, Value::Null))];
    let mut index = 0_u32;
    for part in &turn.parts {
        match part {
            Part::Reasoning(_) => {} // OpenAI hides it
            Part::Text(texts) => {
                let deltas = texts.iter().map(|text| json!({"content": text}));
                pieces.extend(deltas.map(|delta| Piece::content(chunk(delta, Value::Null))));
            }
            Part::Call { id, name, pieces: arguments } => {
                let head = json!({"tool_calls": [{"index": index, "id": call_id(*id),
                    "type": "function", "function": {"name": name, "arguments": ""}}]});
                pieces.push(Piece::frame(chunk(head, Value::Null)));
                pieces.extend(arguments.iter().map(|text| {
                    let delta =
                        json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]});
                    Piece::content(chunk(delta, Value::Null))
                }));
                index = index.saturating_add(1);
            }
        }
    }
    pieces.push(Piece::frame(chunk(json!({}), json!(finish(turn)))));
    if let (true, Some(usage)) = (include_usage, turn.usage_or(usage(turn))) {
        pieces.push(Piece::frame(data(&envelope(turn, &json!([]), Some(usage)))));
    }
    if !turn.no_done {
        pieces.push(Piece::frame(Bytes::from_static(b"data: [DONE]\n\n")));
    }
    pieces
}

fn envelope(turn: &Turn, choices: &Value, usage: Option<Value>) -> Value {
    let mut chunk = json!({
        "id": id(turn), "object": "chat.completion.chunk", "created": turn.created,
        "model": turn.model, "service_tier": tier(turn), "system_fingerprint": "fp_simulated",
        "choices": choices,
    });
    if let (Some(usage), Some(fields)) = (usage, chunk.as_object_mut()) {
        fields.insert("usage".to_owned(), usage);
    }
    chunk
}

/// An SSE event of data alone.
pub(super) fn data(payload: &Value) -> Bytes {
    Bytes::from(format!("data: {payload}\n\n"))
}

fn usage(turn: &Turn) -> Value {
    let counts = turn.counts;
    let completion = counts.output.saturating_add(counts.reasoning);
    json!({
        "prompt_tokens": counts.input,
        "completion_tokens": completion,
        "total_tokens": counts.input.saturating_add(completion),
        "prompt_tokens_details": {"cached_tokens": counts.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

pub(super) fn finish(turn: &Turn) -> &'static str {
    match (turn.limited, turn.calls()) {
        (true, _) => "length",
        (false, true) => "tool_calls",
        (false, false) => "stop",
    }
}

fn id(turn: &Turn) -> String {
    format!("chatcmpl-sim{:012}", turn.serial)
}

pub(super) fn call_id(id: u64) -> String {
    format!("call_sim{id:012}")
}

pub(super) fn tier(turn: &Turn) -> &str {
    turn.tier.as_deref().unwrap_or("default")
}

/// The body of an error status.
pub(super) fn error(status: u16, message: &str) -> Value {
    let (kind, code) = match status {
        401 => ("invalid_request_error", json!("invalid_api_key")),
        403 => ("invalid_request_error", json!("unsupported_country_region_territory")),
        404 => ("invalid_request_error", json!("model_not_found")),
        429 => ("requests", json!("rate_limit_exceeded")),
        500..=599 => ("server_error", Value::Null),
        _ => ("invalid_request_error", Value::Null),
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// The error that comes in the middle of a stream.
pub(super) fn error_event() -> Bytes {
    let message = "The server had an error while processing your request. Sorry about that!";
    data(&error(500, message))
}

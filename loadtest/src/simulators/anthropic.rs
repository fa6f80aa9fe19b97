//! Anthropic's messages and count_tokens: what a request asks, and the exact shape of its answers.

use bytes::Bytes;
use serde_json::{Value, json};

use super::openai::text_of;
use super::playback::Piece;
use super::strict::SEAL;
use super::turn::{Asked, Part, Tool, Turn, plain_text, text_bytes};

/// Reads a request of `messages`; the error is what the provider would say about it.
pub(super) fn asked(body: &Value) -> Result<Asked, String> {
    let asked = counted(body)?;
    match asked.limit {
        None => Err("max_tokens: Field required".to_owned()),
        Some(0) => Err("max_tokens: must be greater than or equal to 1".to_owned()),
        Some(_) => Ok(asked),
    }
}

/// Reads a request of `count_tokens`, which has no output limit.
pub(super) fn counted(body: &Value) -> Result<Asked, String> {
    let Some(messages) = body.get("messages").and_then(Value::as_array) else {
        return Err("messages: Field required".to_owned());
    };
    let is_user = |message: &Value| message.get("role").and_then(Value::as_str) == Some("user");
    let text = |message: &Value| plain_text(message.get("content"));
    // A user message of tool results alone is not what the user said last.
    let said = messages.iter().rev().filter(|m| is_user(m)).map(text).find(|t| !t.is_empty());
    let last = messages.iter().rev().find(|m| m.get("role").is_some_and(|r| r != "system"));
    let users_turn = last.is_some_and(|message| is_user(message) && !has_result(message));
    let tools = tools(body);
    let no_tool = body.pointer("/tool_choice/type").and_then(Value::as_str) == Some("none");
    let thinking = body.pointer("/thinking/type").and_then(Value::as_str);
    let system = body.get("system").map_or(0, text_bytes);
    let schema = body.pointer("/output_config/format/schema");
    Ok(Asked {
        model: text_of(body, "model"),
        text: said.unwrap_or_default(),
        prompt_bytes: messages.iter().map(text_bytes).sum::<usize>().saturating_add(system),
        calls: users_turn && !tools.is_empty() && !no_tool,
        tools,
        schema: schema.or_else(|| body.pointer("/output_format/schema")).cloned(),
        limit: body.get("max_tokens").and_then(Value::as_u64),
        reasoning_beside_limit: false,
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: true,
        shows_reasoning: thinking.is_some_and(|kind| kind != "disabled"),
        tier: None,
        media: Vec::new(),
    })
}

fn has_result(message: &Value) -> bool {
    let blocks = message.get("content").and_then(Value::as_array).into_iter().flatten();
    blocks.filter_map(|block| block.get("type")?.as_str()).any(|kind| kind == "tool_result")
}

/// The caller's own functions; server tools have no schema.
fn tools(body: &Value) -> Vec<Tool> {
    let chosen = body.pointer("/tool_choice/name").and_then(Value::as_str);
    let all = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let functions = all.filter_map(|tool| {
        let schema = tool.get("input_schema")?.clone();
        Some(Tool { name: text_of(tool, "name"), schema })
    });
    functions.filter(|tool| chosen.is_none_or(|name| name == tool.name)).collect()
}

/// The answer of `count_tokens`.
pub(super) fn count(asked: &Asked, turn: &Turn) -> Value {
    let tools = u64::try_from(asked.tools.len()).unwrap_or(u64::MAX).saturating_mul(50);
    json!({"input_tokens": turn.counts.input.saturating_add(tools)})
}

/// The whole answer.
pub(super) fn answer(turn: &Turn) -> Value {
    let blocks: Vec<Value> = turn.parts.iter().map(block).collect();
    message(turn, &json!(blocks), &json!(stop_reason(turn)), turn.usage_or(usage(turn, false)))
}

fn block(part: &Part) -> Value {
    match part {
        Part::Reasoning(texts) => {
            json!({"type": "thinking", "thinking": texts.concat(), "signature": SEAL})
        }
        Part::Text(texts) => json!({"type": "text", "text": texts.concat()}),
        Part::Call { id, name, pieces } => {
            // A call that the output limit cut has arguments that are no JSON.
            let input = serde_json::from_str(&pieces.concat()).unwrap_or_else(|_| json!({}));
            json!({"type": "tool_use", "id": tool_id(*id), "name": name, "input": input})
        }
    }
}

fn message(turn: &Turn, content: &Value, stop: &Value, usage: Option<Value>) -> Value {
    let mut message = json!({
        "model": turn.model, "id": format!("msg_sim{:012}", turn.serial), "type": "message",
        "role": "assistant", "content": content, "stop_reason": stop, "stop_sequence": null,
    });
    if let (Some(usage), Some(fields)) = (usage, message.as_object_mut()) {
        fields.insert("usage".to_owned(), usage);
    }
    message
}

/// The answer as a stream.
pub(super) fn stream(turn: &Turn) -> Vec<Piece> {
    let start = message(turn, &json!([]), &Value::Null, turn.usage_or(usage(turn, true)));
    let start = json!({"type": "message_start", "message": start});
    let mut pieces =
        vec![Piece::frame(event(&start)), Piece::frame(event(&json!({"type": "ping"})))];
    for (part, index) in turn.parts.iter().zip(0_u32..) {
        let start =
            json!({"type": "content_block_start", "index": index, "content_block": empty(part)});
        pieces.push(Piece::frame(event(&start)));
        let delta = |delta: Value| {
            event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
        };
        let (texts, kind, field) = match part {
            Part::Reasoning(texts) => (texts, "thinking_delta", "thinking"),
            Part::Text(texts) => (texts, "text_delta", "text"),
            Part::Call { pieces, .. } => (pieces, "input_json_delta", "partial_json"),
        };
        pieces.extend(texts.iter().map(|t| Piece::content(delta(json!({"type": kind, field: t})))));
        if matches!(part, Part::Reasoning(_)) {
            let signature = json!({"type": "signature_delta", "signature": SEAL});
            pieces.push(Piece::frame(delta(signature)));
        }
        let stop = json!({"type": "content_block_stop", "index": index});
        pieces.push(Piece::frame(event(&stop)));
    }
    let delta = json!({"stop_reason": stop_reason(turn), "stop_sequence": null});
    let mut end = json!({"type": "message_delta", "delta": delta});
    if let (Some(usage), Some(fields)) = (turn.usage_or(final_usage(turn)), end.as_object_mut()) {
        fields.insert("usage".to_owned(), usage);
    }
    pieces.push(Piece::frame(event(&end)));
    if !turn.no_done {
        pieces.push(Piece::frame(event(&json!({"type": "message_stop"}))));
    }
    pieces
}

fn empty(part: &Part) -> Value {
    match part {
        Part::Reasoning(_) => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Part::Text(_) => json!({"type": "text", "text": ""}),
        Part::Call { id, name, .. } => {
            json!({"type": "tool_use", "id": tool_id(*id), "name": name, "input": {}})
        }
    }
}

/// An SSE event named by the payload's `type`.
pub(super) fn event(payload: &Value) -> Bytes {
    Bytes::from(format!("event: {}\ndata: {payload}\n\n", text_of(payload, "type")))
}

fn usage(turn: &Turn, provisional: bool) -> Value {
    let output = if provisional { 1 } else { output(turn) };
    json!({
        "input_tokens": turn.counts.input.saturating_sub(turn.counts.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": turn.counts.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn final_usage(turn: &Turn) -> Value {
    json!({
        "input_tokens": turn.counts.input.saturating_sub(turn.counts.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": turn.counts.cached,
        "output_tokens": output(turn),
    })
}

fn output(turn: &Turn) -> u64 {
    turn.counts.output.saturating_add(turn.counts.reasoning)
}

fn stop_reason(turn: &Turn) -> &'static str {
    match (turn.limited, turn.calls()) {
        (true, _) => "max_tokens",
        (false, true) => "tool_use",
        (false, false) => "end_turn",
    }
}

fn tool_id(id: u64) -> String {
    format!("toolu_sim{id:012}")
}

/// The body of an error status.
pub(super) fn error(status: u16, message: &str) -> Value {
    let kind = match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": message},
        "request_id": "req_simulated"})
}

/// The error that comes in the middle of a stream.
pub(super) fn error_event() -> Bytes {
    event(&json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}))
}

//! xAI's chat completions: OpenAI's requests, answers with reasoning beside the completion.

use bytes::Bytes;
use serde_json::{Value, json};

use super::openai::{self, call_id, data, finish};
use super::playback::Piece;
use super::turn::{Asked, Part, Turn};

/// Reads a request; the error is what the provider would say about it.
pub(super) fn asked(body: &Value) -> Result<Asked, String> {
    let asked = openai::asked(body)?;
    Ok(Asked { reasoning_beside_limit: true, shows_reasoning: true, ..asked })
}

/// The whole answer.
pub(super) fn answer(turn: &Turn) -> Value {
    let mut message = json!({"role": "assistant", "content": turn.text(), "refusal": null});
    let reasoning = turn.reasoning();
    let calls = calls(turn);
    if let Some(fields) = message.as_object_mut() {
        if !reasoning.is_empty() {
            fields.insert("reasoning_content".to_owned(), json!(reasoning));
        }
        if !calls.is_empty() {
            fields.insert("tool_calls".to_owned(), json!(calls));
        }
    }
    let choice = json!({"index": 0, "message": message, "finish_reason": finish(turn)});
    let mut answer = json!({
        "id": id(turn), "object": "chat.completion", "created": turn.created, "model": turn.model,
        "choices": [choice], "system_fingerprint": "fp_simulated", "service_tier": openai::tier(turn),
    });
    if let (Some(usage), Some(fields)) = (turn.usage_or(usage(turn)), answer.as_object_mut()) {
        fields.insert("usage".to_owned(), usage);
    }
    answer
}

/// The answer as a stream; each tool call comes whole.
pub(super) fn stream(turn: &Turn, include_usage: bool) -> Vec<Piece> {
    let chunk = |delta: Value| envelope(turn, &json!([{"index": 0, "delta": delta}]), None);
    let mut pieces = vec![Piece::frame(chunk(json!({"role": "assistant", "content": ""})))];
    let mut index = 0_u32;
    for part in &turn.parts {
        match part {
            Part::Reasoning(texts) => {
                let deltas = texts.iter().map(|text| json!({"reasoning_content": text}));
                pieces.extend(deltas.map(|delta| Piece::content(chunk(delta))));
            }
            Part::Text(texts) => {
                let deltas = texts.iter().map(|text| json!({"content": text}));
                pieces.extend(deltas.map(|delta| Piece::content(chunk(delta))));
            }
            Part::Call { id, name, pieces: arguments } => {
                let call = json!({"id": call_id(*id), "index": index, "type": "function",
                    "function": {"name": name, "arguments": arguments.concat()}});
                pieces.push(Piece::content(chunk(json!({"tool_calls": [call]}))));
                index = index.saturating_add(1);
            }
        }
    }
    let end = json!([{"index": 0, "delta": {}, "finish_reason": finish(turn)}]);
    pieces.push(Piece::frame(envelope(turn, &end, None)));
    if let (true, Some(usage)) = (include_usage, turn.usage_or(usage(turn))) {
        pieces.push(Piece::frame(envelope(turn, &json!([]), Some(usage))));
    }
    if !turn.no_done {
        pieces.push(Piece::frame(Bytes::from_static(b"data: [DONE]\n\n")));
    }
    pieces
}

fn envelope(turn: &Turn, choices: &Value, usage: Option<Value>) -> Bytes {
    let mut chunk = json!({
        "id": id(turn), "object": "chat.completion.chunk", "created": turn.created,
        "model": turn.model, "choices": choices, "system_fingerprint": "fp_simulated",
    });
    if let (Some(usage), Some(fields)) = (usage, chunk.as_object_mut()) {
        fields.insert("usage".to_owned(), usage);
    }
    data(&chunk)
}

fn calls(turn: &Turn) -> Vec<Value> {
    let calls = turn.parts.iter().filter_map(|part| match part {
        Part::Call { id, name, pieces } => Some(json!({
            "id": call_id(*id), "type": "function",
            "function": {"name": name, "arguments": pieces.concat()},
        })),
        Part::Text(_) | Part::Reasoning(_) => None,
    });
    calls.collect()
}

fn usage(turn: &Turn) -> Value {
    let counts = turn.counts;
    let total = counts.input.saturating_add(counts.output).saturating_add(counts.reasoning);
    let mut usage = json!({
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": total,
        "prompt_tokens_details": {"text_tokens": counts.input, "audio_tokens": 0,
            "image_tokens": 0, "cached_tokens": counts.cached},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
        "num_sources_used": 0,
    });
    if let (Some(ticks), Some(fields)) = (turn.ticks, usage.as_object_mut()) {
        fields.insert("cost_in_usd_ticks".to_owned(), json!(ticks));
    }
    usage
}

fn id(turn: &Turn) -> String {
    format!("5171a7ed-0000-4000-8000-{:012}", turn.serial)
}

/// The status and the body of an error: a bad key is a 400, and the error is a string.
pub(super) fn error(status: u16, message: &str) -> (u16, Value) {
    let code = match status {
        401 => "invalid-argument",
        403 => "permission-denied",
        404 => "not-found",
        429 => "resource-exhausted",
        500..=599 => "internal",
        _ => "invalid-argument",
    };
    let status = if status == 401 { 400 } else { status };
    (status, json!({"code": code, "error": message}))
}

/// The error that comes in the middle of a stream.
pub(super) fn error_event() -> Bytes {
    data(&error(503, "The service is temporarily unavailable.").1)
}

//! OpenAI's and xAI's Responses: text and function calls, streamed and not.

use bytes::Bytes;
use serde_json::{Value, json};

use super::anthropic::event;
use super::openai::{call_id, text_of, tier};
use super::playback::Piece;
use super::strict::SEAL;
use super::turn::{Asked, Part, Tool, Turn, plain_text, text_bytes};

/// Reads a request; the error is what the provider would say about it.
pub(super) fn asked(body: &Value) -> Result<Asked, String> {
    let (text, prompt_bytes, users_turn) = match body.get("input") {
        Some(Value::String(text)) => (text.clone(), text.len(), true),
        Some(Value::Array(items)) => {
            let is_user = |item: &Value| text_of(item, "role") == "user";
            let last = items.iter().rev().find(|item| is_user(item));
            let text = plain_text(last.and_then(|item| item.get("content")));
            let mut said = items.iter().rev().filter(|item| text_of(item, "role") != "system");
            let users_turn = said.next().is_some_and(is_user);
            (text, items.iter().map(text_bytes).sum(), users_turn)
        }
        _ => return Err("Missing required parameter: 'input'.".to_owned()),
    };
    let tools = tools(body);
    let no_tool = body.get("tool_choice").and_then(Value::as_str) == Some("none");
    Ok(Asked {
        model: text_of(body, "model"),
        text,
        prompt_bytes: prompt_bytes.saturating_add(text_of(body, "instructions").len()),
        calls: users_turn && !tools.is_empty() && !no_tool,
        tools,
        schema: body.pointer("/text/format/schema").cloned(),
        limit: body.get("max_output_tokens").and_then(Value::as_u64),
        reasoning_beside_limit: false,
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: true,
        shows_reasoning: body
            .get("include")
            .is_some_and(|all| all.to_string().contains("encrypted")),
        tier: body.get("service_tier").and_then(Value::as_str).map(str::to_owned),
        media: Vec::new(),
    })
}

fn tools(body: &Value) -> Vec<Tool> {
    let all = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let functions = all.filter(|tool| text_of(tool, "type") == "function");
    let tools = functions.map(|tool| Tool {
        name: text_of(tool, "name"),
        schema: tool.get("parameters").cloned().unwrap_or(Value::Null),
    });
    tools.collect()
}

/// The whole answer.
pub(super) fn answer(turn: &Turn) -> Value {
    let items: Vec<Value> =
        turn.parts.iter().zip(0_u32..).map(|(part, index)| item(turn, part, index)).collect();
    let status = if turn.limited { "incomplete" } else { "completed" };
    response(turn, status, &json!(items), turn.usage_or(usage(turn)))
}

fn response(turn: &Turn, status: &str, output: &Value, usage: Option<Value>) -> Value {
    let reason = json!({"reason": "max_output_tokens"});
    json!({
        "id": format!("resp_sim{:012}", turn.serial), "object": "response",
        "created_at": turn.created, "status": status, "background": false, "error": null,
        "incomplete_details": if status == "incomplete" { reason } else { Value::Null },
        "model": turn.model, "output": output, "parallel_tool_calls": true,
        "service_tier": tier(turn), "store": false, "tool_choice": "auto", "tools": [],
        "usage": usage, "metadata": {},
    })
}

fn item(turn: &Turn, part: &Part, index: u32) -> Value {
    match part {
        Part::Reasoning(texts) => json!({
            "id": item_id(turn, index), "type": "reasoning", "encrypted_content": SEAL,
            "summary": [{"type": "summary_text", "text": texts.concat()}],
        }),
        Part::Text(texts) => json!({
            "id": item_id(turn, index), "type": "message", "status": "completed",
            "role": "assistant", "content": [text_part(&texts.concat())],
        }),
        Part::Call { id, name, pieces } => json!({
            "id": item_id(turn, index), "type": "function_call", "status": "completed",
            "call_id": call_id(*id), "name": name, "arguments": pieces.concat(),
        }),
    }
}

fn item_id(turn: &Turn, index: u32) -> String {
    format!("item_sim{:012}_{index}", turn.serial)
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// The answer as a stream of events with running sequence numbers.
pub(super) fn stream(turn: &Turn) -> Vec<Piece> {
    let begun = response(turn, "in_progress", &json!([]), None);
    let mut pieces = vec![
        (json!({"type": "response.created", "response": begun}), false),
        (json!({"type": "response.in_progress", "response": begun}), false),
    ];
    for (part, index) in turn.parts.iter().zip(0_u32..) {
        item_events(turn, part, index, &mut pieces);
    }
    if !turn.no_done {
        let kind = if turn.limited { "response.incomplete" } else { "response.completed" };
        pieces.push((json!({"type": kind, "response": answer(turn)}), false));
    }
    let numbered = pieces.into_iter().zip(0_u64..).map(|((mut payload, content), number)| {
        if let Some(fields) = payload.as_object_mut() {
            fields.insert("sequence_number".to_owned(), json!(number));
        }
        Piece { bytes: event(&payload), content }
    });
    numbered.collect()
}

fn item_events(turn: &Turn, part: &Part, index: u32, pieces: &mut Vec<(Value, bool)>) {
    let id = item_id(turn, index);
    let whole = item(turn, part, index);
    let mut begun = whole.clone();
    if let Some(fields) = begun.as_object_mut() {
        fields.insert("status".to_owned(), json!("in_progress"));
        match part {
            Part::Reasoning(_) => fields.insert("summary".to_owned(), json!([])),
            Part::Text(_) => fields.insert("content".to_owned(), json!([])),
            Part::Call { .. } => fields.insert("arguments".to_owned(), json!("")),
        };
    }
    let mut send = |mut payload: Value, content: bool| {
        if let Some(fields) = payload.as_object_mut() {
            fields.insert("output_index".to_owned(), json!(index));
        }
        pieces.push((payload, content));
    };
    send(json!({"type": "response.output_item.added", "item": begun}), false);
    match part {
        Part::Reasoning(texts) => {
            let kind = "response.reasoning_summary_text";
            for text in texts {
                let delta = json!({"type": format!("{kind}.delta"), "item_id": id,
                    "summary_index": 0, "delta": text});
                send(delta, true);
            }
            let done = json!({"type": format!("{kind}.done"), "item_id": id, "summary_index": 0,
                "text": texts.concat()});
            send(done, false);
        }
        Part::Text(texts) => {
            let all = texts.concat();
            let part = |kind: &str, text: &str| json!({"type": kind, "item_id": id, "content_index": 0, "part": text_part(text)});
            send(part("response.content_part.added", ""), false);
            for text in texts {
                let delta = json!({"type": "response.output_text.delta", "item_id": id,
                    "content_index": 0, "delta": text, "logprobs": []});
                send(delta, true);
            }
            let done = json!({"type": "response.output_text.done", "item_id": id,
                "content_index": 0, "text": all, "logprobs": []});
            send(done, false);
            send(part("response.content_part.done", &all), false);
        }
        Part::Call { pieces: arguments, .. } => {
            let kind = "response.function_call_arguments";
            for text in arguments {
                let delta = json!({"type": format!("{kind}.delta"), "item_id": id, "delta": text});
                send(delta, true);
            }
            let all = arguments.concat();
            let done = json!({"type": format!("{kind}.done"), "item_id": id, "arguments": all});
            send(done, false);
        }
    }
    send(json!({"type": "response.output_item.done", "item": whole}), false);
}

fn usage(turn: &Turn) -> Value {
    let counts = turn.counts;
    let output = counts.output.saturating_add(counts.reasoning);
    json!({
        "input_tokens": counts.input,
        "input_tokens_details": {"cached_tokens": counts.cached},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.input.saturating_add(output),
    })
}

/// The error that comes in the middle of a stream.
pub(super) fn error_event() -> Bytes {
    let message = "The server had an error while processing your request.";
    event(&json!({"type": "error", "code": "server_error", "message": message, "param": null,
        "sequence_number": 1}))
}

//! Writes a whole response.

use opencredits_schema::{Provider, Usage};
use opencredits_wire::Dialect;
use serde_json::{Value, json};

use crate::json::{Object, extend, of};
use crate::tool_id::packed;
use crate::{Answer, Asked, Block, Citation, Content, Signature, Stop, ToolCall};

/// Writes an answer: the first choice, since there is but one here.
#[must_use]
pub fn encode_answer(answer: &Answer, usage: &Usage, asked: &Asked) -> Vec<u8> {
    let choice = answer.choices.first();
    let blocks = choice.map(|choice| choice.blocks.as_slice()).unwrap_or_default();
    let mut output = Vec::new();
    for block in blocks {
        output.extend(item(block, output.len(), asked));
    }
    let stop = choice.and_then(|choice| choice.stop.as_ref());
    let (status, details) = status(stop);
    response(asked, status, details, output, Some(usage)).to_string().into_bytes()
}

/// How it ended, and why if it is not complete.
pub(super) fn status(stop: Option<&Stop>) -> (&'static str, Value) {
    match stop {
        Some(Stop::MaxTokens | Stop::ContextWindow) => {
            ("incomplete", json!({"reason": "max_output_tokens"}))
        }
        Some(Stop::Refusal) => ("incomplete", json!({"reason": "content_filter"})),
        Some(
            Stop::EndTurn
            | Stop::StopSequence(_)
            | Stop::ToolUse
            | Stop::PauseTurn
            | Stop::Malformed,
        )
        | None => ("completed", Value::Null),
    }
}

/// The whole object. It says back what the caller asked for, as OpenAI's does.
pub(super) fn response(
    asked: &Asked,
    status: &str,
    details: Value,
    output: Vec<Value>,
    used: Option<&Usage>,
) -> Value {
    let body: Object = serde_json::from_slice(&asked.body).unwrap_or_default();
    let said = |key: &str, usual: Value| {
        body.get(key).filter(|value| !value.is_null()).cloned().unwrap_or(usual)
    };
    let mut response = json!({
        "id": format!("resp_{}", asked.request),
        "object": "response",
        "created_at": asked.created,
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": details,
        "instructions": said("instructions", Value::Null),
        "max_output_tokens": said("max_output_tokens", Value::Null),
        "model": asked.model,
        "output": null,
        "parallel_tool_calls": said("parallel_tool_calls", true.into()),
        "previous_response_id": null,
        "reasoning": said("reasoning", json!({"effort": null, "summary": null})),
        "service_tier": "default",
        "store": false,
        "temperature": said("temperature", json!(1.0)),
        "text": said("text", json!({"format": {"type": "text"}})),
        "tool_choice": said("tool_choice", "auto".into()),
        "tools": said("tools", json!([])),
        "top_p": said("top_p", json!(1.0)),
        "truncation": said("truncation", "disabled".into()),
        "usage": used.map(usage),
        "user": said("user", Value::Null),
        "metadata": said("metadata", json!({})),
    });
    // Put in, not copied: it is the answer.
    extend(&mut response, [("output", Some(output.into()))]);
    response
}

/// The id of an item, by its number in the answer.
pub(super) fn item_id(kind: &str, number: usize, asked: &Asked) -> String {
    format!("{kind}_{}_{number}", asked.request)
}

/// An output item; `None` for what only another dialect knows.
pub(super) fn item(block: &Block, number: usize, asked: &Asked) -> Option<Value> {
    Some(match &block.content {
        Content::Text { text, citations, .. } => {
            message(number, asked, output_text(text, citations))
        }
        Content::Refusal(text) => {
            message(number, asked, json!({"type": "refusal", "refusal": text}))
        }
        Content::Thinking { text, signature } => {
            let summary = if text.is_empty() {
                json!([])
            } else {
                json!([{"type": "summary_text", "text": text}])
            };
            thought(number, asked, &summary, signature.as_ref())
        }
        Content::RedactedThinking(seal) => thought(number, asked, &json!([]), Some(seal)),
        Content::ToolCall(ToolCall { id, name, arguments, signature }) => json!({
            "id": item_id("fc", number, asked), "type": "function_call", "status": "completed",
            "call_id": packed(id, signature.as_ref()), "name": name, "arguments": arguments,
        }),
        Content::Own { dialect: Dialect::Responses, json } => json.clone(),
        Content::Own { .. }
        | Content::ToolResult(_)
        | Content::Image(_)
        | Content::Document(_)
        | Content::Audio { .. } => return None,
    })
}

fn message(number: usize, asked: &Asked, part: Value) -> Value {
    of([
        ("id", item_id("msg", number, asked).into()),
        ("type", "message".into()),
        ("status", "completed".into()),
        ("role", "assistant".into()),
        ("content", vec![part].into()),
    ])
}

/// A text with what it rests on.
pub(super) fn output_text(text: &str, citations: &[Citation]) -> Value {
    let annotations: Vec<_> = citations.iter().filter_map(annotation).collect();
    json!({"type": "output_text", "text": text, "annotations": annotations, "logprobs": []})
}

/// A citation as OpenAI tells those of its web search.
pub(super) fn annotation(citation: &Citation) -> Option<Value> {
    if let Citation::Own { dialect: Dialect::Responses, json } = citation {
        return Some(json.clone());
    }
    let (url, title) = citation.page()?;
    let span = if let Citation::Url { span, .. } = citation { *span } else { None };
    let (start, end) = span.unwrap_or((0, 0));
    Some(json!({
        "type": "url_citation", "url": url, "title": title, "start_index": start, "end_index": end,
    }))
}

fn thought(number: usize, asked: &Asked, summary: &Value, seal: Option<&Signature>) -> Value {
    let mut item =
        json!({"id": item_id("rs", number, asked), "type": "reasoning", "summary": summary});
    let seal = seal.filter(|seal| !seal.data.is_empty());
    let seal = seal.map(|seal| seal.carried(Provider::OpenAi).into());
    extend(&mut item, [("encrypted_content", seal)]);
    item
}

/// The usage as OpenAI counts it here: parts are inside their whole.
fn usage(usage: &Usage) -> Value {
    let (input, output) = (usage.total_input(), usage.output);
    let cached = usage.cache_read.saturating_add(usage.cache_read_audio);
    json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": cached,
            "cache_write_tokens": usage.cache_write_5m.saturating_add(usage.cache_write_1h),
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": input.saturating_add(output),
    })
}

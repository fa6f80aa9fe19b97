//! Writes a whole message of Anthropic's.

use opencredits_schema::{Provider, Usage};
use opencredits_wire::Dialect;
use serde_json::{Value, json};

use crate::json::extend;
use crate::tool_id::packed;
use crate::{Answer, Asked, Block, Citation, Content, Signature, Stop, ToolCall};

/// Writes an answer: the first choice, since there is but one here.
#[must_use]
pub fn encode_answer(answer: &Answer, usage: &Usage, asked: &Asked) -> Vec<u8> {
    let choice = answer.choices.first();
    let blocks = choice.map(|choice| choice.blocks.as_slice()).unwrap_or_default();
    let mut content: Vec<_> = blocks.iter().filter_map(block).collect();
    if content.is_empty() {
        content.push(json!({"type": "text", "text": ""}));
    }
    let (reason, sequence) = stop_reason(choice.and_then(|choice| choice.stop.as_ref()));
    let message = json!({
        "id": id(asked), "type": "message", "role": "assistant", "model": asked.model,
        "content": content, "stop_reason": reason, "stop_sequence": sequence,
        "usage": self::usage(usage),
    });
    message.to_string().into_bytes()
}

/// The answer's id.
pub(super) fn id(asked: &Asked) -> String {
    format!("msg_{}", asked.request)
}

/// A block; `None` for what only another dialect knows.
pub(super) fn block(block: &Block) -> Option<Value> {
    Some(match &block.content {
        Content::Text { text, citations, .. } => {
            let mut value = json!({"type": "text", "text": text});
            let told: Vec<_> = citations.iter().map(citation).collect();
            extend(&mut value, [("citations", (!told.is_empty()).then(|| told.into()))]);
            value
        }
        Content::Refusal(text) => json!({"type": "text", "text": text}),
        Content::Thinking { text, signature } => {
            json!({"type": "thinking", "thinking": text, "signature": seal(signature.as_ref())})
        }
        Content::RedactedThinking(seal) => {
            json!({"type": "redacted_thinking", "data": seal.carried(Provider::Anthropic)})
        }
        Content::ToolCall(ToolCall { id, name, arguments, signature }) => {
            let input: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
            let id = packed(id, signature.as_ref());
            json!({"type": "tool_use", "id": id, "name": name, "input": input})
        }
        Content::Own { dialect: Dialect::Messages, json } => json.clone(),
        Content::Own { .. }
        | Content::ToolResult(_)
        | Content::Image(_)
        | Content::Document(_)
        | Content::Audio { .. } => return None,
    })
}

/// The seal of thinking; clients want a text even where there is none.
fn seal(signature: Option<&Signature>) -> String {
    signature.map(|seal| seal.carried(Provider::Anthropic).into_owned()).unwrap_or_default()
}

/// A citation as Anthropic tells those of its web search.
pub(super) fn citation(citation: &Citation) -> Value {
    match citation {
        Citation::Own { dialect: Dialect::Messages, json } => json.clone(),
        Citation::Own { .. } | Citation::Url { .. } => {
            let (url, title) = citation.page().unwrap_or_default();
            let cited =
                if let Citation::Url { cited, .. } = citation { cited.as_deref() } else { None };
            json!({
                "type": "web_search_result_location", "url": url, "title": title,
                "cited_text": cited.unwrap_or_default(), "encrypted_index": "",
            })
        }
    }
}

/// Why it ended, in this dialect's words, and the text that ended it.
pub(super) fn stop_reason(stop: Option<&Stop>) -> (&'static str, Option<&str>) {
    match stop {
        Some(Stop::EndTurn | Stop::Malformed) | None => ("end_turn", None),
        Some(Stop::MaxTokens) => ("max_tokens", None),
        Some(Stop::ContextWindow) => ("model_context_window_exceeded", None),
        Some(Stop::StopSequence(text)) => {
            ("stop_sequence", Some(text.as_str()).filter(|text| !text.is_empty()))
        }
        Some(Stop::ToolUse) => ("tool_use", None),
        Some(Stop::PauseTurn) => ("pause_turn", None),
        Some(Stop::Refusal) => ("refusal", None),
    }
}

/// The usage as Anthropic counts it: the cache beside the input.
pub(super) fn usage(usage: &Usage) -> Value {
    let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    let mut value = json!({
        "input_tokens": usage.input.saturating_add(usage.input_audio),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read.saturating_add(usage.cache_read_audio),
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
    });
    let searches = usage.tool_calls.web_search;
    let searched = (searches > 0).then(|| json!({"web_search_requests": searches}));
    extend(&mut value, [("server_tool_use", searched)]);
    value
}

//! Writes a whole chat completion.

use opencredits_schema::{Provider, Usage};
use serde_json::{Value, json};

use crate::tool_id::packed;
use crate::{Answer, Asked, Choice, Citation, Content, Signature, Stop, ToolCall};

/// Writes an answer.
#[must_use]
pub fn encode_answer(answer: &Answer, usage: &Usage, asked: &Asked) -> Vec<u8> {
    let choices: Vec<_> = answer
        .choices
        .iter()
        .enumerate()
        .map(|(index, choice)| {
            json!({
                "index": index, "message": message(choice), "logprobs": null,
                "finish_reason": finish_reason(choice.stop.as_ref()),
            })
        })
        .collect();
    let completion = json!({
        "id": id(asked), "object": "chat.completion", "created": asked.created,
        "model": asked.model, "choices": choices, "usage": self::usage(usage),
    });
    completion.to_string().into_bytes()
}

/// The answer's id.
pub(super) fn id(asked: &Asked) -> String {
    format!("chatcmpl-{}", asked.request)
}

fn message(choice: &Choice) -> Value {
    let mut message = json!({"role": "assistant", "content": null, "refusal": null});
    let (mut text, mut thinking, mut refusal) = (String::new(), String::new(), None::<String>);
    let (mut details, mut calls, mut annotations) = (Vec::new(), Vec::new(), Vec::new());
    for block in &choice.blocks {
        match &block.content {
            Content::Text { text: more, citations, .. } => {
                let told = citations.iter().filter_map(|c| annotation(c, annotations.len()));
                let told: Vec<_> = told.collect();
                annotations.extend(told);
                text.push_str(more);
            }
            Content::Refusal(words) => refusal.get_or_insert_default().push_str(words),
            Content::Thinking { text, signature } => {
                thinking.push_str(text);
                details.extend(detail(text, signature.as_ref(), details.len()));
            }
            Content::RedactedThinking(seal) => details.push(encrypted(seal, details.len())),
            Content::ToolCall(call) => calls.push(whole_call(call)),
            Content::ToolResult(_)
            | Content::Image(_)
            | Content::Document(_)
            | Content::Audio { .. }
            | Content::Own { .. } => {}
        }
    }
    if choice.stop == Some(Stop::Refusal) && refusal.is_none() {
        refusal = Some(if text.is_empty() { REFUSED.to_owned() } else { text.clone() });
    }
    let silent = text.is_empty() && (!calls.is_empty() || refusal.is_some());
    let mut set = |name: &str, value: Value, there: bool| {
        if let (Some(message), true) = (message.as_object_mut(), there) {
            message.insert(name.to_owned(), value);
        }
    };
    set("content", text.into(), !silent);
    set("refusal", refusal.into(), true);
    let (thought, detailed) = (!thinking.is_empty(), !details.is_empty());
    set("reasoning_content", thinking.into(), thought);
    set("reasoning_details", details.into(), detailed);
    let (cited, called) = (!annotations.is_empty(), !calls.is_empty());
    set("annotations", annotations.into(), cited);
    set("tool_calls", calls.into(), called);
    message
}

/// What stands for the words of a model that refused without any.
pub(super) const REFUSED: &str = "The model refused to answer.";

/// Thinking that has to come back with its seal.
pub(super) fn detail(text: &str, signature: Option<&Signature>, index: usize) -> Option<Value> {
    let signature = signature.filter(|signature| !signature.data.is_empty())?;
    Some(json!({
        "type": "reasoning.text", "text": text, "signature": signature.carried(Provider::Anthropic),
        "format": format(signature.provider), "index": index,
    }))
}

/// Thinking that only its provider can read.
pub(super) fn encrypted(seal: &Signature, index: usize) -> Value {
    json!({
        "type": "reasoning.encrypted", "data": seal.carried(Provider::Anthropic),
        "format": format(seal.provider), "index": index,
    })
}

/// The name that OpenRouter gave to each provider's form, which its clients know.
const fn format(provider: Provider) -> &'static str {
    match provider {
        Provider::Anthropic => "anthropic-claude-v1",
        Provider::Google => "google-gemini-v1",
        Provider::OpenAi => "openai-responses-v1",
        Provider::XAi => "xai-responses-v1",
    }
}

/// A citation as OpenAI tells it; the index is what SDKs need to put streamed ones together.
pub(super) fn annotation(citation: &Citation, index: usize) -> Option<Value> {
    let (url, title) = citation.page()?;
    let span = if let Citation::Url { span, .. } = citation { *span } else { None };
    let (start, end) = span.unwrap_or((0, 0));
    let page = json!({"url": url, "title": title, "start_index": start, "end_index": end});
    Some(json!({"type": "url_citation", "index": index, "url_citation": page}))
}

fn whole_call(call: &ToolCall) -> Value {
    let ToolCall { id, name, arguments, signature } = call;
    let mut value = json!({
        "id": packed(id, signature.as_ref()), "type": "function",
        "function": {"name": name, "arguments": arguments},
    });
    if let (Some(extra), Some(value)) = (extra(signature.as_ref()), value.as_object_mut()) {
        value.insert("extra_content".to_owned(), extra);
    }
    value
}

/// The place that Google's own endpoint of this dialect has for its seal.
pub(super) fn extra(signature: Option<&Signature>) -> Option<Value> {
    let data = signature?.of(Provider::Google)?;
    Some(json!({"google": {"thought_signature": data}}))
}

/// Why it ended, in this dialect's words.
pub(super) const fn finish_reason(stop: Option<&Stop>) -> &'static str {
    match stop {
        Some(Stop::MaxTokens | Stop::ContextWindow) => "length",
        Some(Stop::ToolUse) => "tool_calls",
        Some(Stop::Refusal) => "content_filter",
        Some(Stop::EndTurn | Stop::StopSequence(_) | Stop::PauseTurn | Stop::Malformed) | None => {
            "stop"
        }
    }
}

/// The usage as OpenAI counts it: parts are inside their whole.
pub(super) fn usage(usage: &Usage) -> Value {
    let (input, output) = (usage.total_input(), usage.output);
    let audio = usage.input_audio.saturating_add(usage.cache_read_audio);
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input.saturating_add(output),
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read.saturating_add(usage.cache_read_audio),
            "cache_write_tokens": usage.cache_write_5m.saturating_add(usage.cache_write_1h),
            "audio_tokens": audio,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.output_audio,
        },
    })
}

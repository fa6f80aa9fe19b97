//! Writes a whole `generateContent` answer.

use opencredits_schema::{Provider, Usage};
use opencredits_wire::Dialect;
use serde_json::{Value, json};

use crate::json::extend;
use crate::{Answer, Asked, Block, Citation, Content, Signature, Source, Stop, ToolCall};

/// Writes an answer.
#[must_use]
pub fn encode_answer(answer: &Answer, usage: &Usage, asked: &Asked) -> Vec<u8> {
    let candidates = answer.choices.iter().enumerate().map(|(index, choice)| {
        let parts: Vec<_> = choice.blocks.iter().filter_map(part).collect();
        let mut candidate = candidate(index, &parts, choice.stop.as_ref());
        let pages = choice.blocks.iter().filter_map(|block| {
            if let Content::Text { citations, .. } = &block.content {
                Some(citations)
            } else {
                None
            }
        });
        let pages: Vec<_> = pages.flatten().cloned().collect();
        extend(&mut candidate, [("groundingMetadata", grounding(&pages))]);
        candidate
    });
    let candidates: Vec<_> = candidates.collect();
    chunk(candidates, Some(usage), asked).to_string().into_bytes()
}

/// One candidate of a chunk, or of all of the answer.
pub(super) fn candidate(index: usize, parts: &[Value], stop: Option<&Stop>) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": index});
    extend(&mut candidate, [("finishReason", stop.map(|stop| finish_reason(stop).into()))]);
    candidate
}

/// The pages that a text rests on.
pub(super) fn grounding(pages: &[Citation]) -> Option<Value> {
    let pages = pages.iter().filter_map(Citation::page);
    let chunks: Vec<_> =
        pages.map(|(uri, title)| json!({"web": {"uri": uri, "title": title}})).collect();
    (!chunks.is_empty()).then(|| json!({"groundingChunks": chunks}))
}

/// A chunk, or all of the answer.
pub(super) fn chunk(candidates: Vec<Value>, used: Option<&Usage>, asked: &Asked) -> Value {
    let mut chunk = json!({
        "candidates": candidates, "modelVersion": asked.model, "responseId": asked.request,
    });
    extend(&mut chunk, [("usageMetadata", used.map(usage))]);
    chunk
}

/// A part; `None` for what only another dialect knows.
pub(super) fn part(block: &Block) -> Option<Value> {
    let seal = |signature: &Option<Signature>| {
        let own = signature.as_ref().and_then(|seal| seal.of(Provider::Google));
        own.map(Value::from)
    };
    let (mut part, signature) = match &block.content {
        Content::Text { text, signature, .. } => (json!({"text": text}), seal(signature)),
        Content::Refusal(text) => (json!({"text": text}), None),
        Content::Thinking { text, signature } => {
            (json!({"text": text, "thought": true}), seal(signature))
        }
        Content::ToolCall(ToolCall { id, name, arguments, signature }) => {
            let args: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
            let call = json!({"functionCall": {"id": id, "name": name, "args": args}});
            (call, seal(signature))
        }
        Content::Image(image) => match &image.source {
            Source::Base64 { media_type, data } => {
                (json!({"inlineData": {"mimeType": media_type, "data": data}}), None)
            }
            Source::Url(_) | Source::Text(_) => return None,
        },
        Content::Own { dialect: Dialect::GenerateContent, json } => (json.clone(), None),
        Content::Own { .. }
        | Content::RedactedThinking(_)
        | Content::ToolResult(_)
        | Content::Document(_)
        | Content::Audio { .. } => return None,
    };
    extend(&mut part, [("thoughtSignature", signature)]);
    Some(part)
}

const fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::EndTurn | Stop::StopSequence(_) | Stop::ToolUse | Stop::PauseTurn => "STOP",
        Stop::MaxTokens | Stop::ContextWindow => "MAX_TOKENS",
        Stop::Refusal => "SAFETY",
        Stop::Malformed => "MALFORMED_FUNCTION_CALL",
    }
}

/// The usage as Google counts it: thoughts beside the candidates.
fn usage(usage: &Usage) -> Value {
    let (input, output) = (usage.total_input(), usage.output);
    json!({
        "promptTokenCount": input,
        "cachedContentTokenCount": usage.cache_read.saturating_add(usage.cache_read_audio),
        "candidatesTokenCount": output.saturating_sub(usage.reasoning),
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": input.saturating_add(output),
    })
}

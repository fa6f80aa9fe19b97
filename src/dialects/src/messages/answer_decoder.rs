//! Reads a whole message of Anthropic's.

use opencredits_schema::Provider;
use opencredits_wire::Dialect;
use serde::Deserialize;
use serde_json::Value;

use crate::json::Object;
use crate::{Answer, Block, Choice, Citation, Content, Signature, Stop, ToolCall, Undecodable};

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: String,
    #[serde(default)]
    model: String,
    content: Vec<Object>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

/// Reads an answer.
///
/// # Errors
/// [`Undecodable::Malformed`] for what is no message.
pub fn decode_answer(provider: Provider, body: &[u8]) -> Result<Answer, Undecodable> {
    let message: Message =
        serde_json::from_slice(body).map_err(|error| Undecodable::Malformed(error.to_string()))?;
    let blocks: Vec<_> =
        message.content.into_iter().filter_map(|block| self::block(provider, block)).collect();
    let stop = message.stop_reason.map(|reason| stop(&reason, message.stop_sequence));
    let choices = vec![Choice { blocks, stop }];
    Ok(Answer { id: message.id, model: message.model, created: None, choices })
}

/// A block of an answer; `None` for an empty text.
pub(super) fn block(provider: Provider, block: Object) -> Option<Block> {
    let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let seal = |key: &str| {
        let data = block.get(key).and_then(Value::as_str).filter(|data| !data.is_empty());
        data.map(|data| Signature::new(provider, data))
    };
    let content = match text("type").as_str() {
        "text" => {
            let told = block.get("citations").and_then(Value::as_array);
            let citations = told.into_iter().flatten().map(|one| citation(one.clone())).collect();
            let text = text("text");
            if text.is_empty() {
                return None;
            }
            Content::Text { text, signature: None, citations }
        }
        "thinking" => Content::Thinking { text: text("thinking"), signature: seal("signature") },
        "redacted_thinking" => Content::RedactedThinking(seal("data")?),
        "tool_use" => {
            let input = block.get("input").filter(|input| input.is_object());
            let arguments = input.map_or_else(|| "{}".to_owned(), Value::to_string);
            let (id, name) = (text("id"), text("name"));
            Content::ToolCall(ToolCall { id, name, arguments, signature: None })
        }
        _ => Content::Own { dialect: Dialect::Messages, json: block.into() },
    };
    Some(Block::new(content))
}

/// A citation in Anthropic's own words, which say more than others can.
pub(super) const fn citation(json: Value) -> Citation {
    Citation::Own { dialect: Dialect::Messages, json }
}

/// Why it ended. Anthropic tells when it waits for tools.
pub(super) fn stop(reason: &str, sequence: Option<String>) -> Stop {
    match reason {
        "max_tokens" => Stop::MaxTokens,
        "model_context_window_exceeded" => Stop::ContextWindow,
        "stop_sequence" => Stop::StopSequence(sequence.unwrap_or_default()),
        "pause_turn" => Stop::PauseTurn,
        "refusal" => Stop::Refusal,
        "tool_use" => Stop::ToolUse,
        _ => Stop::EndTurn,
    }
}

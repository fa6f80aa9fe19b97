//! Reads a whole response.

use opencredits_schema::Provider;
use opencredits_wire::Dialect;
use serde::Deserialize;
use serde_json::Value;

use crate::json::Object;
use crate::{Answer, Block, Choice, Citation, Content, Signature, Stop, ToolCall, Undecodable};

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    id: String,
    #[serde(default)]
    model: String,
    created_at: Option<Value>,
    output: Vec<Object>,
    #[serde(flatten)]
    ending: Ending,
}

/// How a response ended.
#[derive(Default, Deserialize)]
pub(super) struct Ending {
    status: Option<String>,
    incomplete_details: Option<Value>,
}

/// Reads an answer.
///
/// # Errors
/// [`Undecodable::Malformed`] for what is no response.
pub fn decode_answer(provider: Provider, body: &[u8]) -> Result<Answer, Undecodable> {
    let response: Response =
        serde_json::from_slice(body).map_err(|error| Undecodable::Malformed(error.to_string()))?;
    let blocks: Vec<_> =
        response.output.into_iter().flat_map(|item| self::item(provider, item)).collect();
    let calls = blocks.iter().any(|block| matches!(block.content, Content::ToolCall(_)));
    let stop = Some(response.ending.stop(calls));
    let created = response.created_at.and_then(|at| at.as_u64());
    let choices = vec![Choice { blocks, stop }];
    Ok(Answer { id: response.id, model: response.model, created, choices })
}

impl Ending {
    /// Why it ended, where the caller's tools were called or not.
    pub(super) fn stop(&self, calls: bool) -> Stop {
        let details = self.incomplete_details.as_ref();
        let reason = details.and_then(|details| details.get("reason")?.as_str());
        match (self.status.as_deref(), reason) {
            (Some("incomplete"), Some("content_filter")) => Stop::Refusal,
            (Some("incomplete"), _) => Stop::MaxTokens,
            _ if calls => Stop::ToolUse,
            _ => Stop::EndTurn,
        }
    }
}

/// The blocks of an output item.
pub(super) fn item(provider: Provider, item: Object) -> Vec<Block> {
    let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |key: &str| item.get(key).and_then(Value::as_array).into_iter().flatten();
    let content = match text("type").as_str() {
        "message" => return list("content").filter_map(part).map(Block::new).collect(),
        "function_call" => {
            let arguments = Some(text("arguments")).filter(|text| !text.trim().is_empty());
            let arguments = arguments.unwrap_or_else(|| "{}".to_owned());
            let (id, name) = (text("call_id"), text("name"));
            Content::ToolCall(ToolCall { id, name, arguments, signature: None })
        }
        "reasoning" => {
            let texts = list("summary").chain(list("content"));
            let texts: Vec<_> = texts.filter_map(|part| part.get("text")?.as_str()).collect();
            let seal = Some(text("encrypted_content")).filter(|data| !data.is_empty());
            let signature = seal.map(|data| Signature::new(provider, data));
            match (texts.join("\n\n"), signature) {
                (text, Some(seal)) if text.is_empty() => Content::RedactedThinking(seal),
                (text, None) if text.is_empty() => return Vec::new(),
                (text, signature) => Content::Thinking { text, signature },
            }
        }
        _ => Content::Own { dialect: Dialect::Responses, json: item.into() },
    };
    vec![Block::new(content)]
}

fn part(part: &Value) -> Option<Content> {
    let text = |key: &str| part.get(key).and_then(Value::as_str);
    match text("type")? {
        "output_text" => {
            let told = part.get("annotations").and_then(Value::as_array);
            let citations = told.into_iter().flatten().cloned().map(citation).collect();
            let text = text("text").filter(|text| !text.is_empty())?.to_owned();
            Some(Content::Text { text, signature: None, citations })
        }
        "refusal" => Some(Content::Refusal(text("refusal")?.to_owned())),
        _ => None,
    }
}

/// An annotation in OpenAI's own words.
pub(super) const fn citation(json: Value) -> Citation {
    Citation::Own { dialect: Dialect::Responses, json }
}

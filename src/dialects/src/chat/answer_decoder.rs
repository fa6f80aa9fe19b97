//! Reads a whole chat completion.

use opencredits_schema::Provider;
use serde::Deserialize;
use serde_json::Value;

use super::request_decoder::{detail, older_id};
use crate::tool_id::fitted;
use crate::{Answer, Block, Choice, Citation, Content, Signature, Stop, ToolCall, Undecodable};

#[derive(Deserialize)]
struct Completion {
    id: Option<String>,
    model: Option<String>,
    created: Option<u64>,
    choices: Vec<ChoiceBody>,
}

#[derive(Deserialize)]
struct ChoiceBody {
    #[serde(default)]
    index: u64,
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    reasoning_details: Option<Vec<Value>>,
    tool_calls: Option<Vec<Call>>,
    function_call: Option<Function>,
    annotations: Option<Vec<Value>>,
    extra_content: Option<Value>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    function: Option<Function>,
    extra_content: Option<Value>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: String,
    arguments: Option<String>,
}

/// Reads an answer.
///
/// # Errors
/// [`Undecodable::Malformed`] for what is no chat completion.
pub fn decode_answer(provider: Provider, body: &[u8]) -> Result<Answer, Undecodable> {
    let completion: Completion =
        serde_json::from_slice(body).map_err(|error| Undecodable::Malformed(error.to_string()))?;
    let id = completion.id.unwrap_or_default();
    let mut choices = completion.choices;
    choices.sort_by_key(|choice| choice.index);
    let choices = choices.into_iter().map(|choice| self::choice(provider, &id, choice)).collect();
    let model = completion.model.unwrap_or_default();
    Ok(Answer { model, created: completion.created, choices, id })
}

fn choice(provider: Provider, answer: &str, body: ChoiceBody) -> Choice {
    let ChoiceBody { index, message, finish_reason } = body;
    let details = message.reasoning_details.unwrap_or_default();
    let mut blocks: Vec<_> = details.iter().filter_map(detail).collect();
    let thinking = message.reasoning_content.or(message.reasoning);
    if let Some(text) = thinking.filter(|text| !text.is_empty() && blocks.is_empty()) {
        let signature = Some(Signature::unsealed(provider));
        blocks.push(Block::new(Content::Thinking { text, signature }));
    }
    let seal = message.extra_content.as_ref().and_then(|extra| sealed(provider, extra));
    if let Some(text) = message.content.filter(|text| !text.is_empty()) {
        let told = message.annotations.unwrap_or_default();
        let citations = told.iter().filter_map(citation).collect();
        blocks.push(Block::new(Content::Text { text, signature: seal, citations }));
    }
    if let Some(text) = message.refusal.filter(|text| !text.is_empty()) {
        blocks.push(Block::new(Content::Refusal(text)));
    }
    let calls = message.tool_calls.unwrap_or_default();
    for (n, call) in calls.into_iter().enumerate() {
        let Some(Function { name, arguments }) = call.function else { continue };
        let given = call.id.filter(|id| !id.is_empty());
        let id = given.unwrap_or_else(|| made_id(answer, index, n));
        let signature = call.extra_content.as_ref().and_then(|extra| sealed(provider, extra));
        let arguments = whole(arguments);
        blocks.push(Block::new(Content::ToolCall(ToolCall { id, name, arguments, signature })));
    }
    if let Some(Function { name, arguments }) = message.function_call {
        let (id, arguments) = (older_id(&name), whole(arguments));
        let call = ToolCall { id, name, arguments, signature: None };
        blocks.push(Block::new(Content::ToolCall(call)));
    }
    let calls = blocks.iter().any(|block| matches!(block.content, Content::ToolCall(_)));
    let stop = finish_reason.map(|reason| stop(&reason, calls));
    Choice { blocks, stop }
}

/// A name for a call that has none, unique in its conversation.
pub(super) fn made_id(answer: &str, choice: u64, call: usize) -> String {
    fitted(&format!("{answer}.{choice}.{call}")).into_owned()
}

fn whole(arguments: Option<String>) -> String {
    arguments.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| "{}".to_owned())
}

/// The seal that Google's endpoint of this dialect gives.
pub(super) fn sealed(provider: Provider, extra: &Value) -> Option<Signature> {
    let data = extra.pointer("/google/thought_signature")?.as_str()?;
    (provider == Provider::Google).then(|| Signature::new(provider, data))
}

/// An annotation of the text.
pub(super) fn citation(annotation: &Value) -> Option<Citation> {
    let place = annotation.get("url_citation")?;
    let text = |key: &str| place.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let at = |key: &str| place.get(key).and_then(Value::as_u64);
    let span = at("start_index").zip(at("end_index"));
    Some(Citation::Url { url: text("url"), title: text("title"), cited: None, span })
}

/// The end of a choice that called tools of the caller, or did not.
pub(super) fn stop(reason: &str, calls: bool) -> Stop {
    match reason {
        "length" => Stop::MaxTokens,
        "content_filter" => Stop::Refusal,
        _ if calls => Stop::ToolUse,
        _ => Stop::EndTurn,
    }
}

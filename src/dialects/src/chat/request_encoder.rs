//! Writes a chat completion's request for OpenAI and xAI.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use opencredits_schema::{Model, Provider};
use opencredits_wire::{BadRequest, Dialect};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::traits::{self, Traits};
use crate::json::{Object, extend};
use crate::tool_id::fitted_for_chat as fitted;
use crate::{
    Block, Content, Document, Effort, Format, Function, Image, Prompt, Role, Source, Thinking,
    Tool, ToolChoice, ToolResult, Turn,
};

/// How many texts OpenAI takes in `stop`.
const STOPS_MAX: usize = 4;
/// The longest name of a user, in characters.
const USER_MAX: usize = 64;

/// Writes a request.
///
/// # Errors
/// Tools and blocks that only another dialect knows.
pub fn encode_request(prompt: &Prompt, model: &Model) -> Result<Vec<u8>, BadRequest> {
    let traits = traits::of(model);
    let mut body = Object::new();
    let mut set = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    set("model", model.upstream_id.as_str().into());
    set("messages", messages(prompt, model, traits)?.into());
    if prompt.stream {
        set("stream", true.into());
        set("stream_options", json!({"include_usage": true}));
    }
    let limit = match model.provider {
        Provider::OpenAi => "max_completion_tokens",
        Provider::Anthropic | Provider::Google | Provider::XAi => "max_tokens",
    };
    if let Some(tokens) = prompt.max_output {
        set(limit, tokens.min(model.max_output_tokens).into());
    }
    set_tools(prompt, &mut set)?;
    set_sampling(prompt, traits, &mut set);
    if let Some(effort) = effort(prompt, traits) {
        set("reasoning_effort", effort.as_str().into());
    }
    if let Some(format) = &prompt.format {
        set("response_format", response_format(format));
    }
    let others = [("verbosity", &prompt.verbosity), ("service_tier", &prompt.service_tier)];
    for (name, value) in others {
        // xAI knows no verbosity.
        let known = name != "verbosity" || model.provider == Provider::OpenAi;
        if let Some(value) = value.as_deref().filter(|_| known) {
            set(name, value.into());
        }
    }
    if let Some(user) = &prompt.user {
        set("user", short_user(user).into());
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

fn set_tools(prompt: &Prompt, set: &mut impl FnMut(&str, Value)) -> Result<(), BadRequest> {
    if prompt.tools.is_empty() {
        return Ok(());
    }
    let tools: Result<Vec<_>, _> = prompt.tools.iter().map(tool).collect();
    set("tools", tools?.into());
    if let Some(choice) = &prompt.tool_choice {
        set(
            "tool_choice",
            match choice {
                ToolChoice::Auto => "auto".into(),
                ToolChoice::Required => "required".into(),
                ToolChoice::None => "none".into(),
                ToolChoice::Function(name) => {
                    json!({"type": "function", "function": {"name": name}})
                }
            },
        );
    }
    if let Some(parallel) = prompt.parallel_tools {
        set("parallel_tool_calls", parallel.into());
    }
    Ok(())
}

fn tool(tool: &Tool) -> Result<Value, BadRequest> {
    match tool {
        Tool::Function(function) => {
            let Function { name, description, schema, strict, cache: _ } = function;
            let mut named = json!({"name": name});
            let fields = [
                ("description", description.as_deref().map(Value::from)),
                ("parameters", schema.clone()),
                ("strict", strict.map(Value::from)),
            ];
            extend(&mut named, fields);
            Ok(json!({"type": "function", "function": named}))
        }
        Tool::Own { dialect: Dialect::ChatCompletions, json, .. } => Ok(json.clone()),
        Tool::Own { name, .. } => {
            let message = format!("the tool `{name}` is not available on this model");
            Err(BadRequest::new(message, "tools"))
        }
    }
}

fn set_sampling(prompt: &Prompt, traits: Traits, set: &mut impl FnMut(&str, Value)) {
    let own = &prompt.sampling;
    let numbers = [
        ("temperature", &own.temperature, traits.sampling),
        ("top_p", &own.top_p, traits.sampling),
        ("presence_penalty", &own.presence_penalty, traits.penalties),
        ("frequency_penalty", &own.frequency_penalty, traits.penalties),
        ("seed", &own.seed, true),
    ];
    for (name, number, taken) in numbers {
        if let Some(number) = number.as_ref().filter(|_| taken) {
            set(name, number.clone().into());
        }
    }
    if let Some(n) = own.n {
        set("n", n.into());
    }
    if traits.stop && !own.stop.is_empty() {
        let stop: Vec<_> = own.stop.iter().take(STOPS_MAX).map(String::as_str).collect();
        set("stop", stop.into());
    }
}

/// The effort that the model knows and that is nearest to what was asked, from below.
fn effort(prompt: &Prompt, traits: Traits) -> Option<Effort> {
    let asked = prompt.reasoning?;
    let wished = match (asked.effort, asked.thinking) {
        (Some(effort), _) => effort,
        (None, Some(Thinking::Off)) => Effort::None,
        (None, Some(Thinking::Budget(tokens))) => Effort::of_budget(tokens),
        (None, Some(Thinking::Adaptive) | None) => return None,
    };
    wished.within(traits.efforts)
}

fn response_format(format: &Format) -> Value {
    match format {
        Format::JsonObject => json!({"type": "json_object"}),
        Format::JsonSchema { name, description, schema, strict } => {
            let mut named = json!({"name": name.as_deref().unwrap_or("answer"), "schema": schema});
            let fields = [
                ("description", description.as_deref().map(Value::from)),
                ("strict", strict.map(Value::from)),
            ];
            extend(&mut named, fields);
            json!({"type": "json_schema", "json_schema": named})
        }
    }
}

/// A name that OpenAI takes: its own if it is short, else a hash of it.
pub(crate) fn short_user(user: &str) -> Cow<'_, str> {
    if user.chars().count() <= USER_MAX {
        return Cow::Borrowed(user);
    }
    Cow::Owned(URL_SAFE_NO_PAD.encode(Sha256::digest(user)))
}

fn messages(prompt: &Prompt, model: &Model, traits: Traits) -> Result<Vec<Value>, BadRequest> {
    let mut messages = Vec::new();
    for turn in &prompt.turns {
        match turn.role {
            Role::System => {
                let role = if traits.developer { "developer" } else { "system" };
                messages.push(json!({"role": role, "content": joined(turn)}));
            }
            Role::User => user(turn, &mut messages)?,
            Role::Assistant => messages.push(assistant(turn, model)?),
        }
    }
    Ok(messages)
}

/// System texts stay apart as parts; one is a plain string, which every model takes.
fn joined(turn: &Turn) -> Value {
    let texts: Vec<_> = turn.blocks.iter().filter_map(Block::as_text).collect();
    match texts[..] {
        [one] => one.into(),
        _ => texts.into_iter().map(|text| json!({"type": "text", "text": text})).collect(),
    }
}

/// The results of tools are messages of their own, before what the user says. They hold text only,
/// so their pictures follow as the user's.
fn user(turn: &Turn, messages: &mut Vec<Value>) -> Result<(), BadRequest> {
    let mut parts = Vec::new();
    for block in &turn.blocks {
        if let Content::ToolResult(result) = &block.content {
            let (text, shown) = result_text(result)?;
            let id = fitted(&result.id);
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
            parts.extend(shown);
        }
    }
    for block in &turn.blocks {
        if !matches!(block.content, Content::ToolResult(_)) {
            parts.push(part(block)?);
        }
    }
    let plain = match &turn.blocks[..] {
        [Block { content: Content::Text { text, .. }, cache: None }] => Some(text),
        _ => None,
    };
    match plain {
        Some(text) => messages.push(json!({"role": "user", "content": text})),
        None if parts.is_empty() => {}
        None => messages.push(json!({"role": "user", "content": parts})),
    }
    Ok(())
}

/// The text of a result, and its pictures and documents as parts.
pub(crate) fn result_text(result: &ToolResult) -> Result<(String, Vec<Value>), BadRequest> {
    let mut text = String::new();
    let mut shown = Vec::new();
    for block in &result.content {
        let mark = if let Content::Text { text, .. } = &block.content {
            Cow::Borrowed(text.as_str())
        } else if let Content::Own { json, .. } = &block.content {
            Cow::Owned(json.to_string())
        } else {
            if shown.is_empty() {
                let whose = format!("What the tool call {} gave:", fitted(&result.id));
                shown.push(json!({"type": "text", "text": whose}));
            }
            shown.push(part(block)?);
            Cow::Borrowed("[attached in the next user message]")
        };
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&mark);
    }
    if result.is_error {
        text.insert_str(0, "Error: ");
    }
    Ok((text, shown))
}

fn part(block: &Block) -> Result<Value, BadRequest> {
    let part = match &block.content {
        Content::Text { text, .. } => json!({"type": "text", "text": text}),
        Content::Refusal(text) => json!({"type": "refusal", "refusal": text}),
        Content::Image(Image { source, detail }) => {
            let mut image = json!({"url": url(source)});
            extend(&mut image, [("detail", detail.as_deref().map(Value::from))]);
            json!({"type": "image_url", "image_url": image})
        }
        Content::Document(document) => self::document(document)?,
        Content::Audio { data, format } => {
            json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
        }
        Content::Own { dialect: Dialect::ChatCompletions, json } => json.clone(),
        Content::Own { json, .. } => {
            let kind = json.get("type").and_then(Value::as_str).unwrap_or("unknown");
            let message = format!("content of the type `{kind}` is not available on this model");
            return Err(BadRequest::new(message, "messages"));
        }
        Content::Thinking { .. }
        | Content::RedactedThinking(_)
        | Content::ToolCall(_)
        | Content::ToolResult(_) => json!({"type": "text", "text": ""}),
    };
    Ok(part)
}

/// The address of data, or the data as one.
pub(crate) fn url(source: &Source) -> Cow<'_, str> {
    match source {
        Source::Url(url) => Cow::Borrowed(url),
        Source::Base64 { data, .. } => {
            let media_type = source.true_media_type().unwrap_or_default();
            Cow::Owned(format!("data:{media_type};base64,{data}"))
        }
        Source::Text(text) => Cow::Borrowed(text),
    }
}

fn document(document: &Document) -> Result<Value, BadRequest> {
    match &document.source {
        Source::Text(text) => Ok(json!({"type": "text", "text": text})),
        Source::Url(_) => {
            let message = "documents by URL are not available on this model";
            Err(BadRequest::new(message.to_owned(), "messages"))
        }
        Source::Base64 { .. } => {
            let name = document.name.as_deref().unwrap_or("document.pdf");
            let data = url(&document.source);
            Ok(json!({"type": "file", "file": {"filename": name, "file_data": data}}))
        }
    }
}

fn assistant(turn: &Turn, model: &Model) -> Result<Value, BadRequest> {
    let mut message = json!({"role": "assistant"});
    let (mut text, mut calls, mut thinking) = (String::new(), Vec::new(), String::new());
    let mut refusal = None;
    for block in &turn.blocks {
        match &block.content {
            Content::Text { text: more, .. } => text.push_str(more),
            Content::Refusal(words) => refusal = Some(words.as_str()),
            Content::ToolCall(call) => calls.push(json!({
                "id": fitted(&call.id), "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })),
            Content::Thinking { text, signature }
                if signature.as_ref().is_none_or(|s| s.provider == Provider::XAi) =>
            {
                thinking.push_str(text);
            }
            Content::Own { dialect: Dialect::ChatCompletions, json } => calls.push(json.clone()),
            // Blocks of another provider's own tools: their text stands beside them.
            Content::Own { .. } | Content::Thinking { .. } | Content::RedactedThinking(_) => {}
            Content::Image(_)
            | Content::Document(_)
            | Content::Audio { .. }
            | Content::ToolResult(_) => {
                let message = "an assistant's message can hold text and tool calls only";
                return Err(BadRequest::new(message.to_owned(), "messages"));
            }
        }
    }
    let silent = text.is_empty() && (!calls.is_empty() || refusal.is_some());
    let content = if silent { Value::Null } else { text.into() };
    let calls = (!calls.is_empty()).then_some(Value::Array(calls));
    // Only xAI takes its thinking back; OpenAI's chat has none.
    let shown = model.provider == Provider::XAi && !thinking.is_empty();
    let fields = [
        ("content", Some(content)),
        ("refusal", refusal.map(Value::from)),
        ("reasoning_content", shown.then(|| thinking.into())),
        ("tool_calls", calls),
    ];
    extend(&mut message, fields);
    Ok(message)
}

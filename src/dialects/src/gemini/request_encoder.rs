//! Writes a `generateContent` request.

use std::collections::HashMap;

use opencredits_schema::{Model, Provider};
use opencredits_wire::{BadRequest, Dialect};
use serde_json::{Value, json};

use super::traits::{self, Style};
use crate::json::{Object, extend};
use crate::{
    Block, Content, Document, Effort, Format, Function, Prompt, Reasoning, Role, Source, Thinking,
    Tool, ToolCall, ToolChoice, ToolResult,
};

/// How many texts Gemini takes in `stopSequences`.
const STOPS_MAX: usize = 5;
/// The longest name of a function.
const NAME_MAX: usize = 64;
/// Stands for a seal that a client has lost; Google documents it for calls of other origin.
const SEAL_LOST: &str = "skip_thought_signature_validator";

/// Writes a request; the model and whether it streams stand in the address, not in the body.
///
/// The output limit goes as it is: it covers thinking here as everywhere, and the hold rests on it.
///
/// # Errors
/// Results of calls that are not there, names that Gemini does not take, tools and blocks that only
/// another dialect knows.
pub fn encode_request(prompt: &Prompt, model: &Model) -> Result<Vec<u8>, BadRequest> {
    let mut body = Object::new();
    let (mut system, contents) = contents(prompt, model)?;
    let mut config = config(prompt);
    match &prompt.format {
        Some(format) if prompt.tools.is_empty() || traits::takes_form_with_tools(model) => {
            config.insert("responseMimeType".to_owned(), "application/json".into());
            if let Format::JsonSchema { schema, .. } = format {
                config.insert("responseJsonSchema".to_owned(), schema.clone());
            }
        }
        Some(format) => system.push(json!({"text": instruction(format)})),
        None => {}
    }
    if let Some(thinking) = prompt.reasoning.and_then(|asked| thinking(asked, model)) {
        config.insert("thinkingConfig".to_owned(), thinking);
    }
    if !system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": system}));
    }
    // There has to be a turn of the user's.
    let silent = json!([{"role": "user", "parts": [{"text": ""}]}]);
    let contents = if contents.is_empty() { silent } else { contents.into() };
    body.insert("contents".to_owned(), contents);
    set_tools(prompt, &mut body)?;
    if !config.is_empty() {
        body.insert("generationConfig".to_owned(), config.into());
    }
    let tier = prompt.service_tier.as_deref();
    if let Some(tier) = tier.filter(|tier| matches!(*tier, "flex" | "priority")) {
        body.insert("serviceTier".to_owned(), tier.into());
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

fn config(prompt: &Prompt) -> Object {
    let own = &prompt.sampling;
    let number = |number: &Option<serde_json::Number>| number.clone().map(Value::from);
    let stops: Vec<_> = own.stop.iter().take(STOPS_MAX).map(String::as_str).collect();
    let members = [
        ("temperature", number(&own.temperature)),
        ("topP", number(&own.top_p)),
        ("topK", number(&own.top_k)),
        ("seed", number(&own.seed)),
        ("presencePenalty", number(&own.presence_penalty)),
        ("frequencyPenalty", number(&own.frequency_penalty)),
        ("candidateCount", own.n.map(Value::from)),
        ("maxOutputTokens", prompt.max_output.map(Value::from)),
        ("stopSequences", (!stops.is_empty()).then(|| stops.into())),
    ];
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    there.collect()
}

fn instruction(format: &Format) -> String {
    let only = "When you answer the user, answer with JSON only, without any other text";
    match format {
        Format::JsonObject => format!("{only}: one JSON object."),
        Format::JsonSchema { schema, .. } => {
            format!("{only}, valid by this JSON schema:\n{schema}")
        }
    }
}

/// The `thinkingConfig`.
fn thinking(asked: Reasoning, model: &Model) -> Option<Value> {
    let wished = match (asked.effort, asked.thinking) {
        (_, Some(Thinking::Off)) => Some(Effort::None),
        (Some(effort), _) => Some(effort),
        (None, Some(Thinking::Budget(tokens))) => Some(Effort::of_budget(tokens)),
        (None, Some(Thinking::Adaptive) | None) => None,
    };
    let shown = asked.show != Some(false) && wished != Some(Effort::None);
    let mut config = json!({"includeThoughts": shown});
    let limit = match traits::thinking(model) {
        Style::None => return None,
        Style::Budget { least, most } => {
            let budget = match (asked.thinking, wished) {
                (Some(Thinking::Budget(tokens)), _) => Some(tokens),
                (_, wished) => wished.map(Effort::budget),
            };
            ("thinkingBudget", budget.map(|tokens| tokens.clamp(least, most).into()))
        }
        Style::Level(levels) => {
            let level = wished.and_then(|effort| effort.within(levels));
            ("thinkingLevel", level.map(|level| level.as_str().into()))
        }
    };
    extend(&mut config, [limit]);
    Some(config)
}

fn set_tools(prompt: &Prompt, body: &mut Object) -> Result<(), BadRequest> {
    let (mut functions, mut tools) = (Vec::new(), Vec::new());
    for tool in &prompt.tools {
        match tool {
            Tool::Function(function) => functions.push(declaration(function)?),
            Tool::Own { dialect: Dialect::GenerateContent, json, .. } => tools.push(json.clone()),
            Tool::Own { name, .. } => {
                let message = format!("the tool `{name}` is not available on this model");
                return Err(BadRequest::new(message, "tools"));
            }
        }
    }
    if !functions.is_empty() {
        tools.insert(0, json!({"functionDeclarations": functions}));
    }
    if tools.is_empty() {
        return Ok(());
    }
    body.insert("tools".to_owned(), tools.into());
    let config = match &prompt.tool_choice {
        None => return Ok(()),
        Some(ToolChoice::Auto) => json!({"mode": "AUTO"}),
        Some(ToolChoice::Required) => json!({"mode": "ANY"}),
        Some(ToolChoice::None) => json!({"mode": "NONE"}),
        Some(ToolChoice::Function(name)) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    };
    body.insert("toolConfig".to_owned(), json!({"functionCallingConfig": config}));
    Ok(())
}

fn declaration(function: &Function) -> Result<Value, BadRequest> {
    let Function { name, description, schema, .. } = function;
    let taken =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b':');
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !begins || name.len() > NAME_MAX || !name.bytes().all(taken) {
        let shown: String = name.chars().take(NAME_MAX).collect();
        let message = format!("the tool name `{shown}` is not one that this model takes");
        return Err(BadRequest::new(message, "tools"));
    }
    let mut value = json!({"name": name});
    let members = [
        ("description", description.as_deref().map(Value::from)),
        // The full JSON schema: the older `parameters` take a part of it only.
        ("parametersJsonSchema", schema.clone()),
    ];
    extend(&mut value, members);
    Ok(value)
}

/// The calls of the conversation so far: their names, and the place of each in its turn.
type Calls<'a> = HashMap<&'a str, (&'a str, usize)>;

/// The parts of the system instruction, and the turns.
fn contents(prompt: &Prompt, model: &Model) -> Result<(Vec<Value>, Vec<Value>), BadRequest> {
    let (mut system, mut contents) = (Vec::new(), Vec::<(Role, Vec<Value>)>::new());
    let mut calls = Calls::new();
    for turn in &prompt.turns {
        let parts = match turn.role {
            Role::Assistant => {
                let made = turn.blocks.iter().filter_map(|block| {
                    if let Content::ToolCall(call) = &block.content { Some(call) } else { None }
                });
                for (place, call) in made.enumerate() {
                    calls.insert(&call.id, (&call.name, place));
                }
                assistant(&turn.blocks, traits::seals_calls(model))?
            }
            Role::User | Role::System => user(&turn.blocks, &calls)?,
        };
        // A system text inside the conversation is the user's: there is no other place.
        let role = match turn.role {
            Role::System if contents.is_empty() => {
                system.extend(parts);
                continue;
            }
            Role::System | Role::User => Role::User,
            Role::Assistant => Role::Assistant,
        };
        match contents.last_mut().filter(|(last, _)| *last == role) {
            Some((_, all)) => all.extend(parts),
            None if parts.is_empty() => {}
            None => contents.push((role, parts)),
        }
    }
    let contents = contents.into_iter().map(|(role, parts)| {
        let role = if role == Role::Assistant { "model" } else { "user" };
        json!({"role": role, "parts": parts})
    });
    Ok((system, contents.collect()))
}

fn assistant(blocks: &[Block], seals: bool) -> Result<Vec<Value>, BadRequest> {
    let mut parts = Vec::new();
    // Of parallel calls only the first has a seal.
    let mut first = seals;
    for block in blocks {
        let part = match &block.content {
            Content::ToolCall(ToolCall { id, name, arguments, signature }) => {
                let args: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
                let own = signature.as_ref().and_then(|seal| seal.of(Provider::Google));
                let lost = std::mem::take(&mut first).then_some(SEAL_LOST);
                let mut part = json!({"functionCall": {"id": id, "name": name, "args": args}});
                extend(&mut part, [("thoughtSignature", own.or(lost).map(Value::from))]);
                part
            }
            Content::Text { text, signature, .. } => {
                let own = signature.as_ref().and_then(|seal| seal.of(Provider::Google));
                let mut part = json!({"text": text});
                extend(&mut part, [("thoughtSignature", own.map(Value::from))]);
                part
            }
            Content::Refusal(text) => json!({"text": text}),
            Content::Thinking { text, signature } => {
                let own = signature.as_ref().and_then(|seal| seal.of(Provider::Google));
                let Some(seal) = own else { continue };
                json!({"text": text, "thought": true, "thoughtSignature": seal})
            }
            Content::RedactedThinking(_) => continue,
            Content::Own { dialect: Dialect::GenerateContent, json } => json.clone(),
            // Blocks of another provider's own tools: their text stands beside them.
            Content::Own { .. } => continue,
            Content::ToolResult(_)
            | Content::Image(_)
            | Content::Document(_)
            | Content::Audio { .. } => part(&block.content)?,
        };
        parts.push(part);
    }
    Ok(parts)
}

/// The results of tools in the order of their calls, then what the user says.
fn user(blocks: &[Block], calls: &Calls<'_>) -> Result<Vec<Value>, BadRequest> {
    let (mut results, mut parts) = (Vec::new(), Vec::new());
    for block in blocks {
        if let Content::ToolResult(result) = &block.content {
            let Some((name, place)) = calls.get(&*result.id) else {
                let shown: String = result.id.chars().take(80).collect();
                let message = format!("the tool result `{shown}` answers no call");
                return Err(BadRequest::new(message, "messages"));
            };
            let (response, shown) = response(result)?;
            let id = &result.id;
            let answer =
                json!({"functionResponse": {"id": id, "name": name, "response": response}});
            results.push((*place, answer));
            parts.extend(shown);
        } else {
            parts.push(part(&block.content)?);
        }
    }
    results.sort_by_key(|(place, _)| *place);
    Ok(results.into_iter().map(|(_, result)| result).chain(parts).collect())
}

/// What a tool gave, as an object, and its pictures as parts beside it.
fn response(result: &ToolResult) -> Result<(Value, Vec<Value>), BadRequest> {
    let (mut texts, mut shown) = (Vec::new(), Vec::new());
    for block in &result.content {
        if let Content::Text { text, .. } = &block.content {
            texts.push(text.as_str());
        } else {
            shown.push(part(&block.content)?);
        }
    }
    let text = texts.join("\n");
    if result.is_error {
        return Ok((json!({"error": text}), shown));
    }
    let object = serde_json::from_str::<Object>(&text);
    Ok((object.map_or_else(|_| json!({"result": text}), Value::Object), shown))
}

fn part(content: &Content) -> Result<Value, BadRequest> {
    Ok(match content {
        Content::Text { text, .. } | Content::Refusal(text) => json!({"text": text}),
        Content::Image(image) => data(&image.source, "image/jpeg"),
        Content::Document(Document { source, .. }) => data(source, "application/pdf"),
        Content::Audio { data, format } => {
            json!({"inlineData": {"mimeType": format!("audio/{format}"), "data": data}})
        }
        Content::Own { dialect: Dialect::GenerateContent, json } => json.clone(),
        Content::Own { json, .. } => {
            let kind = json.get("type").and_then(Value::as_str).unwrap_or("unknown");
            let message = format!("content of the type `{kind}` is not available on this model");
            return Err(BadRequest::new(message, "messages"));
        }
        Content::Thinking { .. }
        | Content::RedactedThinking(_)
        | Content::ToolCall(_)
        | Content::ToolResult(_) => {
            let message = "tool calls and thinking belong to the assistant";
            return Err(BadRequest::new(message.to_owned(), "messages"));
        }
    })
}

/// Data, or where it is; the type of what is elsewhere is guessed by its name.
fn data(source: &Source, usual: &str) -> Value {
    match source {
        Source::Text(text) => json!({"text": text}),
        Source::Base64 { data, .. } => {
            let media_type = source.true_media_type().unwrap_or(usual);
            json!({"inlineData": {"mimeType": media_type, "data": data}})
        }
        Source::Url(url) => {
            let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
            let known = [
                (".png", "image/png"),
                (".gif", "image/gif"),
                (".webp", "image/webp"),
                (".jpg", "image/jpeg"),
                (".jpeg", "image/jpeg"),
                (".pdf", "application/pdf"),
            ];
            let found = known.into_iter().find(|(end, _)| path.ends_with(end));
            let media_type = found.map_or(usual, |(_, kind)| kind);
            json!({"fileData": {"fileUri": url, "mimeType": media_type}})
        }
    }
}

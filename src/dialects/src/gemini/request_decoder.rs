//! Reads a `generateContent` request.

use std::collections::VecDeque;

use opencredits_schema::Provider;
use opencredits_wire::{BadRequest, Dialect};
use serde_json::Value;

use crate::json::{
    self, Object, bad, need_text, object, take, take_array, take_count, take_number, take_object,
    take_text, under,
};
use crate::{
    Block, Content, Effort, Format, Function, Image, Prompt, Reasoning, Role, Sampling, Signature,
    Source, Thinking, Tool, ToolCall, ToolChoice, ToolResult,
};

/// Reads a request; both spellings of a name (`camelCase`, `snake_case`) are Google's own.
///
/// # Errors
/// What is no such request.
pub fn decode_request(body: &[u8]) -> Result<Prompt, BadRequest> {
    let mut body = camel(json::body(body)?);
    let mut config = take_object(&mut body, "generationConfig", "")?.unwrap_or_default();
    let stops = take(&mut config, "stopSequences").map(serde_json::from_value).transpose();
    let stops = stops.map_err(|_| bad("generationConfig.stopSequences", "must be texts"))?;
    let place = "generationConfig";
    let mut prompt = Prompt {
        tools: tools(&mut body)?,
        tool_choice: tool_choice(&mut body)?,
        max_output: take_count(&mut config, "maxOutputTokens", place)?,
        sampling: Sampling {
            temperature: take_number(&mut config, "temperature", place)?,
            top_p: take_number(&mut config, "topP", place)?,
            top_k: take_number(&mut config, "topK", place)?,
            seed: take_number(&mut config, "seed", place)?,
            presence_penalty: take_number(&mut config, "presencePenalty", place)?,
            frequency_penalty: take_number(&mut config, "frequencyPenalty", place)?,
            n: take_count(&mut config, "candidateCount", place)?,
            stop: stops.unwrap_or_default(),
        },
        reasoning: reasoning(&mut config)?,
        format: format(&mut config)?,
        service_tier: take_text(&mut body, "serviceTier", "")?,
        ..Prompt::default()
    };
    let mut calls = Calls::default();
    if let Some(system) = take(&mut body, "systemInstruction") {
        let blocks = if let Value::String(text) = system {
            vec![Block::text(text)]
        } else {
            parts(object(system, "systemInstruction")?, "systemInstruction", &mut calls)?
        };
        prompt.say(Role::System, blocks);
    }
    for (n, content) in take_array(&mut body, "contents", "")?.into_iter().enumerate() {
        let place = format!("contents[{n}]");
        let mut content = object(content, &place)?;
        let role = take_text(&mut content, "role", &place)?;
        let role = if role.as_deref() == Some("model") { Role::Assistant } else { Role::User };
        prompt.say(role, parts(content, &place, &mut calls)?);
    }
    Ok(prompt)
}

/// The calls whose results are still to come, oldest first: they have a name and mostly no id.
#[derive(Default)]
struct Calls {
    open: VecDeque<(String, String)>,
    made: usize,
}

/// The object with its members in one spelling.
fn camel(object: Object) -> Object {
    let spelled = |name: String| {
        let mut parts = name.split('_');
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let mut letters = part.chars();
            whole.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            whole.push_str(letters.as_str());
        }
        whole
    };
    // What a caller names itself stays as it is.
    let own = [
        "args",
        "response",
        "parameters",
        "parametersJsonSchema",
        "responseSchema",
        "responseJsonSchema",
    ];
    let members = object.into_iter().map(|(name, value)| {
        let name = spelled(name);
        let value = if own.contains(&&*name) { value } else { camel_value(value) };
        (name, value)
    });
    members.collect()
}

fn camel_value(value: Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(camel(object)),
        Value::Array(all) => all.into_iter().map(camel_value).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn reasoning(config: &mut Object) -> Result<Option<Reasoning>, BadRequest> {
    let place = "generationConfig.thinkingConfig";
    let Some(mut thinking) = take_object(config, "thinkingConfig", "generationConfig")? else {
        return Ok(None);
    };
    let level = take_text(&mut thinking, "thinkingLevel", place)?;
    let effort = level.and_then(|level| Effort::parse(&level.to_ascii_lowercase()));
    let budget = take_number(&mut thinking, "thinkingBudget", place)?;
    let thinking_asked = budget.map(|budget| match budget.as_u64() {
        Some(0) => Thinking::Off,
        Some(tokens) => Thinking::Budget(tokens),
        // -1: as long as it likes.
        None => Thinking::Adaptive,
    });
    let show = thinking.get("includeThoughts").and_then(Value::as_bool);
    Ok(Some(Reasoning { thinking: thinking_asked, effort, show }))
}

fn format(config: &mut Object) -> Result<Option<Format>, BadRequest> {
    let kind = take_text(config, "responseMimeType", "generationConfig")?;
    let schema = take(config, "responseJsonSchema").or_else(|| take(config, "responseSchema"));
    Ok(match (kind.as_deref(), schema) {
        (_, Some(schema)) => {
            Some(Format::JsonSchema { name: None, description: None, schema, strict: None })
        }
        (Some("application/json"), None) => Some(Format::JsonObject),
        _ => None,
    })
}

fn tools(body: &mut Object) -> Result<Vec<Tool>, BadRequest> {
    let mut tools = Vec::new();
    for (n, tool) in take_array(body, "tools", "")?.into_iter().enumerate() {
        let place = format!("tools[{n}]");
        let mut tool = object(tool, &place)?;
        for (n, one) in
            take_array(&mut tool, "functionDeclarations", &place)?.into_iter().enumerate()
        {
            let place = format!("{place}.functionDeclarations[{n}]");
            let mut one = object(one, &place)?;
            let schema =
                take(&mut one, "parametersJsonSchema").or_else(|| take(&mut one, "parameters"));
            tools.push(Tool::Function(Function {
                name: need_text(&mut one, "name", &place)?,
                description: take_text(&mut one, "description", &place)?,
                schema,
                strict: None,
                cache: None,
            }));
        }
        if let Some(name) = tool.keys().next().cloned() {
            tools.push(Tool::Own { dialect: Dialect::GenerateContent, name, json: tool.into() });
        }
    }
    Ok(tools)
}

fn tool_choice(body: &mut Object) -> Result<Option<ToolChoice>, BadRequest> {
    let Some(mut config) = take_object(body, "toolConfig", "")? else { return Ok(None) };
    let calling = take_object(&mut config, "functionCallingConfig", "toolConfig")?;
    let Some(calling) = calling else { return Ok(None) };
    let names = calling.get("allowedFunctionNames").and_then(Value::as_array);
    let only = match names.map(Vec::as_slice) {
        Some([Value::String(name)]) => Some(name.clone()),
        _ => None,
    };
    Ok(match calling.get("mode").and_then(Value::as_str) {
        Some("ANY") => Some(only.map_or(ToolChoice::Required, ToolChoice::Function)),
        Some("NONE") => Some(ToolChoice::None),
        Some(_) => Some(ToolChoice::Auto),
        None => None,
    })
}

fn parts(mut content: Object, place: &str, calls: &mut Calls) -> Result<Vec<Block>, BadRequest> {
    let mut blocks = Vec::new();
    for (n, part) in take_array(&mut content, "parts", place)?.into_iter().enumerate() {
        let place = format!("{place}.parts[{n}]");
        blocks.push(Block::new(self::part(object(part, &place)?, &place, calls)?));
    }
    Ok(blocks)
}

fn part(mut part: Object, place: &str, calls: &mut Calls) -> Result<Content, BadRequest> {
    let whole = part.clone();
    let seal = take_text(&mut part, "thoughtSignature", place)?;
    let signature = seal.map(|data| Signature::new(Provider::Google, data));
    let thought = part.get("thought") == Some(&Value::Bool(true));
    if let Some(text) = take_text(&mut part, "text", place)? {
        return Ok(match thought {
            true => Content::Thinking { text, signature },
            false => Content::Text { text, signature, citations: Vec::new() },
        });
    }
    if let Some(mut call) = take_object(&mut part, "functionCall", place)? {
        let name = need_text(&mut call, "name", &under(place, "functionCall"))?;
        let given = take_text(&mut call, "id", place)?;
        calls.made = calls.made.saturating_add(1);
        let id = given.unwrap_or_else(|| format!("call_{}", calls.made));
        calls.open.push_back((name.clone(), id.clone()));
        let args = take_object(&mut call, "args", place)?.unwrap_or_default();
        let arguments = Value::Object(args).to_string();
        return Ok(Content::ToolCall(ToolCall { id, name, arguments, signature }));
    }
    if let Some(mut answer) = take_object(&mut part, "functionResponse", place)? {
        let name = need_text(&mut answer, "name", &under(place, "functionResponse"))?;
        let given = take_text(&mut answer, "id", place)?;
        let at = calls.open.iter().position(|(called, id)| match &given {
            Some(given) => given == id,
            None => *called == name,
        });
        let found = at.and_then(|at| calls.open.remove(at));
        let id = found.map_or_else(|| given.unwrap_or(name), |(_, id)| id);
        let response = take(&mut answer, "response").unwrap_or_default();
        let content = vec![Block::text(response.to_string())];
        return Ok(Content::ToolResult(ToolResult { id, content, is_error: false }));
    }
    if let Some(mut inline) = take_object(&mut part, "inlineData", place)? {
        let place = under(place, "inlineData");
        let media_type = need_text(&mut inline, "mimeType", &place)?;
        let data = need_text(&mut inline, "data", &place)?;
        if media_type.starts_with("image/") {
            let source = Source::Base64 { media_type, data };
            return Ok(Content::Image(Image { source, detail: None }));
        }
    }
    Ok(Content::Own { dialect: Dialect::GenerateContent, json: whole.into() })
}

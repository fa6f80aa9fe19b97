//! Writes a messages request for Anthropic.

use opencredits_schema::{Model, Provider};
use opencredits_wire::{BadRequest, Dialect};
use serde_json::{Number, Value, json};

use super::traits::{self, Style, Traits};
use crate::json::{Object, extend};
use crate::tool_id::fitted;
use crate::{
    Block, CacheMark, Citation, Content, Document, Effort, Format, Function, Prompt, Reasoning,
    Role, Source, Thinking, Tool, ToolCall, ToolChoice, ToolResult, Turn,
};

/// The output limit where the caller gives none: Anthropic needs one.
const LIMIT_DEFAULT: u64 = 16_384;
/// The same for models that think.
const LIMIT_DEFAULT_THINKING: u64 = 32_768;
/// The least thinking budget that Anthropic takes.
const BUDGET_MIN: u64 = 1_024;
/// How many points of a prompt can be cached.
const CACHE_MARKS_MAX: usize = 4;

/// Writes a request.
///
/// # Errors
/// More than one answer, sound, a forced tool together with thinking that was asked for, tools and
/// blocks that only another dialect knows.
pub fn encode_request(prompt: &Prompt, model: &Model) -> Result<Vec<u8>, BadRequest> {
    if prompt.sampling.n.is_some_and(|n| n > 1) {
        return Err(BadRequest::new("`n` above 1 is not available on this model".to_owned(), "n"));
    }
    let traits = traits::of(model);
    let limit = limit(prompt, model);
    let thinking = thinking(prompt, traits, limit);
    let mut body = Object::new();
    let mut set = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    set("model", model.upstream_id.as_str().into());
    set("max_tokens", limit.into());
    if prompt.stream {
        set("stream", true.into());
    }
    let (mut system, messages) = turns(prompt, traits)?;
    let mut output = Object::new();
    match &prompt.format {
        Some(Format::JsonSchema { schema, .. }) if traits.json_schema => {
            let format = json!({"type": "json_schema", "schema": closed(schema.clone())});
            output.insert("format".to_owned(), format);
        }
        Some(format) => system.push(json!({"type": "text", "text": instruction(format)})),
        None => {}
    }
    if let Some(effort) = effort(prompt.reasoning, traits) {
        output.insert("effort".to_owned(), effort.as_str().into());
    }
    // There has to be a message: a prompt of system texts only is the user's.
    if messages.is_empty() {
        set("messages", json!([{"role": "user", "content": system}]));
    } else {
        set_if(&mut set, "system", system.into());
        set("messages", messages.into());
    }
    set_tools(prompt, thinking.as_ref(), &mut set)?;
    set_sampling(prompt, traits, thinking.as_ref().is_some_and(is_on), &mut set);
    if let Some(thinking) = thinking {
        set("thinking", thinking);
    }
    set_if(&mut set, "output_config", output.into());
    if let Some(user) = &prompt.user {
        set("metadata", json!({"user_id": user}));
    }
    if let Some(tier) = tier(prompt.service_tier.as_deref()) {
        set("service_tier", tier.into());
    }
    let mut body = Value::Object(body);
    keep_last_marks(&mut body);
    Ok(body.to_string().into_bytes())
}

/// Sets what is not empty.
fn set_if(set: &mut impl FnMut(&str, Value), name: &str, value: Value) {
    let empty = match &value {
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if !empty {
        set(name, value);
    }
}

fn limit(prompt: &Prompt, model: &Model) -> u64 {
    let default = if model.features.reasoning { LIMIT_DEFAULT_THINKING } else { LIMIT_DEFAULT };
    prompt.max_output.unwrap_or(default).min(model.max_output_tokens)
}

/// OpenAI's words for a tier; other tiers are the gateway's to refuse.
fn tier(asked: Option<&str>) -> Option<&str> {
    asked.map(|tier| if tier == "default" { "standard_only" } else { tier })
}

fn effort(asked: Option<Reasoning>, traits: Traits) -> Option<Effort> {
    let effort = asked?.effort.filter(|effort| *effort != Effort::None)?;
    effort.within(traits.efforts)
}

/// The `thinking` member; `None` where nothing was asked for or the model has none.
fn thinking(prompt: &Prompt, traits: Traits, limit: u64) -> Option<Value> {
    let Reasoning { thinking, effort, show } = prompt.reasoning?;
    if has_lost_thinking(prompt) {
        return None;
    }
    let wished = match (thinking, effort) {
        (Some(thinking), _) => thinking,
        (None, Some(Effort::None)) => Thinking::Off,
        (None, Some(effort)) => Thinking::Budget(effort.budget()),
        (None, None) => return None,
    };
    let mut member = match (wished, traits.thinking) {
        (_, Style::None) => return None,
        (Thinking::Off, Style::Budget | Style::Adaptive) => {
            return Some(json!({"type": "disabled"}));
        }
        (Thinking::Budget(_) | Thinking::Adaptive, Style::Adaptive) => json!({"type": "adaptive"}),
        (Thinking::Budget(_) | Thinking::Adaptive, Style::Budget) => {
            let (budget, room) = match thinking {
                Some(Thinking::Budget(tokens)) => (tokens, limit.saturating_sub(1)),
                // A wish leaves some of the output for the answer itself.
                Some(Thinking::Adaptive | Thinking::Off) | None => {
                    let effort = effort.unwrap_or(Effort::Medium);
                    (effort.budget(), limit.saturating_sub(BUDGET_MIN).max(limit / 2))
                }
            };
            let budget = budget.clamp(BUDGET_MIN, room.max(BUDGET_MIN));
            if budget >= limit {
                return None;
            }
            json!({"type": "enabled", "budget_tokens": budget})
        }
    };
    if let (Some(shown), Some(member)) = (show, member.as_object_mut()) {
        let display = if shown { "summarized" } else { "omitted" };
        member.insert("display".to_owned(), display.into());
    }
    Some(member)
}

/// Whether the answer to tools lacks the thinking that led to them: many clients drop it. Anthropic
/// then refuses to think in this turn.
fn has_lost_thinking(prompt: &Prompt) -> bool {
    let [.., asked, answered] = &prompt.turns[..] else { return false };
    let is_result = |block: &Block| matches!(block.content, Content::ToolResult(_));
    if asked.role != Role::Assistant || !answered.blocks.iter().any(is_result) {
        return false;
    }
    let is_own = |block: &Block| match &block.content {
        Content::Thinking { signature: Some(seal), .. } | Content::RedactedThinking(seal) => {
            seal.of(Provider::Anthropic).is_some()
        }
        Content::Thinking { signature: None, .. }
        | Content::Text { .. }
        | Content::Refusal(_)
        | Content::ToolCall(_)
        | Content::ToolResult(_)
        | Content::Image(_)
        | Content::Document(_)
        | Content::Audio { .. }
        | Content::Own { .. } => false,
    };
    !asked.blocks.iter().any(is_own)
}

fn is_on(thinking: &Value) -> bool {
    thinking.get("type").is_some_and(|kind| kind != "disabled")
}

fn set_tools(
    prompt: &Prompt,
    thinking: Option<&Value>,
    set: &mut impl FnMut(&str, Value),
) -> Result<(), BadRequest> {
    if prompt.tools.is_empty() {
        return Ok(());
    }
    let tools: Result<Vec<_>, _> = prompt.tools.iter().map(tool).collect();
    set("tools", tools?.into());
    let thinks = thinking.is_some_and(is_on);
    let choice = match &prompt.tool_choice {
        None => None,
        Some(ToolChoice::Auto) => Some(json!({"type": "auto"})),
        Some(ToolChoice::None) => Some(json!({"type": "none"})),
        // Anthropic refuses both together. An effort alone is a wish; a budget is a demand.
        Some(ToolChoice::Required | ToolChoice::Function(_)) if thinks => {
            if matches!(prompt.reasoning, Some(Reasoning { thinking: Some(_), .. })) {
                let message = "a forced tool is not available together with thinking";
                return Err(BadRequest::new(message.to_owned(), "tool_choice"));
            }
            Some(json!({"type": "auto"}))
        }
        Some(ToolChoice::Required) => Some(json!({"type": "any"})),
        Some(ToolChoice::Function(name)) => Some(json!({"type": "tool", "name": name})),
    };
    let choice = match (choice, prompt.parallel_tools) {
        (Some(mut choice), Some(false)) if choice.get("type") != Some(&"none".into()) => {
            if let Some(choice) = choice.as_object_mut() {
                choice.insert("disable_parallel_tool_use".to_owned(), true.into());
            }
            Some(choice)
        }
        (None, Some(false)) => Some(json!({"type": "auto", "disable_parallel_tool_use": true})),
        (choice, _) => choice,
    };
    if let Some(choice) = choice {
        set("tool_choice", choice);
    }
    Ok(())
}

fn tool(tool: &Tool) -> Result<Value, BadRequest> {
    match tool {
        Tool::Function(Function { name, description, schema, strict, cache }) => {
            let mut value = json!({"name": name});
            let members = [
                ("description", description.as_deref().map(Value::from)),
                ("input_schema", Some(input_schema(schema.as_ref()))),
                ("strict", strict.filter(|strict| *strict).map(Value::from)),
                ("cache_control", cache.map(cache_control)),
            ];
            extend(&mut value, members);
            Ok(value)
        }
        Tool::Own { dialect: Dialect::Messages, json, .. } => Ok(json.clone()),
        Tool::Own { name, .. } => {
            let message = format!("the tool `{name}` is not available on this model");
            Err(BadRequest::new(message, "tools"))
        }
    }
}

/// A schema that is an object's, as Anthropic wants it.
fn input_schema(schema: Option<&Value>) -> Value {
    match schema {
        Some(Value::Object(schema)) if schema.get("type") == Some(&"object".into()) => {
            Value::Object(schema.clone())
        }
        Some(Value::Object(schema)) if !schema.is_empty() && !schema.contains_key("type") => {
            let mut schema = schema.clone();
            schema.insert("type".to_owned(), "object".into());
            Value::Object(schema)
        }
        _ => json!({"type": "object", "properties": {}}),
    }
}

/// Adds `additionalProperties: false` to each object of a schema, without which Anthropic refuses.
fn closed(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(members) => {
            let is_object = members.get("type") == Some(&"object".into());
            if is_object || members.contains_key("properties") {
                members.entry("additionalProperties").or_insert(false.into());
            }
            for member in members.values_mut() {
                *member = closed(member.take());
            }
        }
        Value::Array(all) => {
            for one in all {
                *one = closed(one.take());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    schema
}

fn instruction(format: &Format) -> String {
    let only = "Answer with JSON only, without any other text or code fence";
    match format {
        Format::JsonObject => format!("{only}: one JSON object."),
        Format::JsonSchema { schema, .. } => {
            format!("{only}, valid by this JSON schema:\n{schema}")
        }
    }
}

fn set_sampling(prompt: &Prompt, traits: Traits, thinks: bool, set: &mut impl FnMut(&str, Value)) {
    let own = &prompt.sampling;
    if traits.sampling && !thinks {
        if let Some(temperature) = &own.temperature {
            set("temperature", clamped(temperature));
        }
        // Newer models refuse both together; the temperature counts.
        let nucleus = own.top_p.as_ref();
        let nucleus = nucleus.filter(|_| own.temperature.is_none() || traits.nucleus_too);
        for (name, number) in [("top_p", nucleus), ("top_k", own.top_k.as_ref())] {
            if let Some(number) = number {
                set(name, number.clone().into());
            }
        }
    }
    let stops = own.stop.iter().filter(|stop| !stop.trim().is_empty());
    let stops: Vec<_> = stops.map(|stop| Value::from(stop.as_str())).collect();
    set_if(set, "stop_sequences", stops.into());
}

/// Anthropic's temperatures end at 1.
fn clamped(temperature: &Number) -> Value {
    match temperature.as_f64() {
        Some(value) if value > 1.0 => 1.into(),
        _ => temperature.clone().into(),
    }
}

fn cache_control(mark: CacheMark) -> Value {
    match mark {
        CacheMark::FiveMinutes => json!({"type": "ephemeral"}),
        CacheMark::OneHour => json!({"type": "ephemeral", "ttl": "1h"}),
    }
}

/// Only so many marks are taken: the last ones cover the most.
fn keep_last_marks(body: &mut Value) {
    let order = ["tools", "system", "messages"];
    let count: usize = order.iter().filter_map(|name| body.get(name)).map(count_marks).sum();
    let mut surplus = count.saturating_sub(CACHE_MARKS_MAX);
    for name in order {
        if let Some(value) = body.get_mut(name) {
            drop_marks(value, &mut surplus);
        }
    }
}

fn count_marks(value: &Value) -> usize {
    match value {
        Value::Array(all) => all.iter().map(count_marks).sum(),
        Value::Object(members) => {
            usize::from(members.contains_key("cache_control"))
                + members.get("content").map_or(0, count_marks)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn drop_marks(value: &mut Value, surplus: &mut usize) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| drop_marks(one, surplus)),
        Value::Object(members) => {
            if let Some(content) = members.get_mut("content") {
                drop_marks(content, surplus);
            }
            if *surplus > 0 && members.remove("cache_control").is_some() {
                *surplus -= 1;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The system's blocks, and the messages: user and assistant in turns, the results of tools first.
fn turns(prompt: &Prompt, traits: Traits) -> Result<(Vec<Value>, Vec<Value>), BadRequest> {
    let (mut system, mut messages) = (Vec::new(), Vec::<Value>::new());
    let mut said: Option<(Role, Vec<Value>)> = None;
    let mut close = |said: Option<(Role, Vec<Value>)>| {
        if let Some((role, content)) = said.filter(|(_, content)| !content.is_empty()) {
            let role = match role {
                Role::Assistant => "assistant",
                Role::User => "user",
                Role::System => "system",
            };
            messages.push(json!({"role": role, "content": content}));
        }
    };
    for turn in &prompt.turns {
        let content = blocks(turn)?;
        // A system text inside the conversation is the user's where the model knows no other.
        let role = match turn.role {
            Role::System if said.is_none() => {
                system.extend(content);
                continue;
            }
            Role::System if !traits.system_inside => Role::User,
            Role::System | Role::User | Role::Assistant => turn.role,
        };
        match &mut said {
            Some((same, all)) if *same == role => all.extend(content),
            _ => close(said.replace((role, content))),
        }
    }
    if let Some((Role::Assistant, content)) = &mut said {
        trim_end(content);
    }
    close(said);
    for message in &mut messages {
        results_first(message);
    }
    Ok((system, messages))
}

/// A last text of the assistant must not end with white space.
fn trim_end(content: &mut Vec<Value>) {
    if let Some(Value::String(text)) = content.last_mut().and_then(|block| block.get_mut("text")) {
        text.truncate(text.trim_end().len());
        if text.is_empty() {
            content.pop();
        }
    }
}

fn results_first(message: &mut Value) {
    if let Some(content) = message.get_mut("content").and_then(Value::as_array_mut) {
        content.sort_by_key(|block| block.get("type") != Some(&"tool_result".into()));
    }
}

fn blocks(turn: &Turn) -> Result<Vec<Value>, BadRequest> {
    let written = turn.blocks.iter().filter_map(|block| {
        let value = match self::block(&block.content) {
            Ok(value) => value?,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(with_mark(value, block.cache)))
    });
    written.collect()
}

fn with_mark(mut value: Value, cache: Option<CacheMark>) -> Value {
    extend(&mut value, [("cache_control", cache.map(cache_control))]);
    value
}

/// A block; `None` for what Anthropic does not want back.
fn block(content: &Content) -> Result<Option<Value>, BadRequest> {
    Ok(Some(match content {
        Content::Text { text, .. } | Content::Refusal(text) if text.is_empty() => return Ok(None),
        Content::Refusal(text) => json!({"type": "text", "text": text}),
        Content::Text { text, citations, .. } => {
            let mut value = json!({"type": "text", "text": text});
            // Another's would be refused.
            let own = citations.iter().filter_map(|citation| match citation {
                Citation::Own { dialect: Dialect::Messages, json } => Some(json.clone()),
                Citation::Own { .. } | Citation::Url { .. } => None,
            });
            let own: Vec<_> = own.collect();
            extend(&mut value, [("citations", (!own.is_empty()).then(|| own.into()))]);
            value
        }
        // Unsigned or another's thinking is refused by Anthropic.
        Content::Thinking { text, signature } => {
            let own = signature.as_ref().and_then(|seal| seal.of(Provider::Anthropic));
            let Some(seal) = own else { return Ok(None) };
            json!({"type": "thinking", "thinking": text, "signature": seal})
        }
        Content::RedactedThinking(seal) => {
            let Some(data) = seal.of(Provider::Anthropic) else { return Ok(None) };
            json!({"type": "redacted_thinking", "data": data})
        }
        Content::ToolCall(ToolCall { id, name, arguments, .. }) => {
            let input: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
            json!({"type": "tool_use", "id": fitted(id), "name": name, "input": input})
        }
        Content::ToolResult(result) => tool_result(result)?,
        Content::Image(image) => {
            json!({"type": "image", "source": image_source(&image.source)?})
        }
        Content::Document(document) => self::document(document),
        Content::Audio { .. } => return Err(unavailable("sound")),
        Content::Own { dialect: Dialect::Messages, json } => json.clone(),
        Content::Own { json, .. } => {
            let kind = json.get("type").and_then(Value::as_str).unwrap_or("unknown");
            return Err(unavailable(&format!("content of the type `{kind}`")));
        }
    }))
}

fn unavailable(what: &str) -> BadRequest {
    BadRequest::new(format!("{what} is not available on this model"), "messages")
}

fn tool_result(result: &ToolResult) -> Result<Value, BadRequest> {
    let ToolResult { id, content, is_error } = result;
    let mut value = json!({"type": "tool_result", "tool_use_id": fitted(id)});
    let all: Result<Vec<_>, _> = content
        .iter()
        .map(|block| Ok(self::block(&block.content)?.map(|value| with_mark(value, block.cache))))
        .collect();
    let all: Vec<_> = all?.into_iter().flatten().collect();
    let content = match &content[..] {
        [Block { content: Content::Text { text, .. }, cache: None }] => text.as_str().into(),
        _ => Value::from(all),
    };
    let members = [
        ("content", Some(content).filter(|content| *content != json!([]))),
        ("is_error", is_error.then_some(true.into())),
    ];
    extend(&mut value, members);
    Ok(value)
}

fn image_source(source: &Source) -> Result<Value, BadRequest> {
    match source {
        Source::Url(url) => Ok(json!({"type": "url", "url": url})),
        Source::Base64 { data, .. } => {
            let media_type = source.true_media_type().unwrap_or_default();
            let known = ["image/jpeg", "image/png", "image/gif", "image/webp"];
            if !known.contains(&media_type) {
                return Err(unavailable(&format!("an image of the type `{media_type}`")));
            }
            Ok(json!({"type": "base64", "media_type": media_type, "data": data}))
        }
        Source::Text(_) => Err(unavailable("an image as text")),
    }
}

fn document(document: &Document) -> Value {
    let source = match &document.source {
        Source::Url(url) => json!({"type": "url", "url": url}),
        Source::Text(text) => json!({"type": "text", "media_type": "text/plain", "data": text}),
        Source::Base64 { data, .. } => {
            let media_type = document.source.true_media_type().unwrap_or_default();
            json!({"type": "base64", "media_type": media_type, "data": data})
        }
    };
    let mut value = json!({"type": "document", "source": source});
    extend(&mut value, [("title", document.name.as_deref().map(Value::from))]);
    value
}

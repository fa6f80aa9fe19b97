//! Reads a chat completion's request.

use opencredits_schema::Provider;
use opencredits_wire::{BadRequest, Dialect};
use serde_json::Value;

use crate::json::{
    self, Object, arguments, bad, is, need_text, object, take, take_array, take_count, take_flag,
    take_number, take_object, take_text, under,
};
use crate::tool_id::unpacked;
use crate::{
    Block, CacheMark, Content, Document, Effort, Format, Function, Image, Prompt, Reasoning, Role,
    Sampling, Signature, Source, Tool, ToolCall, ToolChoice, ToolResult,
};

/// Reads a request.
///
/// # Errors
/// What is no chat completion's request, and what only OpenAI could make of it: spoken answers,
/// its web search, tools of free form.
pub fn decode_request(body: &[u8]) -> Result<Prompt, BadRequest> {
    let mut body = json::body(body)?;
    refuse(&body)?;
    let options = take_object(&mut body, "stream_options", "")?;
    let limits = [
        take_count(&mut body, "max_tokens", "")?,
        take_count(&mut body, "max_completion_tokens", "")?,
    ];
    let effort = take_text(&mut body, "reasoning_effort", "")?;
    let mut prompt = Prompt {
        model: take_text(&mut body, "model", "")?.unwrap_or_default(),
        stream: take_flag(&mut body, "stream", "")?.unwrap_or(false),
        usage_chunk: options.is_some_and(|o| o.get("include_usage") == Some(&Value::Bool(true))),
        tools: tools(&mut body)?,
        tool_choice: tool_choice(&mut body)?,
        parallel_tools: take_flag(&mut body, "parallel_tool_calls", "")?,
        max_output: limits.into_iter().flatten().min(),
        sampling: sampling(&mut body)?,
        reasoning: effort.map(|word| reasoning(&word)).transpose()?,
        format: format(&mut body)?,
        verbosity: take_text(&mut body, "verbosity", "")?,
        user: take_text(&mut body, "user", "")?,
        service_tier: take_text(&mut body, "service_tier", "")?,
        ..Prompt::default()
    };
    for (n, message) in take_array(&mut body, "messages", "")?.into_iter().enumerate() {
        let place = format!("messages[{n}]");
        say(&mut prompt, object(message, &place)?, &place)?;
    }
    Ok(prompt)
}

/// What would make another model's answer pointless.
fn refuse(body: &Object) -> Result<(), BadRequest> {
    let modalities = body.get("modalities").and_then(Value::as_array);
    if modalities.is_some_and(|all| all.iter().any(|kind| kind == "audio")) {
        return Err(bad("modalities", "with audio is not available on this model"));
    }
    for field in ["web_search_options", "search_parameters", "audio"] {
        if body.get(field).is_some_and(|value| !value.is_null()) {
            return Err(bad(field, "is not available on this model"));
        }
    }
    Ok(())
}

fn reasoning(word: &str) -> Result<Reasoning, BadRequest> {
    let effort = Effort::parse(word).ok_or_else(|| bad("reasoning_effort", "is not known"))?;
    Ok(Reasoning { effort: Some(effort), ..Reasoning::default() })
}

fn sampling(body: &mut Object) -> Result<Sampling, BadRequest> {
    let stop = match take(body, "stop") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(many) => serde_json::from_value(many)
            .map_err(|_| bad("stop", "must be a string or an array of strings"))?,
    };
    Ok(Sampling {
        temperature: take_number(body, "temperature", "")?,
        top_p: take_number(body, "top_p", "")?,
        top_k: None,
        seed: take_number(body, "seed", "")?,
        presence_penalty: take_number(body, "presence_penalty", "")?,
        frequency_penalty: take_number(body, "frequency_penalty", "")?,
        n: take_count(body, "n", "")?,
        stop,
    })
}

fn format(body: &mut Object) -> Result<Option<Format>, BadRequest> {
    let place = "response_format";
    let Some(mut format) = take_object(body, place, "")? else { return Ok(None) };
    match need_text(&mut format, "type", place)?.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::JsonObject)),
        "json_schema" => {
            let place = "response_format.json_schema";
            let mut named = take_object(&mut format, "json_schema", "response_format")?
                .ok_or_else(|| bad(place, "is missing"))?;
            Ok(Some(Format::JsonSchema {
                name: take_text(&mut named, "name", place)?,
                description: take_text(&mut named, "description", place)?,
                strict: take_flag(&mut named, "strict", place)?,
                schema: take(&mut named, "schema").unwrap_or_else(|| Object::new().into()),
            }))
        }
        _ => Err(bad("response_format.type", "is not known")),
    }
}

fn tools(body: &mut Object) -> Result<Vec<Tool>, BadRequest> {
    let mut tools = Vec::new();
    for (n, tool) in take_array(body, "tools", "")?.into_iter().enumerate() {
        let place = format!("tools[{n}]");
        let mut tool = object(tool, &place)?;
        let kind = need_text(&mut tool.clone(), "type", &place)?;
        if kind == "function" {
            let cache = cache_mark(&mut tool);
            let named = take_object(&mut tool, "function", &place)?;
            let place = under(&place, "function");
            let named = named.ok_or_else(|| bad(&place, "is missing"))?;
            tools.push(Tool::Function(function(named, cache, &place)?));
        } else {
            let dialect = Dialect::ChatCompletions;
            tools.push(Tool::Own { dialect, name: kind, json: tool.into() });
        }
    }
    // The older form of tools.
    for (n, named) in take_array(body, "functions", "")?.into_iter().enumerate() {
        let place = format!("functions[{n}]");
        tools.push(Tool::Function(function(object(named, &place)?, None, &place)?));
    }
    Ok(tools)
}

fn function(
    mut named: Object,
    cache: Option<CacheMark>,
    place: &str,
) -> Result<Function, BadRequest> {
    Ok(Function {
        name: need_text(&mut named, "name", place)?,
        description: take_text(&mut named, "description", place)?,
        schema: take(&mut named, "parameters"),
        strict: take_flag(&mut named, "strict", place)?,
        cache,
    })
}

fn tool_choice(body: &mut Object) -> Result<Option<ToolChoice>, BadRequest> {
    let older = take(body, "function_call");
    let Some(choice) = take(body, "tool_choice").or(older) else { return Ok(None) };
    let unknown = || bad("tool_choice", "is not known");
    match choice {
        Value::String(word) => match word.as_str() {
            "auto" => Ok(Some(ToolChoice::Auto)),
            "required" => Ok(Some(ToolChoice::Required)),
            "none" => Ok(Some(ToolChoice::None)),
            _ => Err(unknown()),
        },
        Value::Object(mut choice) => {
            if is(&choice, "type", "allowed_tools") {
                return Err(bad("tool_choice", "of allowed tools is not available on this model"));
            }
            let named = take_object(&mut choice, "function", "tool_choice")?;
            let mut named = named.unwrap_or(choice);
            Ok(Some(ToolChoice::Function(need_text(&mut named, "name", "tool_choice.function")?)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(unknown()),
    }
}

/// The extension field of Anthropic's name.
fn cache_mark(from: &mut Object) -> Option<CacheMark> {
    let mark = take(from, "cache_control")?;
    let hour = mark.get("ttl").and_then(Value::as_str) == Some("1h");
    Some(if hour { CacheMark::OneHour } else { CacheMark::FiveMinutes })
}

fn say(prompt: &mut Prompt, mut message: Object, place: &str) -> Result<(), BadRequest> {
    let role = need_text(&mut message, "role", place)?;
    let cache = cache_mark(&mut message);
    let (role, mut blocks) = match role.as_str() {
        "system" | "developer" => (Role::System, content(&mut message, place)?),
        "user" => (Role::User, content(&mut message, place)?),
        "assistant" => (Role::Assistant, assistant(message, place)?),
        "tool" | "function" => (Role::User, vec![result(message, place)?]),
        _ => return Err(bad(&under(place, "role"), "is not known")),
    };
    if let Some(last) = blocks.last_mut() {
        last.cache = cache.or(last.cache);
    }
    prompt.say(role, blocks);
    Ok(())
}

fn content(message: &mut Object, place: &str) -> Result<Vec<Block>, BadRequest> {
    let place = under(place, "content");
    match take(message, "content") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Block::text(text)]),
        Some(Value::Array(parts)) => {
            let parts = parts.into_iter().enumerate();
            let read = parts.map(|(n, part)| {
                let place = format!("{place}[{n}]");
                self::part(object(part, &place)?, &place)
            });
            read.collect()
        }
        Some(_) => Err(bad(&place, "must be a string or an array of parts")),
    }
}

fn part(mut part: Object, place: &str) -> Result<Block, BadRequest> {
    let cache = cache_mark(&mut part);
    let kind = need_text(&mut part, "type", place)?;
    let content = match kind.as_str() {
        "text" => return Ok(Block { cache, ..Block::text(need_text(&mut part, "text", place)?) }),
        "refusal" => Content::Refusal(need_text(&mut part, "refusal", place)?),
        "image_url" => Content::Image(image(&mut part, place)?),
        "file" => {
            let file = take_object(&mut part, "file", place)?;
            let place = under(place, "file");
            let mut file = file.ok_or_else(|| bad(&place, "is missing"))?;
            let data = need_text(&mut file, "file_data", &place)?;
            let name = take_text(&mut file, "filename", &place)?;
            let source = if data.starts_with("data:") || data.contains("://") {
                address(data)
            } else {
                // Some callers leave the `data:` out.
                Source::Base64 { media_type: "application/pdf".to_owned(), data }
            };
            Content::Document(Document { source, name })
        }
        "input_audio" => {
            let audio = take_object(&mut part, "input_audio", place)?;
            let place = under(place, "input_audio");
            let mut audio = audio.ok_or_else(|| bad(&place, "is missing"))?;
            Content::Audio {
                data: need_text(&mut audio, "data", &place)?,
                format: need_text(&mut audio, "format", &place)?,
            }
        }
        _ => return Err(bad(&under(place, "type"), "is not known")),
    };
    Ok(Block { content, cache })
}

fn image(part: &mut Object, place: &str) -> Result<Image, BadRequest> {
    let place = under(place, "image_url");
    match take(part, "image_url") {
        Some(Value::String(url)) => Ok(Image { source: address(url), detail: None }),
        Some(Value::Object(mut image)) => Ok(Image {
            source: address(need_text(&mut image, "url", &place)?),
            detail: take_text(&mut image, "detail", &place)?,
        }),
        Some(_) | None => Err(bad(&place, "must be an object with a `url`")),
    }
}

/// What stands at an address, or in a `data:` one.
pub(crate) fn address(url: String) -> Source {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(','));
    match inline.and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data))) {
        Some((head, data)) => {
            let media_type = head.split(';').next().unwrap_or_default().to_owned();
            Source::Base64 { media_type, data: data.to_owned() }
        }
        None => Source::Url(url),
    }
}

fn assistant(mut message: Object, place: &str) -> Result<Vec<Block>, BadRequest> {
    let mut blocks = thinking(&mut message, place)?;
    blocks.extend(content(&mut message, place)?);
    if let Some(refusal) = take_text(&mut message, "refusal", place)? {
        blocks.push(Block::new(Content::Refusal(refusal)));
    }
    for (n, call) in take_array(&mut message, "tool_calls", place)?.into_iter().enumerate() {
        let place = format!("{place}.tool_calls[{n}]");
        blocks.push(Block::new(self::call(object(call, &place)?, &place)?));
    }
    if let Some(mut call) = take_object(&mut message, "function_call", place)? {
        let place = under(place, "function_call");
        let name = need_text(&mut call, "name", &place)?;
        let text = take_text(&mut call, "arguments", &place)?.unwrap_or_default();
        let arguments = arguments(text, &under(&place, "arguments"))?;
        let id = older_id(&name);
        blocks.push(Block::new(Content::ToolCall(ToolCall {
            id,
            name,
            arguments,
            signature: None,
        })));
    }
    Ok(blocks)
}

/// The older form has no ids: a result names its function.
pub(crate) fn older_id(name: &str) -> String {
    format!("function_{name}")
}

fn call(mut call: Object, place: &str) -> Result<Content, BadRequest> {
    if is(&call, "type", "custom") {
        return Ok(Content::Own { dialect: Dialect::ChatCompletions, json: call.into() });
    }
    let sent = need_text(&mut call, "id", place)?;
    let (id, packed) = unpacked(&sent);
    let sealed = call
        .get("extra_content")
        .and_then(|extra| extra.pointer("/google/thought_signature").and_then(Value::as_str));
    let signature = sealed.map(|data| Signature::new(Provider::Google, data)).or(packed);
    let id = id.to_owned();
    let place = under(place, "function");
    let named = take_object(&mut call, "function", place.trim_end_matches(".function"))?;
    let mut named = named.ok_or_else(|| bad(&place, "is missing"))?;
    let name = need_text(&mut named, "name", &place)?;
    let text = take_text(&mut named, "arguments", &place)?.unwrap_or_default();
    let arguments = arguments(text, &under(&place, "arguments"))?;
    Ok(Content::ToolCall(ToolCall { id, name, arguments, signature }))
}

fn result(mut message: Object, place: &str) -> Result<Block, BadRequest> {
    let id = match take_text(&mut message, "tool_call_id", place)? {
        Some(sent) => unpacked(&sent).0.to_owned(),
        None => older_id(&need_text(&mut message, "name", place)?),
    };
    let content = content(&mut message, place)?;
    let content = content.into_iter().filter(|block| block.as_text() != Some("")).collect();
    Ok(Block::new(Content::ToolResult(ToolResult { id, content, is_error: false })))
}

/// `reasoning_details` tell more than `reasoning_content`, so they count where both are there.
fn thinking(message: &mut Object, place: &str) -> Result<Vec<Block>, BadRequest> {
    let details = take_array(message, "reasoning_details", place)?;
    let plain = take_text(message, "reasoning_content", place)?;
    let plain = plain.or(take_text(message, "reasoning", place)?);
    let blocks: Vec<_> = details.iter().filter_map(detail).collect();
    if !blocks.is_empty() {
        return Ok(blocks);
    }
    let text = plain.filter(|text| !text.is_empty());
    let thinking = text.map(|text| Block::new(Content::Thinking { text, signature: None }));
    Ok(thinking.into_iter().collect())
}

/// One entry of `reasoning_details`, also as OpenRouter writes them.
pub(crate) fn detail(detail: &Value) -> Option<Block> {
    let text = |key: &str| detail.get(key).and_then(Value::as_str);
    let format = text("format").unwrap_or_default();
    let home = match format.split('-').next() {
        Some("google") => Provider::Google,
        Some("openai") => Provider::OpenAi,
        Some("xai") => Provider::XAi,
        _ => Provider::Anthropic,
    };
    let content = match text("type")? {
        "reasoning.encrypted" => Content::RedactedThinking(Signature::read(text("data")?, home)),
        "reasoning.text" | "reasoning.summary" => Content::Thinking {
            text: text("text").or_else(|| text("summary")).unwrap_or_default().to_owned(),
            signature: text("signature").map(|data| Signature::read(data, home)),
        },
        _ => return None,
    };
    Some(Block::new(content))
}

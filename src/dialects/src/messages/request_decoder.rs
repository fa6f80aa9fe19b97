//! Reads a messages request.

use opencredits_schema::Provider;
use opencredits_wire::{BadRequest, Dialect};
use serde_json::Value;

use super::answer_decoder::citation;
use crate::json::{
    self, Object, bad, is, need_text, object, take, take_array, take_count, take_flag, take_number,
    take_object, take_text, under,
};
use crate::tool_id::unpacked;
use crate::{
    Block, CacheMark, Content, Document, Effort, Format, Function, Image, Prompt, Reasoning, Role,
    Sampling, Signature, Source, Thinking, Tool, ToolCall, ToolChoice, ToolResult,
};

/// Reads a request.
///
/// # Errors
/// What is no messages request.
pub fn decode_request(body: &[u8]) -> Result<Prompt, BadRequest> {
    let mut body = json::body(body)?;
    let output = take_object(&mut body, "output_config", "")?.unwrap_or_default();
    let metadata = take_object(&mut body, "metadata", "")?.unwrap_or_default();
    let tier = take_text(&mut body, "service_tier", "")?;
    let (tool_choice, parallel_tools) = tool_choice(&mut body)?;
    let mut prompt = Prompt {
        model: take_text(&mut body, "model", "")?.unwrap_or_default(),
        stream: take_flag(&mut body, "stream", "")?.unwrap_or(false),
        tools: tools(&mut body)?,
        tool_choice,
        parallel_tools,
        max_output: take_count(&mut body, "max_tokens", "")?,
        sampling: Sampling {
            temperature: take_number(&mut body, "temperature", "")?,
            top_p: take_number(&mut body, "top_p", "")?,
            top_k: take_number(&mut body, "top_k", "")?,
            stop: stops(&mut body)?,
            ..Sampling::default()
        },
        reasoning: reasoning(&mut body, &output)?,
        format: format(&mut body, output)?,
        user: metadata.get("user_id").and_then(Value::as_str).map(str::to_owned),
        service_tier: tier
            .map(|tier| if tier == "standard_only" { "default".to_owned() } else { tier }),
        ..Prompt::default()
    };
    let system = blocks(take(&mut body, "system"), "system")?;
    prompt.say(Role::System, system);
    for (n, message) in take_array(&mut body, "messages", "")?.into_iter().enumerate() {
        let place = format!("messages[{n}]");
        let mut message = object(message, &place)?;
        let role = match need_text(&mut message, "role", &place)?.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => return Err(bad(&under(&place, "role"), "is not known")),
        };
        let content = blocks(take(&mut message, "content"), &under(&place, "content"))?;
        prompt.say(role, content);
    }
    if let Some(mark) = cache_mark(&mut body) {
        let last = prompt.turns.last_mut().and_then(|turn| turn.blocks.last_mut());
        if let Some(last) = last {
            last.cache.get_or_insert(mark);
        }
    }
    Ok(prompt)
}

fn stops(body: &mut Object) -> Result<Vec<String>, BadRequest> {
    let stops = take(body, "stop_sequences").map(serde_json::from_value).transpose();
    Ok(stops.map_err(|_| bad("stop_sequences", "must be an array of strings"))?.unwrap_or_default())
}

fn reasoning(body: &mut Object, output: &Object) -> Result<Option<Reasoning>, BadRequest> {
    let effort = output.get("effort").and_then(Value::as_str);
    let effort = match effort.map(Effort::parse) {
        Some(None) => return Err(bad("output_config.effort", "is not known")),
        Some(effort) => effort,
        None => None,
    };
    let Some(mut thinking) = take_object(body, "thinking", "")? else {
        return Ok(effort.map(|_| Reasoning { effort, ..Reasoning::default() }));
    };
    let display = take_text(&mut thinking, "display", "thinking")?;
    let show = display.map(|display| display != "omitted");
    let kind = match need_text(&mut thinking, "type", "thinking")?.as_str() {
        "disabled" => Thinking::Off,
        "adaptive" => Thinking::Adaptive,
        "enabled" => {
            let budget = take_count(&mut thinking, "budget_tokens", "thinking")?;
            Thinking::Budget(budget.ok_or_else(|| bad("thinking.budget_tokens", "is missing"))?)
        }
        _ => return Err(bad("thinking.type", "is not known")),
    };
    Ok(Some(Reasoning { thinking: Some(kind), effort, show }))
}

/// `output_config.format`, or `output_format` as it was called before.
fn format(body: &mut Object, mut output: Object) -> Result<Option<Format>, BadRequest> {
    let place = "output_config.format";
    let older = take_object(body, "output_format", "")?;
    let newer = take_object(&mut output, "format", "output_config")?;
    let Some(mut format) = newer.or(older) else { return Ok(None) };
    if !is(&format, "type", "json_schema") {
        return Err(bad("output_config.format.type", "is not known"));
    }
    let schema = take(&mut format, "schema").ok_or_else(|| bad(place, "needs a `schema`"))?;
    Ok(Some(Format::JsonSchema { name: None, description: None, schema, strict: Some(true) }))
}

fn tools(body: &mut Object) -> Result<Vec<Tool>, BadRequest> {
    let mut tools = Vec::new();
    for (n, tool) in take_array(body, "tools", "")?.into_iter().enumerate() {
        let place = format!("tools[{n}]");
        let mut tool = object(tool, &place)?;
        let kind = tool.get("type").and_then(Value::as_str).unwrap_or("custom");
        if kind != "custom" {
            let (dialect, name) = (Dialect::Messages, kind.to_owned());
            tools.push(Tool::Own { dialect, name, json: tool.into() });
            continue;
        }
        tools.push(Tool::Function(Function {
            cache: cache_mark(&mut tool),
            name: need_text(&mut tool, "name", &place)?,
            description: take_text(&mut tool, "description", &place)?,
            schema: take(&mut tool, "input_schema"),
            strict: take_flag(&mut tool, "strict", &place)?,
        }));
    }
    Ok(tools)
}

/// The choice, and whether several tools may be called at once.
fn tool_choice(body: &mut Object) -> Result<(Option<ToolChoice>, Option<bool>), BadRequest> {
    let place = "tool_choice";
    let Some(mut choice) = take_object(body, place, "")? else { return Ok((None, None)) };
    let single = take_flag(&mut choice, "disable_parallel_tool_use", place)?;
    let kind = match need_text(&mut choice, "type", place)?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Function(need_text(&mut choice, "name", place)?),
        _ => return Err(bad("tool_choice.type", "is not known")),
    };
    Ok((Some(kind), single.map(|single| !single)))
}

fn cache_mark(from: &mut Object) -> Option<CacheMark> {
    let mark = take(from, "cache_control")?;
    let hour = mark.get("ttl").and_then(Value::as_str) == Some("1h");
    Some(if hour { CacheMark::OneHour } else { CacheMark::FiveMinutes })
}

/// Content: a text, or blocks.
fn blocks(content: Option<Value>, place: &str) -> Result<Vec<Block>, BadRequest> {
    match content {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Block::text(text)]),
        Some(Value::Array(all)) => {
            let all = all.into_iter().enumerate();
            let read = all.map(|(n, block)| {
                let place = format!("{place}[{n}]");
                self::block(object(block, &place)?, &place)
            });
            read.collect()
        }
        Some(_) => Err(bad(place, "must be a string or an array of blocks")),
    }
}

fn block(mut block: Object, place: &str) -> Result<Block, BadRequest> {
    let kind = block.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let own = !matches!(
        kind.as_str(),
        "text"
            | "image"
            | "document"
            | "tool_use"
            | "tool_result"
            | "thinking"
            | "redacted_thinking"
    );
    // A block that is passed on as it came keeps its mark in it.
    let cache = if own { None } else { cache_mark(&mut block) };
    let text = |block: &mut Object, key: &str| need_text(block, key, place);
    let content = match kind.as_str() {
        "" => return Err(bad(&under(place, "type"), "is missing")),
        "text" => {
            let told = take_array(&mut block, "citations", place)?;
            let citations = told.into_iter().map(citation).collect();
            Content::Text { text: text(&mut block, "text")?, signature: None, citations }
        }
        "image" => {
            let source = source(&mut block, place)?;
            Content::Image(Image { source, detail: None })
        }
        "document" => {
            let name = take_text(&mut block, "title", place)?;
            Content::Document(Document { source: source(&mut block, place)?, name })
        }
        "tool_use" => {
            let sent = text(&mut block, "id")?;
            let (id, signature) = unpacked(&sent);
            let name = text(&mut block, "name")?;
            let input = take_object(&mut block, "input", place)?.unwrap_or_default();
            let arguments = Value::Object(input).to_string();
            Content::ToolCall(ToolCall { id: id.to_owned(), name, arguments, signature })
        }
        "tool_result" => {
            let sent = text(&mut block, "tool_use_id")?;
            let content = blocks(take(&mut block, "content"), &under(place, "content"))?;
            let content = content.into_iter().filter(|b| b.as_text() != Some("")).collect();
            let is_error = take_flag(&mut block, "is_error", place)?.unwrap_or(false);
            Content::ToolResult(ToolResult { id: unpacked(&sent).0.to_owned(), content, is_error })
        }
        "thinking" => Content::Thinking {
            text: take_text(&mut block, "thinking", place)?.unwrap_or_default(),
            signature: take_text(&mut block, "signature", place)?
                .filter(|data| !data.is_empty())
                .map(|data| Signature::read(&data, Provider::Anthropic)),
        },
        "redacted_thinking" => {
            let data = text(&mut block, "data")?;
            Content::RedactedThinking(Signature::read(&data, Provider::Anthropic))
        }
        _ => Content::Own { dialect: Dialect::Messages, json: block.into() },
    };
    Ok(Block { content, cache })
}

fn source(block: &mut Object, place: &str) -> Result<Source, BadRequest> {
    let place = under(place, "source");
    let source = take_object(block, "source", place.trim_end_matches(".source"))?;
    let mut source = source.ok_or_else(|| bad(&place, "is missing"))?;
    match need_text(&mut source, "type", &place)?.as_str() {
        "base64" => Ok(Source::Base64 {
            media_type: need_text(&mut source, "media_type", &place)?,
            data: need_text(&mut source, "data", &place)?,
        }),
        "url" => Ok(Source::Url(need_text(&mut source, "url", &place)?)),
        "text" => Ok(Source::Text(need_text(&mut source, "data", &place)?)),
        "content" => {
            let content = blocks(take(&mut source, "content"), &under(&place, "content"))?;
            let texts = content.iter().filter_map(Block::as_text);
            Ok(Source::Text(texts.collect::<Vec<_>>().join("\n")))
        }
        _ => Err(bad(&under(&place, "type"), "is not known")),
    }
}

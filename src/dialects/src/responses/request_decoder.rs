//! Reads a request for a response.

use opencredits_schema::Provider;
use opencredits_wire::{BadRequest, Dialect};
use serde_json::Value;

use crate::chat::request_decoder::address;
use crate::json::{
    self, Object, arguments, bad, is, need_text, object, take, take_array, take_count, take_flag,
    take_number, take_object, take_text, under,
};
use crate::tool_id::unpacked;
use crate::{
    Block, Content, Document, Effort, Format, Function, Image, Prompt, Reasoning, Role, Sampling,
    Signature, Source, Tool, ToolCall, ToolChoice, ToolResult,
};

/// Reads a request.
///
/// # Errors
/// What is no such request, and references to items, which are resolved before.
pub fn decode_request(body: &[u8]) -> Result<Prompt, BadRequest> {
    let mut body = json::body(body)?;
    let mut text = take_object(&mut body, "text", "")?.unwrap_or_default();
    let mut prompt = Prompt {
        model: take_text(&mut body, "model", "")?.unwrap_or_default(),
        stream: take_flag(&mut body, "stream", "")?.unwrap_or(false),
        tools: tools(&mut body)?,
        tool_choice: tool_choice(&mut body)?,
        parallel_tools: take_flag(&mut body, "parallel_tool_calls", "")?,
        max_output: take_count(&mut body, "max_output_tokens", "")?,
        sampling: Sampling {
            temperature: take_number(&mut body, "temperature", "")?,
            top_p: take_number(&mut body, "top_p", "")?,
            ..Sampling::default()
        },
        reasoning: reasoning(&mut body)?,
        verbosity: take_text(&mut text, "verbosity", "text")?,
        format: format(&mut text)?,
        user: take_text(&mut body, "user", "")?,
        service_tier: take_text(&mut body, "service_tier", "")?,
        ..Prompt::default()
    };
    if let Some(instructions) = take_text(&mut body, "instructions", "")? {
        prompt.say(Role::System, vec![Block::text(instructions)]);
    }
    match take(&mut body, "input") {
        None => {}
        Some(Value::String(text)) => prompt.say(Role::User, vec![Block::text(text)]),
        Some(Value::Array(items)) => {
            for (n, item) in items.into_iter().enumerate() {
                let place = format!("input[{n}]");
                let (role, blocks) = self::item(object(item, &place)?, &place)?;
                prompt.say(role, blocks);
            }
        }
        Some(_) => return Err(bad("input", "must be a string or an array of items")),
    }
    Ok(prompt)
}

fn reasoning(body: &mut Object) -> Result<Option<Reasoning>, BadRequest> {
    let Some(mut asked) = take_object(body, "reasoning", "")? else { return Ok(None) };
    let effort = take_text(&mut asked, "effort", "reasoning")?;
    let effort = effort
        .map(|word| Effort::parse(&word).ok_or_else(|| bad("reasoning.effort", "is not known")));
    let summary = take_text(&mut asked, "summary", "reasoning")?;
    let summary = summary.or(take_text(&mut asked, "generate_summary", "reasoning")?);
    Ok(Some(Reasoning { thinking: None, effort: effort.transpose()?, show: summary.map(|_| true) }))
}

fn format(text: &mut Object) -> Result<Option<Format>, BadRequest> {
    let place = "text.format";
    let Some(mut format) = take_object(text, "format", "text")? else { return Ok(None) };
    match need_text(&mut format, "type", place)?.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::JsonObject)),
        "json_schema" => Ok(Some(Format::JsonSchema {
            name: take_text(&mut format, "name", place)?,
            description: take_text(&mut format, "description", place)?,
            strict: take_flag(&mut format, "strict", place)?,
            schema: take(&mut format, "schema").ok_or_else(|| bad(place, "needs a `schema`"))?,
        })),
        _ => Err(bad("text.format.type", "is not known")),
    }
}

fn tools(body: &mut Object) -> Result<Vec<Tool>, BadRequest> {
    let mut tools = Vec::new();
    for (n, tool) in take_array(body, "tools", "")?.into_iter().enumerate() {
        let place = format!("tools[{n}]");
        let mut tool = object(tool, &place)?;
        if !is(&tool, "type", "function") {
            let name = need_text(&mut tool.clone(), "type", &place)?;
            tools.push(Tool::Own { dialect: Dialect::Responses, name, json: tool.into() });
            continue;
        }
        tools.push(Tool::Function(Function {
            name: need_text(&mut tool, "name", &place)?,
            description: take_text(&mut tool, "description", &place)?,
            schema: take(&mut tool, "parameters"),
            strict: take_flag(&mut tool, "strict", &place)?,
            cache: None,
        }));
    }
    Ok(tools)
}

fn tool_choice(body: &mut Object) -> Result<Option<ToolChoice>, BadRequest> {
    match take(body, "tool_choice") {
        None => Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(Some(ToolChoice::Auto)),
            "required" => Ok(Some(ToolChoice::Required)),
            "none" => Ok(Some(ToolChoice::None)),
            _ => Err(bad("tool_choice", "is not known")),
        },
        Some(Value::Object(mut choice)) if is(&choice, "type", "function") => {
            Ok(Some(ToolChoice::Function(need_text(&mut choice, "name", "tool_choice")?)))
        }
        Some(_) => Err(bad("tool_choice", "of this kind is not available on this model")),
    }
}

fn item(mut item: Object, place: &str) -> Result<(Role, Vec<Block>), BadRequest> {
    let kind = item.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    let (role, content) = match kind.as_str() {
        "message" => {
            let role = match need_text(&mut item, "role", place)?.as_str() {
                "user" => Role::User,
                "assistant" => Role::Assistant,
                "system" | "developer" => Role::System,
                _ => return Err(bad(&under(place, "role"), "is not known")),
            };
            let content = content(take(&mut item, "content"), &under(place, "content"))?;
            return Ok((role, content));
        }
        "function_call" => (Role::Assistant, call(&mut item, place)?),
        "function_call_output" => (Role::User, result(&mut item, place)?),
        "reasoning" => match thinking(&mut item, place)? {
            Some(thinking) => (Role::Assistant, thinking),
            None => return Ok((Role::Assistant, Vec::new())),
        },
        "item_reference" => {
            let what = "refers to an item that is not stored here; send the item itself (with the \
                        Vercel AI SDK: `providerOptions.openai.store: false`)";
            return Err(bad(place, what));
        }
        _ => (Role::Assistant, Content::Own { dialect: Dialect::Responses, json: item.into() }),
    };
    Ok((role, vec![Block::new(content)]))
}

fn call(item: &mut Object, place: &str) -> Result<Content, BadRequest> {
    let sent = need_text(item, "call_id", place)?;
    let (id, signature) = unpacked(&sent);
    let name = need_text(item, "name", place)?;
    let text = take_text(item, "arguments", place)?.unwrap_or_default();
    let arguments = arguments(text, &under(place, "arguments"))?;
    Ok(Content::ToolCall(ToolCall { id: id.to_owned(), name, arguments, signature }))
}

fn result(item: &mut Object, place: &str) -> Result<Content, BadRequest> {
    let sent = need_text(item, "call_id", place)?;
    let content = content(take(item, "output"), &under(place, "output"))?;
    let content = content.into_iter().filter(|block| block.as_text() != Some("")).collect();
    let id = unpacked(&sent).0.to_owned();
    Ok(Content::ToolResult(ToolResult { id, content, is_error: false }))
}

/// Thinking; `None` where its provider could not read it again.
fn thinking(item: &mut Object, place: &str) -> Result<Option<Content>, BadRequest> {
    let seal = take_text(item, "encrypted_content", place)?;
    let Some(seal) = seal.map(|data| Signature::read(&data, Provider::OpenAi)) else {
        return Ok(None);
    };
    let summary = take_array(item, "summary", place)?;
    let told = take_array(item, "content", place)?;
    let texts = summary.iter().chain(&told).filter_map(|part| part.get("text")?.as_str());
    let text = texts.collect::<Vec<_>>().join("\n\n");
    Ok(Some(match text.is_empty() {
        true => Content::RedactedThinking(seal),
        false => Content::Thinking { text, signature: Some(seal) },
    }))
}

fn content(content: Option<Value>, place: &str) -> Result<Vec<Block>, BadRequest> {
    match content {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Block::text(text)]),
        Some(Value::Array(parts)) => {
            let parts = parts.into_iter().enumerate();
            let read = parts.map(|(n, part)| {
                let place = format!("{place}[{n}]");
                self::part(object(part, &place)?, &place).map(Block::new)
            });
            read.collect()
        }
        Some(_) => Err(bad(place, "must be a string or an array of parts")),
    }
}

fn part(mut part: Object, place: &str) -> Result<Content, BadRequest> {
    match need_text(&mut part, "type", place)?.as_str() {
        "input_text" | "output_text" | "text" => {
            let text = need_text(&mut part, "text", place)?;
            Ok(Content::Text { text, signature: None, citations: Vec::new() })
        }
        "refusal" => Ok(Content::Refusal(need_text(&mut part, "refusal", place)?)),
        "input_image" => {
            let source = address(need_text(&mut part, "image_url", place)?);
            let detail = take_text(&mut part, "detail", place)?;
            Ok(Content::Image(Image { source, detail }))
        }
        "input_file" => {
            let name = take_text(&mut part, "filename", place)?;
            let source = match take_text(&mut part, "file_url", place)? {
                Some(url) => Source::Url(url),
                None => address(need_text(&mut part, "file_data", place)?),
            };
            Ok(Content::Document(Document { source, name }))
        }
        "input_audio" => {
            let audio = take_object(&mut part, "input_audio", place)?;
            let place = under(place, "input_audio");
            let mut audio = audio.ok_or_else(|| bad(&place, "is missing"))?;
            let data = need_text(&mut audio, "data", &place)?;
            Ok(Content::Audio { data, format: need_text(&mut audio, "format", &place)? })
        }
        _ => Err(bad(&under(place, "type"), "is not known")),
    }
}

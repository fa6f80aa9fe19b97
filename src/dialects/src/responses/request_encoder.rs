//! Writes a request for a response, for models that have no other route.

use opencredits_schema::{Model, Provider};
use opencredits_wire::{BadRequest, Dialect};
use serde_json::{Value, json};

use crate::chat::request_encoder::{short_user, url};
use crate::chat::traits;
use crate::json::extend;
use crate::tool_id::fitted;
use crate::{
    Block, Content, Document, Effort, Format, Function, Prompt, Reasoning, Role, Source, Thinking,
    Tool, ToolCall, ToolChoice, ToolResult, Turn,
};

/// Writes a request.
///
/// # Errors
/// More than one answer, tools and blocks that only another dialect knows.
pub fn encode_request(prompt: &Prompt, model: &Model) -> Result<Vec<u8>, BadRequest> {
    if prompt.sampling.n.is_some_and(|n| n > 1) {
        return Err(BadRequest::new("`n` above 1 is not available on this model".to_owned(), "n"));
    }
    let traits = traits::of(model);
    let (instructions, input) = items(prompt, model.provider)?;
    let mut body = json!({"model": model.upstream_id, "input": input, "store": false});
    let own = &prompt.sampling;
    let sampled = |number: &Option<serde_json::Number>| {
        number.clone().filter(|_| traits.sampling).map(Value::from)
    };
    let reasons = model.features.reasoning;
    let limit = prompt.max_output.map(|tokens| tokens.min(model.max_output_tokens));
    let members = [
        ("instructions", instructions.map(Value::from)),
        ("stream", prompt.stream.then_some(true.into())),
        ("max_output_tokens", limit.map(Value::from)),
        ("temperature", sampled(&own.temperature)),
        ("top_p", sampled(&own.top_p)),
        ("reasoning", reasoning(prompt.reasoning, traits.efforts, reasons)),
        ("include", reasons.then(|| json!(["reasoning.encrypted_content"]))),
        ("text", text(prompt, model.provider)),
        ("user", prompt.user.as_deref().map(|user| short_user(user).into())),
        ("service_tier", prompt.service_tier.as_deref().map(Value::from)),
    ];
    extend(&mut body, members);
    if !prompt.tools.is_empty() {
        let tools: Result<Vec<_>, _> = prompt.tools.iter().map(tool).collect();
        let members = [
            ("tools", Some(tools?.into())),
            ("tool_choice", prompt.tool_choice.as_ref().map(tool_choice)),
            ("parallel_tool_calls", prompt.parallel_tools.map(Value::from)),
        ];
        extend(&mut body, members);
    }
    Ok(body.to_string().into_bytes())
}

fn reasoning(asked: Option<Reasoning>, efforts: &[Effort], reasons: bool) -> Option<Value> {
    let asked = asked.filter(|_| reasons)?;
    let wished = match (asked.effort, asked.thinking) {
        (Some(effort), _) => Some(effort),
        (None, Some(Thinking::Off)) => Some(Effort::None),
        (None, Some(Thinking::Budget(tokens))) => Some(Effort::of_budget(tokens)),
        (None, Some(Thinking::Adaptive) | None) => None,
    };
    let effort = wished.and_then(|effort| effort.within(efforts));
    // Callers who ask for thinking by Anthropic's words see it unless they say otherwise.
    let shown = asked.show.unwrap_or(!matches!(asked.thinking, None | Some(Thinking::Off)));
    let mut value = json!({});
    let members = [
        ("effort", effort.map(|effort| effort.as_str().into())),
        ("summary", shown.then(|| "auto".into())),
    ];
    extend(&mut value, members);
    (value != json!({})).then_some(value)
}

fn text(prompt: &Prompt, provider: Provider) -> Option<Value> {
    let format = prompt.format.as_ref().map(|format| match format {
        Format::JsonObject => json!({"type": "json_object"}),
        Format::JsonSchema { name, description, schema, strict } => {
            let name = name.as_deref().unwrap_or("answer");
            let mut format = json!({"type": "json_schema", "name": name, "schema": schema});
            let members = [
                ("description", description.as_deref().map(Value::from)),
                ("strict", strict.map(Value::from)),
            ];
            extend(&mut format, members);
            format
        }
    });
    let verbosity = prompt.verbosity.as_deref().filter(|_| provider == Provider::OpenAi);
    let mut text = json!({});
    extend(&mut text, [("format", format), ("verbosity", verbosity.map(Value::from))]);
    (text != json!({})).then_some(text)
}

fn tool(tool: &Tool) -> Result<Value, BadRequest> {
    match tool {
        Tool::Function(Function { name, description, schema, strict, .. }) => {
            let schema =
                schema.clone().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
            let mut value = json!({"type": "function", "name": name, "parameters": schema});
            let members = [
                ("description", description.as_deref().map(Value::from)),
                // Here an absent `strict` means yes, elsewhere it means no.
                ("strict", Some(strict.unwrap_or(false).into())),
            ];
            extend(&mut value, members);
            Ok(value)
        }
        Tool::Own { dialect: Dialect::Responses, json, .. } => Ok(json.clone()),
        Tool::Own { name, .. } => {
            let message = format!("the tool `{name}` is not available on this model");
            Err(BadRequest::new(message, "tools"))
        }
    }
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Function(name) => json!({"type": "function", "name": name}),
    }
}

/// The instructions, which are the system texts that come first, and the items.
fn items(prompt: &Prompt, provider: Provider) -> Result<(Option<String>, Vec<Value>), BadRequest> {
    let mut turns = prompt.turns.as_slice();
    let mut instructions = None;
    if let [Turn { role: Role::System, blocks }, rest @ ..] = turns {
        let texts: Vec<_> = blocks.iter().filter_map(Block::as_text).collect();
        instructions = Some(texts.join("\n\n"));
        turns = rest;
    }
    let mut items = Vec::new();
    for turn in turns {
        match turn.role {
            Role::System | Role::User => user(turn, &mut items)?,
            Role::Assistant => assistant(turn, provider, &mut items)?,
        }
    }
    Ok((instructions, items))
}

fn user(turn: &Turn, items: &mut Vec<Value>) -> Result<(), BadRequest> {
    let role = if turn.role == Role::System { "system" } else { "user" };
    let mut parts = Vec::new();
    for block in &turn.blocks {
        if let Content::ToolResult(result) = &block.content {
            items.push(self::result(result)?);
        } else {
            parts.push(part(&block.content)?);
        }
    }
    if !parts.is_empty() {
        items.push(json!({"role": role, "content": parts}));
    }
    Ok(())
}

fn result(result: &ToolResult) -> Result<Value, BadRequest> {
    let ToolResult { id, content, is_error } = result;
    let only_text = content.iter().all(|block| block.as_text().is_some());
    let output: Value = if only_text {
        let texts: Vec<_> = content.iter().filter_map(Block::as_text).collect();
        let text = texts.join("\n");
        if *is_error { format!("Error: {text}").into() } else { text.into() }
    } else {
        let parts: Result<Vec<_>, _> = content.iter().map(|block| part(&block.content)).collect();
        parts?.into()
    };
    Ok(json!({"type": "function_call_output", "call_id": fitted(id), "output": output}))
}

fn part(content: &Content) -> Result<Value, BadRequest> {
    Ok(match content {
        Content::Text { text, .. } | Content::Refusal(text) => {
            json!({"type": "input_text", "text": text})
        }
        Content::Image(image) => {
            let mut part = json!({"type": "input_image", "image_url": url(&image.source)});
            extend(&mut part, [("detail", image.detail.as_deref().map(Value::from))]);
            part
        }
        Content::Document(Document { source, name }) => match source {
            Source::Text(text) => json!({"type": "input_text", "text": text}),
            Source::Url(url) => json!({"type": "input_file", "file_url": url}),
            Source::Base64 { .. } => {
                let name = name.as_deref().unwrap_or("document.pdf");
                json!({"type": "input_file", "filename": name, "file_data": url(source)})
            }
        },
        Content::Audio { data, format } => {
            json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
        }
        Content::Own { dialect: Dialect::Responses, json } => json.clone(),
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

fn assistant(turn: &Turn, provider: Provider, items: &mut Vec<Value>) -> Result<(), BadRequest> {
    for block in &turn.blocks {
        let said = |part: Value| json!({"role": "assistant", "content": [part]});
        items.push(match &block.content {
            Content::Text { text, .. } => said(json!({"type": "output_text", "text": text})),
            Content::Refusal(text) => said(json!({"type": "refusal", "refusal": text})),
            Content::Thinking { text, signature } => {
                let own = signature.as_ref().and_then(|seal| seal.of(provider));
                let Some(seal) = own else { continue };
                let summary = json!([{"type": "summary_text", "text": text}]);
                json!({"type": "reasoning", "summary": summary, "encrypted_content": seal})
            }
            Content::RedactedThinking(seal) => {
                let Some(data) = seal.of(provider) else { continue };
                json!({"type": "reasoning", "summary": [], "encrypted_content": data})
            }
            Content::ToolCall(ToolCall { id, name, arguments, .. }) => json!({
                "type": "function_call", "call_id": fitted(id), "name": name,
                "arguments": arguments,
            }),
            Content::Own { dialect: Dialect::Responses, json } => json.clone(),
            // Blocks of another provider's own tools: their text stands beside them.
            Content::Own { .. } => continue,
            Content::Image(_)
            | Content::Document(_)
            | Content::Audio { .. }
            | Content::ToolResult(_) => said(part(&block.content)?),
        });
    }
    Ok(())
}

//! What the real providers answer with 400, as far as a translation between dialects could get it
//! wrong.

use serde_json::Value;

/// The seal of the simulators' thinking and calls; any other is refused.
pub(super) const SEAL: &str = "c2ltdWxhdGVkLXNlYWw=";
/// The longest id of a call that OpenAI's chat takes.
const CHAT_ID_MAX: usize = 40;
/// How many points of a prompt Anthropic caches.
const CACHE_MARKS_MAX: usize = 4;

type Checked = Result<(), String>;

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Refuses members that the dialect does not have.
fn known(body: &Value, fields: &[&str], what: &str) -> Checked {
    let members = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let unknown = members.into_iter().find(|name| !fields.contains(name));
    unknown.map_or(Ok(()), |name| Err(format!("{what}: Unknown name \"{name}\"")))
}

fn has_word(id: &str, max: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=max).contains(&id.len()) && id.bytes().all(plain)
}

/// Anthropic's messages.
pub(super) fn anthropic(body: &Value) -> Checked {
    const FOREIGN: [&str; 9] = [
        "stop",
        "response_format",
        "max_completion_tokens",
        "parallel_tool_calls",
        "n",
        "frequency_penalty",
        "reasoning_effort",
        "input",
        "user",
    ];
    for foreign in FOREIGN {
        ensure(body.get(foreign).is_none(), || {
            format!("{foreign}: Extra inputs are not permitted")
        })?;
    }
    let temperature = body.get("temperature").and_then(Value::as_f64).unwrap_or(0.0);
    ensure(temperature <= 1.0, || "temperature: must be at most 1".to_owned())?;
    let budget = body.pointer("/thinking/budget_tokens").and_then(Value::as_u64);
    let limit = body.get("max_tokens").and_then(Value::as_u64).unwrap_or(u64::MAX);
    ensure(budget.is_none_or(|budget| (1_024..limit).contains(&budget)), || {
        "`max_tokens` must be greater than `thinking.budget_tokens`, which is at least 1024"
            .to_owned()
    })?;
    let thinks =
        !matches!(text(body.get("thinking").unwrap_or(&Value::Null), "type"), "" | "disabled");
    let forced = body.pointer("/tool_choice/type").and_then(Value::as_str);
    ensure(!(thinks && matches!(forced, Some("any" | "tool"))), || {
        "Thinking may not be enabled when tool_choice forces tool use.".to_owned()
    })?;
    ensure(forced.is_none() || list(body, "tools").next().is_some(), || {
        "tool_choice: may only be specified while providing tools".to_owned()
    })?;
    for tool in list(body, "tools").filter(|tool| tool.get("type").is_none()) {
        let kind = tool.pointer("/input_schema/type").and_then(Value::as_str);
        ensure(kind == Some("object"), || "tools.0.input_schema.type: Field required".to_owned())?;
    }
    let marks = body.to_string().matches("\"cache_control\"").count();
    ensure(marks <= CACHE_MARKS_MAX, || {
        format!("A maximum of 4 blocks with cache_control may be provided. Found {marks}.")
    })?;
    let messages: Vec<_> = list(body, "messages").collect();
    // The simulator thinks where it is told to; what it thought has to come back in a tool loop.
    let thought = thinks && body.to_string().contains("reasoning=");
    if let (true, [.., asked, answered]) = (thought, &messages[..])
        && list(answered, "content").any(|block| text(block, "type") == "tool_result")
    {
        let first = list(asked, "content").next().map(|block| text(block, "type"));
        ensure(matches!(first, Some("thinking" | "redacted_thinking")), || {
            "Expected `thinking` or `redacted_thinking`, but found `tool_use`.".to_owned()
        })?;
    }
    for (message, next) in messages.iter().zip(messages.iter().skip(1).map(Some).chain([None])) {
        anthropic_message(message, next.copied())?;
    }
    Ok(())
}

fn anthropic_message(message: &Value, next: Option<&Value>) -> Checked {
    let mut results_over = false;
    for block in list(message, "content") {
        match text(block, "type") {
            "text" => {
                results_over = true;
                ensure(!text(block, "text").is_empty(), || {
                    "messages: text content blocks must be non-empty".to_owned()
                })?;
            }
            "thinking" => ensure(text(block, "signature") == SEAL, || {
                "messages.1.content.0: Invalid `signature` in `thinking` block".to_owned()
            })?,
            "tool_use" => {
                let id = text(block, "id");
                ensure(has_word(id, 128), || {
                    format!("tool_use.id: `{id}` does not fit its pattern")
                })?;
                let answered = next.into_iter().flat_map(|next| list(next, "content"));
                let mut answered = answered.map(|block| text(block, "tool_use_id"));
                ensure(answered.any(|other| other == id), || {
                    format!(
                        "`tool_use` ids were found without `tool_result` blocks immediately after: {id}"
                    )
                })?;
            }
            "tool_result" => ensure(!results_over, || {
                "tool_result blocks must come before other content".to_owned()
            })?,
            _ => results_over = true,
        }
    }
    Ok(())
}

/// Google's native dialect.
pub(super) fn google(body: &Value, model: &str) -> Checked {
    const FIELDS: [&str; 8] = [
        "contents",
        "systemInstruction",
        "generationConfig",
        "tools",
        "toolConfig",
        "safetySettings",
        "serviceTier",
        "cachedContent",
    ];
    const CONFIG: [&str; 15] = [
        "temperature",
        "topP",
        "topK",
        "seed",
        "presencePenalty",
        "frequencyPenalty",
        "candidateCount",
        "maxOutputTokens",
        "stopSequences",
        "responseMimeType",
        "responseJsonSchema",
        "responseSchema",
        "thinkingConfig",
        "responseModalities",
        "speechConfig",
    ];
    known(body, &FIELDS, "Invalid JSON payload received")?;
    let config = body.get("generationConfig").unwrap_or(&Value::Null);
    known(config, &CONFIG, "Invalid JSON payload received at 'generation_config'")?;
    let thinking = config.get("thinkingConfig").unwrap_or(&Value::Null);
    let (level, budget) = (thinking.get("thinkingLevel"), thinking.get("thinkingBudget"));
    let is_third = !model.starts_with("gemini-2");
    ensure(level.is_none() || (is_third && budget.is_none()), || {
        "Thinking level is not supported for this model.".to_owned()
    })?;
    ensure(list(config, "stopSequences").count() <= 5, || "stop_sequences: too many".to_owned())?;
    let mut called: Vec<String> = Vec::new();
    for content in list(body, "contents") {
        let is_model = match text(content, "role") {
            "model" => true,
            "user" => false,
            other => return Err(format!("Please use a valid role: user, model; not `{other}`.")),
        };
        let names = |key: &'static str| {
            let parts = list(content, "parts").filter_map(move |part| part.get(key));
            parts.map(|part| text(part, "name").to_owned()).collect::<Vec<_>>()
        };
        let answers = names("functionResponse");
        ensure(is_model || answers == called, || {
            "Please ensure that the number of function response parts is equal to the number of \
             function call parts of the function call turn."
                .to_owned()
        })?;
        called = names("functionCall");
        if is_third {
            let mut calls =
                list(content, "parts").filter(|part| part.get("functionCall").is_some());
            let seal = calls.next().map(|part| text(part, "thoughtSignature"));
            // Google takes a stand-in for a lost seal, which would hide that one was lost.
            ensure(seal.is_none_or(|seal| seal == SEAL), || {
                "Function call is missing a thought_signature in functionCall parts.".to_owned()
            })?;
        }
    }
    Ok(())
}

/// OpenAI's chat completions; xAI takes much of what OpenAI refuses.
pub(super) fn chat(body: &Value, is_openai: bool) -> Checked {
    for foreign in ["thinking", "top_k", "system", "max_output_tokens", "input", "contents"] {
        ensure(body.get(foreign).is_none(), || format!("Unknown parameter: '{foreign}'."))?;
    }
    ensure(!is_openai || !body.to_string().contains("\"cache_control\""), || {
        "Unknown parameter: 'messages[0].content[0].cache_control'.".to_owned()
    })?;
    let model = text(body, "model");
    let reasons = ["gpt-5", "gpt-6", "o1", "o3", "o4"].iter().any(|name| model.starts_with(name));
    if is_openai && reasons && !model.contains("chat") {
        for refused in ["max_tokens", "stop", "temperature", "top_p"] {
            ensure(body.get(refused).is_none(), || {
                format!("Unsupported parameter: '{refused}' is not supported with this model.")
            })?;
        }
    }
    let mut open: Vec<&str> = Vec::new();
    for message in list(body, "messages") {
        if text(message, "role") == "tool" {
            let id = text(message, "tool_call_id");
            let at = open.iter().position(|other| *other == id);
            let at = at.ok_or_else(|| "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.".to_owned())?;
            open.remove(at);
            continue;
        }
        ensure(open.is_empty(), || {
            "An assistant message with 'tool_calls' must be followed by tool messages.".to_owned()
        })?;
        for call in list(message, "tool_calls") {
            let id = text(call, "id");
            ensure(!is_openai || id.len() <= CHAT_ID_MAX, || {
                format!("Invalid 'messages[1].tool_calls[0].id': string too long: {id}")
            })?;
            open.push(id);
        }
    }
    Ok(())
}

/// OpenAI's and xAI's responses.
pub(super) fn responses(body: &Value) -> Checked {
    for foreign in ["messages", "max_tokens", "thinking", "stop", "stream_options", "contents"] {
        ensure(body.get(foreign).is_none(), || format!("Unknown parameter: '{foreign}'."))?;
    }
    let stored = body.get("store") != Some(&Value::Bool(false));
    ensure(!stored, || "this simulator keeps nothing: `store` must be false".to_owned())?;
    let mut calls: Vec<&str> = Vec::new();
    for item in list(body, "input") {
        match text(item, "type") {
            "item_reference" => return Err("Item not found.".to_owned()),
            "reasoning" => ensure(text(item, "encrypted_content") == SEAL, || {
                "The encrypted content could not be verified.".to_owned()
            })?,
            "function_call" => calls.push(text(item, "call_id")),
            "function_call_output" => {
                let id = text(item, "call_id");
                ensure(calls.contains(&id), || {
                    format!("No tool call found for function call output with call_id {id}.")
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

//! Gemini's native generateContent: what a request asks, and the exact shape of its answers.

use bytes::Bytes;
use serde_json::{Value, json};

use super::openai::{data, text_of};
use super::playback::Piece;
use super::strict::SEAL;
use super::turn::{Asked, Counts, Part, Tool, Turn, plain_text, text_bytes};

/// Reads a request to a model; the error is what the provider would say about it.
pub(super) fn asked(body: &Value, model: &str, stream: bool) -> Result<Asked, String> {
    let Some(contents) = body.get("contents").and_then(Value::as_array) else {
        return Err("* GenerateContentRequest.contents: contents is not specified\n".to_owned());
    };
    let is_user = |c: &Value| c.get("role").and_then(Value::as_str).unwrap_or("user") == "user";
    let text = |content: &Value| plain_text(content.get("parts"));
    let said = contents.iter().rev().filter(|c| is_user(c)).map(text).find(|t| !t.is_empty());
    let users_turn = contents.last().is_some_and(|content| is_user(content) && !replies(content));
    let tools = tools(body);
    let mode =
        field(body, &["toolConfig", "functionCallingConfig", "mode"]).and_then(Value::as_str);
    let system = body.get("systemInstruction").or_else(|| body.get("system_instruction"));
    let prompt_bytes = contents.iter().map(text_bytes).sum::<usize>();
    Ok(Asked {
        model: model.to_owned(),
        text: said.unwrap_or_default(),
        prompt_bytes: prompt_bytes.saturating_add(system.map_or(0, text_bytes)),
        calls: users_turn && !tools.is_empty() && mode != Some("NONE"),
        tools,
        schema: schema(body),
        limit: field(body, &["generationConfig", "maxOutputTokens"]).and_then(Value::as_u64),
        reasoning_beside_limit: false,
        stream,
        include_usage: true,
        shows_reasoning: field(body, &["generationConfig", "thinkingConfig", "includeThoughts"])
            .and_then(Value::as_bool)
            .unwrap_or(false),
        tier: None,
        media: Vec::new(),
    })
}

fn field<'a>(body: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(body, |value, name| value.get(name))
}

fn replies(content: &Value) -> bool {
    let parts = content.get("parts").and_then(Value::as_array).into_iter().flatten();
    parts.into_iter().any(|part| part.get("functionResponse").is_some())
}

fn tools(body: &Value) -> Vec<Tool> {
    let all = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let declared = all.filter_map(|tool| tool.get("functionDeclarations")?.as_array()).flatten();
    let tools = declared.map(|function| {
        let schema = function.get("parameters").or_else(|| function.get("parametersJsonSchema"));
        Tool { name: text_of(function, "name"), schema: schema.cloned().unwrap_or(Value::Null) }
    });
    tools.collect()
}

fn schema(body: &Value) -> Option<Value> {
    let config = body.get("generationConfig")?;
    let given = config.get("responseSchema").or_else(|| config.get("responseJsonSchema"));
    let json = config.get("responseMimeType").and_then(Value::as_str) == Some("application/json");
    let usual = json!({"type": "OBJECT", "properties": {"answer": {"type": "STRING"}}});
    given.cloned().or_else(|| json.then_some(usual))
}

/// The whole answer.
pub(super) fn answer(turn: &Turn) -> Value {
    let mut parts: Vec<Value> = turn.parts.iter().map(whole).collect();
    seal(&mut parts);
    chunk(turn, &json!(parts), Some(finish(turn)), turn.usage_or(usage(turn.counts)))
}

fn whole(part: &Part) -> Value {
    match part {
        Part::Reasoning(texts) => json!({"text": texts.concat(), "thought": true}),
        Part::Text(texts) => json!({"text": texts.concat()}),
        Part::Call { name, pieces, .. } => {
            let args = serde_json::from_str(&pieces.concat()).unwrap_or_else(|_| json!({}));
            json!({"functionCall": {"name": name, "args": args}})
        }
    }
}

/// Of parallel calls the first is sealed.
fn seal(parts: &mut [Value]) {
    let call = parts.iter_mut().find(|part| part.get("functionCall").is_some());
    if let Some(call) = call.and_then(Value::as_object_mut) {
        call.insert("thoughtSignature".to_owned(), json!(SEAL));
    }
}

/// The answer as a stream: usage so far in every chunk, calls whole, no end marker.
pub(super) fn stream(turn: &Turn) -> Vec<Piece> {
    let mut parts: Vec<Value> = turn.parts.iter().flat_map(slices).collect();
    seal(&mut parts);
    let count = u64::try_from(parts.len()).unwrap_or(u64::MAX).max(1);
    let mut pieces = Vec::with_capacity(parts.len().saturating_add(1));
    for (part, index) in parts.into_iter().zip(1_u64..) {
        let output = turn.counts.output.saturating_mul(index) / count;
        let usage = turn.usage_or(usage(Counts { output, ..turn.counts }));
        pieces.push(Piece::content(data(&chunk(turn, &json!([part]), None, usage))));
    }
    let usage = turn.usage_or(usage(turn.counts));
    let end = chunk(turn, &json!([{"text": ""}]), Some(finish(turn)), usage);
    if !turn.no_done {
        pieces.push(Piece::frame(data(&end)));
    }
    pieces
}

fn slices(part: &Part) -> Vec<Value> {
    match part {
        Part::Reasoning(texts) => {
            texts.iter().map(|text| json!({"text": text, "thought": true})).collect()
        }
        Part::Text(texts) => texts.iter().map(|text| json!({"text": text})).collect(),
        Part::Call { .. } => vec![whole(part)],
    }
}

fn chunk(turn: &Turn, parts: &Value, finish: Option<&str>, usage: Option<Value>) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if let (Some(finish), Some(fields)) = (finish, candidate.as_object_mut()) {
        fields.insert("finishReason".to_owned(), json!(finish));
    }
    let mut chunk = json!({
        "candidates": [candidate], "modelVersion": turn.model,
        "responseId": format!("sim{:012}", turn.serial),
    });
    if let (Some(usage), Some(fields)) = (usage, chunk.as_object_mut()) {
        fields.insert("usageMetadata".to_owned(), usage);
    }
    chunk
}

fn usage(counts: Counts) -> Value {
    let total = counts.input.saturating_add(counts.output).saturating_add(counts.reasoning);
    let mut usage = json!({
        "promptTokenCount": counts.input,
        "totalTokenCount": total,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": counts.input}],
        "serviceTier": "standard",
    });
    if let Some(fields) = usage.as_object_mut() {
        // Gemini leaves a count of nothing out.
        let others = [
            ("candidatesTokenCount", counts.output),
            ("thoughtsTokenCount", counts.reasoning),
            ("cachedContentTokenCount", counts.cached),
        ];
        fields.extend(
            others.iter().filter(|(_, n)| *n > 0).map(|(name, n)| ((*name).to_owned(), json!(n))),
        );
    }
    usage
}

fn finish(turn: &Turn) -> &'static str {
    if turn.limited { "MAX_TOKENS" } else { "STOP" }
}

/// The status and the body of an error: a bad key is a 400.
pub(super) fn error(status: u16, message: &str) -> (u16, Value) {
    if status == 401 {
        let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID", "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"}}]);
        let error = json!({"code": 400, "message": message, "status": "INVALID_ARGUMENT",
            "details": details});
        return (400, json!({"error": error}));
    }
    let name = match status {
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500..=599 => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    (status, json!({"error": {"code": status, "message": message, "status": name}}))
}

/// The error that comes in the middle of a stream.
pub(super) fn error_event() -> Bytes {
    data(&error(503, "The model is overloaded. Please try again later.").1)
}

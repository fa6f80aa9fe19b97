//! What is decoded and encoded again in its own dialect says the same, field by field.

use bytes::Bytes;
use opencredits_dialects::{
    Asked, Collector, decode_answer, decode_request, encode_answer, encode_request, stream_decoder,
    stream_encoder,
};
use opencredits_schema::{Model, PriceBook, Provider, Usage};
use opencredits_wire::{Dialect, Fields, Scanner};
use serde_json::{Value, json};

use crate::recordings::{self, Recording};

/// Members that are left out on purpose, in requests, and why.
const UNSENT: [(&str, &str); 20] = [
    ("model", "the model's name is the provider's"),
    ("stream_options", "the gateway's own"),
    ("usage", "OpenRouter's wish for usage, which is always asked for"),
    ("prompt_cache_key", "a hint that other providers do not know"),
    ("prompt_cache_options", "the same"),
    ("prompt_cache_breakpoint", "the same"),
    ("annotations", "of an earlier answer: the provider ignores it"),
    ("include", "asked for wherever the model reasons"),
    ("store", "always false"),
    ("context_management", "edits of the conversation that only its provider makes"),
    ("mcp_servers", "refused"),
    ("safetySettings", "Google's, which others do not know"),
    ("responseModalities", "the form of answers that are not text"),
    ("cachedContent", "refused"),
    ("videoMetadata", "of videos, which others do not take"),
    ("defer_loading", "of the provider's own tool search"),
    ("logprobs", "of an earlier answer"),
    ("status", "of an earlier item"),
    ("task_budget", "a bound on the work of one provider"),
    ("id", "of an item; a call's is compared by the turns"),
];

/// Requests that the gateway refuses, and why.
const REFUSED: [(&str, &str); 3] = [
    ("openrouter/", "its own forms of thinking; the gateway does not speak to it"),
    ("multimodal-tool-return-matrix-tool-r-1", "a file of the operator's account"),
    ("pydantic-ai-test-openai-test-openai-web-search-tool-0", "a search that only OpenAI makes"),
];

/// Sayings that are defaults, or have another word.
const DEFAULTS: [&str; 18] = [
    // A model that chooses for itself.
    "budgetTokens: 3000",
    "type: \"message\"",
    // Models that reason refuse it, others take it with no nucleus beside it.
    "temperature: 0.0",
    "topP: 0.3",
    // A level is what this model takes.
    "thinkingBudget: 6400",
    "ttl: \"5m\"",
    // The older words for tools, and a number for a name.
    "finishReason: \"function_call\"",
    "finishReason: 1",
    "finishReason: \"UNEXPECTED_TOOL_CALL\"",
    // Google's endpoint for OpenAI's dialect.
    "thought: true",
    // OpenRouter's second form of thinking, and of files.
    "type: \"reasoning.summary\"",
    "name: \"filename.pdf\"",
    // The first system text is the `instructions`.
    "role: \"system\"",
    // Anthropic wants it where it thinks.
    "temperature: 1.0",
    // Models that take no budget get an effort, and the other way about.
    "type: \"enabled\"",
    "thinkingLevel: \"HIGH\"",
    "effort: \"high\"",
    "reasoningEffort: \"high\"",
];

/// The same of answers.
const UNSHOWN: [(&str, &str); 32] = [
    ("id", "made by the gateway, or a call's, which is kept where its result comes back"),
    ("model", "the name that was asked for"),
    ("created", "made by the gateway"),
    ("created_at", "the same"),
    ("completed_at", "the same"),
    ("createTime", "the same"),
    ("responseId", "the same"),
    ("modelVersion", "the name that was asked for"),
    ("usage", "the meter's"),
    ("usageMetadata", "the meter's"),
    ("system_fingerprint", "of the provider's build"),
    ("service_tier", "part of the bill, not of the answer"),
    ("logprobs", "asked for in one dialect only"),
    ("provider", "OpenRouter's"),
    ("native_finish_reason", "OpenRouter's"),
    ("reasoning", "a copy of `reasoning_content`"),
    ("thought_signature", "a copy of `extra_content`"),
    ("stop_details", "says no more than `stop_reason`"),
    ("container", "state of the provider's own tools"),
    ("context_management", "edits that the provider made"),
    ("caller", "which of the provider's tools called"),
    ("finishMessage", "says no more than `finishReason`"),
    ("avgLogprobs", "of no use to a client"),
    ("safetyRatings", "of no use to a client"),
    ("citationMetadata", "sources that were recited"),
    ("groundingMetadata", "told as citations"),
    ("status", "of an item"),
    ("index", "of a block or a choice: its place"),
    ("billing", "part of the bill"),
    ("phase", "which of several texts is the last: no other dialect has a word for it"),
    ("hash", "of a file, OpenRouter's"),
    ("content", "of reasoning: told as its summary"),
];

fn book() -> PriceBook {
    PriceBook::built_in().unwrap()
}

/// The model of a recording, or one of its provider that takes everything.
fn model(recording: &Recording) -> std::sync::Arc<Model> {
    let usual = match sealer(recording) {
        Provider::OpenAi => "openai/gpt-5.4",
        Provider::Anthropic => "anthropic/claude-sonnet-4-5",
        Provider::Google => "google/gemini-3.1-pro-preview",
        Provider::XAi => "xai/grok-4.20-0309-non-reasoning",
    };
    let book = book();
    let own = book.model(&format!("{}/{}", recording.provider, recording.model));
    let own = own.filter(|model| model.provider == sealer(recording));
    std::sync::Arc::clone(own.unwrap_or_else(|| book.model(usual).unwrap()))
}

/// Whose seals stand bare in a dialect: xAI's responses pass through untouched.
fn sealer(recording: &Recording) -> Provider {
    match recording.dialect {
        Dialect::Responses => Provider::OpenAi,
        Dialect::ChatCompletions | Dialect::Messages | Dialect::GenerateContent => {
            recording.provider
        }
    }
}

/// Everything that a JSON text says: the name and the value of each member that holds a text, a
/// number or a truth, wherever it stands; what the table leaves out is not looked at.
fn sayings(json: &Value, name: &str, left_out: &[(&str, &str)], said: &mut Vec<String>) {
    match json {
        Value::Null => {}
        Value::Bool(false) => {}
        Value::String(text) if text.is_empty() => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => said.push(saying(name, json)),
        Value::Array(all) => all.iter().for_each(|one| sayings(one, name, left_out, said)),
        Value::Object(members) => {
            for (name, value) in members {
                if !left_out.iter().any(|(left, _)| left == name) {
                    sayings(value, name, left_out, said);
                }
            }
        }
    }
}

/// A member in one spelling: dialects have two for some things.
fn saying(name: &str, value: &Value) -> String {
    let name = match name {
        // A content is a text, or parts with texts; so are instructions and results.
        "content" | "instructions" | "system" | "input" | "output" | "arguments" | "text" => "text",
        "max_tokens" => "max_completion_tokens",
        "output_format" => "format",
        "parameters" | "parameters_json_schema" | "parametersJsonSchema" => "parameters",
        "responseSchema" | "response_schema" | "responseJsonSchema" => "schema",
        other => other,
    };
    // JSON inside of texts may be spaced otherwise.
    let inside = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let value = inside.filter(|inside| inside.is_object()).unwrap_or_else(|| value.clone());
    format!("{}: {value}", camel(name))
}

fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut whole = parts.next().unwrap().to_owned();
    for part in parts {
        let mut letters = part.chars();
        whole.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        whole.push_str(letters.as_str());
    }
    whole
}

/// What the first says and the second does not.
fn lost(original: &Value, encoded: &Value, left_out: &[(&str, &str)]) -> Vec<String> {
    let (mut said, mut again) = (Vec::new(), Vec::new());
    sayings(original, "", left_out, &mut said);
    sayings(encoded, "", left_out, &mut again);
    let whole = encoded.to_string();
    said.retain(|saying| {
        if DEFAULTS.contains(&saying.as_str()) {
            return false;
        }
        if let Some(at) = again.iter().position(|other| other == saying) {
            again.swap_remove(at);
            return false;
        }
        // Texts of one turn may be joined.
        let text = saying.split_once(": ").unwrap().1.trim_matches('"');
        text.len() < 3 || !whole.contains(text)
    });
    said
}

#[test]
fn a_request_says_the_same_when_it_is_encoded_again() {
    let (mut count, mut wrong) = (0, Vec::new());
    for recording in recordings::all() {
        let Some(body) = &recording.request else { continue };
        if REFUSED.iter().any(|(path, _)| recording.path.contains(path)) {
            continue;
        }
        let prompt = decode_request(recording.dialect, body);
        let model = model(recording);
        let encode = |prompt| encode_request(recording.dialect, &prompt, &model);
        let encoded = match prompt.clone().and_then(encode) {
            Ok(encoded) => encoded,
            Err(error) => {
                wrong.push(format!("{}: {error}", recording.path));
                continue;
            }
        };
        let again = decode_request(recording.dialect, &encoded).unwrap();
        if again.turns != prompt.unwrap().turns {
            wrong.push(format!("{}: other turns", recording.path));
        }
        let json = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap();
        let lost = lost(&json(body), &json(&encoded), &UNSENT);
        if !lost.is_empty() {
            wrong.push(format!("{}: {lost:?}", recording.path));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 200, "only {count}");
}

#[test]
fn an_answer_says_the_same_when_it_is_encoded_again() {
    let (mut count, mut wrong) = (0, Vec::new());
    for recording in recordings::all() {
        let Recording { path, dialect, is_stream, response, .. } = recording;
        let Ok(original) = serde_json::from_slice::<Value>(response) else { continue };
        if *is_stream || original.is_array() {
            continue;
        }
        let answer = decode_answer(sealer(recording), *dialect, response).unwrap();
        let encoded = encode_answer(*dialect, &answer, &Usage::default(), &Asked::default());
        let encoded: Value = serde_json::from_slice(&encoded).unwrap();
        let original = match dialect {
            // The rest says back what was asked.
            Dialect::Responses => json!({"output": original["output"]}),
            Dialect::ChatCompletions | Dialect::Messages | Dialect::GenerateContent => original,
        };
        let lost = lost(&original, &encoded, &UNSHOWN);
        if !lost.is_empty() {
            wrong.push(format!("{path}: {lost:?}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 150, "only {count}");
}

/// The answer that a stream tells.
fn collected(provider: Provider, dialect: Dialect, stream: &[u8]) -> opencredits_dialects::Answer {
    let (mut decoder, mut collector) = (stream_decoder(provider, dialect), Collector::default());
    let mut scanner = Scanner::default();
    let mut take = |event: opencredits_wire::Event| {
        if let Fields { name, data: Some(data) } = event.fields() {
            decoder.event(name, &data, &mut |event| collector.take(&event)).unwrap();
        }
    };
    scanner.push(Bytes::copy_from_slice(stream), &mut take).unwrap();
    if let Some(event) = scanner.finish() {
        take(event);
    }
    decoder.end(&mut |event| collector.take(&event)).unwrap();
    collector.answer()
}

#[test]
fn a_stream_tells_the_same_answer_when_it_is_encoded_again() {
    let mut count = 0;
    for recording in recordings::streams() {
        let Recording { path, dialect, response, .. } = recording;
        let provider = sealer(recording);
        let mut told = collected(provider, *dialect, response);
        let (mut decoder, mut scanner) = (stream_decoder(provider, *dialect), Scanner::default());
        let mut encoder = stream_encoder(*dialect, Asked::default());
        let mut out = Vec::new();
        let mut take = |event: opencredits_wire::Event| {
            if let Fields { name, data: Some(data) } = event.fields() {
                let told = decoder.event(name, &data, &mut |event| {
                    encoder.event(&event, &mut out);
                });
                told.unwrap();
            }
        };
        scanner.push(Bytes::copy_from_slice(response), &mut take).unwrap();
        if let Some(event) = scanner.finish() {
            take(event);
        }
        decoder.end(&mut |event| encoder.event(&event, &mut out)).unwrap();
        encoder.end(&Usage::default(), &mut out);
        let mut again = collected(provider, *dialect, &out);
        for answer in [&mut told, &mut again] {
            answer.id.clear();
            answer.model.clear();
            tidy(answer);
        }
        assert_eq!(again, told, "{path}");
        count += 1;
    }
    assert!(count > 120, "only {count}");
}

/// What may differ between two tellings: ids that the gateway makes, empty texts.
fn tidy(answer: &mut opencredits_dialects::Answer) {
    use opencredits_dialects::Content;
    for choice in &mut answer.choices {
        choice.blocks.retain(|block| block.as_text() != Some(""));
        for block in &mut choice.blocks {
            if let Content::ToolCall(call) = &mut block.content {
                call.id = call.id.split("__ts_").next().unwrap().to_owned();
                let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
                call.arguments = arguments.to_string();
            }
        }
    }
}

//! The recorded provider traffic, by dialect.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use opencredits_schema::Provider;
use opencredits_wire::Dialect;
use serde_json::Value;

/// One recorded exchange.
#[derive(Debug)]
pub struct Recording {
    pub path: String,
    pub provider: Provider,
    pub dialect: Dialect,
    pub model: String,
    pub is_stream: bool,
    pub request: Option<Vec<u8>>,
    pub response: Vec<u8>,
}

/// Errors whose source kept no status, one whose source cut its last line, and one made up of two
/// messages, the second inside a tool call of the first.
const BROKEN: [&str; 6] = [
    "reasoning-model-legacy-parameter-error",
    "reasoning-model-temperature-error",
    "openai-error-1",
    "google-429-retry-info",
    "parallel-tool-call-wrapper-1.events.jsonl",
    "spliced-message-start",
];

/// All that were answered well, read once.
pub fn all() -> &'static [Recording] {
    static ALL: LazyLock<Vec<Recording>> = LazyLock::new(read);
    &ALL
}

/// Those that are streams.
pub fn streams() -> impl Iterator<Item = &'static Recording> {
    all().iter().filter(|recording| recording.is_stream)
}

fn read() -> Vec<Recording> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../loadtest/fixtures"));
    let index: Value = serde_json::from_slice(&fs::read(root.join("index.json")).unwrap()).unwrap();
    let read = index.as_array().unwrap().iter().filter_map(|row| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let (provider, api, path) = (text("provider"), text("api"), text("response"));
        let well = row["status"].as_u64().unwrap_or(200) == 200;
        if !well || BROKEN.iter().any(|broken| path.contains(broken)) {
            return None;
        }
        let dialect = match api.as_str() {
            "messages" => Dialect::Messages,
            "responses" => Dialect::Responses,
            "generateContent" | "streamGenerateContent" => Dialect::GenerateContent,
            "chat.completions" | "openai-compat" => Dialect::ChatCompletions,
            _ => return None,
        };
        // OpenRouter speaks OpenAI's dialect.
        let provider = provider.parse().unwrap_or(Provider::OpenAi);
        let mut response = fs::read(root.join(&path)).unwrap();
        if path.ends_with(".events.jsonl") {
            response = framed(&response);
        }
        let is_stream = !path.ends_with(".json");
        let request = row["request"].as_str().map(|path| fs::read(root.join(path)).unwrap());
        Some(Recording {
            path,
            provider,
            dialect,
            model: text("model"),
            is_stream,
            request,
            response,
        })
    });
    let read: Vec<_> = read.collect();
    assert!(read.len() > 330, "only {} recordings", read.len());
    read
}

/// Lines of payloads as the events that they were.
fn framed(lines: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(lines).unwrap();
    let frames = text.lines().filter(|line| !line.is_empty()).map(|line| {
        let data: Value = serde_json::from_str(line).unwrap_or_default();
        match data["type"].as_str() {
            Some(name) => format!("event: {name}\ndata: {line}\n\n"),
            None => format!("data: {line}\n\n"),
        }
    });
    frames.collect::<String>().into_bytes()
}

//! Recorded traffic through every other dialect: read by that dialect's official SDK, and billed as
//! in its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use opencredits_loadtest::simulators::{Recording, Script};
use opencredits_schema::Usage;
use serde_json::{Value, json};

use crate::recorded::told;
use crate::sdk;
use crate::support::{User, World};

/// The dialects that clients speak, by their routes.
const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

/// Recordings that show nothing to a client, and why.
const UNSHOWN: [(&str, &str); 6] = [
    ("openai/vercel-events/openai-error-1.events.jsonl", "an error in the stream"),
    ("openai/vercel-events/openai-error-1.response.json", "an error whose source kept no status"),
    (
        "anthropic/vercel-events/spliced-message-start.events.jsonl",
        "made up: a message inside a tool call of another",
    ),
    ("google/vercel-events/google-429-retry-info.response.json", "the same"),
    ("openai/vercel-events/reasoning-model-temperature-error.response.json", "the same"),
    (
        "openai/vercel-events/parallel-tool-call-wrapper-1.events.jsonl",
        "its source cut the last line",
    ),
];

/// A price book with one model for each provider and route; what is asked is always the same.
fn prices() -> Value {
    let built_in = include_str!("../../schema/prices/models.json");
    let mut book: Value = serde_json::from_str(built_in).unwrap();
    let row = |(id, endpoint): (&str, &str)| {
        let (provider, upstream) = id.split_once('/').unwrap();
        json!({
            "id": id, "provider": provider, "upstream_id": upstream, "endpoint": endpoint,
            "context_window": 1_000_000, "max_input_tokens": 1_000_000,
            "max_output_tokens": 32_768,
            "price_usd_per_mtok": {"input": "3", "output": "15", "cache_read": "0.3",
                "cache_write_5m": "3.75", "cache_write_1h": "6"},
        })
    };
    let rows = [
        ("openai/of-chat", "chat"),
        ("openai/of-responses", "responses-only"),
        ("xai/grok-of-chat", "chat"),
        ("xai/grok-of-responses", "responses-only"),
        ("anthropic/claude-of-messages", "chat"),
        ("google/gemini-of-generate", "chat"),
    ];
    book["models"].as_array_mut().unwrap().extend(rows.map(row));
    book
}

/// The model whose provider answers by such a recording, and the dialects that it is asked in.
fn asked(recording: &Recording) -> Option<(&'static str, &'static [&'static str])> {
    let well = recording.status == 200
        && !recording.id.ends_with("/reasoning-model-legacy-parameter-error");
    if !well {
        return None;
    }
    Some(match (&*recording.provider, &*recording.api) {
        ("openai", "chat.completions") => ("openai/of-chat", &[MESSAGES]),
        ("xai", "chat.completions") => ("xai/grok-of-chat", &[MESSAGES]),
        ("openai", "responses") => ("openai/of-responses", &[CHAT, MESSAGES]),
        ("xai", "responses") => ("xai/grok-of-responses", &[CHAT, MESSAGES]),
        ("anthropic", "messages") => ("anthropic/claude-of-messages", &[CHAT, RESPONSES]),
        ("google", "generateContent" | "streamGenerateContent") => {
            ("google/gemini-of-generate", &[CHAT, MESSAGES, RESPONSES])
        }
        _ => return None,
    })
}

fn request(path: &str, model: &str, stream: bool) -> Value {
    let said = json!([{"role": "user", "content": "Hello"}]);
    let mut request = match path {
        RESPONSES => json!({"model": model, "input": said}),
        _ => json!({"model": model, "max_tokens": 1000, "messages": said}),
    };
    request["stream"] = json!(stream);
    if path == CHAT && stream {
        request["stream_options"] = json!({"include_usage": true});
    }
    request
}

/// What the provider sends: Google's arrays, which come without `alt=sse`, as the events that the
/// gateway asks for.
fn script(recording: &Recording) -> (Script, bool) {
    let body = recording.body();
    let chunks: Option<Vec<Value>> = serde_json::from_slice(&body).ok();
    match chunks {
        Some(chunks) => {
            let events: String = chunks.iter().map(|c| format!("data: {c}\r\n\r\n")).collect();
            (Script::raw("text/event-stream", &events.into(), 0), true)
        }
        None => (Script::recorded(recording, 0), recording.is_stream()),
    }
}

/// One recording in one dialect; answers what the client read, or what was wrong.
async fn replay(
    world: &World,
    user: &User,
    recording: &Recording,
    model: &str,
    path: &str,
) -> Result<(bool, Vec<u8>), String> {
    world.providers.clear_scripts();
    let (script, stream) = script(recording);
    world.providers.script(script).unwrap();
    let answer = world.post(user, path, &request(path, model, stream)).send().await.unwrap();
    let status = answer.status();
    let body = answer.bytes().await.unwrap();
    let text = String::from_utf8_lossy(&body);
    if status != 200 || text.contains("upstream_error") {
        return Err(format!("{status} {}", text.chars().take(600).collect::<String>()));
    }
    let page = world.get(user, "/v1/credits/history?limit=1").await;
    let billed = &page["data"][0];
    let read: Usage = serde_json::from_value(billed["usage"].clone()).unwrap();
    if let Some(told) = told::usage(recording) {
        // Calls of a provider's own tools are told apart, by `recorded` and the meter's tests.
        let told = Usage { tool_calls: read.tool_calls, ..told };
        if (&billed["model"], &billed["basis"], &read) != (&json!(model), &json!("provider"), &told)
        {
            return Err(format!("billed {billed}, told {told:?}"));
        }
    }
    Ok((stream, body.to_vec()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("translated")
}

/// Replays all, and leaves what the clients read, with a list of it, for the SDKs.
async fn replay_all() -> usize {
    let prices_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(prices_file.path(), prices().to_string()).unwrap();
    let world = World::with(&[("PRICES", prices_file.path().to_str().unwrap())]).await;
    let user = world.user("10000000").await;
    std::fs::remove_dir_all(folder()).ok();
    std::fs::create_dir_all(folder()).unwrap();
    let (mut list, mut wrong) = (Vec::new(), Vec::new());
    for recording in Recording::all() {
        let Some((model, paths)) = asked(recording) else { continue };
        if UNSHOWN.iter().any(|(id, _)| *id == recording.response_path) {
            continue;
        }
        for path in paths {
            let id = &recording.response_path;
            let (stream, body) = match replay(&world, &user, recording, model, path).await {
                Ok(read) => read,
                Err(what) => {
                    wrong.push(format!("{id} on {path}: {what}"));
                    continue;
                }
            };
            let file = format!("{}.{}", list.len(), if stream { "sse" } else { "json" });
            std::fs::write(folder().join(&file), body).unwrap();
            list.push(json!({"file": file, "path": path, "stream": stream, "recording": id}));
        }
    }
    std::fs::write(folder().join("list.json"), json!(list).to_string()).unwrap();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    world.settled_balance(&user).await;
    world.end().await;
    list.len()
}

/// Runs an SDK over all that was left; it prints how many answers it read.
async fn parse(interpreter: PathBuf, script: &str) -> usize {
    let mut command = Command::new(interpreter);
    command.arg(sdk::root().join("tests/sdk").join(script)).arg(folder());
    command.env("NO_PROXY", "127.0.0.1");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaint}");
    said.trim().strip_prefix("read ").and_then(|count| count.parse().ok()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recording_reads_in_every_dialect_and_costs_the_same() {
    let count = replay_all().await;
    assert!(count > 600, "only {count}");
    assert_eq!(parse(sdk::python(), "parse.py").await, count);
    assert_eq!(parse(sdk::node(), "parse.mjs").await, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_none_is_an_error_and_billed_as_its_provider_bills_it() {
    let world = World::start().await;
    let answer = json!({"candidates": [{"content": {}, "finishReason": "MALFORMED_FUNCTION_CALL"}],
        "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 3, "totalTokenCount": 11}});
    for stream in [false, true] {
        let user = world.user("100").await;
        let script = if stream {
            let event = format!("data: {answer}\r\n\r\n");
            Script::raw("text/event-stream", &event.into(), 0)
        } else {
            Script::raw("application/json", &answer.to_string().into(), 0)
        };
        world.providers.script(script).unwrap();
        let request = request(CHAT, "google/gemini-2.5-flash", stream);
        let answer = world.post(&user, CHAT, &request).send().await.unwrap();
        if stream {
            let text = answer.text().await.unwrap();
            assert!(text.contains("upstream_error") && !text.contains("[DONE]"), "{text}");
        } else {
            assert_eq!(answer.status(), 502);
            assert_eq!(answer.headers()["x-should-retry"], "false", "it was charged");
        }
        world.until_quiet().await;
        let row = &world.history(&user).await[0];
        assert_eq!((&row["basis"], &row["usage"]["output"]), (&json!("provider"), &json!(3)));
        world.settled_balance(&user).await;
    }
    world.end().await;
}

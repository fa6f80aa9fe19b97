//! Streams that do not simply end: providers that break, and quiet in between.

use std::time::Duration;

use opencredits_loadtest::ports::free_address;
use opencredits_loadtest::simulators::Script;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{User, World, chat, message, micro};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
/// Longer than anything here takes, and shorter than a drain.
pub const SOON: Duration = Duration::from_secs(20);

/// A streamed request of each dialect, with words for the simulator.
pub fn streamed(words: &str) -> [(&'static str, Value); 2] {
    let sonnet = message("anthropic/claude-sonnet-4-6", words);
    [(CHAT, chat("openai/gpt-4o", words)), (MESSAGES, sonnet)].map(|(path, mut request)| {
        request["stream"] = json!(true);
        (path, request)
    })
}

/// The row of the user's only request, once that is settled.
pub async fn settled(world: &World, user: &User) -> Value {
    timeout(SOON, world.until_quiet()).await.unwrap();
    world.settled_balance(user).await;
    let rows = world.history(user).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    rows[0].clone()
}

pub fn assert_row(row: &Value, status: &str, basis: &str) {
    assert_eq!((&row["status"], &row["basis"]), (&json!(status), &json!(basis)), "{row}");
    assert!(micro(&row["credits"]) < 0, "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_its_provider_breaks_ends_with_an_error_and_costs_what_came() {
    let world = World::start().await;
    for how in ["cut_after=5", "error_after=5", "end_after=5", "no_done=1"] {
        for (path, request) in streamed(&format!("Hi [[sim output=200 chunks=20 {how}]]")) {
            let user = world.user("100").await;
            let answer = world.post(&user, path, &request).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let text = answer.text().await.unwrap();
            let last = text.trim_end().rsplit("\n\n").next().unwrap();
            let data = last.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(data["error"]["type"], "upstream_error", "{how}: {last}");
            assert_eq!(data["error"]["message"], "The AI provider returned an error.");
            if path == CHAT {
                assert!(!text.contains("[DONE]"), "{how}");
                assert_eq!(data["error"]["code"], "502");
            } else {
                assert!(last.starts_with("event: error\n"), "{how}: {last}");
                assert!(!text.contains("message_stop"), "{how}");
            }
            let row = settled(&world, &user).await;
            let basis = match (path, how) {
                // All numbers had come.
                (_, "no_done=1") => "provider",
                (CHAT, _) => "estimated",
                _ => "partial",
            };
            assert_row(&row, "upstream_cut", basis);
            let output = row["usage"]["output"].as_u64().unwrap();
            assert!(output > 0 && (output < 200) == (how != "no_done=1"), "{how}: {row}");
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_before_its_first_byte_costs_nothing() {
    let world = World::start().await;
    let user = world.user("100").await;
    for (words, retry_after) in [
        ("[[sim status=500]]", None),
        ("[[sim status=529 retry_after=7]]", Some("7")),
        ("[[sim status=429 retry_after=7]]", Some("7")),
        ("[[sim status=401]]", None),
        ("[[sim cut_after=0]]", None),
    ] {
        for (path, mut request) in streamed(words) {
            // A stream whose head has come is an answer already.
            for stream in
                [true, false].into_iter().filter(|stream| !(*stream && words.contains("cut")))
            {
                request["stream"] = json!(stream);
                let answer = world.post(&user, path, &request).send().await.unwrap();
                assert_eq!(answer.status(), 502, "{words} {request}");
                let told = answer.headers().get("retry-after").map(|value| value.to_str().unwrap());
                assert_eq!(told, retry_after, "{words}");
                let body: Value = answer.json().await.unwrap();
                assert_eq!(body["error"]["type"], "upstream_error", "{words}: {body}");
            }
        }
    }
    assert_eq!(world.settled_balance(&user).await, 100_000_000);
    assert_eq!(world.history(&user).await.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_costs_nothing() {
    let origin = format!("http://{}", free_address().unwrap());
    let world = World::with(&[("OPENAI_BASE_URL", &origin), ("ANTHROPIC_BASE_URL", &origin)]).await;
    let user = world.user("100").await;
    for (path, request) in streamed("Hi") {
        let answer = world.post(&user, path, &request).send().await.unwrap();
        assert_eq!(answer.status(), 502);
    }
    assert_eq!(world.settled_balance(&user).await, 100_000_000);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_is_kept_alive() {
    let world = World::start().await;
    let user = world.user("100").await;
    let quiet = streamed("Hi [[sim output=50 chunks=20 gate=quiet gate_after=3]]");
    let reading = quiet.map(|(path, request)| {
        let request = world.post(&user, path, &request);
        async move {
            let mut answer = request.send().await.unwrap();
            let (mut text, mut alive) = (String::new(), false);
            // Anthropic's own first ping comes before the text.
            while !alive {
                let chunk = answer.chunk().await.unwrap().unwrap();
                let chunk = std::str::from_utf8(&chunk).unwrap();
                let sign = if path == CHAT { ":" } else { "event: ping" };
                alive = chunk.starts_with(sign) && text.contains("delta");
                text.push_str(chunk);
            }
            (answer, text)
        }
    });
    let [first, second] = reading;
    let both = async { tokio::join!(first, second) };
    let (first, second) = timeout(SOON, both).await.unwrap();
    world.providers.open_gate("quiet");
    for (answer, text) in [first, second] {
        let text = text + &answer.text().await.unwrap();
        assert!(text.contains("[DONE]") || text.contains("message_stop"), "{text}");
        assert!(!text.contains("\"error\""), "{text}");
    }
    world.settled_balance(&user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_that_is_missing_is_estimated_and_explicit_zero_is_zero() {
    let world = World::start().await;
    for (path, request) in streamed("Hi [[sim output=80 no_usage=1]]") {
        let user = world.user("100").await;
        let answer = world.post(&user, path, &request).send().await.unwrap();
        let text = answer.text().await.unwrap();
        assert!(text.contains("[DONE]") || text.contains("message_stop"));
        let row = settled(&world, &user).await;
        assert_row(&row, "completed", "counted");
        let usage = &row["usage"];
        assert!(usage["input"].as_u64() > Some(0) && usage["output"].as_u64() > Some(0), "{row}");
    }
    let zero = [
        json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
        json!({"input_tokens": 0, "output_tokens": 0}),
    ];
    for ((path, request), usage) in streamed("Hi").into_iter().zip(zero) {
        let user = world.user("100").await;
        world.providers.script(Script { usage: Some(usage), ..Script::default() }).unwrap();
        let answer = world.post(&user, path, &request).send().await.unwrap();
        answer.text().await.unwrap();
        let row = settled(&world, &user).await;
        assert_eq!((micro(&row["credits"]), &row["basis"]), (0, &json!("provider")), "{row}");
        assert_eq!(row["usage"], json!({}));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_chunk_is_always_read_and_only_shown_to_those_who_ask() {
    let world = World::start().await;
    for (options, shown) in [
        (json!(null), false),
        (json!({"include_usage": false}), false),
        (json!({"include_obfuscation": false}), false),
        (json!({"include_usage": true}), true),
    ] {
        for model in ["openai/gpt-4o", "xai/grok-4.3"] {
            let user = world.user("100").await;
            let mut request = chat(model, "Hi [[sim output=50]]");
            request["stream"] = json!(true);
            request["stream_options"] = options.clone();
            let answer = world.post(&user, CHAT, &request).send().await.unwrap();
            let text = answer.text().await.unwrap();
            assert_eq!(text.contains("\"prompt_tokens\""), shown, "{model} {options}: {text}");
            assert!(text.ends_with("data: [DONE]\n\n"));
            let sent = world.providers.last_request().unwrap().json();
            assert_eq!(sent["stream_options"]["include_usage"], true);
            let row = settled(&world, &user).await;
            assert_row(&row, "completed", "provider");
            assert_eq!(row["usage"]["output"], 50);
        }
    }
    world.end().await;
}

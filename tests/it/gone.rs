//! Clients that go away: stop means stop paying, and nobody rides free.

use opencredits_loadtest::simulators::Script;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::stream::{SOON, assert_row, settled, streamed};
use crate::support::{User, World, chat, micro};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

/// Sends a request and reads until the provider's answer has so many content chunks out.
async fn begin(
    world: &World,
    user: &User,
    path: &str,
    request: &Value,
    chunks: u64,
) -> reqwest::Response {
    let before = world.providers.counts().chunks;
    let mut answer = world.post(user, path, request).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let out = world.providers.until(|counts| counts.chunks >= before + chunks);
    timeout(SOON, out).await.unwrap();
    // What the provider has sent has not passed the gateway yet: it has when the client has it.
    let (mut read, chunks) = (Vec::new(), usize::try_from(chunks).unwrap());
    let reading = async {
        while String::from_utf8_lossy(&read).matches("\"delta\":").count() < chunks {
            read.extend(answer.chunk().await.unwrap().unwrap());
        }
    };
    timeout(SOON, reading).await.unwrap();
    answer
}

/// Lets the client go away, and returns when the gateway has seen it.
async fn leave(world: &World, answer: reqwest::Response) {
    drop(answer);
    let seen = async {
        while world.gateway.open_streams.count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, seen).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn b8_a_drained_answer_is_billed_by_the_providers_last_word() {
    let world = World::with(&[("ON_CLIENT_GONE", "drain")]).await;
    for (index, (path, request)) in
        streamed("Hi [[sim output=50 chunks=20 gate=g gate_after=3]]").into_iter().enumerate()
    {
        let gate = format!("g{index}");
        let text = request.to_string().replace("gate=g ", &format!("gate={gate} "));
        let request: Value = serde_json::from_str(&text).unwrap();
        let user = world.user("100").await;
        let answer = begin(&world, &user, path, &request, 3).await;
        leave(&world, answer).await;
        assert_eq!(world.history(&user).await.len(), 1, "nothing is settled before its end");
        world.providers.open_gate(&gate);
        let row = settled(&world, &user).await;
        assert_row(&row, "client_gone", "provider");
        assert_eq!(row["usage"]["output"], 50);
        assert_eq!(world.providers.counts().clients_gone, 0, "read to its end");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_stops_the_provider_and_bills_what_came() {
    let world = World::with(&[("ON_CLIENT_GONE", "cancel")]).await;
    for (index, (path, request)) in
        streamed("Hi [[sim output=60 chunks=20 hang=3]]").into_iter().enumerate()
    {
        let user = world.user("100").await;
        let answer = begin(&world, &user, path, &request, 3).await;
        leave(&world, answer).await;
        let gone = world.providers.until(|counts| counts.clients_gone > index as u64);
        timeout(SOON, gone).await.unwrap();
        let row = settled(&world, &user).await;
        // Anthropic has told its input by then.
        assert_row(&row, "client_gone", if path == CHAT { "counted" } else { "partial" });
        let output = row["usage"]["output"].as_u64().unwrap();
        assert!((1..60).contains(&output), "{row}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_bounded_in_number_and_time() {
    for bound in [("DRAIN_COUNT", "0"), ("DRAIN_TIME", "100ms")] {
        let world = World::with(&[("ON_CLIENT_GONE", "drain"), bound]).await;
        let user = world.user("100").await;
        let (path, request) = &streamed("Hi [[sim output=60 chunks=20 hang=3]]")[0];
        let answer = begin(&world, &user, path, request, 3).await;
        leave(&world, answer).await;
        let row = settled(&world, &user).await;
        assert_row(&row, "client_gone", "counted");
        timeout(SOON, world.providers.until(|counts| counts.clients_gone == 1)).await.unwrap();
        world.end().await;
    }
}

/// Sends a request whose provider stands at a gate before its head, and goes away.
async fn leave_early(world: &World, user: &User, stream: bool, gate: &str) {
    let script = Script { gate: Some(gate.to_owned()), output: Some(50), ..Script::default() };
    world.providers.script(script).unwrap();
    let mut request = chat("openai/gpt-4o", "Hi");
    request["stream"] = json!(stream);
    let sending = tokio::spawn(world.post(user, CHAT, &request).send());
    timeout(SOON, world.providers.until_waiting_at(gate)).await.unwrap();
    sending.abort();
    drop(sending.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_before_the_first_byte_is_billed_for_what_it_asked() {
    let world = World::start().await;
    for stream in [true, false] {
        let user = world.user("100").await;
        let gate = format!("early-{stream}");
        leave_early(&world, &user, stream, &gate).await;
        let drained = async {
            while world.gateway.running.drains() == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, drained).await.unwrap();
        world.providers.open_gate(&gate);
        let row = settled(&world, &user).await;
        assert_row(&row, "client_gone", "provider");
        assert_eq!(row["usage"]["output"], 50);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_drain_a_request_without_a_byte_costs_nothing() {
    for bound in [("DRAIN_COUNT", "0"), ("ON_CLIENT_GONE", "cancel")] {
        let world = World::with(&[bound]).await;
        let user = world.user("100").await;
        leave_early(&world, &user, true, "early").await;
        timeout(SOON, world.until_quiet()).await.unwrap();
        assert_eq!(world.settled_balance(&user).await, 100_000_000);
        world.end().await;
    }
}

/// A prompt of plain words, so that a tokenizer counts less than the simulator's byte rule.
const PROMPT: &str = "Please describe the harbour of the old town in the early morning, when the \
    fishing boats return and the market begins, as if nobody had ever seen it before";

/// What happens to an abandoned stream by default: a model, what it is asked with, and on what the
/// bill rests. `provider` means that it was read on to its end.
const ABANDONED: [(&str, &str, &str, &str); 9] = [
    ("openai/gpt-4o", CHAT, "", "counted"),
    ("openai/gpt-4o", MESSAGES, "", "counted"),
    ("openai/gpt-4o", RESPONSES, "", "counted"),
    ("openai/gpt-5", CHAT, "", "provider"),
    ("anthropic/claude-sonnet-4-6", MESSAGES, "", "partial"),
    ("anthropic/claude-sonnet-4-6", MESSAGES, "thinking", "provider"),
    ("google/gemini-2.5-flash", CHAT, "", "partial"),
    ("google/gemini-2.5-flash", MESSAGES, "", "partial"),
    ("xai/grok-4.3", CHAT, "", "provider"),
];

fn abandoned(model: &str, path: &str, option: &str, words: &str) -> Value {
    let said = json!([{"role": "user", "content": format!("{PROMPT} {words}")}]);
    let mut request = match path {
        RESPONSES => json!({"model": model, "input": said}),
        CHAT => json!({"model": model, "messages": said, "max_completion_tokens": 4_000}),
        _ => json!({"model": model, "messages": said, "max_tokens": 4_000}),
    };
    request["stream"] = json!(true);
    if option == "thinking" {
        request["thinking"] = json!({"type": "enabled", "budget_tokens": 1_024});
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_stream_is_stopped_where_its_bill_is_sure_and_read_on_where_not() {
    let world = World::start().await;
    for (index, (model, path, option, basis)) in ABANDONED.into_iter().enumerate() {
        let gate = format!("abandoned-{index}");
        let words = format!("[[sim output=600 chunks=20 gate={gate} gate_after=5]]");
        let user = world.user("1000").await;
        let gone = world.providers.counts().clients_gone;
        let request = abandoned(model, path, option, &words);
        let answer = begin(&world, &user, path, &request, 5).await;
        leave(&world, answer).await;
        if basis == "provider" {
            world.providers.open_gate(&gate);
        }
        let row = settled(&world, &user).await;
        assert_row(&row, "client_gone", basis);
        if basis == "provider" {
            assert_eq!(row["usage"]["output"], 600, "{model}");
            continue;
        }
        let stopped = world.providers.until(|counts| counts.clients_gone > gone);
        timeout(SOON, stopped).await.unwrap();
        // At least the five of twenty pieces that were delivered, at most what would have come.
        let output = row["usage"]["output"].as_u64().unwrap();
        assert!((120..600).contains(&output), "{model} on {path}: {row}");
        let other = world.user("1000").await;
        world.providers.open_gate(&gate);
        let whole = world.post(&other, path, &request).send().await.unwrap();
        whole.text().await.unwrap();
        let whole = settled(&world, &other).await;
        assert!(micro(&whole["credits"]) <= micro(&row["credits"]), "{model}: {row} {whole}");
    }
    world.end().await;
}

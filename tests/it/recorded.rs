//! Recorded traffic through the gateway: byte for byte to the caller, token for token to the bill.

pub mod told;

use std::collections::BTreeSet;

use bytes::Bytes;
use opencredits_loadtest::simulators::{Recording, Script};
use opencredits_schema::{PriceBook, ReferralRate, Usage};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{User, World, micro};

/// Recordings that have a status, and that the gateway refuses before any provider sees them.
const REFUSED: [&str; 3] = [
    "anthropic/messages/pydantic-ai-test-anthropic-test-anthropic-mcp-servers-0",
    "anthropic/messages/pydantic-ai-test-anthropic-test-anthropic-mcp-servers-1",
    "openai/chat-completions/pydantic-ai-test-multimodal-tool-returns-test-multimodal-tool-return-matrix-tool-r-1",
];

/// The price book of these tests: the built-in one, and what the recordings name beside it.
struct Prices {
    book: PriceBook,
    folder: TempDir,
}

impl Prices {
    fn new() -> Self {
        let built_in = include_str!("../../schema/prices/models.json");
        let mut book: Value = serde_json::from_str(built_in).unwrap();
        for (alias, id) in [
            ("xai/grok-4-fast", "xai/grok-4-fast-reasoning"),
            ("xai/grok-2", "xai/grok-2-1212"),
            ("anthropic/claude-sonnet-4-0", "anthropic/claude-sonnet-4-20250514"),
            ("anthropic/claude-3-5-haiku-latest", "anthropic/claude-3-5-haiku-20241022"),
        ] {
            book["aliases"][alias] = json!(id);
        }
        let known = PriceBook::parse(&book.to_string()).unwrap();
        let named: BTreeSet<_> = replayed().map(name).collect();
        let missing = named.into_iter().filter(|name| known.model(name).is_none());
        book["models"].as_array_mut().unwrap().extend(missing.map(|name| row(&name)));
        for model in book["models"].as_array_mut().unwrap() {
            let web = if model["provider"] == "xai" { "5" } else { "10" };
            model["web_search_per_1k"] = json!(web);
            model["fees_per_1k"] = json!({"x_search": "5", "code_execution": "5"});
        }
        let folder = tempfile::tempdir().unwrap();
        let text = book.to_string();
        std::fs::write(folder.path().join("prices.json"), &text).unwrap();
        Self { book: PriceBook::parse(&text).unwrap(), folder }
    }

    async fn world(&self) -> World {
        let path = self.folder.path().join("prices.json");
        World::with(&[("PRICES", path.to_str().unwrap())]).await
    }
}

/// A row for a model that the built-in book lacks.
fn row(name: &str) -> Value {
    let (provider, id) = name.split_once('/').unwrap();
    json!({
        "id": name, "provider": provider, "upstream_id": id, "context_window": 1_000_000,
        "max_input_tokens": 1_000_000, "max_output_tokens": 32_768,
        "price_usd_per_mtok": {"input": "3", "output": "15", "cache_read": "0.3",
            "cache_write_5m": "3.75", "cache_write_1h": "6"},
    })
}

/// The recordings of the routes that there are.
fn replayed() -> impl Iterator<Item = &'static Recording> {
    Recording::all().iter().filter(|recording| {
        matches!(
            (&*recording.provider, &*recording.api),
            ("openai" | "xai", "chat.completions") | ("anthropic", "messages")
        )
    })
}

/// Those that were answered well.
fn answered() -> impl Iterator<Item = &'static Recording> {
    // This one is an error whose source kept no status.
    let well = |recording: &&Recording| {
        recording.status == 200
            && !recording.id.ends_with("/reasoning-model-legacy-parameter-error")
    };
    replayed().filter(well)
}

/// The model of a recording, as the gateway names it.
fn name(recording: &Recording) -> String {
    let asked = recording.request.as_deref().map(|body| parsed(body)["model"].clone());
    let model = asked.unwrap_or_else(|| told::model(recording));
    format!("{}/{}", recording.provider, model.as_str().unwrap_or("none"))
}

/// The recorded request, or one written for the answer.
fn request(recording: &Recording) -> Value {
    let mut request = match &recording.request {
        Some(body) => parsed(body),
        None => json!({
            "max_tokens": 4096, "stream": recording.is_stream(),
            "messages": [{"role": "user", "content": "Written for the test."}],
        }),
    };
    request["model"] = json!(name(recording));
    request
}

fn path(recording: &Recording) -> &'static str {
    if recording.api == "messages" { "/v1/messages" } else { "/v1/chat/completions" }
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

/// What the caller reads: all of it, but for the usage chunk if that was not asked for.
fn expected(recording: &Recording, request: &Value) -> Bytes {
    let body = recording.body();
    let asked = request["stream_options"]["include_usage"] == json!(true);
    if recording.api == "messages" || !recording.is_stream() || asked {
        return body;
    }
    let text = std::str::from_utf8(&body).unwrap();
    let is_usage = |event: &&str| {
        let data = event.trim().strip_prefix("data: ");
        let chunk = data.and_then(|data| serde_json::from_str::<Value>(data).ok());
        chunk.is_some_and(|chunk| chunk["choices"] == json!([]) && !chunk["usage"].is_null())
    };
    let kept: String = text.split_inclusive("\n\n").filter(|event| !is_usage(event)).collect();
    kept.into()
}

/// Replays one recording in pieces of `split` bytes and holds its bill against our own reading.
async fn replay(world: &World, user: &User, prices: &Prices, recording: &Recording, split: usize) {
    let id = &recording.response_path;
    let mut request = request(recording);
    if split > 0 {
        // The other way about: whoever asked for the usage chunk does not, so it is hidden.
        request.as_object_mut().unwrap().remove("stream_options");
    }
    world.providers.script(Script::recorded(recording, split)).unwrap();
    let answer = world.post(user, path(recording), &request).send().await.unwrap();
    let status = answer.status();
    let body = answer.bytes().await.unwrap();
    assert_eq!(status, 200, "{id}: {body:?}");
    assert_eq!(body, expected(recording, &request), "{id}");

    let page = world.get(user, "/v1/credits/history?limit=1").await;
    let billed = &page["data"][0];
    let read: Usage = serde_json::from_value(billed["usage"].clone()).unwrap();
    let usage = told::usage(recording);
    let basis = if usage.is_some() { "provider" } else { "counted" };
    assert_eq!(billed["basis"], basis, "{id}");
    assert_eq!(billed["status"], "completed", "{id}");
    if let Some(usage) = usage {
        assert_eq!(read, usage, "{id}");
    } else {
        assert!(recording.has_tag("stream-without-usage"), "{id}");
        assert!(read.input > 0 && read.output > 0, "{id}: {read:?}");
    }
    let model = prices.book.model(&name(recording)).unwrap();
    let rate = ReferralRate::parse("0.10").unwrap();
    let charge = model.charge(&prices.book, &read, rate).unwrap();
    assert_eq!(micro(&billed["credits"]), -charge.total().micro(), "{id}");
    assert_eq!(micro(&billed["provider_cost"]), charge.cost.micro(), "{id}");
    assert_eq!(micro(&billed["referral_share"]), charge.share.micro(), "{id}");
    assert_eq!(billed["provider_cost_pico_usd"], json!(charge.provider_cost.0), "{id}");
}

async fn replay_all(split: usize) {
    let prices = Prices::new();
    let world = prices.world().await;
    let user = world.user("10000000").await;
    let mut replays = 0;
    for recording in answered().filter(|recording| !REFUSED.contains(&&*recording.id)) {
        replay(&world, &user, &prices, recording, split).await;
        replays += 1;
    }
    // 154 with a status of 200, and 49 whose source kept none.
    assert_eq!(replays, 203);
    assert_eq!(world.history(&user).await.len(), replays + 1);
    world.settled_balance(&user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_answer_comes_back_byte_for_byte_and_is_billed_as_it_says() {
    replay_all(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_every_one_that_comes_in_crumbs() {
    replay_all(7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_into_the_operators_account_is_refused() {
    let prices = Prices::new();
    let world = prices.world().await;
    let user = world.user("1000").await;
    for id in REFUSED {
        let recording = Recording::by_id(id).unwrap();
        let answer = world.post(&user, path(&recording), &request(&recording)).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 400, "{id}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["type"], "invalid_request", "{id}");
    }
    assert!(world.providers.requests().is_empty());
    assert_eq!(world.settled_balance(&user).await, 1_000_000_000);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_errors_become_the_documented_ones_and_cost_nothing() {
    let prices = Prices::new();
    let world = prices.world().await;
    let user = world.user("1000000").await;
    let mut replays = 0;
    for recording in replayed().filter(|recording| recording.status >= 400) {
        let id = &recording.id;
        world.providers.clear_scripts();
        world.providers.script(Script::recorded(recording, 0)).unwrap();
        let request = request(recording);
        let answer = world.post(&user, path(recording), &request).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        let error = &body["error"];
        // A key, a right or a model that the operator lacks is no fault of the caller.
        let (expected, kind) = match recording.status {
            400 => (400, "invalid_request"),
            401 | 404 => (502, "upstream_error"),
            other => panic!("{id}: {other} is new"),
        };
        assert_eq!((status, &error["type"]), (expected, &json!(kind)), "{id}: {body}");
        let said = parsed(&recording.body())["error"]["message"].as_str().unwrap().to_owned();
        let message = error["message"].as_str().unwrap();
        if expected == 400 && !id.contains("context-l") {
            assert_eq!(message, said, "{id}");
        }
        assert!(expected == 400 || message == "The AI provider returned an error.", "{id}");
        replays += 1;
    }
    assert_eq!(replays, 24);
    assert_eq!(world.settled_balance(&user).await, 1_000_000_000_000);
    world.end().await;
}

#[test]
fn our_sum_meets_each_bill_of_xai_to_the_tick() {
    let prices = Prices::new();
    let (mut bills, mut searches) = (0, 0);
    for recording in Recording::all().iter().filter(|recording| recording.provider == "xai") {
        let Some(bill) = told::bill(recording) else { continue };
        let Some(ticks) = bill["cost_in_usd_ticks"].as_i64() else { continue };
        let body = json!({"usage": bill}).to_string();
        let (provider, dialect) =
            (opencredits_schema::Provider::XAi, opencredits_wire::Dialect::ChatCompletions);
        let usage = opencredits_wire::usage_of_body(provider, dialect, body.as_bytes()).unwrap();
        let asked = recording.model.clone().map(Value::String);
        let id = asked.unwrap_or_else(|| told::model(recording));
        let model = prices.book.model(&format!("xai/{}", id.as_str().unwrap()));
        let model = model.unwrap_or_else(|| panic!("{}: no price of {id}", recording.id));
        let ours = model.computed_cost(&prices.book, &usage).unwrap();
        assert_eq!(ours.0, ticks * 100, "{} {id}: {usage:?}", recording.id);
        bills += 1;
        searches += usage.tool_calls.web_search;
    }
    assert_eq!((bills, searches), (63, 4), "bills, and paid searches in them");
}

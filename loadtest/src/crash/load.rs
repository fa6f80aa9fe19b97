//! The load: clients of every kind, each making one request after the other and keeping what it was
//! told of each.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use opencredits_schema::RequestId;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::dice::Dice;
use super::ground::Ground;
use super::prices::Prices;
use crate::receipts::{Receipt, Seen, Told};

/// Clients whose answers come as fast as they can.
const QUICK: u64 = 16;
/// Clients who read streams that take seconds: a crash always meets some.
const SLOW: u64 = 10;
/// The longest that a client waits for the head of an answer, and for the rest of it.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same of a client with little of it.
const SHORT_PATIENCE: Duration = Duration::from_millis(700);
/// Bytes that the input of a request can have tokens for beyond its body.
const BESIDE_BODY: usize = 300;

/// A request that is to be made.
struct Wish {
    payer: usize,
    key: String,
    model: usize,
    path: &'static str,
    body: String,
    limit: u64,
    /// Pieces of the answer after which the client goes away; none = it stays.
    leaves_after: Option<u64>,
    patience: Duration,
}

/// The shapes of a request on the wire.
#[derive(Clone, Copy, Default)]
enum Endpoint {
    #[default]
    Chat,
    Messages,
    Responses,
}

/// Starts all clients; they end when the load is over.
pub(super) fn start(ground: &Arc<Ground>, prices: &Arc<Prices>, seed: u64) -> Vec<JoinHandle<()>> {
    let client = |number: u64| {
        let (ground, prices) = (Arc::clone(ground), Arc::clone(prices));
        let mut dice = Dice::of(seed, number.saturating_add(1));
        tokio::spawn(async move {
            while ground.goes_on().await {
                let wish = if number < QUICK {
                    quick(&ground, &mut dice)
                } else {
                    slow(&ground, &mut dice)
                };
                make(&ground, &prices, wish).await;
            }
        })
    };
    (0..QUICK.saturating_add(SLOW)).map(client).collect()
}

fn quick(ground: &Ground, dice: &mut Dice) -> Wish {
    let output = dice.between(1, 60);
    let (script, stream, limit) = match dice.between(1, 100) {
        1..=45 => (format!("output={output}"), false, 100),
        46..=85 => (
            format!("output={output} chunks={} delay_ms={}", output.min(12), output % 3),
            true,
            100,
        ),
        86..=92 => {
            let breaks = dice.one_of(&["cut_after", "end_after", "error_after", "hang"]);
            let after = dice.between(0, 10);
            (format!("output=40 chunks=12 {breaks}={after}"), dice.percent(70), 100)
        }
        93..=95 => (format!("status={}", dice.one_of(&[500_u16, 503, 529, 429, 400])), true, 100),
        // More than some accounts can pay: the limit is lowered, or it is refused.
        _ => (format!("output={output} reasoning=0"), dice.percent(50), dice.between(2000, 16_000)),
    };
    let hangs = script.contains("hang");
    let leaves_after = (stream && dice.percent(6)).then(|| dice.between(1, 6));
    let wish = wish(ground, dice, &script, stream, limit);
    let patience = if hangs { SHORT_PATIENCE } else { PATIENCE };
    Wish { leaves_after, patience, ..wish }
}

fn slow(ground: &Ground, dice: &mut Dice) -> Wish {
    let (output, delay) = (dice.between(20, 200), dice.between(10, 50));
    let script = format!("output={output} chunks={output} delay_ms={delay}");
    let leaves_after = dice.percent(15).then(|| dice.between(1, output));
    let wish = wish(ground, dice, &script, true, 1000);
    Wish { leaves_after, ..wish }
}

fn wish(ground: &Ground, dice: &mut Dice, script: &str, stream: bool, limit: u64) -> Wish {
    let (payer, key) = {
        let receipts = ground.receipts();
        let last = u64::try_from(receipts.payers.len()).unwrap_or(1).saturating_sub(1);
        let payer = usize::try_from(dice.between(0, last)).unwrap_or_default();
        (payer, receipts.payers.get(payer).map(|payer| payer.key.clone()).unwrap_or_default())
    };
    let model = usize::try_from(dice.between(0, 3)).unwrap_or_default();
    let endpoint = dice.one_of(&[Endpoint::Chat, Endpoint::Messages, Endpoint::Responses]);
    let name = Prices::model(model);
    let words = format!("Hello [[sim {script}]]");
    let message = json!([{"role": "user", "content": words}]);
    let (path, body): (_, Value) = match endpoint {
        Endpoint::Chat => {
            let mut body = json!({"model": name, "messages": message, "max_tokens": limit,
                "stream": stream});
            if stream && let Value::Object(fields) = &mut body {
                fields.insert("stream_options".to_owned(), json!({"include_usage": true}));
            }
            ("/v1/chat/completions", body)
        }
        Endpoint::Messages => (
            "/v1/messages",
            json!({"model": name, "messages": message, "max_tokens": limit, "stream": stream}),
        ),
        Endpoint::Responses => (
            "/v1/responses",
            json!({"model": name, "input": words, "max_output_tokens": limit, "stream": stream}),
        ),
    };
    let body = body.to_string();
    let (leaves_after, patience) = (None, PATIENCE);
    Wish { payer, key, model, path, body, limit, leaves_after, patience }
}

/// Makes a request and keeps what its client was told.
async fn make(ground: &Ground, prices: &Prices, wish: Wish) {
    let url = format!("{}{}", ground.access.base, wish.path);
    let headers = [
        ("x-user-key", wish.key.as_str()),
        ("content-type", "application/json"),
        ("x-opencredits-cost", "1"),
    ];
    let input = wish.body.len().saturating_add(BESIDE_BODY);
    ground.begin();
    let sending = ground.client.begin(Method::POST, &url, &headers, wish.body.clone());
    let (mut request, mut limit, mut seen) = (None, wish.limit, Seen::Broken);
    match timeout(wish.patience, sending).await {
        Ok(Ok(answer)) => {
            let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
            let told = header("x-opencredits-request-id");
            request = told.and_then(|told| told.parse::<RequestId>().ok());
            let lowered = header("x-opencredits-max-tokens").and_then(|told| told.parse().ok());
            limit = lowered.unwrap_or(limit);
            seen = read(answer, &wish).await;
        }
        Ok(Err(error)) if error.never_left() => return ground.rest().await,
        Ok(Err(_)) | Err(_) => {}
    }
    let model = Prices::model(wish.model).into();
    let at_most = prices.at_most(wish.payer, wish.model, input, limit);
    ground.end(Receipt { payer: wish.payer, model, request, seen, at_most });
}

/// Reads an answer until it ends, breaks, or the client has had enough of it.
async fn read(answer: Response<Incoming>, wish: &Wish) -> Seen {
    let (head, mut body) = answer.into_parts();
    if head.status.is_client_error() {
        return Seen::Refused;
    }
    let header = |name: &str| head.headers.get(name)?.to_str().ok();
    let streamed = header("content-type").is_some_and(|kind| kind.contains("event-stream"));
    let (mut told, mut whole, mut pieces) = (Told::default(), Vec::new(), 0_u64);
    let mut complete = false;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return };
            let Ok(bytes) = frame.into_data() else { continue };
            if streamed {
                told.push(&bytes);
            } else {
                whole.extend_from_slice(&bytes);
            }
            pieces = pieces.saturating_add(1);
            if wish.leaves_after.is_some_and(|after| pieces >= after) {
                return;
            }
        }
        complete = true;
    };
    // Who runs out of patience hangs up, and has what came before.
    timeout(wish.patience, reading).await.ok();
    if !head.status.is_success() {
        return Seen::Broken;
    }
    let end = if streamed {
        told.end()
    } else if complete {
        Told::whole(header("x-opencredits-charge"), &whole)
    } else {
        None
    };
    end.map_or(Seen::Broken, Seen::End)
}

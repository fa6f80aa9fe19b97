//! What is done to the simulator by `/_sim/…`, as a script would.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::Method;
use serde_json::{Value, json};

use super::{Client, Receiver, SESSION, Stripe, call, create, start};
use crate::stripe::Seed;

async fn sim(stripe: &Stripe, what: &str, fields: &Value) -> (u16, Value) {
    let url = format!("{}/_sim/{what}", stripe.origin());
    let sent = Client::default().send(Method::POST, &url, &[], fields.to_string()).await.unwrap();
    (sent.status.as_u16(), sent.json())
}

async fn must(stripe: &Stripe, what: &str, fields: &Value) {
    let answer = sim(stripe, what, fields).await;
    assert_eq!(answer, (200, json!({"done": true})), "{what} {fields}");
}

/// A paid session, by the page's own way; its id.
async fn paid(stripe: &Stripe, client: &Client) -> String {
    let made = create(stripe, client, None, SESSION).await.json();
    let session = made["id"].as_str().unwrap().to_owned();
    let url = format!("{}/pay/{session}", stripe.origin());
    client.send(Method::POST, &url, &[], "action=pay&number=4242424242424242").await.unwrap();
    session
}

fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

#[tokio::test]
async fn webhooks_are_held_and_released_in_reverse() {
    let (stripe, client) = start().await;
    let receiver = Receiver::start().await;
    stripe.send_webhooks_to(&receiver.url);
    must(&stripe, "webhooks", &json!({"mode": "hold"})).await;
    paid(&stripe, &client).await;
    stripe.until_delivered().await;
    assert_eq!(receiver.kinds().len(), 0);
    must(&stripe, "release", &json!({"reversed": true})).await;
    stripe.until_delivered().await;
    let reversed = ["checkout.session.completed", "charge.succeeded", "payment_intent.succeeded"];
    assert_eq!(receiver.kinds(), reversed);
    must(&stripe, "webhooks", &json!({"mode": "reorder"})).await;
    paid(&stripe, &client).await;
    stripe.until_delivered().await;
    assert_eq!(receiver.kinds()[3..], reversed);
}

#[tokio::test]
async fn webhooks_are_lost_doubled_forged_and_stale() {
    let (stripe, client) = start().await;
    let receiver = Receiver::start().await;
    stripe.send_webhooks_to(&receiver.url);
    for (mode, deliveries, age_s) in [
        ("drop", 0, None),
        ("duplicate", 30, Some(0)),
        ("bad_signature", 3, None),
        ("stale_timestamp", 3, Some(600)),
        ("normal", 3, Some(0)),
    ] {
        let before = receiver.kinds().len();
        must(&stripe, "webhooks", &json!({"mode": mode})).await;
        paid(&stripe, &client).await;
        stripe.until_delivered().await;
        assert_eq!(receiver.kinds().len() - before, deliveries, "{mode}");
        if deliveries > 0 {
            let age = receiver.signed("whsec_x").map(|time| unix_now() - time);
            // The clock may tick between signing and looking; not more than a minute.
            assert_eq!(age.map(|age| age / 60 * 60), age_s, "{mode}");
        }
    }
    let (status, said) = sim(&stripe, "webhooks", &json!({"mode": "sideways"})).await;
    assert_eq!((status, said["error"].as_str()), (400, Some("there is no mode sideways")));
}

#[tokio::test]
async fn slow_webhooks_come_when_their_time_has_passed() {
    let (stripe, client) = start().await;
    let receiver = Receiver::start().await;
    stripe.send_webhooks_to(&receiver.url);
    must(&stripe, "webhooks", &json!({"mode": "slow_ms", "slow_ms": 20})).await;
    let started = Instant::now();
    paid(&stripe, &client).await;
    stripe.until_delivered().await;
    assert_eq!(receiver.kinds().len(), 3);
    // One after the other, each no earlier than it was told to.
    assert!(started.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn refunds_and_disputes_are_made_and_read() {
    let (stripe, client) = start().await;
    let session = paid(&stripe, &client).await;
    let (_, read) = call(&stripe, Method::GET, &format!("checkout/sessions/{session}"), "").await;
    let payment = read["payment_intent"].as_str().unwrap();
    must(&stripe, "refund", &json!({"session": session, "amount": 300})).await;
    must(&stripe, "refund", &json!({"payment_intent": payment})).await;
    let (status, _) = sim(&stripe, "refund", &json!({"payment_intent": payment})).await;
    assert_eq!(status, 400, "nothing is left");
    must(&stripe, "dispute", &json!({"payment_intent": payment})).await;
    let events = stripe.events();
    let dispute = &events.last().unwrap()["data"]["object"]["id"];
    must(&stripe, "close_dispute", &json!({"dispute": dispute, "won": true})).await;
    let path = format!("disputes/{}", dispute.as_str().unwrap());
    assert_eq!(call(&stripe, Method::GET, &path, "").await.1["status"], "won");
    let refunded: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "charge.refunded")
        .map(|event| event["data"]["object"]["amount_refunded"].clone())
        .collect();
    assert_eq!(refunded, [300, 1000]);
}

#[tokio::test]
async fn an_outage_hits_the_paths_that_it_names_so_often() {
    let (stripe, client) = start().await;
    let session = paid(&stripe, &client).await;
    let outage = json!({"path": "/v1/checkout", "status": 503, "times": 2});
    must(&stripe, "fail", &outage).await;
    let path = format!("checkout/sessions/{session}");
    let mut statuses = Vec::new();
    for path in [&path, "events", &path, &path] {
        statuses.push(call(&stripe, Method::GET, path, "").await.0);
    }
    assert_eq!(statuses, [503, 200, 503, 200]);
    assert_eq!(sim(&stripe, "fail", &json!({"status": 200})).await.0, 400);
    assert_eq!(sim(&stripe, "explode", &json!({})).await.0, 400);
}

#[tokio::test]
async fn the_log_tells_what_came_and_what_was_sent() {
    let (stripe, client) = start().await;
    let receiver = Receiver::start().await;
    stripe.send_webhooks_to(&receiver.url);
    create(&stripe, &client, Some("k"), SESSION).await;
    create(&stripe, &client, Some("k"), "mode=payment").await;
    paid(&stripe, &client).await;
    stripe.until_delivered().await;
    let url = format!("{}/_sim/log", stripe.origin());
    let log = client.send(Method::GET, &url, &[], "").await.unwrap().json();
    let first = &log["requests"][0];
    assert_eq!(first["route"], "POST /v1/checkout/sessions");
    assert_eq!((&first["idempotency_key"], &first["status"]), (&"k".into(), &200.into()));
    assert_eq!(log["requests"][1]["status"], 400);
    assert_eq!(log["webhooks"][2]["type"], "checkout.session.completed");
    assert_eq!(log["webhooks"][2]["status"], 200);
}

#[tokio::test]
async fn the_same_seed_makes_the_same_objects_and_another_one_others() {
    let local = (Ipv4Addr::LOCALHOST, 0).into();
    let client = Client::default();
    let mut made = Vec::new();
    for ids in [7, 7, 8] {
        let seed = Seed { ids, now: Some(1_790_000_000) };
        let stripe = Stripe::seeded(local, "whsec_x", seed).await.unwrap();
        let mut session = create(&stripe, &client, None, SESSION).await.json();
        session["url"] = Value::Null;
        made.push(session);
    }
    assert_eq!(made[0], made[1]);
    assert_eq!(made[0]["created"], 1_790_000_000);
    assert_ne!(made[0]["id"], made[2]["id"]);
}

#[tokio::test]
async fn a_session_expires_when_the_clock_is_moved_past_its_end() {
    let local = (Ipv4Addr::LOCALHOST, 0).into();
    let seed = Seed { ids: 0, now: Some(1_790_000_000) };
    let stripe = Stripe::seeded(local, "whsec_x", seed).await.unwrap();
    let client = Client::default();
    let session = create(&stripe, &client, None, SESSION).await.json();
    let path = format!("checkout/sessions/{}", session["id"].as_str().unwrap());
    let paid = paid(&stripe, &client).await;
    for (now, status) in [(1_790_086_399, "open"), (1_790_086_400, "expired")] {
        must(&stripe, "clock", &json!({"now": now})).await;
        assert_eq!(call(&stripe, Method::GET, &path, "").await.1["status"], status);
    }
    let path = format!("checkout/sessions/{paid}");
    assert_eq!(call(&stripe, Method::GET, &path, "").await.1["status"], "complete");
    assert_eq!(stripe.events().last().unwrap()["type"], "checkout.session.expired");
    assert_eq!(sim(&stripe, "clock", &json!({})).await.0, 400);
}

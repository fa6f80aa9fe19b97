//! What others say of Stripe: its own OpenAPI description of our requests (stripe-mock), its own Python
//! library of the simulator's objects and signatures.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use opencredits_loadtest::ports::free_address;
use opencredits_loadtest::stripe::{Card, sign};
use opencredits_payments::{NewPayment, Stripe};
use opencredits_schema::{Currency, SavedCard};
use serde_json::json;

use super::top_up::{order_by_login, wish};
use super::{Order, Shop, WEBHOOK_SECRET, answer};
use crate::operate::until;
use crate::sdk;

/// A running stripe-mock; killed when it is dropped.
pub struct Oracle {
    child: Child,
    pub origin: String,
}

impl Oracle {
    pub async fn start() -> Self {
        // It listens for TLS as well, at one port for all of them unless it is told another.
        let (address, tls) = (free_address().unwrap(), free_address().unwrap());
        let child = Command::new(sdk::root().join("target/bin/stripe-mock"))
            .args(["-http-addr", &address.to_string(), "-https-addr", &tls.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let oracle = Self { child, origin: format!("http://{address}") };
        until(async || TcpStream::connect(address).is_ok()).await;
        oracle
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_own_description_takes_every_request() {
    let oracle = Oracle::start().await;
    let shop = Shop::with(&[("STRIPE_API_BASE", &oracle.origin), ("EUR_RATE", "1.08")]).await;
    // It does refuse what Stripe refuses: the words of before 2026.
    let request = shop.client.http.post(format!("{}/v1/checkout/sessions", oracle.origin));
    let refused = request.bearer_auth("sk_test_x").body("mode=payment&ui_mode=embedded");
    let refused = refused.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(answer(refused).await.0, 400);
    let key = shop.log_in("a@example.com").await;
    for (mode, currency) in [("embedded", "usd"), ("new_tab", "eur"), ("manual", "usd")] {
        let mut wish = shop.wish(&format!("attempt-of-{mode:_>12}"), "25.50");
        (wish["mode"], wish["currency"]) = (json!(mode), json!(currency));
        let (status, made) = shop.try_order(&key, &wish).await;
        assert_eq!(status, 201, "{mode}: {made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        let order = Order { id: text("order"), token: text("token"), session: text("session_id") };
        assert_eq!(shop.state(&order).await["status"], "open", "the session was read");
        let url = format!("{}/checkout/orders/{}/cancel", shop.client.base, order.id);
        let request = shop.client.http.post(url).header("x-order-token", &order.token);
        let (status, state) = answer(request).await;
        assert_eq!((status, &state["status"]), (200, &json!("canceled")), "it was expired");
    }
    charges_a_saved_card(&oracle).await;
    let entered = shop.log_in_at(&shop.publishable_key, "b@example.com").await;
    let (key, token) = (&entered["user_key"], &entered["consent_token"]);
    let wish = wish(&shop, "attempt-of-a-top-up", "100");
    let (key, token) = (key.as_str().unwrap(), token.as_str().unwrap());
    let (status, made) = order_by_login(&shop, key, token, &wish).await;
    assert_eq!(status, 201, "a card that is kept: {made}");
    // A dispute of a payment that nobody knows: Stripe is asked whose it is.
    let event = json!({"id": "evt_1", "type": "charge.dispute.created", "data": {"object":
        {"id": "dp_1", "payment_intent": "pi_1", "amount": 5}}})
    .to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = sign(&event, WEBHOOK_SECRET, now.try_into().unwrap());
    let url = format!("{}/stripe/webhook", shop.client.base);
    let request = shop.client.http.post(url).header("stripe-signature", header).body(event);
    assert_eq!(answer(request).await.0, 200);
    shop.close().await;
}

/// Charges a card that is kept, asks what became of it, and reads a payment.
async fn charges_a_saved_card(oracle: &Oracle) {
    let stripe = Stripe::new("sk_test_x", &oracle.origin).unwrap();
    let card = SavedCard { customer: "cus_1".to_owned(), method: "pm_1".to_owned() };
    let wanted = NewPayment {
        order: "ord_1".to_owned(),
        currency: Currency::Eur,
        cents: 500,
        card,
        email: Some("a@example.com".to_owned()),
        since: 1_800_000_000,
    };
    stripe.charge(&wanted).await.unwrap();
    assert_eq!(stripe.charged(&wanted).await.unwrap(), None, "it remembers nothing");
    stripe.payment("pi_1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_own_library_reads_the_simulators_objects_and_signatures() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    let order = shop.order(&key, "attempt-0123456789", "10").await;
    shop.stripe.pay(&order.session, Card::Declined).unwrap_err();
    shop.stripe.pay(&order.session, Card::Disputed).unwrap();
    let disputed = shop.stripe.events().into_iter().next_back().unwrap();
    let dispute = disputed["data"]["object"]["id"].as_str().unwrap();
    shop.stripe.close_dispute(dispute, false).unwrap();
    let other = shop.order(&key, "attempt-of-somebody", "10").await;
    shop.stripe.expire(&other.session).unwrap();
    shop.stripe.until_delivered().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut webhooks = String::new();
    for event in shop.stripe.events() {
        let body = event.to_string();
        let header = sign(&body, WEBHOOK_SECRET, now.try_into().unwrap());
        webhooks.push_str(&format!("{}\n", json!({"body": body, "header": header})));
    }
    let mut child = Command::new(sdk::python())
        .arg(sdk::root().join("tests/sdk/stripe_objects.py"))
        .env("STRIPE", shop.stripe.origin())
        .env("SESSION", &order.session)
        .env("SECRET", WEBHOOK_SECRET)
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(webhooks.as_bytes()).unwrap();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().count(), 10, "{said}");
    shop.stripe.until_delivered().await;
    shop.close().await;
}

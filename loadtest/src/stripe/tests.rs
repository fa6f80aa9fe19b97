//! The simulator, asked as a client of Stripe would.

mod controls;
mod endpoints;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{Card, PayError, Stripe, sign};
use crate::client::{Answer, Client};
use crate::serve::{plain, serve};

const SESSION: &str = "mode=payment&ui_mode=embedded_page&redirect_on_completion=never\
    &line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=1000\
    &line_items[0][price_data][product_data][name]=Credits&line_items[0][quantity]=1\
    &client_reference_id=ord_1&payment_intent_data[metadata][oc_order]=ord_1";

async fn start() -> (Stripe, Client) {
    let stripe = Stripe::start((Ipv4Addr::LOCALHOST, 0).into(), "whsec_x").await.unwrap();
    (stripe, Client::default())
}

/// Takes webhooks and remembers each, with its signature.
struct Receiver {
    url: String,
    taken: Arc<Mutex<Vec<(Value, String)>>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let taken: Arc<Mutex<Vec<(Value, String)>>> = Arc::default();
        let keeping = Arc::clone(&taken);
        // It ends with the test's runtime.
        tokio::spawn(serve(listener, move |head, body| {
            let signature = head.headers["stripe-signature"].to_str().unwrap().to_owned();
            keeping.lock().unwrap().push((serde_json::from_slice(body).unwrap(), signature));
            plain(StatusCode::OK, "")
        }));
        Self { url, taken }
    }

    /// The kinds of the events so far, in order.
    fn kinds(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|(event, _)| event["type"].as_str().unwrap().to_owned()).collect()
    }

    /// The seconds that the newest was signed at, if it was signed with the secret.
    fn signed(&self, secret: &str) -> Option<i64> {
        let taken = self.taken.lock().unwrap();
        let (event, signature) = taken.last()?;
        let time = signature.strip_prefix("t=")?.split(',').next()?.parse().ok()?;
        (sign(&event.to_string(), secret, time) == *signature).then_some(time)
    }
}

/// A call of the API.
async fn call(stripe: &Stripe, method: Method, path: &str, form: &str) -> (u16, Value) {
    let url = format!("{}/v1/{path}", stripe.origin());
    let headers = [("authorization", "Bearer sk_test_x")];
    let answer = Client::default().send(method, &url, &headers, form.to_owned()).await.unwrap();
    (answer.status.as_u16(), answer.json())
}

async fn create(stripe: &Stripe, client: &Client, key: Option<&str>, form: &str) -> Answer {
    let url = format!("{}/v1/checkout/sessions", stripe.origin());
    let mut headers = vec![
        ("authorization", "Bearer sk_test_x"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    client.send(Method::POST, &url, &headers, form.to_owned()).await.unwrap()
}

fn error(answer: &Answer) -> (u16, Value) {
    (answer.status.as_u16(), answer.json()["error"]["param"].clone())
}

#[tokio::test]
async fn what_stripe_refuses_is_refused() {
    let (stripe, client) = start().await;
    for (from, to, param) in [
        ("ui_mode=embedded_page", "ui_mode=embedded", "ui_mode"),
        ("&redirect_on_completion=never", "", "return_url"),
        ("mode=payment&", "mode=payment&success_url=http://x&", "success_url"),
        ("mode=payment&", "mode=payment&unheard_of[0]=1&", "unheard_of[0]"),
        ("=usd", "=gbp", "line_items[0][price_data][currency]"),
        ("mode=payment&", "mode=payment&expires_at=5&", "expires_at"),
    ] {
        let form = SESSION.replace(from, to);
        assert_ne!(form, SESSION);
        let answer = create(&stripe, &client, None, &form).await;
        assert_eq!(error(&answer), (400, Value::from(param)), "{to}");
    }
    let small = SESSION.replace("=1000", "=49");
    let answer = create(&stripe, &client, None, &small).await;
    assert_eq!(answer.json()["error"]["code"], "amount_too_small");
    let url = format!("{}/v1/checkout/sessions/cs_none", stripe.origin());
    let nobody = client.send(Method::GET, &url, &[], "").await.unwrap();
    assert_eq!(nobody.status.as_u16(), 401);
}

#[tokio::test]
async fn an_idempotency_key_replays_and_takes_no_other_fields() {
    let (stripe, client) = start().await;
    let first = create(&stripe, &client, Some("k"), SESSION).await;
    let again = create(&stripe, &client, Some("k"), SESSION).await;
    assert_eq!(first.json(), again.json());
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let other = create(&stripe, &client, Some("k"), &SESSION.replace("=1000", "=2000")).await;
    assert_eq!(other.json()["error"]["type"], "idempotency_error");
    assert_eq!(stripe.sessions().len(), 1);
    assert_eq!(stripe.requests()[0].idempotency_key.as_deref(), Some("k"));
}

#[tokio::test]
async fn each_card_does_what_it_is_known_for() {
    let (stripe, client) = start().await;
    for (number, declined) in [
        ("4242 4242 4242 4242", None),
        ("4000000000000002", Some("card_declined")),
        ("4000000000000069", Some("expired_card")),
        ("4000008400001629", Some("card_declined")),
    ] {
        let made = create(&stripe, &client, None, SESSION).await.json();
        let session = made["id"].as_str().unwrap();
        let paid = stripe.pay(session, Card::by_number(number).unwrap());
        match declined {
            None => assert_eq!(paid, Ok(super::Paid::Done)),
            Some(code) => {
                assert!(matches!(paid, Err(PayError::Declined(told, _)) if told == code));
            }
        }
    }
    assert_eq!(Card::by_number("4242424242424241"), None, "Luhn's check");
    let kinds: Vec<_> = stripe.events().iter().map(|event| event["type"].clone()).collect();
    let paid = ["payment_intent.succeeded", "charge.succeeded", "checkout.session.completed"];
    assert_eq!(kinds[..3], paid);
    assert_eq!(kinds[3..], ["payment_intent.payment_failed"; 3]);
}

#[tokio::test]
async fn the_page_of_a_session_shows_its_amount_and_pays() {
    let (stripe, client) = start().await;
    let made = create(&stripe, &client, None, SESSION).await.json();
    let secret = made["client_secret"].as_str().unwrap();
    let url = format!("{}/embed/{secret}", stripe.origin());
    let page = client.send(Method::GET, &url, &[], "").await.unwrap();
    assert!(String::from_utf8_lossy(&page.body).contains("Pay USD 10.00"));
    let url = format!("{}/pay/{}", stripe.origin(), made["id"].as_str().unwrap());
    let mut results = Vec::new();
    for form in [
        "action=pay&number=1",
        "action=pay&number=4000002500003155",
        "action=refuse&number=4000002500003155",
        "action=confirm&number=4000002500003155",
        "action=pay&number=4242424242424242",
    ] {
        let answer = client.send(Method::POST, &url, &[], form).await.unwrap();
        results.push(answer.json()["result"].as_str().unwrap().to_owned());
    }
    assert_eq!(results, ["declined", "asks", "declined", "succeeded", "closed"]);
}

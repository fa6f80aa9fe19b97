//! The checkout over HTTP, against the simulated Stripe: every way from money to credits gives them
//! once.

mod account;
mod apply;
mod browser;
mod express;
mod fulfilment;
mod idle;
mod killed;
mod login;
mod mail;
mod objects;
mod oracle;
mod refunds;
mod top_up;

use std::net::Ipv4Addr;

use opencredits_loadtest::stripe::{Card, Stripe};
use serde_json::{Value, json};

use crate::support::{Client, User, World, micro};

const WEBHOOK_SECRET: &str = "whsec_of_the_tests";
pub const ORIGIN: &str = "http://localhost:5173";

/// A gateway that sells, and its Stripe.
pub struct Shop {
    pub world: World,
    pub stripe: Stripe,
    pub desk: Desk,
}

impl std::ops::Deref for Shop {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

/// A partner's checkout as its widget calls it.
#[derive(Clone, Debug)]
pub struct Desk {
    pub client: Client,
    pub publishable_key: String,
}

/// An order as the widget knows it.
#[derive(Clone, Debug)]
pub struct Order {
    pub id: String,
    pub token: String,
    pub session: String,
}

impl Shop {
    pub async fn open() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(own: &[(&str, &str)]) -> Self {
        let stripe = Stripe::start((Ipv4Addr::LOCALHOST, 0).into(), WEBHOOK_SECRET).await.unwrap();
        let selling = selling(&stripe);
        let mut settings: Vec<(&str, &str)> =
            selling.iter().map(|(name, value)| (*name, value.as_str())).collect();
        settings.extend(own);
        let world = World::with(&settings).await;
        stripe.send_webhooks_to(&format!("{}/stripe/webhook", world.base));
        let desk = Desk::new(&world.client).await;
        Self { world, stripe, desk }
    }

    /// Stops everything and proves the books, and that Stripe was simulated well.
    pub async fn close(self) {
        self.stripe.until_delivered().await;
        let answers = self.stripe.requests().into_iter().map(|seen| seen.answer);
        for object in answers.chain(self.stripe.events()) {
            objects::parses(&object);
        }
        self.world.end().await;
    }
}

/// The settings of a gateway that sells by a simulated Stripe.
pub fn selling(stripe: &Stripe) -> [(&'static str, String); 7] {
    [
        ("STRIPE_SECRET_KEY", "sk_test_simulated".to_owned()),
        ("STRIPE_PUBLISHABLE_KEY", "pk_test_simulated".to_owned()),
        ("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
        ("STRIPE_API_BASE", stripe.origin()),
        ("STRIPE_JS_URL", stripe.js_url()),
        ("DEV", "1".to_owned()),
        ("LOGIN_LIMIT_PER_IP", "1000/h".to_owned()),
    ]
}

impl Desk {
    /// The checkout of a new partner.
    pub async fn new(client: &Client) -> Self {
        Self { client: client.clone(), publishable_key: partner(client, "shop").await }
    }

    pub async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
        let mut request = self.client.http.post(format!("{}{path}", self.client.base)).json(body);
        if let Some(key) = key {
            request = request.header("x-user-key", key);
        }
        answer(request).await
    }

    /// The newest code that was mailed to an address.
    pub async fn code(&self, email: &str) -> String {
        let url = format!("{}/dev/mailbox?email={email}", self.client.base);
        let (status, mails) = answer(self.client.http.get(url)).await;
        assert_eq!(status, 200);
        let subject = mails["messages"][0]["subject"].as_str().unwrap();
        subject.split(' ').next().unwrap().to_owned()
    }

    /// Logs in at a partner.
    pub async fn log_in_at(&self, publishable_key: &str, email: &str) -> Value {
        let wish = json!({"publishable_key": publishable_key, "email": email});
        let (status, sent) = self.post("/checkout/login", None, &wish).await;
        assert_eq!(status, 200, "{sent}");
        let code = self.code(email).await;
        let entry = json!({"publishable_key": publishable_key, "attempt": sent["attempt"],
            "code": code});
        let (status, entered) = self.post("/checkout/verify", None, &entry).await;
        assert_eq!(status, 200, "{entered}");
        entered
    }

    /// A user of the shop's own partner, with a key.
    pub async fn log_in(&self, email: &str) -> String {
        let entered = self.log_in_at(&self.publishable_key, email).await;
        entered["user_key"].as_str().unwrap().to_owned()
    }

    pub fn wish(&self, attempt: &str, amount: &str) -> Value {
        json!({"publishable_key": self.publishable_key, "attempt": attempt, "amount": amount,
            "currency": "usd", "mode": "embedded", "origin": ORIGIN})
    }

    pub async fn try_order(&self, key: &str, wish: &Value) -> (u16, Value) {
        self.post("/checkout/orders", Some(key), wish).await
    }

    pub async fn order(&self, key: &str, attempt: &str, amount: &str) -> Order {
        let (status, made) = self.try_order(key, &self.wish(attempt, amount)).await;
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Order { id: text("order"), token: text("token"), session: text("session_id") }
    }

    pub async fn state(&self, order: &Order) -> Value {
        let url = format!("{}/checkout/orders/{}", self.client.base, order.id);
        let request = self.client.http.get(url).header("x-order-token", &order.token);
        let (status, state) = answer(request).await;
        assert_eq!(status, 200, "{state}");
        state
    }

    /// The balance of a key's account, in microcredits, with nothing held and a history that adds up.
    pub async fn balance(&self, key: &str) -> i64 {
        self.client.settled_balance(&user(key)).await
    }
}

/// A user of whom only the key is known.
pub fn user(key: &str) -> User {
    let none = String::new;
    User {
        account: none(),
        key: key.to_owned(),
        partner: none(),
        publishable_key: none(),
        secret_key: none(),
    }
}

/// A new partner; its publishable key.
pub async fn partner(client: &Client, name: &str) -> String {
    let wish = json!({"name": name, "referral_rate": "0.10"});
    let made = client.operate("POST", "/admin/v1/partners", &wish).await;
    made["publishable_key"].as_str().unwrap().to_owned()
}

pub async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test]
async fn a_newcomer_buys_credits_and_spends_them() {
    let shop = Shop::open().await;
    let key = shop.log_in("New.Comer@Example.com").await;
    assert_eq!(shop.balance(&key).await, 0);
    let order = shop.order(&key, "attempt-0123456789", "25.00").await;
    assert_eq!(shop.state(&order).await["status"], "open");

    shop.stripe.pay(&order.session, Card::Good).unwrap();
    shop.stripe.until_delivered().await;
    let state = shop.state(&order).await;
    assert_eq!(state["status"], "paid", "{state}");
    assert_eq!(micro(&state["credits_added"]), 2_500_000_000);
    assert_eq!(micro(&state["balance"]), 2_500_000_000);

    let body = crate::support::chat("openai/gpt-4o", "Hello");
    let chat = shop.world.post(&user(&key), "/v1/chat/completions", &body);
    assert_eq!(chat.send().await.unwrap().status(), 200);
    shop.world.until_quiet().await;
    let rows = shop.world.history(&user(&key)).await;
    assert_eq!(rows[1]["type"], "purchase");
    assert!(shop.balance(&key).await < 2_500_000_000);
    shop.close().await;
}

#[tokio::test]
async fn each_of_the_three_modes_gets_its_page() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    for (mode, hosted) in [("embedded", false), ("new_tab", true), ("manual", true)] {
        let mut wish = shop.wish(&format!("attempt-of-{mode:_>12}"), "10");
        wish["mode"] = json!(mode);
        let (status, made) = shop.try_order(&key, &wish).await;
        assert_eq!(status, 201, "{made}");
        assert_eq!(made["checkout_url"].is_string(), hosted, "{made}");
        assert_eq!(made["client_secret"].is_string(), !hosted, "{made}");
    }
    shop.close().await;
}

#[tokio::test]
async fn a_bad_order_is_refused_by_the_field_that_is_bad() {
    let shop = Shop::with(&[("ORDER_MIN", "5")]).await;
    let key = shop.log_in("a@example.com").await;
    let other = partner(&shop.world, "other").await;
    for (field, value, status) in [
        ("amount", json!("4.99"), 400),
        ("amount", json!("500.01"), 400),
        ("amount", json!("10.001"), 400),
        ("amount", json!("-10"), 400),
        ("amount", json!("NaN"), 400),
        ("amount", json!("99999999999999999999"), 400),
        ("currency", json!("eur"), 400),
        ("attempt", json!("short"), 400),
        ("publishable_key", json!(other), 400),
        ("publishable_key", json!("oc_pk_nobody"), 404),
        ("origin", json!("https://evil.example"), 403),
    ] {
        let mut wish = shop.wish("attempt-0123456789", "10");
        wish[field] = value;
        let (answered, said) = shop.try_order(&key, &wish).await;
        assert_eq!(answered, status, "{field}: {said}");
        if status == 400 {
            assert_eq!(said["error"]["param"], field, "{said}");
        }
    }
    assert_eq!(shop.stripe.requests().len(), 0, "Stripe was not asked");
    let (status, _) = shop.try_order("oc_sk_wrong", &shop.wish("attempt-0123456789", "10")).await;
    assert_eq!(status, 401);
    shop.close().await;
}

#[tokio::test]
async fn a_double_click_is_one_order_and_one_session() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    let wish = shop.wish("attempt-0123456789", "10");
    let clicks = (0..10).map(|_| shop.try_order(&key, &wish));
    let made = futures_all(clicks).await;
    assert!(made.iter().all(|(status, _)| *status == 201), "{made:?}");
    assert!(made.iter().all(|(_, order)| order == &made[0].1), "{made:?}");
    assert_eq!(shop.stripe.sessions().len(), 1);
    let (status, said) = shop.try_order(&key, &shop.wish("attempt-0123456789", "11")).await;
    assert_eq!((status, &said["error"]["param"]), (409, &json!("attempt")));
    shop.close().await;
}

#[tokio::test]
async fn an_account_makes_a_bounded_number_of_orders() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    let wish = shop.wish("attempt-0123456789", "10");
    let tries = futures_all((0..40).map(|_| shop.try_order(&key, &wish))).await;
    assert_eq!(tries.iter().filter(|(status, _)| *status == 429).count(), 10);
    shop.close().await;
}

#[tokio::test]
async fn euros_are_sold_at_the_configured_rate() {
    let shop = Shop::with(&[("EUR_RATE", "1.08")]).await;
    let key = shop.log_in("a@example.com").await;
    let mut wish = shop.wish("attempt-0123456789", "10");
    wish["currency"] = json!("eur");
    let (_, made) = shop.try_order(&key, &wish).await;
    shop.stripe.pay(made["session_id"].as_str().unwrap(), Card::Good).unwrap();
    shop.stripe.until_delivered().await;
    assert_eq!(shop.balance(&key).await, 1_080_000_000);
    shop.close().await;
}

#[tokio::test]
async fn while_stripe_is_down_nothing_is_half_made() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    for status in [500, 503, 429, 409] {
        shop.stripe.fail(status, 1);
        let wish = shop.wish("attempt-0123456789", "10");
        let (answered, said) = shop.try_order(&key, &wish).await;
        assert_eq!((answered, &said["error"]["type"]), (502, &json!("payment_unavailable")));
    }
    let order = shop.order(&key, "attempt-0123456789", "10").await;
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    shop.stripe.until_delivered().await;
    assert_eq!(shop.balance(&key).await, 1_000_000_000);
    shop.close().await;
}

#[tokio::test]
async fn without_stripe_the_checkout_says_that_it_is_off() {
    let world = World::start().await;
    let key = partner(&world, "shop").await;
    for path in [format!("/checkout/config?pk={key}"), format!("/checkout/frame?pk={key}")] {
        let (status, said) = answer(world.http.get(format!("{}{path}", world.base))).await;
        assert_eq!((status, &said["error"]["type"]), (503, &json!("checkout_off")), "{path}");
    }
    let (status, _) = answer(world.http.get(format!("{}/dev/mailbox", world.base))).await;
    assert_eq!(status, 404);
    world.end().await;
}

/// All answers, of requests that run at once.
pub async fn futures_all<F: Future>(all: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut pinned: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        let mut waits = false;
        for (future, done) in &mut pinned {
            if done.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(output) => *done = Some(output),
                    std::task::Poll::Pending => waits = true,
                }
            }
        }
        if waits { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    pinned.into_iter().filter_map(|(_, done)| done).collect()
}

//! Auto top-up: agreed to by a fresh login only, charged once, within its terms, and off when it must be.

use std::time::Duration;

use opencredits_actors::{SqliteStore, Store as _};
use opencredits_loadtest::stripe::{Card, Seen, Stripe, WebhookMode};
use opencredits_schema::{Document, DocumentKind, Timestamp};
use serde_json::{Value, json};

use super::{Desk, Order, Shop, answer, futures_all, partner, user};
use crate::operate::until;
use crate::support::{World, chat, micro};

const FIVE: i64 = 500_000_000;

/// Somebody who has bought for five dollars and agreed to be charged five more below 500 credits: the
/// first spent microcredit is enough.
pub struct Buyer {
    pub key: String,
    pub token: String,
    pub session: String,
}

pub fn wish(desk: &Desk, attempt: &str, monthly_cap: &str) -> Value {
    let mut wish = desk.wish(attempt, "5");
    wish["top_up"] = json!({"threshold": "500", "monthly_cap": monthly_cap});
    wish
}

pub async fn order_by_login(desk: &Desk, key: &str, token: &str, wish: &Value) -> (u16, Value) {
    let request = desk.client.http.post(format!("{}/checkout/orders", desk.client.base));
    let request = request.header("x-user-key", key).header("x-consent-token", token);
    answer(request.json(wish)).await
}

/// A buyer who wishes to be topped up, and has paid.
pub async fn buyer(desk: &Desk, stripe: &Stripe, email: &str, card: Card, cap: &str) -> Buyer {
    let entered = desk.log_in_at(&desk.publishable_key, email).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (key, token) = (text(&entered["user_key"]), text(&entered["consent_token"]));
    let attempt = format!("attempt-of-{email}").replace(['@', '.'], "-");
    let (status, made) = order_by_login(desk, &key, &token, &wish(desk, &attempt, cap)).await;
    assert_eq!(status, 201, "{made}");
    let session = text(&made["session_id"]);
    stripe.pay(&session, card).unwrap();
    stripe.until_delivered().await;
    Buyer { key, token, session }
}

/// What the checkout shows of the top-up of a key.
pub async fn shown(desk: &Desk, key: &str) -> Value {
    let url = format!("{}/checkout/me", desk.client.base);
    let (status, me) = answer(desk.client.http.get(url).header("x-user-key", key)).await;
    assert_eq!(status, 200, "{me}");
    me["top_up"].clone()
}

/// Spends a little.
pub async fn spend(desk: &Desk, key: &str) -> u16 {
    let body = chat("openai/gpt-4o", "Hello");
    let sent = desk.client.post(&user(key), "/v1/chat/completions", &body).send().await;
    sent.unwrap().status().as_u16()
}

impl Shop {
    /// A buyer who has agreed, with a card and a cap.
    async fn buyer(&self, email: &str, card: Card, monthly_cap: &str) -> Buyer {
        let buyer = buyer(&self.desk, &self.stripe, email, card, monthly_cap).await;
        until(async || shown(&self.desk, &buyer.key).await["on"] == true).await;
        buyer
    }

    /// Resolves when somebody who ran low later has been topped up: what was to be done before is done.
    async fn after_others(&self, email: &str) {
        let other = self.buyer(email, Card::Good, "100").await;
        assert_eq!(spend(self, &other.key).await, 200);
        until(async || self.total(&other.key).await > FIVE).await;
    }

    async fn total(&self, key: &str) -> i64 {
        let balance = self.client.get(&user(key), "/v1/credits/balance").await;
        micro(&balance["balance"])
    }

    /// The charges of saved cards so far.
    fn charges(&self) -> usize {
        self.stripe.saved_payments().len()
    }

    pub async fn sweep(&self, later: Duration) {
        let later = i64::try_from(later.as_millis()).unwrap();
        let now = self.world.gateway.system.now().plus_millis(later);
        opencredits::checkout::sweep(&self.world.gateway, now).await.unwrap();
    }

    /// The same shop after a restart before which all rests were over.
    async fn rested(self) -> Self {
        let Self { world, stripe, desk } = self;
        let folder = world.end().await;
        // Nobody else writes now.
        let store = SqliteStore::open(&folder.path().join("oc.db"), "the test").unwrap();
        let ever = Timestamp::from_millis(i64::MAX);
        for document in store.due_documents(DocumentKind::TopUp, ever, 100).await.unwrap() {
            let mut body: Value = serde_json::from_str(&document.body).unwrap();
            body["rests_until"] = json!(0);
            let rested = Document { body: body.to_string(), ..document };
            assert!(store.put_document(rested).await.unwrap());
        }
        drop(store);
        let settings = super::selling(&stripe);
        let settings: Vec<_> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let world = World::within(folder, &settings).await;
        stripe.send_webhooks_to(&format!("{}/stripe/webhook", world.base));
        let desk = Desk { client: world.client.clone(), ..desk };
        Self { world, stripe, desk }
    }
}

#[tokio::test]
async fn who_agreed_is_topped_up_once_when_credits_run_low() {
    let shop = Shop::open().await;
    let buyer = shop.buyer("a@example.com", Card::ThreeDs, "100").await;
    let agreed = shown(&shop, &buyer.key).await;
    assert_eq!((&agreed["threshold"], &agreed["amount"]), (&json!(500), &json!(5.0)), "{agreed}");
    let asked = shop.stripe.requests();
    let made = asked.iter().find(|seen| seen.route == "POST /v1/checkout/sessions").unwrap();
    for part in ["[setup_future_usage]=off_session", "customer_creation=always"] {
        let body = made.body.replace("%5B", "[").replace("%5D", "]");
        assert!(body.contains(part), "{body}");
    }
    assert_eq!(spend(&shop, &buyer.key).await, 200);
    until(async || shop.total(&buyer.key).await > FIVE).await;
    until(async || shown(&shop, &buyer.key).await["charged_this_month"] == 5.0).await;
    // The balance shows what was decided, the history what is durable.
    until(async || shop.world.history(&user(&buyer.key)).await.len() > 2).await;

    let rows = shop.world.history(&user(&buyer.key)).await;
    let kinds: Vec<_> = rows.iter().map(|row| row["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["purchase", "usage", "purchase"]);
    let asked = shop.stripe.requests();
    let charge = asked.iter().find(|seen| seen.route == "POST /v1/payment_intents").unwrap();
    let key = charge.idempotency_key.as_deref().unwrap();
    assert!(key.starts_with("topup-ord_"), "{key}");
    for part in ["off_session=true", "confirm=true", "amount=500", "receipt_email=a@example.com"] {
        assert!(charge.body.contains(part), "{part}: {}", charge.body);
    }
    assert_eq!(shop.charges(), 1);
    shop.close().await;
}

#[tokio::test]
async fn only_a_fresh_login_agrees() {
    let shop = Shop::open().await;
    let entered = shop.log_in_at(&shop.publishable_key, "a@example.com").await;
    let (key, token) = (&entered["user_key"], &entered["consent_token"]);
    let (key, token) = (key.as_str().unwrap(), token.as_str().unwrap());
    let other = shop.log_in_at(&shop.publishable_key, "b@example.com").await;
    let wish = wish(&shop, "attempt-0123456789", "100");
    assert_eq!(shop.try_order(key, &wish).await.0, 401, "the partner's page has the key");
    let others = other["consent_token"].as_str().unwrap();
    assert_eq!(order_by_login(&shop, key, others, &wish).await.0, 401);
    for (field, value) in [
        ("threshold", "0"),
        ("threshold", "500.01"),
        ("threshold", "x"),
        ("monthly_cap", "4.99"),
        ("monthly_cap", "100000.01"),
        ("monthly_cap", "-5"),
    ] {
        let mut bad = wish.clone();
        bad["top_up"][field] = json!(value);
        let (status, said) = order_by_login(&shop, key, token, &bad).await;
        let param = format!("top_up.{field}");
        assert_eq!((status, &said["error"]["param"]), (400, &json!(param)), "{value}: {said}");
    }
    let mut automatic = shop.wish("attempt-0123456789", "5");
    automatic["mode"] = json!("auto");
    assert_eq!(order_by_login(&shop, key, token, &automatic).await.0, 400);
    assert_eq!(shop.stripe.requests().len(), 0, "Stripe was not asked");

    let (status, made) = order_by_login(&shop, key, token, &wish).await;
    assert_eq!(status, 201, "{made}");
    // The same attempt by the key alone gets neither the session nor what it may show.
    assert_eq!(shop.try_order(key, &wish).await.0, 401);
    let plain = shop.wish("attempt-0123456789", "5");
    assert_eq!(shop.try_order(key, &plain).await.0, 409);
    shop.close().await;
}

#[tokio::test]
async fn any_key_of_the_partner_switches_it_off() {
    let shop = Shop::open().await;
    let buyer = shop.buyer("a@example.com", Card::Good, "100").await;
    let elsewhere = partner(&shop.client, "elsewhere").await;
    let there = shop.log_in_at(&elsewhere, "a@example.com").await;
    let there = there["user_key"].as_str().unwrap();
    assert_eq!(shown(&shop, there).await, json!(null), "another partner sees nothing of it");
    let off = async |key: &str| shop.post("/checkout/top-up/off", Some(key), &json!({})).await;
    assert_eq!(off(there).await.0, 200);
    assert_eq!(shown(&shop, &buyer.key).await["on"], true, "and cannot end it");

    let phone = shop.log_in("a@example.com").await;
    let (status, account) = off(&phone).await;
    assert_eq!((status, &account["top_up"]), (200, &json!(null)));
    assert_eq!(spend(&shop, &buyer.key).await, 200);
    shop.after_others("b@example.com").await;
    assert_eq!(shop.charges(), 1, "of the other one");
    assert!(shop.total(&buyer.key).await < FIVE);
    let (status, _) = shop.post("/checkout/top-up/off", None, &json!({})).await;
    assert_eq!(status, 401);
    shop.close().await;
}

#[tokio::test]
async fn a_page_shows_an_address_only_after_a_fresh_login_and_in_our_own_frame() {
    let shop = Shop::open().await;
    let entered = shop.log_in_at(&shop.publishable_key, "a@example.com").await;
    let key = entered["user_key"].as_str().unwrap();
    let token = entered["consent_token"].as_str().unwrap();
    for (mode, token, shows) in [
        ("embedded", Some(token), true),
        ("embedded", None, false),
        ("embedded", Some("of-nobody"), false),
        ("new_tab", Some(token), false),
        ("manual", Some(token), false),
    ] {
        let attempt = format!("attempt-{mode}-{:0>9}", shop.stripe.sessions().len());
        let mut wish = shop.wish(&attempt, "5");
        wish["mode"] = json!(mode);
        let made = match token {
            Some(token) => order_by_login(&shop, key, token, &wish).await,
            None => shop.try_order(key, &wish).await,
        };
        assert_eq!(made.0, 201, "{}", made.1);
        let asked = shop.stripe.requests().pop().unwrap();
        assert_eq!(asked.body.contains("customer_email="), shows, "{mode}: {}", asked.body);
        assert!(asked.body.contains("receipt_email"), "the receipt goes there all the same");
        assert!(!asked.body.contains("customer_creation"), "no card is kept that nobody wished");
    }
    shop.close().await;
}

#[tokio::test]
async fn many_who_run_low_at_once_are_one_charge_and_then_it_rests() {
    let shop = Shop::open().await;
    let buyer = shop.buyer("a@example.com", Card::Good, "100").await;
    let spent = futures_all((0..20).map(|_| spend(&shop, &buyer.key))).await;
    assert_eq!(spent, [200; 20]);
    until(async || shop.total(&buyer.key).await > FIVE).await;
    // Low again: what was bought by hand goes back.
    shop.stripe.refund(&buyer.session, 500).unwrap();
    shop.stripe.until_delivered().await;
    assert_eq!(spend(&shop, &buyer.key).await, 200);
    shop.after_others("b@example.com").await;
    assert_eq!(shop.charges(), 2, "one of each");
    shop.close().await;
}

#[tokio::test]
async fn a_month_costs_no_more_than_its_cap_whatever_is_spent() {
    let mut shop = Shop::open().await;
    let buyer = shop.buyer("a@example.com", Card::Good, "10").await;
    shop.stripe.refund(&buyer.session, 500).unwrap();
    shop.stripe.until_delivered().await;
    // Nothing is left: the refused request asks for the first charge.
    assert_eq!(spend(&shop, &buyer.key).await, 402);
    until(async || shop.total(&buyer.key).await == FIVE).await;
    for payment in [0, 1] {
        until(async || {
            shown(&shop, &buyer.key).await["charged_this_month"] == f64::from(payment + 1) * 5.0
        })
        .await;
        let id = shop.stripe.saved_payments()[payment as usize]["id"].as_str().unwrap().to_owned();
        shop.stripe.refund_payment(&id, 500).unwrap();
        shop.stripe.until_delivered().await;
        assert_eq!(shop.total(&buyer.key).await, 0);
        shop = shop.rested().await;
        assert_eq!(spend(&shop, &buyer.key).await, 402);
        if payment == 0 {
            until(async || shop.total(&buyer.key).await == FIVE).await;
        }
    }
    shop.after_others("b@example.com").await;
    assert_eq!(shop.total(&buyer.key).await, 0, "the cap");
    assert_eq!(shop.charges(), 3, "one of them the other one's");
    shop.close().await;
}

/// The requests of a route that Stripe has seen.
fn asked(shop: &Shop, route: &str) -> Vec<Seen> {
    let seen = shop.stripe.requests().into_iter();
    seen.filter(|seen| seen.route.starts_with(route)).collect()
}

/// Whether the gateway has looked for a charge whose outcome it does not know.
fn is_looked_for(shop: &Shop) -> bool {
    shop.stripe.requests().iter().any(|seen| seen.route == "GET /v1/payment_intents")
}

/// The subjects of the mails to an address, without codes.
async fn notices(shop: &Shop, email: &str) -> Vec<Value> {
    let url = format!("{}/dev/mailbox?email={email}", shop.client.base);
    let (_, mails) = answer(shop.client.http.get(url)).await;
    let mails = mails["messages"].as_array().unwrap().clone();
    mails.into_iter().filter(|mail| !mail["subject"].as_str().unwrap().contains("code")).collect()
}

#[tokio::test]
async fn a_bank_that_wants_the_user_ends_it_at_once_and_the_user_is_told() {
    let shop = Shop::open().await;
    shop.stripe.webhooks(WebhookMode::Repeat(3));
    let buyer = shop.buyer("a@example.com", Card::ThreeDsAlways, "100").await;
    assert_eq!(spend(&shop, &buyer.key).await, 200);
    until(async || !notices(&shop, "a@example.com").await.is_empty()).await;
    let top_up = shown(&shop, &buyer.key).await;
    assert_eq!((&top_up["on"], &top_up["ended"]), (&json!(false), &json!("authentication")));
    assert_eq!(top_up["charged_this_month"], 0.0);
    assert_eq!(spend(&shop, &buyer.key).await, 200);
    shop.after_others("b@example.com").await;
    shop.sweep(Duration::from_secs(1200)).await;
    assert_eq!(shop.charges(), 2, "one of each");
    assert!(shop.total(&buyer.key).await < FIVE);
    let told = notices(&shop, "a@example.com").await;
    assert_eq!(told.len(), 1, "{told:?}");
    let text = told[0]["text"].as_str().unwrap();
    assert!(text.contains("by hand in shop"), "{text}");

    // By hand, with another card, it goes on.
    let mut again = wish(&shop, "attempt-to-go-on-again", "100");
    again["top_up"]["threshold"] = json!("100");
    let (_, made) = order_by_login(&shop, &buyer.key, &buyer.token, &again).await;
    shop.stripe.pay(made["session_id"].as_str().unwrap(), Card::Good).unwrap();
    until(async || shown(&shop, &buyer.key).await["on"] == true).await;
    shop.close().await;
}

#[tokio::test]
async fn three_declines_in_a_row_end_it() {
    let mut shop = Shop::open().await;
    let buyer = shop.buyer("a@example.com", Card::DeclinedLater, "100").await;
    for declines in 1..=3 {
        assert_eq!(shown(&shop, &buyer.key).await["on"], true, "{declines}");
        assert_eq!(spend(&shop, &buyer.key).await, 200);
        until(async || shop.charges() == declines).await;
        until(async || state_of(&shop).await["in_flight"].is_null()).await;
        shop = shop.rested().await;
    }
    let top_up = shown(&shop, &buyer.key).await;
    assert_eq!((&top_up["on"], &top_up["ended"]), (&json!(false), &json!("declined")));
    assert_eq!(spend(&shop, &buyer.key).await, 200);
    shop.after_others("b@example.com").await;
    assert_eq!(shop.charges(), 4, "one of them the other one's");
    shop.close().await;
}

/// The one top-up, as it is kept.
async fn state_of(shop: &Shop) -> Value {
    let store = shop.world.gateway.system.store();
    let ever = Timestamp::from_millis(i64::MAX);
    let found = store.due_documents(DocumentKind::TopUp, ever, 10).await.unwrap();
    found.first().map_or(json!({"in_flight": null}), |d| serde_json::from_str(&d.body).unwrap())
}

#[tokio::test]
async fn however_its_end_is_told_a_charge_credits_once() {
    for (mode, lost) in [
        (WebhookMode::Repeat(10), 0),
        (WebhookMode::Drop, 0),
        // Both the charge and the question what became of it: only the webhook tells.
        (WebhookMode::Repeat(10), 2),
    ] {
        let shop = Shop::open().await;
        let buyer = shop.buyer("a@example.com", Card::Good, "100").await;
        shop.stripe.webhooks(mode);
        shop.stripe.lose_answers(lost);
        assert_eq!(spend(&shop, &buyer.key).await, 200);
        until(async || shop.total(&buyer.key).await > FIVE).await;
        until(async || state_of(&shop).await["in_flight"].is_null()).await;
        shop.stripe.until_delivered().await;
        shop.sweep(Duration::from_secs(120)).await;
        assert!(shop.total(&buyer.key).await < 2 * FIVE, "{mode:?} {lost}");
        assert_eq!(shop.charges(), 1, "{mode:?} {lost}");
        shop.close().await;
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_asked_for_and_then_repeated_under_its_key() {
    // Lost on the way back: done. Failed on the way there: not done.
    for (lost, failed) in [(2, 0), (0, 2)] {
        let shop = Shop::open().await;
        let buyer = shop.buyer("a@example.com", Card::Good, "100").await;
        shop.stripe.webhooks(WebhookMode::Hold);
        shop.stripe.lose_answers(lost);
        if failed > 0 {
            shop.stripe.fail(503, failed);
        }
        assert_eq!(spend(&shop, &buyer.key).await, 200);
        until(async || is_looked_for(&shop)).await;
        assert!(shop.total(&buyer.key).await < FIVE);
        // Meanwhile nothing else begins.
        assert_eq!(spend(&shop, &buyer.key).await, 200);
        shop.sweep(Duration::from_secs(120)).await;
        assert!(shop.total(&buyer.key).await > FIVE, "{lost} {failed}");
        let tries = asked(&shop, "POST /v1/payment_intents");
        let keys: Vec<_> = tries.iter().map(|seen| &seen.idempotency_key).collect();
        assert_eq!(keys.len(), if failed > 0 { 2 } else { 1 });
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        shop.stripe.webhooks(WebhookMode::Repeat(3));
        shop.stripe.release_webhooks(true);
        shop.stripe.until_delivered().await;
        assert!(shop.total(&buyer.key).await < 2 * FIVE);
        assert_eq!(shop.charges(), 1);
        shop.close().await;
    }
}

#[tokio::test]
async fn what_could_not_be_kept_with_the_credits_is_kept_later() {
    let shop = Shop::open().await;
    shop.stripe.webhooks(WebhookMode::Hold);
    let buyer = buyer(&shop, &shop.stripe, "a@example.com", Card::Good, "100").await;
    // The webhook brings the credits; the card is asked for and not told.
    shop.stripe.fail(503, 1);
    shop.stripe.webhooks(WebhookMode::Normal);
    shop.stripe.release_webhooks(false);
    shop.stripe.until_delivered().await;
    assert_eq!(shop.total(&buyer.key).await, FIVE);
    until(async || !asked(&shop, "GET /v1/payment_intents").is_empty()).await;
    assert_eq!(shown(&shop, &buyer.key).await, json!(null));
    shop.sweep(Duration::from_secs(120)).await;
    assert_eq!(shown(&shop, &buyer.key).await["on"], true);
    shop.close().await;
}

#[tokio::test]
async fn a_charge_is_refunded_and_disputed_as_any_other() {
    let shop = Shop::open().await;
    let buyer = shop.buyer("a@example.com", Card::Good, "100").await;
    assert_eq!(spend(&shop, &buyer.key).await, 200);
    until(async || shop.total(&buyer.key).await > FIVE).await;
    until(async || state_of(&shop).await["in_flight"].is_null()).await;
    let payment = shop.stripe.saved_payments()[0]["id"].as_str().unwrap().to_owned();
    let before = shop.balance(&buyer.key).await;
    shop.stripe.refund_payment(&payment, 100).unwrap();
    shop.stripe.until_delivered().await;
    assert_eq!(shop.balance(&buyer.key).await, before - FIVE / 5);
    let dispute = shop.stripe.dispute_payment(&payment).unwrap();
    shop.stripe.until_delivered().await;
    assert!(shop.balance(&buyer.key).await < before - FIVE / 5);
    assert_eq!(shown(&shop, &buyer.key).await["ended"], "disputed");
    shop.stripe.close_dispute(&dispute, true).unwrap();
    shop.stripe.until_delivered().await;
    assert_eq!(shop.balance(&buyer.key).await, before - FIVE / 5);
    assert_eq!(shown(&shop, &buyer.key).await["on"], false);
    shop.close().await;
}

#[tokio::test]
async fn a_dispute_that_is_told_before_its_charge_ends_the_same() {
    let shop = Shop::open().await;
    let buyer = shop.buyer("a@example.com", Card::Good, "100").await;
    shop.stripe.refund(&buyer.session, 500).unwrap();
    shop.stripe.until_delivered().await;
    shop.stripe.webhooks(WebhookMode::Hold);
    shop.stripe.lose_answers(2);
    assert_eq!(spend(&shop, &buyer.key).await, 402);
    until(async || is_looked_for(&shop)).await;
    let payment = shop.stripe.saved_payments()[0]["id"].as_str().unwrap().to_owned();
    shop.stripe.dispute_payment(&payment).unwrap();
    shop.stripe.lose_answers(0);
    shop.stripe.webhooks(WebhookMode::Normal);
    shop.stripe.release_webhooks(true);
    shop.stripe.until_delivered().await;
    assert_eq!(shop.balance(&buyer.key).await, 0);
    let kinds: Vec<_> = shop.world.history(&user(&buyer.key)).await;
    assert_eq!(kinds.iter().filter(|row| row["type"] == "purchase").count(), 2);
    assert_eq!(shown(&shop, &buyer.key).await["ended"], "disputed");
    shop.close().await;
}

#[tokio::test]
async fn what_is_charged_at_a_partner_is_for_that_partners_keys() {
    let shop = Shop::open().await;
    let here = shop.log_in("a@example.com").await;
    let Order { session, .. } = shop.order(&here, "attempt-0123456789", "25").await;
    shop.stripe.pay(&session, Card::Good).unwrap();
    shop.stripe.until_delivered().await;
    let other = Desk::new(&shop.client).await;
    let buyer = buyer(&other, &shop.stripe, "a@example.com", Card::Good, "100").await;
    until(async || shown(&shop, &buyer.key).await["on"] == true).await;
    // 2500 credits lie elsewhere, so no settlement finds the account low; but what was bought there ends.
    let dear = json!({"model": "openai/gpt-4", "messages": [{"role": "user", "content": "Hi [[sim output=7000]]"}]});
    let mut refused = false;
    for _ in 0..50 {
        let sent = other.client.post(&user(&buyer.key), "/v1/chat/completions", &dear).send().await;
        refused = sent.unwrap().status() == 402;
        if refused {
            break;
        }
        assert_eq!(shop.charges(), 0);
    }
    assert!(refused);
    until(async || shop.charges() == 1).await;
    until(async || spend(&other, &buyer.key).await == 200).await;
    assert_eq!(shown(&shop, &here).await, json!(null));
    shop.world.until_quiet().await;
    shop.close().await;
}

//! Buyers and an operator: money that comes in and goes back while the gateway breaks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use opencredits_schema::Credits;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::dice::Dice;
use super::ground::Ground;
use crate::receipts::{Moved, MovedKind};
use crate::stripe::{Card, Stripe, WebhookMode};

/// Buyers at the same time.
const BUYERS: u64 = 3;
/// The first number of a buyer's dice: the load's clients have the ones below.
const FIRST_PART: u64 = 1000;
/// How often a buyer looks whether the purchase shows, before it gives up waiting.
const LOOKS: usize = 5;
/// How often an order is tried: one that Stripe refuses for good makes no session.
const TRIES: usize = 200;
/// An origin that a partner without any may sell on.
const ORIGIN: &str = "http://localhost:5173";
/// Cents between the least and the most that can be ordered.
const CENTS: u64 = 40_000;

/// What is sold, and to whom.
#[derive(Debug)]
pub(super) struct Shop {
    ground: Arc<Ground>,
    stripe: Arc<Stripe>,
    /// Each payer's partner's publishable key.
    publishable_keys: Vec<String>,
    /// Whose a session of Stripe's is.
    sessions: Mutex<HashMap<String, usize>>,
    /// Counts up, so that no two amounts of a run are the same.
    serial: AtomicU64,
}

impl Shop {
    /// Sells to the payers of the ground, in their order.
    pub(super) fn new(
        ground: Arc<Ground>,
        stripe: Arc<Stripe>,
        publishable_keys: Vec<String>,
    ) -> Self {
        Self {
            ground,
            stripe,
            publishable_keys,
            sessions: Mutex::default(),
            serial: AtomicU64::new(0),
        }
    }

    /// Starts all buyers; they end when the load is over.
    pub(super) fn start(self: &Arc<Self>, seed: u64) -> Vec<JoinHandle<()>> {
        let buyer = |number: u64| {
            let shop = Arc::clone(self);
            let mut dice = Dice::of(seed, FIRST_PART.saturating_add(number));
            tokio::spawn(async move {
                while shop.ground.goes_on().await {
                    let last = u64::try_from(shop.publishable_keys.len()).unwrap_or(1);
                    let payer = dice.between(1, last).saturating_sub(1);
                    let payer = usize::try_from(payer).unwrap_or_default();
                    if dice.percent(15) {
                        shop.grant(payer).await;
                    } else {
                        shop.sell(payer, &mut dice).await;
                    }
                    tokio::time::sleep(Duration::from_millis(dice.between(20, 200))).await;
                }
            })
        };
        (0..BUYERS).map(buyer).collect()
    }

    /// What Stripe knows of the money that came in and went back: the truth about it.
    pub(super) fn truth(&self) -> Vec<Moved> {
        let owners = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let cents = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_i64).map(credits).unwrap_or_default()
        };
        let mut moved = Vec::new();
        let mut payments = HashMap::new();
        for session in self.stripe.sessions() {
            let Some(payer) = owners.get(&text(&session, "id")).copied() else { continue };
            if text(&session, "payment_status") == "paid" {
                let credits = cents(&session, "amount_subtotal");
                moved.push(Moved { payer, kind: MovedKind::Purchase, credits });
                payments.insert(text(&session, "payment_intent"), payer);
            }
        }
        for event in self.stripe.events() {
            let Some(object) = event.pointer("/data/object") else { continue };
            let payer = payments.get(&text(object, "payment_intent")).copied();
            let Some(payer) = payer else { continue };
            let amount = cents(object, "amount");
            let (kind, credits) = match text(&event, "type").as_str() {
                // A buyer asks for one refund of an order at most, so what is cumulative is it.
                "charge.refunded" => {
                    (MovedKind::Refund, cents(object, "amount_refunded").negated())
                }
                "charge.dispute.created" => (MovedKind::Dispute, amount.negated()),
                "charge.dispute.closed" if text(object, "status") == "won" => {
                    (MovedKind::Dispute, amount)
                }
                _ => continue,
            };
            moved.push(Moved { payer, kind, credits });
        }
        moved
    }

    /// The operator gives an account some credits, and asks again until that is answered.
    async fn grant(&self, payer: usize) {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let credits = i64::try_from(serial).unwrap_or_default().saturating_add(3_000_000);
        let credits = Credits::from_micro(credits);
        let Some(account) = self.payer(payer, |payer| payer.account.clone()) else { return };
        let access = &self.ground.access;
        let url = format!("{}/admin/v1/accounts/{account}/grants", access.admin);
        let bearer = format!("Bearer {}", access.admin_token);
        let key = format!("grant-{serial}");
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key.as_str())];
        let body = json!({"credits": credits.to_string(), "reason": "crash run"});
        // It has to be known whether it was given.
        let given = self.ground.insist(Method::POST, &url, &headers, &body, usize::MAX).await;
        if given.is_some() {
            self.ground.moved(Moved { payer, kind: MovedKind::Grant, credits });
        }
    }

    /// A purchase, as the widget makes it; some are paid back or disputed afterwards.
    async fn sell(&self, payer: usize, dice: &mut Dice) {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let cents = serial.checked_rem(CENTS).unwrap_or_default().saturating_add(100);
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let attempt = format!("attempt-of-the-run-{serial:08}");
        let Some(key) = self.payer(payer, |payer| payer.key.clone()) else { return };
        let publishable_key = self.publishable_keys.get(payer);
        let wish = json!({"publishable_key": publishable_key, "attempt": attempt,
            "amount": amount, "currency": "usd", "mode": "embedded", "origin": ORIGIN});
        let base = &self.ground.access.base;
        let url = format!("{base}/checkout/orders");
        let headers = [("x-user-key", key.as_str())];
        let made = self.ground.insist(Method::POST, &url, &headers, &wish, TRIES).await;
        let Some(made) = made.map(|answer| answer.json()) else { return };
        let text = |name: &str| made.get(name).and_then(Value::as_str).unwrap_or_default();
        let session = text("session_id").to_owned();
        let owner = |mut owners: std::sync::MutexGuard<'_, HashMap<String, usize>>| {
            owners.insert(session.clone(), payer);
        };
        owner(self.sessions.lock().unwrap_or_else(PoisonError::into_inner));
        if dice.percent(10) {
            // A card that is declined pays nothing; the next one does.
            self.stripe.pay(&session, Card::Declined).ok();
        }
        let lost = dice.percent(10);
        if lost {
            self.stripe.webhooks(WebhookMode::Drop);
        }
        let paid = self.stripe.pay(&session, Card::Good);
        if lost {
            self.stripe.webhooks(WebhookMode::Repeat(2));
        }
        if paid.is_err() {
            return;
        }
        let url = format!("{base}/checkout/orders/{}", text("order"));
        for _ in 0..LOOKS {
            let headers = [("x-order-token", text("token"))];
            let state = self.ground.client.send(Method::GET, &url, &headers, "").await;
            let paid = |state: &Value| state.get("status") == Some(&json!("paid"));
            if state.is_ok_and(|state| paid(&state.json())) {
                break;
            }
            self.ground.rest().await;
        }
        self.goes_back(&session, i64::try_from(cents).unwrap_or_default(), dice);
    }

    fn goes_back(&self, session: &str, cents: i64, dice: &mut Dice) {
        match dice.between(1, 100) {
            1..=10 => drop(self.stripe.refund(session, cents)),
            11..=20 => drop(self.stripe.refund(session, cents / 3)),
            21..=28 => {
                let Ok(dispute) = self.stripe.dispute(session) else { return };
                if dice.percent(60) {
                    drop(self.stripe.close_dispute(&dispute, dice.percent(50)));
                }
            }
            _ => {}
        }
    }

    fn payer<T>(&self, payer: usize, of: impl Fn(&crate::receipts::Payer) -> T) -> Option<T> {
        self.ground.receipts().payers.get(payer).map(of)
    }
}

/// A cent is a credit.
fn credits(cents: i64) -> Credits {
    Credits::from_micro(cents.saturating_mul(1_000_000))
}

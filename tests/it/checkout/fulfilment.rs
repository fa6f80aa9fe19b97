//! From money to credits: exactly once, however webhook, browser and sweep come.

use std::time::Duration;

use opencredits_loadtest::stripe::{Card, PayError, WebhookMode};
use serde_json::json;

use super::{Order, Shop, answer, futures_all};
use crate::operate::until;

const TEN: i64 = 1_000_000_000;

/// A shop with a user who has ordered credits for ten dollars.
async fn ordered() -> (Shop, String, Order) {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    let order = shop.order(&key, "attempt-0123456789", "10").await;
    (shop, key, order)
}

#[tokio::test]
async fn a_webhook_that_comes_ten_times_at_once_credits_once() {
    let (shop, key, order) = ordered().await;
    shop.stripe.webhooks(WebhookMode::Repeat(10));
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    shop.stripe.until_delivered().await;
    assert_eq!(shop.balance(&key).await, TEN);
    shop.close().await;
}

#[tokio::test]
async fn a_webhook_after_the_browsers_return_credits_once() {
    let (shop, key, order) = ordered().await;
    shop.stripe.webhooks(WebhookMode::Hold);
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    assert_eq!(shop.state(&order).await["status"], "paid", "the gateway asked Stripe itself");
    assert_eq!(shop.balance(&key).await, TEN);
    shop.stripe.webhooks(WebhookMode::Normal);
    shop.stripe.release_webhooks(true);
    shop.stripe.until_delivered().await;
    assert_eq!(shop.balance(&key).await, TEN);
    shop.close().await;
}

#[tokio::test]
async fn a_webhook_and_many_browsers_at_once_credit_once() {
    let (shop, key, order) = ordered().await;
    shop.stripe.webhooks(WebhookMode::Repeat(5));
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    let states = futures_all((0..20).map(|_| shop.state(&order))).await;
    assert!(states.iter().all(|state| state["status"] == "paid" || state["status"] == "open"));
    shop.stripe.until_delivered().await;
    assert_eq!(shop.balance(&key).await, TEN);
    shop.close().await;
}

#[tokio::test]
async fn a_webhook_that_never_comes_is_not_needed() {
    let (shop, key, order) = ordered().await;
    shop.stripe.webhooks(WebhookMode::Drop);
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    assert_eq!(shop.state(&order).await["status"], "paid");
    assert_eq!(shop.balance(&key).await, TEN);
    shop.close().await;
}

#[tokio::test]
async fn what_nobody_asks_about_is_looked_after_by_one() {
    let (shop, key, order) = ordered().await;
    shop.stripe.webhooks(WebhookMode::Drop);
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    // An order is due when more than a minute has passed, as the clock of milliseconds tells, and then not
    // for another minute.
    let written = shop.world.gateway.system.now();
    until(async || shop.world.gateway.system.now() > written).await;
    let later = Duration::from_secs(60);
    tokio::join!(shop.sweep(later), shop.sweep(later), shop.sweep(later));
    assert_eq!(shop.balance(&key).await, TEN);
    let asked = shop.stripe.requests().into_iter();
    let asked = asked.filter(|seen| seen.route.starts_with("GET /v1/checkout/sessions/"));
    assert_eq!(asked.count(), 1, "who finds it taken leaves it alone");
    shop.close().await;
}

#[tokio::test]
async fn what_is_not_signed_rightly_and_newly_is_refused() {
    let (shop, key, order) = ordered().await;
    // Nobody but the webhook would tell: the session itself stays unpaid at Stripe.
    let url = format!("{}/stripe/webhook", shop.world.base);
    let object = json!({"id": order.session, "client_reference_id": order.id,
        "payment_status": "paid", "currency": "usd", "amount_subtotal": 1000});
    let forged = json!({"id": "evt_1", "type": "checkout.session.completed",
        "data": {"object": object}});
    for header in ["", "t=1,v1=00", "t=99999999999,v1=0123"] {
        let request = shop.world.http.post(&url).header("stripe-signature", header).json(&forged);
        assert_eq!(answer(request).await.0, 400, "{header}");
    }
    assert_eq!(answer(shop.world.http.post(&url).json(&forged)).await.0, 400);
    assert_eq!(shop.balance(&key).await, 0);
    for mode in [WebhookMode::BadSignature, WebhookMode::Stale] {
        let attempt = format!("attempt-of-{mode:_>12?}");
        let order = shop.order(&key, &attempt, "10").await;
        shop.stripe.webhooks(mode);
        shop.stripe.pay(&order.session, Card::Good).unwrap();
        shop.stripe.until_delivered().await;
        assert_eq!(shop.balance(&key).await, 0, "{mode:?}");
    }
    shop.close().await;
}

#[tokio::test]
async fn a_decline_is_told_and_the_next_card_pays() {
    let (shop, key, order) = ordered().await;
    for (card, code) in [
        (Card::Declined, "card_declined"),
        (Card::InsufficientFunds, "insufficient_funds"),
        (Card::Expired, "expired_card"),
    ] {
        let paid = shop.stripe.pay(&order.session, card);
        assert!(matches!(paid, Err(PayError::Declined(..))));
        shop.stripe.until_delivered().await;
        let state = shop.state(&order).await;
        let last = state["attempts"].as_array().unwrap().last().unwrap();
        assert_eq!((&state["status"], &last["code"]), (&json!("open"), &json!(code)));
    }
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    shop.stripe.until_delivered().await;
    let state = shop.state(&order).await;
    assert_eq!(state["status"], "paid");
    assert_eq!(state["attempts"].as_array().unwrap().len(), 3);
    assert_eq!(shop.balance(&key).await, TEN);
    shop.close().await;
}

#[tokio::test]
async fn a_delayed_payment_credits_when_its_money_comes() {
    for succeeded in [true, false] {
        let (shop, key, order) = ordered().await;
        shop.stripe.pay_by_bank(&order.session).unwrap();
        shop.stripe.until_delivered().await;
        assert_eq!(shop.state(&order).await["status"], "processing");
        assert_eq!(shop.balance(&key).await, 0);
        shop.stripe.complete_bank(&order.session, succeeded).unwrap();
        shop.stripe.until_delivered().await;
        let state = shop.state(&order).await;
        let (status, balance) = if succeeded { ("paid", TEN) } else { ("failed", 0) };
        assert_eq!((&state["status"], shop.balance(&key).await), (&json!(status), balance));
        shop.close().await;
    }
}

#[tokio::test]
async fn an_order_that_is_given_up_or_expires_costs_nothing() {
    let (shop, key, order) = ordered().await;
    let url = format!("{}/checkout/orders/{}/cancel", shop.world.base, order.id);
    let cancel = || shop.world.http.post(&url).header("x-order-token", &order.token);
    let (status, state) = answer(cancel()).await;
    assert_eq!((status, &state["status"]), (200, &json!("canceled")));
    let paid = shop.stripe.pay(&order.session, Card::Good);
    assert!(matches!(paid, Err(PayError::NotOpen(_))));

    let order = shop.order(&key, "attempt-1123456789", "10").await;
    shop.stripe.expire(&order.session).unwrap();
    shop.stripe.until_delivered().await;
    assert_eq!(shop.state(&order).await["status"], "expired");
    assert_eq!(shop.balance(&key).await, 0);
    shop.close().await;
}

#[tokio::test]
async fn giving_up_what_was_paid_meanwhile_credits_it() {
    let (shop, key, order) = ordered().await;
    shop.stripe.webhooks(WebhookMode::Drop);
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    let url = format!("{}/checkout/orders/{}/cancel", shop.world.base, order.id);
    let (_, state) = answer(shop.world.http.post(url).header("x-order-token", &order.token)).await;
    assert_eq!(state["status"], "paid");
    assert_eq!(shop.balance(&key).await, TEN);
    shop.close().await;
}

#[tokio::test]
async fn an_order_is_told_to_whoever_has_its_token() {
    let (shop, _, order) = ordered().await;
    let url = format!("{}/checkout/orders/{}", shop.world.base, order.id);
    assert_eq!(answer(shop.world.http.get(&url)).await.0, 404);
    let wrong = shop.world.http.get(&url).header("x-order-token", "0".repeat(64));
    assert_eq!(answer(wrong).await.0, 404);
    shop.close().await;
}

//! Money that goes back: by cumulative amounts, from the lot that it bought, once.

use opencredits_loadtest::stripe::{Card, WebhookMode};
use serde_json::json;

use super::{Shop, user};

#[tokio::test]
async fn refunds_add_up_and_each_counts_once() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    let order = shop.order(&key, "attempt-0123456789", "10").await;
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    shop.stripe.until_delivered().await;
    shop.stripe.webhooks(WebhookMode::Repeat(5));
    for (cents, left) in [(300, 700_000_000), (200, 500_000_000), (500, 0)] {
        shop.stripe.refund(&order.session, cents).unwrap();
        shop.stripe.until_delivered().await;
        assert_eq!(shop.balance(&key).await, left);
    }
    let kinds: Vec<_> = shop.world.history(&user(&key)).await;
    let kinds: Vec<_> = kinds.iter().map(|row| row["type"].clone()).collect();
    assert_eq!(kinds, [json!("refund"), json!("refund"), json!("refund"), json!("purchase")]);
    shop.close().await;
}

#[tokio::test]
async fn refunds_that_come_in_reverse_and_before_their_purchase_end_the_same() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    let order = shop.order(&key, "attempt-0123456789", "10").await;
    shop.stripe.webhooks(WebhookMode::Hold);
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    shop.stripe.refund(&order.session, 300).unwrap();
    shop.stripe.refund(&order.session, 200).unwrap();
    shop.stripe.webhooks(WebhookMode::Normal);
    shop.stripe.release_webhooks(true);
    shop.stripe.until_delivered().await;
    assert_eq!(shop.balance(&key).await, 500_000_000);
    shop.close().await;
}

#[tokio::test]
async fn a_dispute_takes_the_credits_until_it_is_won() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    shop.stripe.webhooks(WebhookMode::Repeat(3));
    for (attempt, won, left) in [
        ("attempt-of-the-first", true, 1_000_000_000),
        ("attempt-of-the-second", false, 1_000_000_000),
    ] {
        let order = shop.order(&key, attempt, "10").await;
        shop.stripe.pay(&order.session, Card::Good).unwrap();
        shop.stripe.until_delivered().await;
        let before = shop.balance(&key).await;
        let dispute = shop.stripe.dispute(&order.session).unwrap();
        shop.stripe.until_delivered().await;
        assert_eq!(shop.balance(&key).await, before - 1_000_000_000);
        shop.stripe.close_dispute(&dispute, won).unwrap();
        shop.stripe.until_delivered().await;
        assert_eq!(shop.balance(&key).await, left, "{attempt}");
    }
    let rows = shop.world.history(&user(&key)).await;
    assert_eq!(rows.iter().filter(|row| row["type"] == "dispute").count(), 4);
    let books = shop.world.operate("GET", "/admin/v1/books", &json!({})).await;
    assert_eq!(books["balanced"], true, "{books}");
    shop.close().await;
}

#[tokio::test]
async fn a_dispute_that_is_told_before_its_purchase_ends_the_same() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    let order = shop.order(&key, "attempt-0123456789", "10").await;
    shop.stripe.webhooks(WebhookMode::Hold);
    shop.stripe.pay(&order.session, Card::Disputed).unwrap();
    // The gateway has not seen the payment yet: the dispute names nothing else.
    shop.stripe.webhooks(WebhookMode::Normal);
    shop.stripe.release_webhooks(true);
    shop.stripe.until_delivered().await;
    assert_eq!(shop.balance(&key).await, 0);
    shop.close().await;
}

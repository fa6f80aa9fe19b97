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

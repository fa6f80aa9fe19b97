//! kill -9 between any two steps of fulfilment, and of a top-up: no money is lost, and none is doubled.

use std::net::Ipv4Addr;
use std::time::Duration;

use opencredits_loadtest::ports::free_address;
use opencredits_loadtest::stripe::{Card, Stripe, WebhookMode};

use super::top_up::{buyer, shown, spend};
use super::{Desk, Order, WEBHOOK_SECRET, selling, user};
use crate::operate::process::{Process, Settings, run};
use crate::operate::{Site, until};

const USERS: usize = 3;
const ROUNDS: u64 = 8;

/// A Stripe that goes on asking at the same address after each start of the gateway.
async fn open() -> (Site, Stripe, Settings) {
    let local = (Ipv4Addr::LOCALHOST, 0);
    let stripe = Stripe::start(local.into(), WEBHOOK_SECRET).await.unwrap();
    let address = free_address().unwrap().to_string();
    let site = Site::new().await;
    let mut own = selling(&stripe).to_vec();
    own.push(("LISTEN", address.clone()));
    let own: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let settings = site.settings(&own);
    stripe.send_webhooks_to(&format!("http://{address}/stripe/webhook"));
    (site, stripe, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn purchases_survive_kill_9_exactly_once() {
    let (_site, stripe, settings) = open().await;
    stripe.webhooks(WebhookMode::Repeat(2));

    let mut gateway = Process::serve(&settings).await;
    let desk = Desk::new(&gateway.client).await;
    let mut buyers: Vec<(String, Vec<Order>)> = Vec::new();
    for user in 0..USERS {
        buyers.push((desk.log_in(&format!("u{user}@example.com")).await, Vec::new()));
    }
    for round in 0..ROUNDS {
        for (user, (key, orders)) in buyers.iter_mut().enumerate() {
            let order = desk.order(key, &format!("attempt-{user:0>4}-{round:0>4}"), "10").await;
            stripe.pay(&order.session, Card::Good).unwrap();
            orders.push(order);
        }
        // Each time a little later on the way from the webhook to the balance.
        tokio::time::sleep(Duration::from_millis(round * 2)).await;
        gateway.kill();
        gateway = Process::serve(&settings).await;
    }
    stripe.until_delivered().await;
    for (key, orders) in &buyers {
        for order in orders {
            until(async || desk.state(order).await["status"] == "paid").await;
        }
        let bought = 1_000_000_000 * i64::try_from(orders.len()).unwrap();
        assert_eq!(desk.balance(key).await, bought);
    }
    let books = run(&["books"], &settings).await;
    assert!(books.status.success(), "{books:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_ups_survive_kill_9_exactly_once() {
    let (_site, stripe, settings) = open().await;
    let mut gateway = Process::serve(&settings).await;
    let desk = Desk::new(&gateway.client).await;
    let mut keys = Vec::new();
    for round in 0..ROUNDS {
        stripe.webhooks(WebhookMode::Normal);
        let email = format!("u{round}@example.com");
        let key = buyer(&desk, &stripe, &email, Card::Good, "5").await.key;
        until(async || shown(&desk, &key).await["on"] == true).await;
        // Half of the charges are told to the next process by nobody.
        let lost = round % 2 == 0;
        stripe.webhooks(if lost { WebhookMode::Drop } else { WebhookMode::Repeat(2) });
        assert_eq!(spend(&desk, &key).await, 200);
        // Each time a little later on the way from the last request to the balance.
        tokio::time::sleep(Duration::from_millis(round * 2)).await;
        gateway.kill();
        gateway = Process::serve(&settings).await;
        keys.push(key);
    }
    for key in &keys {
        until(async || {
            // A wish to be woken that died with its process comes again with the next request.
            spend(&desk, key).await;
            shown(&desk, key).await["charged_this_month"] == 5.0
                && desk
                    .client
                    .history(&user(key))
                    .await
                    .iter()
                    .filter(|r| r["type"] == "purchase")
                    .count()
                    == 2
        })
        .await;
        let balance = desk.balance(key).await;
        assert!((900_000_000..1_000_000_000).contains(&balance), "{balance}");
    }
    stripe.until_delivered().await;
    assert_eq!(stripe.saved_payments().len(), keys.len());
    let books = run(&["books"], &settings).await;
    assert!(books.status.success(), "{books:?}");
}

//! kill -9 between any two steps of fulfilment: no purchase is lost, and none is doubled.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use opencredits_loadtest::stripe::{Card, Stripe, WebhookMode};

use super::{Desk, Order, WEBHOOK_SECRET, selling};
use crate::operate::process::{Process, run};
use crate::operate::{Site, until};

const USERS: usize = 3;
const ROUNDS: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn purchases_survive_kill_9_exactly_once() {
    let local = (Ipv4Addr::LOCALHOST, 0);
    let stripe = Stripe::start(local.into(), WEBHOOK_SECRET).await.unwrap();
    // Stripe goes on asking at the same address after each start.
    let address = TcpListener::bind(local).unwrap().local_addr().unwrap().to_string();
    let site = Site::new().await;
    let mut own = selling(&stripe).map(|(name, value)| (name, value)).to_vec();
    own.push(("LISTEN", address.clone()));
    let own: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let settings = site.settings(&own);
    stripe.send_webhooks_to(&format!("http://{address}/stripe/webhook"));
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

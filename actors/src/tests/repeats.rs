//! What is asked again, late or while the store is down: one charge, one answer, no refund.

use std::sync::Arc;

use opencredits_schema::{Command, Timestamp};

use super::{ACCOUNT, LONG, balance, checkpoint, grant, late, over_all, place, settle, start};
use crate::{Done, MemoryStore, Store, System};

/// Asks for a request's end; what it was told that it costs.
async fn told(system: &System, command: Command) -> i64 {
    let done = system.ask(ACCOUNT, command).await.unwrap().done;
    let Done::Settled(outcome) = done else { panic!("{done:?}") };
    outcome.total().micro()
}

/// Every lease ends.
fn expire(system: &System) {
    system.sweep(Timestamp::from_millis(i64::MAX));
}

#[tokio::test]
async fn a_correction_is_answered_with_the_whole_charge_each_time() {
    over_all(async |store| {
        let system = start(store, 1).await;
        system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
        system.ask(ACCOUNT, place(1, 50)).await.unwrap();
        system.checkpoint(checkpoint(1, 1, Some(30)));
        expire(&system);
        assert_eq!(told(&system, late(1, 40)).await, 40);
        assert_eq!(told(&system, late(1, 40)).await, 40);
        // The next incarnation has to ask the store.
        system.panic_account(ACCOUNT);
        assert_eq!(told(&system, late(1, 40)).await, 40);
        assert_eq!(balance(&system, ACCOUNT).await, (60, 0));
        system
    })
    .await;
}

#[tokio::test]
async fn a_charge_after_a_release_comes_once_though_the_account_forgets_it() {
    over_all(async |store| {
        let system = start(store, 1).await;
        system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
        system.ask(ACCOUNT, place(1, 50)).await.unwrap();
        expire(&system);
        assert_eq!(told(&system, settle(1, 10)).await, 11);
        system.panic_account(ACCOUNT);
        assert_eq!(told(&system, settle(1, 10)).await, 11);
        assert_eq!(balance(&system, ACCOUNT).await, (89, 0));
        system
    })
    .await;
}

#[tokio::test]
async fn a_repeat_is_answered_when_the_first_is_durable() {
    let store = Arc::new(MemoryStore::default());
    let system = Arc::new(start(Arc::clone(&store) as Arc<dyn Store>, 1).await);
    system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
    system.ask(ACCOUNT, place(1, 50)).await.unwrap();
    store.fail(true);
    let asks: Vec<_> = (0..2)
        .map(|_| {
            let system = Arc::clone(&system);
            tokio::spawn(async move { told(&system, settle(1, 10)).await })
        })
        .collect();
    while system.journal().healthy {
        tokio::task::yield_now().await;
    }
    // The account's view stands behind both asks in its mailbox.
    assert_eq!(balance(&system, ACCOUNT).await, (89, 0));
    tokio::task::yield_now().await;
    assert!(asks.iter().all(|ask| !ask.is_finished()));
    store.fail(false);
    for ask in asks {
        assert_eq!(ask.await.unwrap(), 11);
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_failed_while_the_store_was_down_ends_its_leases_by_itself() {
    let store = Arc::new(MemoryStore::default());
    let system = start(Arc::clone(&store) as Arc<dyn Store>, 1).await;
    system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
    system.ask(ACCOUNT, place(1, 50)).await.unwrap();
    system.checkpoint(checkpoint(1, 1, Some(30)));
    system.settled(ACCOUNT).await;
    store.fail(true);
    system.panic_account(ACCOUNT);
    tokio::time::sleep(LONG).await;
    store.fail(false);
    // Nobody asks; the sweeper finds it.
    expire(&system);
    tokio::time::sleep(LONG).await;
    expire(&system);
    tokio::time::sleep(LONG).await;
    let head = store.load(ACCOUNT).await.unwrap().unwrap().head;
    assert_eq!(head.balance.micro(), 70);
}

#[tokio::test]
async fn a_hold_counts_until_its_settlement_is_durable() {
    let store = Arc::new(MemoryStore::default());
    let system = Arc::new(start(Arc::clone(&store) as Arc<dyn Store>, 1).await);
    system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
    system.ask(ACCOUNT, settle(1, 30)).await.unwrap();
    // The next incarnation does not know that 1 is settled.
    system.panic_account(ACCOUNT);
    system.ask(ACCOUNT, place(2, 60)).await.unwrap();
    store.fail(true);
    let ask = |command| {
        let system = Arc::clone(&system);
        tokio::spawn(async move { told(&system, command).await })
    };
    let (repeat, behind) = (ask(settle(1, 30)), ask(settle(2, 50)));
    while system.journal().waiting < 2 {
        tokio::task::yield_now().await;
    }
    // What stands behind the repeat is dropped with it, and nobody asks again.
    behind.abort();
    store.fail(false);
    assert_eq!(repeat.await.unwrap(), 33);
    assert_eq!(balance(&system, ACCOUNT).await, (67, 60));
    assert!(system.ask(ACCOUNT, place(3, 10)).await.is_err());
    assert_eq!(told(&system, settle(2, 50)).await, 55);
    assert_eq!(balance(&system, ACCOUNT).await, (12, 0));
}

#[tokio::test(start_paused = true)]
async fn a_settlement_outlasts_a_store_that_cannot_be_read() {
    let store = Arc::new(MemoryStore::default());
    let system = Arc::new(start(Arc::clone(&store) as Arc<dyn Store>, 1).await);
    system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
    system.ask(ACCOUNT, place(1, 50)).await.unwrap();
    store.fail(true);
    system.panic_account(ACCOUNT);
    assert!(system.ask(ACCOUNT, settle(1, 10)).await.is_err());
    let asker = Arc::clone(&system);
    let asking = tokio::spawn(async move { asker.insist(ACCOUNT, settle(1, 10)).await });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(!asking.is_finished());
    store.fail(false);
    asking.await.unwrap().unwrap();
    assert_eq!(balance(&system, ACCOUNT).await, (89, 0));
}

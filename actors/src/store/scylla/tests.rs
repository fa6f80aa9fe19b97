//! What only a cluster shows: fencing by epoch, lost answers, copies that a crash left out, outages.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opencredits_schema::{Account, AccountId, Timestamp, UsageQuery};
use tokio::task::JoinSet;

use super::flush::{Flush, Flushed, Item};
use super::*;
use crate::store::{Rejected, Rejection, Write};
use crate::tests::cql_server::{self, Way};
use crate::tests::stores::{settle, step};
use crate::tests::{ACCOUNT, PARTNER, checkpoint, cluster, grant, partner};

/// Two stores of one keyspace, as two nodes have them, and an account that the first one made.
async fn two_nodes() -> (ScyllaStore, ScyllaStore) {
    let settings = cluster::settings().await;
    let first = ScyllaStore::connect(settings.clone()).await.unwrap();
    let second = ScyllaSettings { owner: settings.owner + 1, ..settings };
    let second = ScyllaStore::connect(second).await.unwrap();
    first.put_partner(partner()).await.unwrap();
    first.create_account(ACCOUNT, None, Timestamp::default()).await.unwrap();
    (first, second)
}

async fn balanced(store: ScyllaStore) {
    assert_eq!(store.audit().await.unwrap().differences, Vec::<String>::new());
    cluster::give_back(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_owner_is_refused_and_leaves_nothing() {
    let (old, new) = two_nodes().await;
    let mut account = Account::new(ACCOUNT);
    old.load(ACCOUNT).await.unwrap().unwrap();
    let first = vec![step(&mut account, &grant("g", 100))];
    assert_eq!(old.commit(Arc::new(first)).await, Ok(vec![]));
    // The old owner stands still while the account is taken; nothing is written before it goes on.
    let taken = new.load(ACCOUNT).await.unwrap().unwrap();
    let stale = vec![step(&mut account, &settle(1, 10)), step(&mut account, &settle(2, 10))];
    let fenced = Ok(vec![Rejected { index: 0, why: Rejection::Fenced }]);
    assert_eq!(old.commit(Arc::new(stale.clone())).await, fenced);
    assert_eq!(new.history(ACCOUNT, 9, 0).await.unwrap().0.len(), 1);
    // Its entries are decided again by the new owner, under their request ids.
    let mut account = Account::load(taken.head, taken.recent);
    let again = vec![step(&mut account, &settle(2, 10)), step(&mut account, &settle(1, 10))];
    assert_eq!(new.commit(Arc::new(again)).await, Ok(vec![]));
    assert_eq!(old.commit(Arc::new(stale)).await, fenced);
    assert_eq!(new.head(ACCOUNT).await.unwrap().unwrap().seq, 3);
    balanced(new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_an_account_takes_it_from_nobody() {
    let (owner, other) = two_nodes().await;
    let mut account = Account::new(ACCOUNT);
    owner.load(ACCOUNT).await.unwrap().unwrap();
    let first = vec![step(&mut account, &grant("g", 100))];
    assert_eq!(owner.commit(Arc::new(first)).await, Ok(vec![]));
    assert_eq!(other.head(ACCOUNT).await.unwrap().as_ref(), Some(account.head()));
    other.history(ACCOUNT, 9, 0).await.unwrap();
    other.audit().await.unwrap();
    let second = vec![step(&mut account, &settle(1, 10))];
    assert_eq!(owner.commit(Arc::new(second)).await, Ok(vec![]));
    balanced(owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_answer_was_lost_is_known_by_its_entries() {
    let (store, _) = two_nodes().await;
    let mut account = Account::new(ACCOUNT);
    let batch = vec![step(&mut account, &grant("g", 100)), step(&mut account, &settle(1, 10))];
    store.inner.db.lose.store(1, Ordering::Relaxed);
    assert_eq!(store.commit(Arc::new(batch)).await, Ok(vec![]));
    assert_eq!(store.inner.db.lose.load(Ordering::Relaxed), 0);
    assert_eq!(&store.load(ACCOUNT).await.unwrap().unwrap().head, account.head());
    // So many lost answers that the commit itself is unknown: the journal gives it again.
    let batch = Arc::new(vec![step(&mut account, &settle(2, 10))]);
    store.inner.db.lose.store(1, Ordering::Relaxed);
    assert_eq!(store.commit(Arc::clone(&batch)).await, Ok(vec![]));
    assert_eq!(store.commit(batch).await, Ok(vec![]));
    assert_eq!(store.history(ACCOUNT, 9, 0).await.unwrap().0.len(), 3);
    balanced(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_former_owner_is_still_known() {
    let (old, new) = two_nodes().await;
    let mut account = Account::new(ACCOUNT);
    let batch = Arc::new(vec![step(&mut account, &grant("g", 100))]);
    assert_eq!(old.commit(Arc::clone(&batch)).await, Ok(vec![]));
    let taken = new.load(ACCOUNT).await.unwrap().unwrap();
    let mut next = Account::load(taken.head, taken.recent);
    assert_eq!(new.commit(Arc::new(vec![step(&mut next, &settle(1, 10))])).await, Ok(vec![]));
    // What the old one was not told of is durable all the same.
    old.inner.accounts.forget(ACCOUNT);
    assert_eq!(old.commit(batch).await, Ok(vec![]));
    balanced(new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_a_crash_left_out_are_made_by_the_next_owner() {
    let (crashed, next) = two_nodes().await;
    let mut account = Account::new(ACCOUNT);
    let mut batch = vec![step(&mut account, &grant("g", 1000))];
    batch.extend((1..=20).map(|request| step(&mut account, &settle(request, 10))));
    assert_eq!(crashed.commit(Arc::new(batch)).await, Ok(vec![]));
    drop(crashed);
    // Before anybody takes the account its history is whole, and its partner has nothing yet.
    assert_eq!(next.history(ACCOUNT, 50, 0).await.unwrap().0.len(), 21);
    assert_eq!(next.partner_balance(PARTNER).await.unwrap().earned.micro(), 0);
    next.load(ACCOUNT).await.unwrap().unwrap();
    assert_eq!(next.partner_balance(PARTNER).await.unwrap().earned.micro(), 20);
    let all = UsageQuery { limit: 99, ..Default::default() };
    assert_eq!(next.partner_usage(PARTNER, all).await.unwrap().len(), 20);
    let days = next.earnings(PARTNER, None, None).await.unwrap();
    assert_eq!(days.iter().map(|day| day.requests).sum::<u64>(), 20);
    balanced(next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_are_right_when_an_account_goes_to_and_fro() {
    let (one, two) = two_nodes().await;
    let mut request = 0;
    for round in 0..4 {
        let store = if round % 2 == 0 { &one } else { &two };
        let loaded = store.load(ACCOUNT).await.unwrap().unwrap();
        let mut account = Account::load(loaded.head, loaded.recent);
        let mut batch = vec![step(&mut account, &grant(&round.to_string(), 1000))];
        for _ in 0..5 {
            request += 1;
            batch.push(step(&mut account, &settle(request, 10)));
        }
        assert_eq!(store.commit(Arc::new(batch)).await, Ok(vec![]));
        if round != 1 {
            store.partner_balance(PARTNER).await.unwrap();
        }
    }
    let days = one.earnings(PARTNER, None, None).await.unwrap();
    assert_eq!(days.iter().map(|day| day.requests).sum::<u64>(), 20);
    assert_eq!(one.partner_balance(PARTNER).await.unwrap().earned.micro(), 20);
    balanced(one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_that_an_earlier_ownership_leaves_late_are_not_believed() {
    let (one, two) = two_nodes().await;
    let mut sums = None;
    for (round, store) in [&one, &two, &one].into_iter().enumerate() {
        let loaded = store.load(ACCOUNT).await.unwrap().unwrap();
        if let Some(sums) = sums.take().filter(|_| round == 2) {
            // A round of copies that began before the account was lost ends only now.
            one.inner.copies.sums.insert(ACCOUNT, sums);
        }
        let mut account = Account::load(loaded.head, loaded.recent);
        // The second batch notes that the first one is copied.
        for part in 0..2 {
            let request = u128::try_from(2 * round + part).unwrap();
            let batch = [grant(&request.to_string(), 100), settle(request, 10)];
            let batch = batch.map(|command| step(&mut account, &command)).to_vec();
            assert_eq!(store.commit(Arc::new(batch)).await, Ok(vec![]));
            store.inner.copy_now().await.unwrap();
        }
        sums = sums.or_else(|| one.inner.copies.sums.get(&ACCOUNT).map(|sums| sums.clone()));
    }
    let days = one.earnings(PARTNER, None, None).await.unwrap();
    assert_eq!(days.iter().map(|day| day.requests).sum::<u64>(), 6);
    balanced(one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accounts_partition_keeps_a_bounded_tail() {
    let (store, _) = two_nodes().await;
    let mut account = Account::new(ACCOUNT);
    for round in 0..12u128 {
        let batch: Vec<_> =
            (1..=100).map(|n| step(&mut account, &settle(round * 100 + n, 0))).collect();
        assert_eq!(store.commit(Arc::new(batch)).await, Ok(vec![]));
        store.inner.copy_now().await.unwrap();
    }
    let values = (ACCOUNT.column(), 0_i64, i64::MAX);
    let tail: Vec<(i64, i64, String)> =
        store.inner.db.all(&store.inner.db.cql.tail, values).await.unwrap();
    assert!(tail.len() < 400, "{} events in the account's partition", tail.len());
    assert_eq!(store.history(ACCOUNT, 2000, 0).await.unwrap().0.len(), 1200);
    balanced(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_whose_settlement_crashed_before_its_delete_is_no_open_one() {
    let (crashed, next) = two_nodes().await;
    let mut account = Account::new(ACCOUNT);
    let batch = vec![
        Arc::new(Write::Checkpoint(checkpoint(1, 1, None))),
        step(&mut account, &settle(2, 0)),
    ];
    assert_eq!(crashed.commit(Arc::new(batch)).await, Ok(vec![]));
    assert_eq!(next.unfinished().await, Ok(vec![ACCOUNT]));
    // The settlement is durable; the delete is what the crash left out.
    let item = Item::of(&step(&mut account, &settle(1, 0))).unwrap().unwrap();
    let flush = Flush {
        db: &crashed.inner.db,
        accounts: &crashed.inner.accounts,
        owner: crashed.inner.owner,
    };
    assert!(matches!(flush.events(ACCOUNT, &[item]).await, Ok(Flushed::All)));
    assert_eq!(next.unfinished().await, Ok(vec![]));
    assert!(next.load(ACCOUNT).await.unwrap().unwrap().checkpoints.is_empty());
    crashed.inner.copy_now().await.unwrap();
    balanced(next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_finds_what_was_tampered_with() {
    let (store, _) = two_nodes().await;
    let mut account = Account::new(ACCOUNT);
    let batch = vec![
        step(&mut account, &grant("g", 1000)),
        step(&mut account, &settle(1, 100)),
        step(&mut account, &settle(2, 100)),
    ];
    store.commit(Arc::new(batch)).await.unwrap();
    let audit = async || store.audit().await.unwrap().differences;
    assert_eq!(audit().await, Vec::<String>::new());
    let id = ACCOUNT.column();
    let partner = PARTNER.column();
    let earned = format!(
        "UPDATE partner_earned USING TIMESTAMP 3 SET earned = 99 \
                          WHERE partner = {partner} AND bucket = 1 AND account = {id}"
    );
    let day = format!(
        "UPDATE partner_days USING TIMESTAMP 3 SET share = 99 \
                       WHERE partner = {partner} AND day = 0 AND account = {id} \
                       AND model = 'openai/gpt-4o'"
    );
    let balance = format!("UPDATE accounts SET balance = 1 WHERE account = {id}");
    let lost = format!("DELETE FROM accounts WHERE account = {id} AND part = 0 AND seq = 2");
    let tamperings =
        [(earned, "earned 0.000099"), (day, "its days sum to"), (balance, "balance 0.000001")];
    for (tampering, told) in tamperings {
        store.query(&tampering).await;
        let found = audit().await;
        assert!(found.iter().any(|found| found.contains(told)), "{tampering}: {found:?}");
    }
    store.query(&lost).await;
    store
        .query(&format!("DELETE FROM history WHERE account = {id} AND bucket = 0 AND seq = 2"))
        .await;
    assert!(audit().await.iter().any(|found| found.contains("follows a gap")));
    assert!(matches!(store.history(ACCOUNT, 9, 0).await, Err(StoreError::Corrupt(_))));
    cluster::give_back(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_migrate_at_once_run_each_migration_once() {
    let settings = cluster::new_keyspace();
    let missing = ScyllaStore::connect(settings.clone()).await.map(|_| ());
    let Err(StoreError::Conflict(why)) = missing else { panic!("{missing:?}") };
    assert!(why.contains("opencredits migrate"), "{why}");
    let mut race = JoinSet::new();
    for node in 0..3 {
        let settings = ScyllaSettings { owner: settings.owner + node, ..settings.clone() };
        race.spawn(async move { ScyllaStore::migrate(&settings).await.unwrap() });
    }
    let run: usize = race.join_all().await.into_iter().sum();
    assert_eq!(run, opencredits_schema::CQL_MIGRATIONS.len());
    assert_eq!(ScyllaStore::migrate(&settings).await, Ok(0));
    let store = ScyllaStore::connect(settings.clone()).await.unwrap();
    store.query("INSERT INTO migrations (number) VALUES (99) IF NOT EXISTS").await;
    let newer = ScyllaStore::connect(settings).await.map(|_| ());
    assert!(matches!(newer, Err(StoreError::Corrupt(_))), "{newer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_the_clusters_own_affair() {
    let (store, _) = two_nodes().await;
    let Err(StoreError::Conflict(why)) = store.backup("x".into()).await else { panic!("a backup") };
    assert!(why.contains("nodetool snapshot"), "{why}");
    cluster::give_back(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_cut_off_comes_back_by_itself() {
    comes_back_from(Way::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_did_not_answer_comes_back_by_itself() {
    comes_back_from(Way::Stalled).await;
}

async fn comes_back_from(away: Way) {
    let settings = cluster::settings().await;
    let (way, told) = tokio::sync::watch::channel(Way::Open);
    let nodes = vec![cql_server::network(settings.nodes[0].clone(), told).await];
    let store = ScyllaStore::connect(ScyllaSettings { nodes, ..settings }).await.unwrap();
    store.create_account(ACCOUNT, None, Timestamp::default()).await.unwrap();
    let mut account = Account::new(ACCOUNT);
    let batch = vec![step(&mut account, &grant("g", 100))];
    assert_eq!(store.commit(Arc::new(batch)).await, Ok(vec![]));
    way.send(away).unwrap();
    let batch = Arc::new(vec![step(&mut account, &settle(1, 10))]);
    let lost = tokio::time::timeout(Duration::from_secs(60), store.commit(Arc::clone(&batch)));
    assert!(matches!(lost.await.unwrap(), Err(StoreError::Unavailable(_))));
    assert!(matches!(store.check().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.load(ACCOUNT).await, Err(StoreError::Unavailable(_))));
    way.send(Way::Open).unwrap();
    let back = async {
        while store.commit(Arc::clone(&batch)).await != Ok(vec![]) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), back).await.unwrap();
    assert_eq!(&store.load(ACCOUNT).await.unwrap().unwrap().head, account.head());
    let nobody = AccountId::new(404);
    assert_eq!(store.head(nobody).await, Ok(None));
    cluster::give_back(store).await;
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_unavailable() {
    let nodes = vec!["127.0.0.1:1".to_owned()];
    let settings = ScyllaSettings {
        nodes,
        keyspace: "nowhere".to_owned(),
        owner: 1,
        copy_after: Duration::from_secs(1),
    };
    let away = ScyllaStore::connect(settings).await.map(|_| ());
    assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
}

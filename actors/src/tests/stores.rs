//! What every store must do, asked of the store itself: each story once, told over all of them.

use std::path::Path;
use std::sync::Arc;

use opencredits_schema::{
    Account, AccountId, Credits, Document, DocumentKind, Event, Head, Key, KeyId, KeyUse, Partner,
    PartnerId, RequestId, SettledBy, UsageQuery,
};

use super::{ACCOUNT, KEY, PARTNER, charged, checkpoint, cluster, grant, partner};
use crate::store::Rejection;
use crate::{
    MemoryStore, Once, Payout, PayoutOutcome, Rejected, SqliteStore, Store, StoreError, Write,
};
use opencredits_schema::{Command, Timestamp};

/// A store to tell stories over, and what goes away with it.
pub(super) enum Ground {
    Memory(Arc<MemoryStore>),
    Sqlite(
        Arc<SqliteStore>,
        #[expect(dead_code, reason = "deleted when dropped")] tempfile::TempDir,
    ),
    Scylla(Arc<crate::ScyllaStore>),
}

impl Ground {
    pub(super) fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    pub(super) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("t.db"), "a test").unwrap();
        Self::Sqlite(Arc::new(store), folder)
    }

    pub(super) async fn scylla() -> Self {
        let settings = cluster::settings().await;
        Self::Scylla(Arc::new(crate::ScyllaStore::connect(settings).await.unwrap()))
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => Arc::clone(store) as Arc<dyn Store>,
            Self::Sqlite(store, _) => Arc::clone(store) as Arc<dyn Store>,
            Self::Scylla(store) => Arc::clone(store) as Arc<dyn Store>,
        }
    }

    /// Ends with balanced books.
    pub(super) async fn end(self) {
        let books = self.store().audit().await.unwrap();
        assert_eq!(books.differences, Vec::<String>::new());
        if let Self::Scylla(store) = self
            && let Some(store) = Arc::into_inner(store)
        {
            cluster::give_back(store).await;
        }
    }
}

async fn tell<F: Future<Output = ()>>(ground: Ground, story: impl FnOnce(Arc<dyn Store>) -> F) {
    let store = ground.store();
    store.put_partner(partner()).await.unwrap();
    store.create_account(ACCOUNT, None, Timestamp::default()).await.unwrap();
    story(store).await;
    ground.end().await;
}

/// Each story is a test of its own over each store.
macro_rules! over_all_stores {
    ($($story:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::tell(super::Ground::memory(), super::$story).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::tell(super::Ground::sqlite(), super::$story).await;
            })*
        }

        mod scylla {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::tell(super::Ground::scylla().await, super::$story).await;
            })*
        }
    };
}

over_all_stores! {
    a_batch_can_be_given_again
    a_batch_that_goes_on_from_a_known_one_is_written_from_there
    a_writer_that_lost_the_account_is_fenced_off
    an_event_that_leaves_a_gap_is_fenced_off
    an_account_that_is_not_there_takes_no_events
    a_duplicate_stops_its_account_and_keeps_what_stood_before
    a_duplicate_stops_no_other_account
    a_duplicate_of_a_corrected_request_tells_its_whole_charge
    money_of_one_source_comes_in_once
    twice_the_same_request_in_one_batch_is_written_once
    a_settlement_from_a_checkpoint_is_remembered_until_it_is_corrected
    a_checkpoint_behind_its_settlement_is_not_kept
    the_newest_checkpoint_stands_until_its_request_ends
    a_thousand_events_are_shown_newest_first_at_every_offset
    two_hundred_accounts_are_written_at_once
    a_partner_earns_the_sum_of_its_shares
    requests_of_a_partner_are_shown_by_time_and_model
    requests_of_a_partner_are_all_there_however_many_were_committed_together
    a_payout_is_booked_once_and_never_above_what_is_payable
    an_idempotency_key_has_one_first_use
    a_key_is_found_until_it_is_revoked_and_then_too
    the_latest_use_of_a_key_is_kept_whatever_order_it_is_told_in
    a_partner_is_found_by_its_keys_and_keeps_its_money
    a_document_is_written_by_whoever_read_its_latest_version
    documents_come_due_in_order
    an_account_is_found_by_its_mail_address
    a_mail_address_belongs_to_whoever_was_first
}

/// The next event of an account, decided and applied.
pub(crate) fn step(account: &mut Account, command: &Command) -> Arc<Write> {
    let event = account.decide(command).unwrap();
    account.apply(&event);
    Arc::new(Write::Event { event, head: account.head().clone(), forget: true })
}

pub(crate) fn settle(request: u128, cost: i64) -> Command {
    Command::Settle {
        charged: charged(request, cost, 1),
        by: SettledBy::Request,
        at: Timestamp::from_millis(1),
    }
}

async fn the_latest_use_of_a_key_is_kept_whatever_order_it_is_told_in(store: Arc<dyn Store>) {
    let key = Key {
        id: KeyId::new(7),
        hash: [7; 32],
        account: ACCOUNT,
        partner: PARTNER,
        checkout: true,
        rate_limit: None,
        spend_limit: None,
        expires_at: None,
        revoked_at: None,
        created: Timestamp::default(),
        last_use: None,
    };
    store.put_key(key.clone()).await.unwrap();
    let used = |at| KeyUse { at: Timestamp::from_millis(at), origin: Some(format!("o{at}")) };
    for at in [5, 9, 7] {
        store.use_key(key.id, used(at)).await.unwrap();
    }
    store.use_key(KeyId::new(8), used(5)).await.unwrap();
    store.revoke_key(key.id, Timestamp::from_millis(8)).await.unwrap();
    let revoked_at = Some(Timestamp::from_millis(8));
    let expected = Key { last_use: Some(used(9)), revoked_at, ..key };
    assert_eq!(store.key_by_hash([7; 32]).await.unwrap(), Some(expected.clone()));
    assert_eq!(store.keys_of(ACCOUNT).await.unwrap(), [expected]);
}

async fn a_batch_can_be_given_again(store: Arc<dyn Store>) {
    let mut account = Account::new(ACCOUNT);
    let batch = Arc::new(vec![
        step(&mut account, &grant("g", 100)),
        Arc::new(Write::Checkpoint(checkpoint(1, 1, Some(3)))),
        step(&mut account, &settle(1, 10)),
    ]);
    assert_eq!(store.commit(Arc::clone(&batch)).await, Ok(vec![]));
    assert_eq!(store.commit(batch).await, Ok(vec![]));
    let loaded = store.load(ACCOUNT).await.unwrap().unwrap();
    assert_eq!(&loaded.head, account.head());
    assert_eq!(loaded.checkpoints, vec![]);
    assert_eq!(store.history(ACCOUNT, 50, 0).await.unwrap().0.len(), 2);
    let usage = store.partner_usage(PARTNER, UsageQuery { limit: 9, ..Default::default() });
    assert_eq!(usage.await.unwrap().len(), 1);
}

async fn a_writer_that_lost_the_account_is_fenced_off(store: Arc<dyn Store>) {
    let mut winner = Account::new(ACCOUNT);
    let mut loser = Account::new(ACCOUNT);
    let won = vec![step(&mut winner, &grant("a", 100)), step(&mut winner, &settle(1, 10))];
    assert_eq!(store.commit(Arc::new(won)).await, Ok(vec![]));
    let lost = vec![step(&mut loser, &grant("b", 5)), step(&mut loser, &settle(2, 1))];
    let fenced = vec![Rejected { index: 0, why: Rejection::Fenced }];
    assert_eq!(store.commit(Arc::new(lost)).await, Ok(fenced));
    let loaded = store.load(ACCOUNT).await.unwrap().unwrap();
    assert_eq!(&loaded.head, winner.head());
}

async fn a_duplicate_stops_its_account_and_keeps_what_stood_before(store: Arc<dyn Store>) {
    let mut account = Account::new(ACCOUNT);
    let first = vec![step(&mut account, &grant("a", 100)), step(&mut account, &settle(1, 10))];
    assert_eq!(store.commit(Arc::new(first)).await, Ok(vec![]));
    // An incarnation that has forgotten request 1.
    let mut forgetful = Account::load(account.head().clone(), []);
    let good = step(&mut forgetful, &settle(2, 10));
    let kept: Head = forgetful.head().clone();
    let batch =
        vec![good, step(&mut forgetful, &settle(1, 10)), step(&mut forgetful, &settle(3, 10))];
    let rejected = store.commit(Arc::new(batch)).await.unwrap();
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].index, 1);
    let Rejection::Duplicate(Some(outcome)) = rejected[0].why else { panic!("{rejected:?}") };
    assert_eq!(outcome.request, RequestId::new(1));
    assert_eq!(store.load(ACCOUNT).await.unwrap().unwrap().head, kept);
}

async fn a_checkpoint_behind_its_settlement_is_not_kept(store: Arc<dyn Store>) {
    let mut account = Account::new(ACCOUNT);
    let batch = vec![
        step(&mut account, &settle(1, 0)),
        Arc::new(Write::Checkpoint(checkpoint(1, 1, None))),
    ];
    assert_eq!(store.commit(Arc::new(batch)).await, Ok(vec![]));
    assert!(store.unfinished().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_audit_finds_a_balance_that_its_events_do_not_make() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    let mut account = Account::new(ACCOUNT);
    {
        let store = SqliteStore::open(&path, "a test").unwrap();
        store.put_partner(partner()).await.unwrap();
        store.create_account(ACCOUNT, None, Timestamp::default()).await.unwrap();
        let batch = vec![step(&mut account, &grant("a", 100)), step(&mut account, &settle(1, 10))];
        store.commit(Arc::new(batch)).await.unwrap();
    }
    let tamper = |sql: &str| {
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        SqliteStore::audit_file(&path).unwrap().differences.len()
    };
    assert_eq!(tamper("SELECT 1"), 0);
    assert_eq!(tamper("UPDATE accounts SET balance = balance + 1"), 2);
    assert_eq!(tamper("UPDATE accounts SET balance = balance - 1"), 0);
    assert_eq!(tamper("UPDATE partners SET earned = earned + 1"), 1);
    assert!(tamper("DELETE FROM events WHERE seq = 2") > 2);
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    let store = SqliteStore::open(&path, "127.0.0.1:8080").unwrap();
    let second = SqliteStore::open(&path, "127.0.0.1:9090").map(|_| ());
    let Err(StoreError::Conflict(why)) = second else { panic!("{second:?}") };
    assert!(
        why.contains("127.0.0.1:8080") && why.contains(&std::process::id().to_string()),
        "{why}"
    );
    assert!(SqliteStore::migrate(&path, "a test").is_err());
    drop(store);
    assert_eq!(SqliteStore::migrate(&path, "a test"), Ok(0));
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    drop(SqliteStore::open(&path, "a test").unwrap());
    let sql = "PRAGMA user_version = 99";
    rusqlite::Connection::open(Path::new(&path)).unwrap().execute_batch(sql).unwrap();
    assert!(matches!(SqliteStore::open(&path, "a test"), Err(StoreError::Corrupt(_))));
    // Neither is it audited by what it may mean no more, nor copied.
    let copy = folder.path().join("copy.db");
    assert!(matches!(SqliteStore::audit_file(&path), Err(StoreError::Corrupt(_))));
    assert!(matches!(SqliteStore::backup_file(&path, &copy), Err(StoreError::Corrupt(_))));
    assert!(!copy.exists());
}

#[tokio::test]
async fn events_survive_the_text_that_stores_keep() {
    let mut account = Account::new(ACCOUNT);
    let write = step(&mut account, &settle(u128::MAX, 10));
    let Write::Event { event, .. } = write.as_ref() else { panic!("no event") };
    let text = serde_json::to_string(event).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), *event);
}

async fn a_document_is_written_by_whoever_read_its_latest_version(store: Arc<dyn Store>) {
    let document = |version: u64, due: i64, body: &str| Document {
        kind: DocumentKind::Order,
        id: "o".to_owned(),
        version,
        name: Some("pi_1".to_owned()),
        due: Some(Timestamp::from_millis(due)),
        body: body.to_owned(),
    };
    assert!(store.put_document(document(0, 5, "a")).await.unwrap());
    assert!(!store.put_document(document(0, 5, "b")).await.unwrap());
    assert!(store.put_document(document(1, 7, "c")).await.unwrap());
    assert!(!store.put_document(document(1, 7, "d")).await.unwrap());
    let kind = DocumentKind::Order;
    let found = store.document(kind, "o".to_owned()).await.unwrap();
    assert_eq!(found, Some(document(2, 7, "c")));
    assert_eq!(store.document_named(kind, "pi_1".to_owned()).await.unwrap(), found);
    assert_eq!(store.document(DocumentKind::Login, "o".to_owned()).await.unwrap(), None);
    let at = Timestamp::from_millis;
    assert_eq!(store.due_documents(kind, at(7), 9).await.unwrap(), vec![]);
    assert_eq!(store.due_documents(kind, at(8), 9).await.unwrap().len(), 1);
    assert_eq!(store.forget_documents(kind, at(7)).await.unwrap(), 0);
    assert_eq!(store.forget_documents(kind, at(8)).await.unwrap(), 1);
    assert_eq!(store.document(kind, "o".to_owned()).await.unwrap(), None);
}

async fn an_account_is_found_by_its_mail_address(store: Arc<dyn Store>) {
    let (first, second) = (AccountId::new(8), AccountId::new(9));
    let email = || Some("a@example.com".to_owned());
    let at = Timestamp::default();
    store.create_account(first, email(), at).await.unwrap();
    store.create_account(first, email(), at).await.unwrap();
    let taken = store.create_account(second, email(), at).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    assert_eq!(store.account_by_email("a@example.com".to_owned()).await, Ok(Some(first)));
    assert_eq!(store.account_by_email("b@example.com".to_owned()).await, Ok(None));
    assert_eq!(store.email_of(first).await, Ok(email()));
    assert_eq!(store.email_of(ACCOUNT).await, Ok(None));
}

/// A settlement by the last checkpoint of a request.
pub(crate) fn settle_by_checkpoint(request: u128, cost: i64) -> Command {
    Command::Settle {
        charged: charged(request, cost, 1),
        by: SettledBy::Checkpoint,
        at: Timestamp::from_millis(2),
    }
}

async fn a_batch_that_goes_on_from_a_known_one_is_written_from_there(store: Arc<dyn Store>) {
    let mut account = Account::new(ACCOUNT);
    let mut writes = vec![step(&mut account, &grant("g", 100)), step(&mut account, &settle(1, 10))];
    assert_eq!(store.commit(Arc::new(writes.clone())).await, Ok(vec![]));
    writes.push(step(&mut account, &settle(2, 10)));
    assert_eq!(store.commit(Arc::new(writes)).await, Ok(vec![]));
    assert_eq!(&store.load(ACCOUNT).await.unwrap().unwrap().head, account.head());
    assert_eq!(store.head(ACCOUNT).await.unwrap().as_ref(), Some(account.head()));
    let more = vec![step(&mut account, &settle(3, 10))];
    assert_eq!(store.commit(Arc::new(more)).await, Ok(vec![]));
    assert_eq!(store.history(ACCOUNT, 9, 0).await.unwrap().0.len(), 4);
}

async fn an_event_that_leaves_a_gap_is_fenced_off(store: Arc<dyn Store>) {
    let mut account = Account::new(ACCOUNT);
    let first = step(&mut account, &grant("g", 100));
    step(&mut account, &settle(1, 10));
    let third = step(&mut account, &settle(2, 10));
    let rejected = store.commit(Arc::new(vec![first, third])).await;
    assert_eq!(rejected, Ok(vec![Rejected { index: 1, why: Rejection::Fenced }]));
    assert_eq!(store.load(ACCOUNT).await.unwrap().unwrap().head.seq, 1);
}

async fn an_account_that_is_not_there_takes_no_events(store: Arc<dyn Store>) {
    let nobody = AccountId::new(404);
    let mut account = Account::new(nobody);
    let rejected = store.commit(Arc::new(vec![step(&mut account, &grant("g", 100))])).await;
    assert_eq!(rejected, Ok(vec![Rejected { index: 0, why: Rejection::Fenced }]));
    assert!(store.load(nobody).await.unwrap().is_none());
    assert_eq!(store.head(nobody).await, Ok(None));
    assert_eq!(store.history(nobody, 9, 0).await, Ok((vec![], false)));
}

async fn a_duplicate_stops_no_other_account(store: Arc<dyn Store>) {
    let other = AccountId::new(77);
    store.create_account(other, None, Timestamp::default()).await.unwrap();
    let mut account = Account::new(ACCOUNT);
    let first = vec![step(&mut account, &settle(1, 10))];
    assert_eq!(store.commit(Arc::new(first)).await, Ok(vec![]));
    let mut forgetful = Account::load(account.head().clone(), []);
    let mut bystander = Account::new(other);
    let batch = vec![
        step(&mut bystander, &grant("b", 100)),
        step(&mut forgetful, &settle(1, 10)),
        step(&mut bystander, &settle(5, 10)),
        step(&mut forgetful, &settle(6, 10)),
        step(&mut bystander, &settle(7, 10)),
    ];
    let rejected = store.commit(Arc::new(batch)).await.unwrap();
    assert_eq!(rejected.iter().map(|r| r.index).collect::<Vec<_>>(), [1]);
    assert_eq!(&store.load(other).await.unwrap().unwrap().head, bystander.head());
    assert_eq!(&store.load(ACCOUNT).await.unwrap().unwrap().head, account.head());
}

async fn a_duplicate_of_a_corrected_request_tells_its_whole_charge(store: Arc<dyn Store>) {
    let mut account = Account::new(ACCOUNT);
    let batch = vec![
        step(&mut account, &grant("g", 100)),
        step(&mut account, &settle_by_checkpoint(1, 10)),
        step(&mut account, &settle(1, 20)),
    ];
    assert_eq!(store.commit(Arc::new(batch)).await, Ok(vec![]));
    // An incarnation that has forgotten both.
    let mut forgetful = Account::load(account.head().clone(), []);
    let batch = vec![step(&mut forgetful, &settle(1, 20))];
    let rejected = store.commit(Arc::new(batch)).await.unwrap();
    let [Rejected { index: 0, why: Rejection::Duplicate(Some(outcome)) }] = &rejected[..] else {
        panic!("{rejected:?}")
    };
    assert_eq!(outcome.total().micro(), 21);
}

async fn money_of_one_source_comes_in_once(store: Arc<dyn Store>) {
    let mut account = Account::new(ACCOUNT);
    let first = vec![step(&mut account, &grant("g", 100))];
    assert_eq!(store.commit(Arc::new(first)).await, Ok(vec![]));
    // An incarnation that does not know of the grant, at the same number of events.
    let mut forgetful: Head = account.head().clone();
    forgetful.lots.clear();
    forgetful.balance = Credits::ZERO;
    let mut forgetful = Account::load(forgetful, []);
    let rejected = store.commit(Arc::new(vec![step(&mut forgetful, &grant("g", 100))])).await;
    assert_eq!(rejected, Ok(vec![Rejected { index: 0, why: Rejection::Duplicate(None) }]));
    assert_eq!(&store.load(ACCOUNT).await.unwrap().unwrap().head, account.head());
}

async fn twice_the_same_request_in_one_batch_is_written_once(store: Arc<dyn Store>) {
    let mut account = Account::new(ACCOUNT);
    let first = step(&mut account, &settle(1, 10));
    let kept = account.head().clone();
    let mut forgetful = Account::load(kept.clone(), []);
    let again = step(&mut forgetful, &settle(1, 10));
    let rejected = store.commit(Arc::new(vec![first, again])).await.unwrap();
    let [Rejected { index: 1, why: Rejection::Duplicate(Some(outcome)) }] = &rejected[..] else {
        panic!("{rejected:?}")
    };
    assert_eq!(outcome.request, RequestId::new(1));
    assert_eq!(store.load(ACCOUNT).await.unwrap().unwrap().head, kept);
}

async fn a_settlement_from_a_checkpoint_is_remembered_until_it_is_corrected(store: Arc<dyn Store>) {
    let mut account = Account::new(ACCOUNT);
    let batch = vec![
        step(&mut account, &grant("g", 100)),
        step(&mut account, &settle_by_checkpoint(1, 10)),
        step(&mut account, &settle(2, 10)),
        step(&mut account, &settle_by_checkpoint(3, 10)),
    ];
    assert_eq!(store.commit(Arc::new(batch)).await, Ok(vec![]));
    let recent = |loaded: crate::Loaded| {
        loaded.recent.iter().map(|outcome| outcome.request.bits()).collect::<Vec<_>>()
    };
    let loaded = store.load(ACCOUNT).await.unwrap().unwrap();
    assert_eq!(recent(loaded.clone()), [1, 3]);
    let mut next = Account::load(loaded.head, loaded.recent);
    let corrected = vec![step(&mut next, &settle(1, 15))];
    assert_eq!(store.commit(Arc::new(corrected)).await, Ok(vec![]));
    assert_eq!(recent(store.load(ACCOUNT).await.unwrap().unwrap()), [3]);
}

async fn the_newest_checkpoint_stands_until_its_request_ends(store: Arc<dyn Store>) {
    let numbered = |number: u64, cost: i64| {
        let mut checkpoint = checkpoint(1, 9, Some(cost));
        checkpoint.number = number;
        Arc::new(Write::Checkpoint(checkpoint))
    };
    let costs = async || {
        let loaded = store.load(ACCOUNT).await.unwrap().unwrap();
        let costs = loaded.checkpoints.into_iter().map(|c| c.charged.unwrap().cost.micro());
        costs.collect::<Vec<_>>()
    };
    store.commit(Arc::new(vec![numbered(2, 20)])).await.unwrap();
    assert_eq!(costs().await, [20]);
    // Late ones, written again by whoever did not know whether they had been.
    store.commit(Arc::new(vec![numbered(1, 10)])).await.unwrap();
    assert_eq!(costs().await, [20]);
    store.commit(Arc::new(vec![numbered(3, 30), numbered(4, 40)])).await.unwrap();
    assert_eq!(costs().await, [40]);
    assert_eq!(store.unfinished().await.unwrap(), [ACCOUNT]);
    let released = Write::Forget { account: ACCOUNT, request: RequestId::new(1) };
    store.commit(Arc::new(vec![Arc::new(released)])).await.unwrap();
    assert!(costs().await.is_empty());
    assert!(store.unfinished().await.unwrap().is_empty());
}

async fn a_thousand_events_are_shown_newest_first_at_every_offset(store: Arc<dyn Store>) {
    const EVENTS: u64 = 1000;
    let mut account = Account::new(ACCOUNT);
    let mut batch = vec![step(&mut account, &grant("g", 1_000_000))];
    for request in 1..u128::from(EVENTS) {
        batch.push(step(&mut account, &settle(request, 10)));
    }
    // In uneven parts, so that batches begin and end anywhere.
    for part in batch.chunks(337) {
        assert_eq!(store.commit(Arc::new(part.to_vec())).await, Ok(vec![]));
        store.partner_balance(PARTNER).await.unwrap();
    }
    assert_eq!(&store.load(ACCOUNT).await.unwrap().unwrap().head, account.head());
    for (limit, offset) in [(1, 0), (100, 0), (50, 437), (100, 900), (100, 950), (7, 999)] {
        let (rows, more) = store.history(ACCOUNT, limit, offset).await.unwrap();
        let newest = EVENTS - u64::try_from(offset).unwrap();
        let oldest = newest.saturating_sub(u64::try_from(limit).unwrap()) + 1;
        let expected: Vec<_> = (oldest..=newest).rev().collect();
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), expected);
        assert_eq!(more, oldest > 1, "limit {limit}, offset {offset}");
    }
    assert_eq!(store.history(ACCOUNT, 9, 1000).await, Ok((vec![], false)));
    let earned = store.partner_balance(PARTNER).await.unwrap().earned;
    assert_eq!(earned.micro(), i64::try_from(EVENTS).unwrap() - 1);
}

async fn two_hundred_accounts_are_written_at_once(store: Arc<dyn Store>) {
    let mut accounts: Vec<_> = (0..200).map(|n| Account::new(AccountId::new(1000 + n))).collect();
    for account in &accounts {
        store.create_account(account.head().id, None, Timestamp::default()).await.unwrap();
    }
    let mut batch = Vec::new();
    for round in 0..3u128 {
        for (account, number) in accounts.iter_mut().zip(1u128..) {
            let source = format!("{number}-{round}");
            batch.push(step(account, &grant(&source, 100)));
            batch.push(step(account, &settle(number * 10 + round, 10)));
        }
    }
    assert_eq!(store.commit(Arc::new(batch)).await, Ok(vec![]));
    for account in &accounts {
        let loaded = store.load(account.head().id).await.unwrap().unwrap();
        assert_eq!(&loaded.head, account.head());
    }
    assert_eq!(store.partner_balance(PARTNER).await.unwrap().earned.micro(), 600);
}

async fn a_partner_earns_the_sum_of_its_shares(store: Arc<dyn Store>) {
    let second = AccountId::new(78);
    store.create_account(second, None, Timestamp::default()).await.unwrap();
    let day = |day: i64| Timestamp::from_millis(day * 86_400_000 + 5);
    let settle = |request, share, at| Command::Settle {
        charged: charged(request, 100, share),
        by: SettledBy::Request,
        at,
    };
    let (mut one, mut two) = (Account::new(ACCOUNT), Account::new(second));
    let batch = vec![
        step(&mut one, &grant("a", 10_000)),
        step(&mut one, &settle(1, 5, day(3))),
        step(&mut two, &grant("b", 10_000)),
        step(&mut two, &settle(2, 7, day(3))),
    ];
    store.commit(Arc::new(batch)).await.unwrap();
    assert_eq!(store.partner_balance(PARTNER).await.unwrap().earned.micro(), 12);
    let batch =
        vec![step(&mut one, &settle(3, 11, day(3))), step(&mut one, &settle(4, 13, day(4)))];
    store.commit(Arc::clone(&Arc::new(batch))).await.unwrap();
    assert_eq!(store.partner_balance(PARTNER).await.unwrap().earned.micro(), 36);
    let earnings = async |from: Option<Timestamp>, to: Option<Timestamp>| {
        let rows = store.earnings(PARTNER, from, to).await.unwrap().into_iter();
        let row = |row: opencredits_schema::EarningsRow| {
            (row.day, row.requests, row.cost.micro(), row.share.micro())
        };
        rows.map(row).filter(|row| row.1 > 0).collect::<Vec<_>>()
    };
    let (third, fourth) = ((3, 3, 300, 23), (4, 1, 100, 13));
    assert_eq!(earnings(None, None).await, [third, fourth]);
    assert_eq!(earnings(Some(day(4)), None).await, [fourth]);
    assert_eq!(earnings(None, Some(Timestamp::from_millis(4 * 86_400_000))).await, [third]);
}

async fn requests_of_a_partner_are_shown_by_time_and_model(store: Arc<dyn Store>) {
    const HOUR: i64 = 3_600_000;
    let request = |hour: i64, low: u128| u128::try_from(hour * HOUR).unwrap() << 80 | low;
    let settle = |hour, low, model: &str| {
        let mut charged = charged(request(hour, low), 10, 1);
        charged.model = model.into();
        let at = Timestamp::from_millis(hour * HOUR);
        Command::Settle { charged, by: SettledBy::Request, at }
    };
    let mut account = Account::new(ACCOUNT);
    let batch = vec![
        step(&mut account, &settle(10, 1, "a/x")),
        step(&mut account, &settle(10, 2, "a/y")),
        step(&mut account, &settle(12, 1, "a/x")),
        step(&mut account, &settle(500, 1, "a/x")),
    ];
    store.commit(Arc::new(batch)).await.unwrap();
    let ask = async |query: UsageQuery| {
        let rows = store.partner_usage(PARTNER, query).await.unwrap();
        rows.iter().map(|row| row.seq).collect::<Vec<_>>()
    };
    let all = UsageQuery { limit: 9, ..Default::default() };
    assert_eq!(ask(all.clone()).await, [4, 3, 2, 1]);
    assert_eq!(ask(UsageQuery { limit: 2, ..all.clone() }).await, [4, 3]);
    let after = Some(RequestId::new(request(12, 1)));
    assert_eq!(ask(UsageQuery { after, ..all.clone() }).await, [2, 1]);
    let from = Some(Timestamp::from_millis(12 * HOUR));
    assert_eq!(ask(UsageQuery { from, ..all.clone() }).await, [4, 3]);
    assert_eq!(ask(UsageQuery { to: from, ..all.clone() }).await, [2, 1]);
    let model = Some("a/x".to_owned());
    assert_eq!(ask(UsageQuery { model, limit: 2, ..all }).await, [4, 3]);
}

async fn requests_of_a_partner_are_all_there_however_many_were_committed_together(
    store: Arc<dyn Store>,
) {
    let mut account = Account::new(ACCOUNT);
    let mut settle = |request: u128| {
        let at = Timestamp::from_millis(1);
        let charged = charged(1 << 80 | request, 10, 1);
        step(&mut account, &Command::Settle { charged, by: SettledBy::Request, at })
    };
    // They end in another order than they began.
    let requests: Vec<u128> = (0..150).map(|place| place * 7 % 150 + 1).collect();
    let batch = requests.iter().map(|request| settle(*request)).collect();
    assert_eq!(store.commit(Arc::new(batch)).await, Ok(vec![]));
    let query = UsageQuery { limit: 1_000, ..Default::default() };
    let rows = store.partner_usage(PARTNER, query).await.unwrap();
    let mut expected: Vec<_> = requests.iter().zip(1..).collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let expected: Vec<u64> = expected.into_iter().map(|(_, seq)| seq).collect();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), expected);
}

async fn a_payout_is_booked_once_and_never_above_what_is_payable(store: Arc<dyn Store>) {
    let mut account = Account::new(ACCOUNT);
    let settled = Command::Settle {
        charged: charged(1, 100, 10),
        by: SettledBy::Request,
        at: Timestamp::from_millis(1),
    };
    let batch = vec![step(&mut account, &grant("g", 1000)), step(&mut account, &settled)];
    store.commit(Arc::new(batch)).await.unwrap();
    let payout = |entry: String| Payout {
        entry,
        partner: PARTNER,
        credits: Credits::from_micro(6),
        reference: "r".to_owned(),
        at: Timestamp::default(),
    };
    let left = PayoutOutcome::Done(Credits::from_micro(4));
    let race = (0..8).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.payout(payout(n.to_string())).await.unwrap() })
    });
    let mut done = Vec::new();
    for (entry, racer) in race.collect::<Vec<_>>().into_iter().enumerate() {
        match racer.await.unwrap() {
            PayoutOutcome::Done(payable) => done.push((entry, payable)),
            PayoutOutcome::TooMuch(payable) => assert!(payable.micro() <= 4, "{payable}"),
        }
    }
    let [(entry, payable)] = done[..] else { panic!("{done:?}") };
    assert_eq!(payable.micro(), 4);
    assert_eq!(store.payout(payout(entry.to_string())).await, Ok(left));
    let balance = store.partner_balance(PARTNER).await.unwrap();
    assert_eq!((balance.earned.micro(), balance.paid_out.micro()), (10, 6));
}

async fn an_idempotency_key_has_one_first_use(store: Arc<dyn Store>) {
    let race = (0..8).map(|n: u8| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.once("k".to_owned(), [1; 32], n.to_string()).await })
    });
    let mut first = None;
    let mut repeats = Vec::new();
    for (n, racer) in race.collect::<Vec<_>>().into_iter().enumerate() {
        match racer.await.unwrap().unwrap() {
            Once::First => assert_eq!(first.replace(n.to_string()), None),
            Once::Repeat(answer) => repeats.push(answer),
            Once::Other => panic!("the fields are the same"),
        }
    }
    assert_eq!(repeats, vec![first.unwrap(); 7]);
    let other = store.once("k".to_owned(), [2; 32], String::new()).await;
    assert_eq!(other, Ok(Once::Other));
}

async fn a_key_is_found_until_it_is_revoked_and_then_too(store: Arc<dyn Store>) {
    let key = |id: u64, hash: u8| Key {
        id: KeyId::new(id),
        hash: [hash; 32],
        account: ACCOUNT,
        partner: PARTNER,
        checkout: false,
        rate_limit: None,
        spend_limit: None,
        expires_at: None,
        revoked_at: None,
        created: Timestamp::default(),
        last_use: None,
    };
    store.put_key(key(2, 2)).await.unwrap();
    store.put_key(key(1, 1)).await.unwrap();
    store.put_key(Key { spend_limit: Some(Credits::ZERO), ..key(1, 1) }).await.unwrap();
    assert_eq!(store.key_by_hash([1; 32]).await, Ok(Some(key(1, 1))));
    assert_eq!(store.key_by_hash([9; 32]).await, Ok(None));
    assert_eq!(store.keys_of(ACCOUNT).await, Ok(vec![key(1, 1), key(2, 2)]));
    assert_eq!(store.keys_of(AccountId::new(9)).await, Ok(vec![]));
    let at = Timestamp::from_millis;
    let revoked = Key { revoked_at: Some(at(7)), ..key(1, 1) };
    assert_eq!(store.revoke_key(KeyId::new(1), at(7)).await, Ok(Some(revoked.clone())));
    assert_eq!(store.revoke_key(KeyId::new(1), at(8)).await, Ok(Some(revoked.clone())));
    assert_eq!(store.revoke_key(KEY, at(8)).await, Ok(None));
    assert_eq!(store.key_by_hash([1; 32]).await, Ok(Some(revoked.clone())));
    assert_eq!(store.keys_of(ACCOUNT).await, Ok(vec![revoked, key(2, 2)]));
}

async fn a_partner_is_found_by_its_keys_and_keeps_its_money(store: Arc<dyn Store>) {
    let second = Partner {
        id: PartnerId::new(1),
        publishable_key: "oc_pk_second".to_owned(),
        secret_hash: [2; 32],
        created: Timestamp::from_millis(5),
        ..partner()
    };
    store.put_partner(second.clone()).await.unwrap();
    let mut account = Account::new(ACCOUNT);
    let batch = vec![step(&mut account, &grant("g", 100)), step(&mut account, &settle(1, 10))];
    store.commit(Arc::new(batch)).await.unwrap();
    let renamed = Partner { name: "renamed".to_owned(), ..partner() };
    store.put_partner(renamed.clone()).await.unwrap();
    assert_eq!(store.partners().await, Ok(vec![renamed.clone(), second.clone()]));
    assert_eq!(store.partner(PARTNER).await, Ok(Some(renamed.clone())));
    assert_eq!(store.partner(PartnerId::new(9)).await, Ok(None));
    let by_key = store.partner_by_publishable("oc_pk_test".to_owned()).await;
    assert_eq!(by_key, Ok(Some(renamed)));
    assert_eq!(store.partner_by_secret([2; 32]).await, Ok(Some(second)));
    assert_eq!(store.partner_by_secret([3; 32]).await, Ok(None));
    assert_eq!(store.partner_balance(PARTNER).await.unwrap().earned.micro(), 1);
}

async fn documents_come_due_in_order(store: Arc<dyn Store>) {
    let document = |id: u8, due: Option<i64>| Document {
        kind: DocumentKind::Login,
        id: id.to_string(),
        version: 0,
        name: None,
        due: due.map(Timestamp::from_millis),
        body: "{}".to_owned(),
    };
    for id in 0..40u8 {
        let due = i64::from(id) * 7 % 40;
        assert!(store.put_document(document(id, Some(due))).await.unwrap());
    }
    assert!(store.put_document(document(99, None)).await.unwrap());
    let (kind, at) = (DocumentKind::Login, Timestamp::from_millis);
    let dues = async |before, limit| {
        let found = store.due_documents(kind, at(before), limit).await.unwrap();
        found.iter().filter_map(|d| d.due.map(Timestamp::millis)).collect::<Vec<_>>()
    };
    assert_eq!(dues(30, 5).await, [0, 1, 2, 3, 4]);
    assert_eq!(dues(3, 99).await, [0, 1, 2]);
    // One that was put off, and one that is no longer due.
    let first = store.document(kind, "0".to_owned()).await.unwrap().unwrap();
    assert!(store.put_document(Document { due: Some(at(100)), ..first }).await.unwrap());
    let never = store.due_documents(kind, at(2), 9).await.unwrap().pop().unwrap();
    assert!(store.put_document(Document { due: None, ..never }).await.unwrap());
    assert_eq!(dues(3, 99).await, [2]);
    assert_eq!(store.forget_documents(kind, at(20)).await, Ok(18));
    assert_eq!(dues(22, 99).await, [20, 21]);
    assert!(store.document(kind, "99".to_owned()).await.unwrap().is_some());
    let race = (0..8).map(|n: u8| {
        let store = Arc::clone(&store);
        let body = n.to_string();
        let raced = Document { version: 1, body, ..document(99, None) };
        tokio::spawn(async move { store.put_document(raced).await.unwrap() })
    });
    let mut winners = 0;
    for racer in race.collect::<Vec<_>>() {
        winners += usize::from(racer.await.unwrap());
    }
    assert_eq!(winners, 1);
}

async fn a_mail_address_belongs_to_whoever_was_first(store: Arc<dyn Store>) {
    let race = (0..8).map(|n| {
        let (store, id) = (Arc::clone(&store), AccountId::new(500 + n));
        let email = Some("raced@example.com".to_owned());
        tokio::spawn(
            async move { (id, store.create_account(id, email, Timestamp::default()).await) },
        )
    });
    let mut first = None;
    for racer in race.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            (id, Ok(())) => assert_eq!(first.replace(id), None, "two accounts have one address"),
            (_, Err(StoreError::Conflict(_))) => {}
            (_, Err(error)) => panic!("{error}"),
        }
    }
    assert_eq!(store.account_by_email("raced@example.com".to_owned()).await, Ok(first));
    assert_eq!(store.load(first.unwrap()).await.unwrap().unwrap().head.seq, 0);
}

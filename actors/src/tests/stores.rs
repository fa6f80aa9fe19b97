//! What every store must do, asked of the store itself.

use std::path::Path;
use std::sync::Arc;

use opencredits_schema::{
    Account, AccountId, Document, DocumentKind, Event, Head, Key, KeyId, KeyUse, RequestId,
    SettledBy, UsageQuery,
};

use super::{ACCOUNT, PARTNER, charged, checkpoint, grant, partner};
use crate::store::Rejection;
use crate::{MemoryStore, Rejected, SqliteStore, Store, StoreError, Write};
use opencredits_schema::{Command, Timestamp};

async fn over_both<F: Future<Output = ()>>(story: impl Fn(Arc<dyn Store>) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&folder.path().join("t.db"), "a test").unwrap();
    let stores: [Arc<dyn Store>; 2] = [Arc::new(MemoryStore::default()), Arc::new(sqlite)];
    for store in stores {
        store.put_partner(partner()).await.unwrap();
        store.create_account(ACCOUNT, None, Timestamp::default()).await.unwrap();
        story(store).await;
    }
}

/// The next event of an account, decided and applied.
fn step(account: &mut Account, command: &Command) -> Arc<Write> {
    let event = account.decide(command).unwrap();
    account.apply(&event);
    Arc::new(Write::Event { event, head: account.head().clone(), forget: true })
}

fn settle(request: u128, cost: i64) -> Command {
    Command::Settle {
        charged: charged(request, cost, 1),
        by: SettledBy::Request,
        at: Timestamp::from_millis(1),
    }
}

#[tokio::test]
async fn the_latest_use_of_a_key_is_kept_whatever_order_it_is_told_in() {
    over_both(async |store| {
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
    })
    .await;
}

#[tokio::test]
async fn a_batch_can_be_given_again() {
    over_both(async |store| {
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
        assert_eq!(store.audit().await.unwrap().differences, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_writer_that_lost_the_account_is_fenced_off() {
    over_both(async |store| {
        let mut winner = Account::new(ACCOUNT);
        let mut loser = Account::new(ACCOUNT);
        let won = vec![step(&mut winner, &grant("a", 100)), step(&mut winner, &settle(1, 10))];
        assert_eq!(store.commit(Arc::new(won)).await, Ok(vec![]));
        let lost = vec![step(&mut loser, &grant("b", 5)), step(&mut loser, &settle(2, 1))];
        let fenced = vec![Rejected { index: 0, why: Rejection::Fenced }];
        assert_eq!(store.commit(Arc::new(lost)).await, Ok(fenced));
        let loaded = store.load(ACCOUNT).await.unwrap().unwrap();
        assert_eq!(&loaded.head, winner.head());
    })
    .await;
}

#[tokio::test]
async fn a_duplicate_stops_its_account_and_keeps_what_stood_before() {
    over_both(async |store| {
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
        assert_eq!(store.audit().await.unwrap().differences, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_checkpoint_behind_its_settlement_is_not_kept() {
    over_both(async |store| {
        let mut account = Account::new(ACCOUNT);
        let batch = vec![
            step(&mut account, &settle(1, 0)),
            Arc::new(Write::Checkpoint(checkpoint(1, 1, None))),
        ];
        assert_eq!(store.commit(Arc::new(batch)).await, Ok(vec![]));
        assert!(store.unfinished().await.unwrap().is_empty());
    })
    .await;
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
}

#[tokio::test]
async fn events_survive_the_text_that_stores_keep() {
    let mut account = Account::new(ACCOUNT);
    let write = step(&mut account, &settle(u128::MAX, 10));
    let Write::Event { event, .. } = write.as_ref() else { panic!("no event") };
    let text = serde_json::to_string(event).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), *event);
}

#[tokio::test]
async fn a_document_is_written_by_whoever_read_its_latest_version() {
    over_both(async |store| {
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
    })
    .await;
}

#[tokio::test]
async fn an_account_is_found_by_its_mail_address() {
    over_both(async |store| {
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
    })
    .await;
}

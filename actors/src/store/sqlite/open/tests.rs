//! A database of an older program is migrated, and nothing in it is charged again.

use std::sync::Arc;

use opencredits_schema::{Account, RECENT_MAX, Timestamp};
use rusqlite::params;

use super::*;
use crate::store::sqlite::{accounts, commit, to_text};
use crate::store::{Rejection, Store as _};
use crate::tests::stores::{settle, settle_by_checkpoint, step};
use crate::tests::{ACCOUNT, grant, partner};
use crate::{Rejected, SqliteStore};

/// Requests whose checkpoints were settled; the even ones told their own charge later.
const RECOVERED: std::ops::Range<u128> = 100..400;

/// A database of version 5, in which a request settled and others were recovered.
fn version_5(path: &Path) -> Account {
    let mut old = connect(path, OpenFlags::default()).unwrap();
    for migration in &SQL_MIGRATIONS[..5] {
        old.execute_batch(migration).unwrap();
    }
    old.pragma_update(None, "user_version", 5).unwrap();
    let partner = partner();
    let sql = "INSERT INTO partners (id, publishable, secret_hash, body) VALUES (?1, ?2, ?3, ?4)";
    let (hash, body) = (partner.secret_hash, to_text(&partner).unwrap());
    old.execute(sql, params![partner.id.column(), partner.publishable_key, hash, body]).unwrap();
    accounts::create(&old, ACCOUNT, None, Timestamp::default()).unwrap();
    let mut account = Account::new(ACCOUNT);
    let commands =
        [grant("g", 10_000), settle(7, 10)].into_iter().chain(RECOVERED.flat_map(|at| {
            let itself = at.is_multiple_of(2).then(|| settle(at, 2));
            [settle_by_checkpoint(at, 1)].into_iter().chain(itself)
        }));
    let batch: Vec<_> = commands.map(|command| step(&mut account, &command)).collect();
    assert_eq!(commit::commit(&mut old, 1, &batch), Ok(vec![]));
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'events_by_request'";
    assert_eq!(old.query_row(sql, [], |row| row.get(0)), Ok(1));
    account
}

#[tokio::test]
async fn requests_of_a_database_of_version_5_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    let account = version_5(&path);
    let copy = folder.path().join("copy.db");
    // A backup of a database that no newer program has served yet.
    SqliteStore::backup_file(&path, &copy).unwrap();
    for path in [path, copy] {
        let store = SqliteStore::open(&path, "a test").unwrap();
        for request in [7, 100, 399] {
            let mut forgetful = Account::load(account.head().clone(), []);
            let again = vec![step(&mut forgetful, &settle(request, 5))];
            let refused = store.commit(Arc::new(again)).await.unwrap();
            let [Rejected { index: 0, why: Rejection::Duplicate(Some(outcome)) }] = &*refused
            else {
                panic!("{request}: {refused:?}")
            };
            assert_eq!(outcome.request.bits(), request);
        }
        let loaded = store.load(ACCOUNT).await.unwrap().unwrap();
        assert_eq!(&loaded.head, account.head());
        let uncorrected: Vec<_> = RECOVERED.filter(|at| !at.is_multiple_of(2)).collect();
        let newest = &uncorrected[uncorrected.len() - RECENT_MAX..];
        let recent: Vec<_> = loaded.recent.iter().map(|outcome| outcome.request.bits()).collect();
        assert_eq!(recent, newest);
        let mut next = Account::load(loaded.head, loaded.recent);
        let new = vec![step(&mut next, &settle(399, 9)), step(&mut next, &settle(400, 9))];
        assert_eq!(store.commit(Arc::new(new)).await, Ok(vec![]));
        assert_eq!(store.audit().await.unwrap().differences, Vec::<String>::new());
    }
}

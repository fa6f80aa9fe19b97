//! The log ahead of the database: what was answered is there after any crash, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use opencredits_schema::{Account, Credits, RequestId, Timestamp};
use proptest::prelude::*;
use tempfile::TempDir;

use super::log::{Line, Log, Logged};
use crate::store::sqlite::body::Body;
use crate::store::sqlite::entry::Entry;
use crate::store::{Rejected, Rejection, Store, Write};
use crate::tests::stores::{settle, step};
use crate::tests::{ACCOUNT, checkpoint, grant, partner, place, settings};
use crate::{MemoryStore, SqliteStore, StoreError, System};

/// An open store and its account.
struct Bank {
    folder: TempDir,
    store: SqliteStore,
    account: Account,
}

impl Bank {
    async fn open() -> Self {
        Self::within(tempfile::tempdir().unwrap()).await
    }

    async fn within(folder: TempDir) -> Self {
        let store = SqliteStore::open(&folder.path().join("t.db"), "a test").unwrap();
        store.put_partner(partner()).await.unwrap();
        store.create_account(ACCOUNT, None, Timestamp::default()).await.unwrap();
        let mut bank = Self { folder, store, account: Account::new(ACCOUNT) };
        let granted = step(&mut bank.account, &grant("g", 1000));
        assert_eq!(bank.commit(vec![granted]).await, Ok(vec![]));
        bank
    }

    async fn commit(&self, batch: Vec<Arc<Write>>) -> Result<Vec<Rejected>, StoreError> {
        self.store.commit(Arc::new(batch)).await
    }

    async fn settle(&mut self, request: u128) {
        let write = step(&mut self.account, &settle(request, 1));
        assert_eq!(self.commit(vec![write]).await, Ok(vec![]));
    }

    /// What a kill -9 would leave now.
    fn killed(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for file in ["t.db", "t.db-wal", "t.db-ahead0", "t.db-ahead1"] {
            let from = self.folder.path().join(file);
            if from.exists() {
                fs::copy(from, copy.path().join(file)).unwrap();
            }
        }
        copy
    }
}

async fn seq(folder: &Path) -> u64 {
    let store = SqliteStore::open(&folder.join("t.db"), "a test").unwrap();
    let books = store.audit().await.unwrap();
    assert_eq!(books.differences, Vec::<String>::new());
    store.load(ACCOUNT).await.unwrap().unwrap().head.seq
}

/// The file in which the only generation stands, and its records without the zeros behind them.
fn only_log(folder: &Path) -> (PathBuf, Vec<u8>) {
    let path = folder.join("t.db-ahead1");
    assert_eq!(fs::metadata(folder.join("t.db-ahead0")).unwrap().len(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    (path, bytes)
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_crash_however_often_the_start_crashes() {
    let mut bank = Bank::open().await;
    for request in 1..=5 {
        bank.settle(request).await;
    }
    let left = bank.killed();
    let database = rusqlite::Connection::open(left.path().join("t.db")).unwrap();
    let events = database.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0));
    assert_eq!(events, Ok(0), "nothing was applied yet");
    drop(database);
    for _ in 0..2 {
        assert_eq!(seq(left.path()).await, 6);
    }
    // The log holds no heads.
    let store = SqliteStore::open(&left.path().join("t.db"), "a test").unwrap();
    assert_eq!(store.load(ACCOUNT).await.unwrap().unwrap().head, *bank.account.head());
}

#[test]
fn records_of_the_time_when_heads_stood_in_the_log_are_read() {
    let write = step(&mut Account::new(ACCOUNT), &grant("g", 1000));
    let Write::Event { event, head, .. } = write.as_ref() else { panic!("{write:?}") };
    let record = serde_json::json!({ "Event": { "event": event, "head": head, "forget": true } });
    let read: Logged = serde_json::from_value(record).unwrap();
    let Line::Event { event: Body(same), head, forget: true } = read else { panic!("{read:?}") };
    assert_eq!((&same, head.id, head.seq), (event, ACCOUNT, 1));
}

#[tokio::test]
async fn a_log_whose_database_lacks_events_before_it_is_refused() {
    let mut bank = Bank::open().await;
    let before = bank.killed();
    bank.store.history(ACCOUNT, 10, 0).await.unwrap();
    bank.settle(1).await;
    let left = bank.killed();
    for file in ["t.db", "t.db-wal"] {
        fs::copy(before.path().join(file), left.path().join(file)).unwrap();
    }
    // The generation of the grant is lost from both: its file was written over.
    fs::write(left.path().join("t.db-ahead1"), b"").unwrap();
    let refused = SqliteStore::open(&left.path().join("t.db"), "a test");
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
}

#[tokio::test]
async fn what_readers_see_includes_what_the_database_does_not_hold_yet() {
    let mut bank = Bank::open().await;
    bank.settle(1).await;
    let (rows, _) = bank.store.history(ACCOUNT, 10, 0).await.unwrap();
    assert_eq!(rows.len(), 2);
    bank.settle(2).await;
    assert_eq!(bank.store.load(ACCOUNT).await.unwrap().unwrap().head, *bank.account.head());
    bank.settle(3).await;
    let copy = bank.folder.path().join("copy.db");
    SqliteStore::backup_file(&bank.folder.path().join("t.db"), &copy).unwrap();
    let copied = SqliteStore::open(&copy, "a test").unwrap();
    assert_eq!(copied.load(ACCOUNT).await.unwrap().unwrap().head, *bank.account.head());
}

#[tokio::test]
async fn a_restored_backup_does_not_take_the_log_that_stands_beside_it() {
    let mut bank = Bank::open().await;
    let copy = bank.folder.path().join("copy.db");
    bank.store.backup(copy.clone()).await.unwrap();
    bank.settle(1).await;
    let left = bank.killed();
    fs::remove_file(left.path().join("t.db-wal")).unwrap();
    fs::copy(copy, left.path().join("t.db")).unwrap();
    assert_eq!(seq(left.path()).await, 1);
}

#[tokio::test]
async fn repeats_and_stale_writers_are_refused_while_what_they_repeat_waits() {
    let mut bank = Bank::open().await;
    let mut stale = bank.account.clone();
    bank.settle(1).await;
    let again = step(&mut stale, &settle(2, 5));
    let fenced = Rejected { index: 0, why: Rejection::Fenced };
    assert_eq!(bank.commit(vec![again]).await, Ok(vec![fenced]));
    // The same request by an incarnation that does not know of it.
    let settled_twice = step(&mut bank.account, &settle(2, 1));
    assert_eq!(bank.commit(vec![settled_twice]).await, Ok(vec![]));
    let mut forgetful = Account::load(bank.account.head().clone(), []);
    let second = step(&mut forgetful, &settle(2, 1));
    let refused = bank.commit(vec![second]).await.unwrap();
    let Rejection::Duplicate(Some(outcome)) = refused[0].why else { panic!("{refused:?}") };
    assert_eq!((outcome.request, outcome.cost), (RequestId::new(2), Credits::from_micro(1)));
    bank.settle(3).await;
    drop(bank.store);
    assert_eq!(seq(bank.folder.path()).await, 4);
}

#[tokio::test]
async fn what_the_log_does_not_take_the_database_takes() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["t.db-ahead0", "t.db-ahead1"] {
        std::os::unix::fs::symlink("/dev/full", folder.path().join(file)).unwrap();
    }
    let mut bank = Bank::within(folder).await;
    bank.settle(1).await;
    let database = rusqlite::Connection::open(bank.folder.path().join("t.db")).unwrap();
    let events = database.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0));
    assert_eq!(events, Ok(2));
}

#[tokio::test]
async fn a_log_grows_by_steps_and_records_cross_them() {
    let mut account = Bank::open().await.account;
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("t.db");
    let mut log = Log::open(&database, 7).unwrap();
    log.begin(1);
    let length = || fs::metadata(folder.path().join("t.db-ahead1")).unwrap().len();
    let (mut writes, mut lengths) = (0, vec![length()]);
    while lengths.len() < 4 {
        let batch: Vec<_> =
            (0..100).map(|at| step(&mut account, &settle(writes + at + 1, 1))).collect();
        log.append(&Entry::all(&batch).unwrap()).unwrap();
        writes += 100;
        lengths.push(length());
        lengths.dedup();
    }
    assert_eq!(lengths[1..], [lengths[1], 2 * lengths[1], 3 * lengths[1]]);
    let read = Log::open(&database, 7).unwrap().read(1).unwrap();
    assert_eq!(u128::try_from(read.len()), Ok(writes));
}

#[tokio::test]
async fn growth_spares_the_records_however_long_they_are() {
    let mut account = Bank::open().await.account;
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("t.db");
    let mut log = Log::open(&database, 7).unwrap();
    log.begin(1);
    let mut writes = 0;
    // The second record alone is longer than some steps of the file.
    for length in [1, 24_000, 1, 6_000, 1] {
        let batch: Vec<_> =
            (0..length).map(|at| step(&mut account, &settle(writes + at + 1, 1))).collect();
        log.append(&Entry::all(&batch).unwrap()).unwrap();
        writes += length;
    }
    assert!(fs::metadata(folder.path().join("t.db-ahead1")).unwrap().len() > 4 << 20);
    let read = Log::open(&database, 7).unwrap().read(1).unwrap();
    assert_eq!(u128::try_from(read.len()), Ok(writes));
}

#[tokio::test]
async fn a_checkpoint_that_was_forgotten_does_not_come_back() {
    let bank = Bank::open().await;
    let kept = Arc::new(Write::Checkpoint(checkpoint(7, 1, None)));
    assert_eq!(bank.commit(vec![kept]).await, Ok(vec![]));
    assert_eq!(bank.store.unfinished().await.unwrap(), [ACCOUNT]);
    let forgotten = Arc::new(Write::Forget { account: ACCOUNT, request: RequestId::new(7) });
    assert_eq!(bank.commit(vec![forgotten]).await, Ok(vec![]));
    for left in [bank.killed(), bank.killed()] {
        let store = SqliteStore::open(&left.path().join("t.db"), "a test").unwrap();
        assert!(store.unfinished().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_settlements_and_nothing_else() {
    let bank = Bank::open().await;
    let store = Arc::new(bank.store);
    let system = Arc::new(System::start(Arc::clone(&store) as Arc<_>, settings(1)).await.unwrap());
    system.ask(ACCOUNT, place(1, 10)).await.unwrap();
    let (held, hangs) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let log = store.ahead.runner.clone();
    let disk = std::thread::spawn(move || {
        log.with(|_| {
            held.send(()).unwrap();
            // Not for good: if it held up the accounts' thread, that could not release it.
            released.recv_timeout(Duration::from_secs(10)).ok();
        });
    });
    hangs.recv().unwrap();
    let asking = Arc::clone(&system);
    let settling = tokio::spawn(async move { asking.ask(ACCOUNT, settle(1, 10)).await });
    // This is the thread on which the accounts run here: it is free.
    system.ask(ACCOUNT, place(2, 10)).await.unwrap();
    assert_eq!(system.view(ACCOUNT).await.unwrap().open_holds, 1, "the settlement was decided");
    assert!(!settling.is_finished(), "it is not durable");
    release.send(()).unwrap();
    settling.await.unwrap().unwrap();
    disk.join().unwrap();
}

#[tokio::test]
async fn who_waits_for_a_step_that_panics_is_told_and_so_is_who_comes_later() {
    let mut bank = Bank::open().await;
    bank.settle(1).await;
    let log = bank.store.ahead.runner.clone();
    std::thread::spawn(move || log.with(|_| panic!("a planted panic"))).join().unwrap_err();
    let write = step(&mut bank.account, &settle(2, 1));
    let refused = bank.commit(vec![write]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let unread = bank.store.history(ACCOUNT, 10, 0).await;
    assert!(matches!(unread, Err(StoreError::Unavailable(_))), "{unread:?}");
    let left = bank.killed();
    assert_eq!(seq(left.path()).await, 2);
}

#[test]
fn what_has_gathered_is_applied_although_nobody_asks() {
    let bank = runtime().block_on(Bank::open());
    let database = rusqlite::Connection::open(bank.folder.path().join("t.db")).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let events = || database.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
    while events() == Ok(0_i64) {
        assert!(Instant::now() < end, "still not in the database");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(events(), Ok(1));
}

/// What may happen between two commits, or the request that is settled.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Settle(u128),
    /// By an incarnation that does not know the last event.
    SettleStale(u128),
    Apply,
    Reopen,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (1_u128..9).prop_map(Turn::Settle),
        1 => (1_u128..9).prop_map(Turn::SettleStale),
        2 => Just(Turn::Apply),
        1 => Just(Turn::Reopen),
    ]
}

/// The same turns with a store that looks at everything it has, each time.
async fn same_answers(turns: &[Turn]) {
    let model = MemoryStore::default();
    model.put_partner(partner()).await.unwrap();
    model.create_account(ACCOUNT, None, Timestamp::default()).await.unwrap();
    let mut bank = Bank::open().await;
    let granted = step(&mut Account::new(ACCOUNT), &grant("g", 1000));
    assert_eq!(model.commit(Arc::new(vec![granted])).await, Ok(vec![]));
    let (mut head, mut older) = (bank.account.head().clone(), bank.account.head().clone());
    for turn in turns {
        let (known, request) = match *turn {
            Turn::Settle(request) => (&head, request),
            Turn::SettleStale(request) => (&older, request),
            Turn::Apply => {
                bank.store.history(ACCOUNT, 1, 0).await.unwrap();
                continue;
            }
            Turn::Reopen => {
                let Bank { folder, store, account } = bank;
                drop(store);
                let store = SqliteStore::open(&folder.path().join("t.db"), "a test").unwrap();
                bank = Bank { folder, store, account };
                continue;
            }
        };
        let write = step(&mut Account::load(known.clone(), []), &settle(request, 1));
        let expected = model.commit(Arc::new(vec![Arc::clone(&write)])).await;
        assert_eq!(bank.commit(vec![write]).await, expected, "{turn:?}");
        let next = model.load(ACCOUNT).await.unwrap().unwrap().head;
        older = if next.seq > head.seq { std::mem::replace(&mut head, next) } else { older };
    }
    assert_eq!(bank.store.load(ACCOUNT).await.unwrap().unwrap().head, head);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// What a crash or the disk does to a log from some place on.
#[derive(Clone, Copy, Debug)]
enum Spoiled {
    Cut,
    /// The zeros that stood there still do.
    Unwritten,
    Changed,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// What the log remembers of the database makes no difference to what is taken and refused.
    #[test]
    fn repeats_and_stale_writers_are_refused_whatever_is_applied(
        turns in prop::collection::vec(turn(), 1..24),
    ) {
        runtime().block_on(same_answers(&turns));
    }

    /// A torn or spoiled log gives a prefix of what was appended, whole batches only.
    #[test]
    fn a_spoiled_log_gives_the_batches_before_the_spoiled_one(
        at in 0.0_f64..1.0,
        how in prop::sample::select(&[Spoiled::Cut, Spoiled::Unwritten, Spoiled::Changed][..]),
    ) {
        runtime().block_on(async {
            let mut bank = Bank::open().await;
            let (_, mut bytes) = only_log(bank.folder.path());
            let mut ends = vec![bytes.len()];
            for request in 1..=4 {
                bank.settle(request).await;
                ends.push(only_log(bank.folder.path()).1.len());
            }
            let left = bank.killed();
            bytes = only_log(left.path()).1;
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a small file")]
            let spoiled = (at * bytes.len() as f64) as usize;
            match how {
                Spoiled::Cut => bytes.truncate(spoiled),
                Spoiled::Unwritten => bytes[spoiled..].fill(0),
                Spoiled::Changed => bytes[spoiled] ^= 0x20,
            }
            fs::write(only_log(left.path()).0, &bytes).unwrap();
            let whole = ends.iter().filter(|end| **end <= spoiled).count();
            assert_eq!(seq(left.path()).await, u64::try_from(whole).unwrap());
        });
    }
}

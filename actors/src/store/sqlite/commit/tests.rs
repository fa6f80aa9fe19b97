//! The two ways into the database: what each refuses, and what stands there in the end.

use opencredits_schema::{Account, Credits, Timestamp};
use tempfile::TempDir;

use super::*;
use crate::SqliteStore;
use crate::store::Store as _;
use crate::store::sqlite::open::open_existing;
use crate::tests::stores::{settle, step};
use crate::tests::{ACCOUNT, checkpoint, grant, partner};

/// A database without its log, and its account.
struct Bank {
    folder: TempDir,
    connection: Connection,
    account: Account,
    generation: u64,
}

impl Bank {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let store = SqliteStore::open(&path, "a test").unwrap();
        store.put_partner(partner()).await.unwrap();
        store.create_account(ACCOUNT, None, Timestamp::default()).await.unwrap();
        drop(store);
        let connection = open_existing(&path).unwrap();
        let mut bank = Self { folder, connection, account: Account::new(ACCOUNT), generation: 0 };
        let granted = step(&mut bank.account, &grant("g", 1000));
        assert_eq!(bank.directly(&[granted]), Ok(vec![]));
        bank
    }

    fn directly(&mut self, batch: &[Arc<Write>]) -> Result<Vec<Rejected>, StoreError> {
        self.generation += 1;
        commit(&mut self.connection, self.generation, batch)
    }

    fn as_generation(&mut self, batch: &[Arc<Write>]) -> Result<(), StoreError> {
        self.generation += 1;
        apply(&mut self.connection, self.generation, &Entry::all(batch).unwrap())
    }

    fn settlements(&mut self, requests: impl IntoIterator<Item = u128>) -> Vec<Arc<Write>> {
        requests.into_iter().map(|request| step(&mut self.account, &settle(request, 1))).collect()
    }

    /// A settlement by an incarnation that has forgotten its requests.
    fn forgetful(&self, request: u128, cost: i64) -> Arc<Write> {
        step(&mut Account::load(self.account.head().clone(), []), &settle(request, cost))
    }

    fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    /// Ends with so many events, each of which counts once.
    fn end(self, events: i64) {
        assert_eq!((self.count("events"), self.count("partner_usage")), (events, events - 1));
        let books = SqliteStore::audit_file(&self.folder.path().join("t.db")).unwrap();
        assert_eq!(books.differences, Vec::<String>::new());
    }
}

fn duplicate(rejected: &[Rejected]) -> (usize, RequestId, Credits) {
    let [Rejected { index, why: Rejection::Duplicate(Some(outcome)) }] = rejected else {
        panic!("{rejected:?}")
    };
    (*index, outcome.request, outcome.cost)
}

#[tokio::test]
async fn a_request_that_settles_again_is_told_its_charge() {
    let mut bank = Bank::open().await;
    let first = bank.settlements([7]);
    assert_eq!(bank.directly(&first), Ok(vec![]));
    let again = bank.forgetful(7, 5);
    let told = (0, RequestId::new(7), Credits::from_micro(1));
    assert_eq!(duplicate(&bank.directly(&[again]).unwrap()), told);
    assert_eq!(bank.directly(&first), Ok(vec![]), "the very same batch is no second charge");
    bank.end(2);
}

#[tokio::test]
async fn a_request_that_settles_twice_in_one_batch_is_told_its_charge() {
    let mut bank = Bank::open().await;
    let mut batch = bank.settlements([7, 8]);
    batch.push(bank.forgetful(7, 5));
    let told = (2, RequestId::new(7), Credits::from_micro(1));
    assert_eq!(duplicate(&bank.directly(&batch).unwrap()), told);
    bank.end(3);
}

#[tokio::test]
async fn money_that_comes_twice_in_one_batch_comes_once() {
    let mut bank = Bank::open().await;
    let first = step(&mut bank.account, &grant("h", 5));
    let Write::Event { event, head, .. } = first.as_ref() else { panic!("{first:?}") };
    let mut head = head.clone();
    head.seq += 1;
    let again = Arc::new(Write::Event { event: event.clone(), head, forget: false });
    let rejected = vec![Rejected { index: 1, why: Rejection::Duplicate(None) }];
    assert_eq!(bank.directly(&[first, again]), Ok(rejected));
    assert_eq!((bank.count("events"), bank.count("partner_usage")), (2, 0));
}

#[tokio::test]
async fn a_checkpoint_of_a_request_that_settles_in_its_generation_is_not_kept() {
    for settled_first in [true, false] {
        let mut bank = Bank::open().await;
        let mut batch = bank.settlements([7]);
        let at = usize::from(settled_first);
        batch.insert(at, Arc::new(Write::Checkpoint(checkpoint(7, 1, None))));
        batch.push(Arc::new(Write::Checkpoint(checkpoint(8, 1, None))));
        assert_eq!(bank.as_generation(&batch), Ok(()));
        assert_eq!(bank.count("checkpoints"), 1, "that of the request that still runs");
        let late = Arc::new(Write::Checkpoint(checkpoint(7, 1, None)));
        assert_eq!(bank.as_generation(&[late]), Ok(()));
        assert_eq!(bank.count("checkpoints"), 1);
        bank.end(2);
    }
}

#[tokio::test]
async fn a_checkpoint_that_is_forgotten_in_its_generation_is_kept_only_if_it_comes_again() {
    let mut bank = Bank::open().await;
    let kept = || Arc::new(Write::Checkpoint(checkpoint(7, 1, None)));
    let forgotten = || Arc::new(Write::Forget { account: ACCOUNT, request: RequestId::new(7) });
    assert_eq!(bank.as_generation(&[kept(), forgotten()]), Ok(()));
    assert_eq!(bank.count("checkpoints"), 0);
    assert_eq!(bank.as_generation(&[kept(), forgotten(), kept()]), Ok(()));
    assert_eq!(bank.count("checkpoints"), 1);
}

#[tokio::test]
async fn a_generation_is_there_whole_however_many_rows_stand_in_its_last_statement() {
    let mut events = 1;
    let mut bank = Bank::open().await;
    for settlements in [1, 63, 64, 65, 128, 200] {
        let first = u128::try_from(events).unwrap();
        let batch = bank.settlements(first..first + settlements);
        assert_eq!(bank.as_generation(&batch), Ok(()));
        events += i64::try_from(settlements).unwrap();
        assert_eq!(bank.count("events"), events);
    }
    bank.end(events);
}

#[tokio::test]
async fn a_generation_with_a_request_that_happened_is_refused_whole() {
    for (good, repeated) in [(3, 1), (100, 1), (100, 50)] {
        let mut bank = Bank::open().await;
        let first = bank.settlements([1]);
        assert_eq!(bank.as_generation(&first), Ok(()));
        let before = bank.account.clone();
        let mut batch = bank.settlements(2..good);
        batch.push(bank.forgetful(repeated, 1));
        let refused = bank.as_generation(&batch);
        let Err(StoreError::Corrupt(why)) = &refused else { panic!("{refused:?}") };
        assert!(why.contains("does not fit"), "{why}");
        assert!(bank.connection.is_autocommit());
        // Its number is free, and so are its requests.
        bank.generation -= 1;
        bank.account = before;
        let batch = bank.settlements(2..good);
        assert_eq!(bank.as_generation(&batch), Ok(()));
        bank.end(i64::try_from(good).unwrap());
    }
}

#[tokio::test]
async fn an_audit_finds_a_charge_that_is_in_no_list() {
    let mut bank = Bank::open().await;
    let batch = bank.settlements([1, 2]);
    assert_eq!(bank.as_generation(&batch), Ok(()));
    bank.connection.execute("DELETE FROM partner_usage WHERE seq = 2", []).unwrap();
    let books = SqliteStore::audit_file(&bank.folder.path().join("t.db")).unwrap();
    assert_eq!(books.differences, ["partners' lists hold 1 charges, accounts 2"]);
}

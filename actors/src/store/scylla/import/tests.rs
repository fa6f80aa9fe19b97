//! A move, whatever the file holds and wherever it stops: the same reads on both sides, once.

use std::sync::atomic::Ordering;

use opencredits_schema::{
    Account, AccountId, Charged, Checkpoint, Command, Credits, DisputeStage, Document,
    DocumentKind, Event, Hold, Key, KeyId, KeyUse, LotKind, Partner, PartnerId, RequestId,
    SettledBy, Timestamp, UsageQuery,
};
use tempfile::TempDir;

use super::*;
use crate::store::{Batch, Once, Payout, PayoutOutcome, Rejected, Rejection, Write};
use crate::tests::stores::step;
use crate::tests::{KEY, PARTNER, charged, cluster, partner};

const OTHER: PartnerId = PartnerId::new(77);
const DAY_MILLIS: i64 = 24 * 3_600_000;

/// A file that a test has filled.
struct File {
    store: Arc<SqliteStore>,
    accounts: Vec<Account>,
    folder: TempDir,
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn credits(&mut self, most: u64) -> Credits {
        Credits::from_micro(self.below(most).cast_signed() + 1)
    }
}

impl File {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("t.db"), "a test").unwrap();
        Self { store: Arc::new(store), accounts: Vec::new(), folder }
    }

    /// A file with some of everything.
    async fn filled(seed: u64, accounts: u64, events: u64) -> Self {
        let mut file = Self::empty();
        let mut dice = Dice(seed);
        let store = Arc::clone(&file.store);
        store.put_partner(partner()).await.unwrap();
        let other = Partner {
            id: OTHER,
            publishable_key: "oc_pk_other".to_owned(),
            secret_hash: [7; 32],
            created: Timestamp::from_millis(9),
            ..partner()
        };
        store.put_partner(other).await.unwrap();
        for number in 1..=accounts {
            // The first one has more events than a page; the last one has none.
            let events = match number {
                1 => 1100,
                _ if number == accounts => 0,
                _ => dice.below(events),
            };
            file.account(AccountId::new(number), events, &mut dice).await;
        }
        file.records(&mut dice).await;
        file
    }

    async fn account(&mut self, id: AccountId, events: u64, dice: &mut Dice) {
        let number = id.number();
        let email = (!number.is_multiple_of(3)).then(|| format!("{number}@example.com"));
        let created = Timestamp::from_millis(number.cast_signed());
        self.store.create_account(id, email, created).await.unwrap();
        let mut account = Account::new(id);
        let mut batch = Vec::new();
        let mut tries = 0;
        while batch.len() < usize::try_from(events).unwrap() {
            tries += 1;
            let command = command(number, tries, events, dice);
            if account.decide(&command).is_ok_and(|event| event.is_durable()) {
                batch.push(step(&mut account, &command));
            }
        }
        for request in 0..number % 3 {
            batch.push(Arc::new(Write::Checkpoint(open(id, number * 10 + request))));
        }
        self.commit(Arc::new(batch)).await;
        let key = key(id, 1000 + number);
        self.store.put_key(key.clone()).await.unwrap();
        if number.is_multiple_of(2) {
            let used = KeyUse { at: Timestamp::from_millis(55), origin: Some("https://a".into()) };
            self.store.use_key(key.id, used).await.unwrap();
        }
        if number.is_multiple_of(4) {
            self.store.revoke_key(key.id, Timestamp::from_millis(66)).await.unwrap();
        }
        self.accounts.push(account);
    }

    async fn commit(&self, batch: Batch) {
        assert_eq!(self.store.commit(batch).await, Ok(vec![]));
    }

    /// What stands beside the accounts.
    async fn records(&self, dice: &mut Dice) {
        let store = &self.store;
        for (entry, partner) in [("one", PARTNER), ("two", PARTNER), ("three", OTHER)] {
            let payable = store.partner_balance(partner).await.unwrap().payable().micro();
            let credits = Credits::from_micro(payable / 3);
            let payout = payout(entry, partner, credits);
            let booked = store.payout(payout).await.unwrap();
            assert!(matches!(booked, PayoutOutcome::Done(_)), "{booked:?}");
        }
        store.keep_prices(vec![("p".to_owned(), "{}".to_owned())]).await.unwrap();
        let answer = "[1]".to_owned();
        store.once("admin:k".to_owned(), [4; 32], answer).await.unwrap();
        for kind in DocumentKind::ALL {
            for id in 0..5 + dice.below(5) {
                let document = Document {
                    kind,
                    id: format!("d{id}"),
                    version: 0,
                    name: (id % 2 == 0).then(|| format!("name {id}")),
                    due: (id % 3 == 0).then(|| Timestamp::from_millis(id.cast_signed())),
                    body: format!("{{\"n\":{id}}}"),
                };
                assert!(store.put_document(document.clone()).await.unwrap());
                for version in 1..1 + id % 3 {
                    let again = Document { version, ..document.clone() };
                    assert!(store.put_document(again).await.unwrap());
                }
            }
        }
    }
}

fn payout(entry: &str, partner: PartnerId, credits: Credits) -> Payout {
    let (entry, reference) = (entry.to_owned(), "bank".to_owned());
    Payout { entry, partner, credits, reference, at: Timestamp::from_millis(5) }
}

fn key(account: AccountId, number: u64) -> Key {
    let mut hash = [3; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    Key {
        id: KeyId::new(number),
        hash,
        account,
        partner: PARTNER,
        checkout: true,
        rate_limit: None,
        spend_limit: Some(Credits::from_micro(5)),
        expires_at: None,
        revoked_at: None,
        created: Timestamp::from_millis(1),
        last_use: None,
    }
}

/// A request id with its time, as the gateway makes them.
fn request(at: Timestamp, account: u64, number: u64) -> RequestId {
    let millis = u128::from(at.millis().cast_unsigned());
    RequestId::new(millis << 80 | u128::from(account) << 32 | u128::from(number))
}

fn open(account: AccountId, number: u64) -> Box<Checkpoint> {
    let request = request(now(), account.number(), 1_000_000 + number);
    Box::new(Checkpoint {
        account,
        hold: Hold {
            request,
            amount: Credits::from_micro(50),
            key: KEY,
            partner: PARTNER,
            expires_at: Timestamp::from_millis(7),
        },
        number: 3,
        node: 1 + number % 2,
        charged: None,
        at: Timestamp::from_millis(1),
    })
}

fn now() -> Timestamp {
    Timestamp::from_millis(super::super::checkpoints::now_micros() / 1000)
}

/// When an account's command of so many is given: over twenty days that end now.
fn when(number: u64, of: u64) -> Timestamp {
    let to_go = of - number % of;
    now().plus_millis(-20 * DAY_MILLIS / of.cast_signed() * to_go.cast_signed())
}

/// The next command of an account.
fn command(account: u64, number: u64, of: u64, dice: &mut Dice) -> Command {
    let at = when(number, of);
    let earlier = 1 + dice.below(number);
    let source = format!("{account}-{earlier}");
    // The same for a request and its correction.
    let day = at.day() * DAY_MILLIS;
    let settle = |charged: Box<Charged>, by| Command::Settle { charged, by, at };
    let charge = |number: u64, dice: &mut Dice| {
        let mut charged = charged(1, dice.credits(3000).micro(), dice.credits(300).micro());
        charged.request = request(Timestamp::from_millis(day), account, number);
        // The key's, which a request and its correction have in common.
        charged.partner = if number.is_multiple_of(3) { OTHER } else { PARTNER };
        charged.model = ["openai/gpt-4o", "xai/grok"][usize::from(dice.below(2) == 0)].into();
        charged
    };
    let receive = |kind, credits| Command::Receive {
        source: format!("{account}-{number}"),
        kind,
        credits,
        reason: "test".to_owned(),
        partner: Some(PARTNER),
        at,
    };
    match number % 10 {
        1 => receive(LotKind::Purchase, Credits::from_micro(9000)),
        2 => receive(LotKind::Grant, Credits::from_micro(700)),
        3 => Command::Refund { source, cumulative: dice.credits(9000), at },
        4 => {
            let stage = [DisputeStage::Opened, DisputeStage::Won, DisputeStage::Lost];
            let stage = stage[usize::try_from(dice.below(3)).unwrap()];
            let (dispute, credits) = (format!("d{source}"), dice.credits(9000));
            Command::Dispute { source, dispute, stage, credits, at }
        }
        5 => settle(charge(number, dice), SettledBy::Checkpoint),
        // The request itself comes late: an adjustment, if that was settled from a checkpoint.
        6 if dice.below(2) == 0 => settle(charge(number - 1, dice), SettledBy::Request),
        _ => settle(charge(number, dice), SettledBy::Request),
    }
}

async fn open_store() -> ScyllaStore {
    ScyllaStore::connect(cluster::settings().await).await.unwrap()
}

async fn fill(store: &ScyllaStore, file: &File) -> Result<MoveEnd, StoreError> {
    store.fill(Arc::clone(&file.store), Arc::default()).await
}

#[track_caller]
fn assert_moved(end: Result<MoveEnd, StoreError>) {
    assert!(matches!(end, Ok(MoveEnd::Moved(_))), "{end:?}");
}

/// Asks both stores whatever a store can be asked.
async fn assert_same(file: &File, keyspace: &ScyllaStore) {
    let (a, b): (&dyn Store, &dyn Store) = (file.store.as_ref(), keyspace);
    for account in &file.accounts {
        let id = account.head().id;
        assert_eq!(a.history(id, 5000, 0).await, b.history(id, 5000, 0).await);
        assert_eq!(a.history(id, 7, 500).await, b.history(id, 7, 500).await);
        assert_eq!(a.head(id).await, b.head(id).await);
        assert_eq!(b.head(id).await.unwrap().as_ref(), Some(account.head()));
        let (mine, theirs) = (a.load(id).await.unwrap(), b.load(id).await.unwrap());
        let (mut mine, mut theirs) = (mine.unwrap(), theirs.unwrap());
        assert_eq!(mine.head, theirs.head);
        assert_eq!(mine.recent, theirs.recent);
        mine.checkpoints.sort_by_key(|checkpoint| checkpoint.hold.request);
        theirs.checkpoints.sort_by_key(|checkpoint| checkpoint.hold.request);
        assert_eq!(mine.checkpoints, theirs.checkpoints);
        assert_eq!(a.keys_of(id).await, b.keys_of(id).await);
        for key in a.keys_of(id).await.unwrap() {
            assert_eq!(a.key_by_hash(key.hash).await, b.key_by_hash(key.hash).await);
        }
        let email = a.email_of(id).await.unwrap();
        assert_eq!(Ok(&email), b.email_of(id).await.as_ref());
        if let Some(email) = email {
            assert_eq!(b.account_by_email(email).await, Ok(Some(id)));
        }
    }
    let sorted = |mut ids: Vec<AccountId>| {
        ids.sort_unstable();
        ids
    };
    assert_eq!(sorted(a.unfinished().await.unwrap()), sorted(b.unfinished().await.unwrap()));
    assert_same_partners(a, b).await;
    assert_same_documents(a, b).await;
    for store in [a, b] {
        assert_eq!(store.once("admin:k".to_owned(), [5; 32], String::new()).await, Ok(Once::Other));
        assert_eq!(
            store.once("admin:k".to_owned(), [4; 32], "new".to_owned()).await,
            Ok(Once::Repeat("[1]".to_owned()))
        );
    }
}

async fn assert_same_partners(a: &dyn Store, b: &dyn Store) {
    assert_eq!(a.partners().await, b.partners().await);
    let all = |limit| UsageQuery { limit, ..UsageQuery::default() };
    for partner in a.partners().await.unwrap() {
        let id = partner.id;
        assert_eq!(a.partner(id).await, b.partner(id).await);
        assert_eq!(b.partner_by_secret(partner.secret_hash).await, Ok(Some(partner.clone())));
        let found = b.partner_by_publishable(partner.publishable_key.clone()).await;
        assert_eq!(found, Ok(Some(partner)));
        assert_eq!(a.partner_balance(id).await, b.partner_balance(id).await);
        assert_eq!(a.partner_usage(id, all(9)).await, b.partner_usage(id, all(9)).await);
        assert_eq!(a.partner_usage(id, all(5000)).await, b.partner_usage(id, all(5000)).await);
        assert_eq!(a.earnings(id, None, None).await, b.earnings(id, None, None).await);
        let week = Some(now().plus_millis(-7 * DAY_MILLIS));
        assert_eq!(a.earnings(id, week, None).await, b.earnings(id, week, None).await);
    }
}

async fn assert_same_documents(a: &dyn Store, b: &dyn Store) {
    for kind in DocumentKind::ALL {
        for id in 0..10 {
            let (id, name) = (format!("d{id}"), format!("name {id}"));
            assert_eq!(a.document(kind, id.clone()).await, b.document(kind, id).await);
            let (mine, theirs) =
                (a.document_named(kind, name.clone()), b.document_named(kind, name));
            assert_eq!(mine.await, theirs.await);
        }
        let due = Timestamp::from_millis(5);
        assert_eq!(a.due_documents(kind, due, 99).await, b.due_documents(kind, due, 99).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_file_holds_is_read_the_same_after_its_move() {
    for seed in 1..=3 {
        let file = File::filled(seed, 12, 60).await;
        let keyspace = open_store().await;
        assert_moved(fill(&keyspace, &file).await);
        assert_same(&file, &keyspace).await;
        assert_eq!(keyspace.audit().await.unwrap().differences, Vec::<String>::new());
        cluster::give_back(keyspace).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_stops_anywhere_goes_on_when_it_is_run_again() {
    let file = File::filled(9, 10, 60).await;
    let settings = cluster::settings().await;
    let mut stops = 0;
    for writes in [0, 1, 2, 5, 17, 60, 150, 300, 500, 700, usize::MAX] {
        let owner = settings.owner + 1 + stops;
        let keyspace =
            ScyllaStore::open(ScyllaSettings { owner, ..settings.clone() }).await.unwrap();
        keyspace.inner.db.writes_left.store(writes, Ordering::Relaxed);
        match fill(&keyspace, &file).await {
            Err(StoreError::Unavailable(_)) => stops += 1,
            end => {
                assert_moved(end);
                break;
            }
        }
        let early = ScyllaStore::connect(settings.clone()).await.map(|_| ());
        let is_begun = writes > 0;
        assert_eq!(matches!(early, Err(StoreError::Conflict(_))), is_begun, "{early:?}");
    }
    assert!(stops >= 6, "{stops}");
    let keyspace = ScyllaStore::connect(settings).await.unwrap();
    assert_same(&file, &keyspace).await;
    let again = fill(&keyspace, &file).await;
    assert!(matches!(again, Ok(MoveEnd::MovedBefore)), "{again:?}");
    // Whoever served the file all the same is not told to drop what is in use.
    file.store.revoke_key(KeyId::new(1001), now()).await.unwrap();
    let refused = fill(&keyspace, &file).await;
    let Err(StoreError::Conflict(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("has ended before") && !why.contains("drop"), "{why}");
    cluster::give_back(keyspace).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_before_a_move_happens_only_once_after_it() {
    let file = File::filled(4, 3, 60).await;
    let keyspace = open_store().await;
    assert_moved(fill(&keyspace, &file).await);
    for account in &file.accounts[..2] {
        let history = file.store.history(account.head().id, 5000, 0).await.unwrap().0;
        for row in history.iter().filter(|row| row.event.at() > now().plus_millis(-7 * DAY_MILLIS))
        {
            let loaded = keyspace.load(account.head().id).await.unwrap().unwrap();
            let (mut head, event) = (loaded.head, row.event.clone());
            head.seq += 1;
            let repeated = Arc::new(Write::Event { event, head, forget: true });
            let refused = keyspace.commit(Arc::new(vec![repeated])).await.unwrap();
            let [Rejected { why: Rejection::Duplicate(outcome), .. }] = &refused[..] else {
                panic!("{refused:?}")
            };
            assert_eq!(
                outcome.is_some(),
                matches!(row.event, Event::Settled(_) | Event::Adjusted(_))
            );
        }
    }
    let again = payout("one", PARTNER, Credits::from_micro(1));
    let before = keyspace.partner_balance(PARTNER).await.unwrap();
    assert!(matches!(keyspace.payout(again).await, Ok(PayoutOutcome::Done(_))));
    assert_eq!(keyspace.partner_balance(PARTNER).await.unwrap(), before);
    // And life goes on.
    let id = file.accounts[0].head().id;
    let loaded = keyspace.load(id).await.unwrap().unwrap();
    let mut account = Account::load(loaded.head, loaded.recent);
    let next = command(1, 1_000_001, 1_000_002, &mut Dice(1));
    assert_eq!(keyspace.commit(Arc::new(vec![step(&mut account, &next)])).await, Ok(vec![]));
    assert_eq!(keyspace.audit().await.unwrap().differences, Vec::<String>::new());
    cluster::give_back(keyspace).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_in_use_takes_no_move() {
    let file = File::filled(5, 2, 9).await;
    let keyspace = open_store().await;
    keyspace.create_account(AccountId::new(99), None, now()).await.unwrap();
    let refused = fill(&keyspace, &file).await;
    let Err(StoreError::Conflict(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("has accounts already"), "{why}");
    assert_eq!(keyspace.audit().await.unwrap().accounts, 1);
    cluster::give_back(keyspace).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_since_its_move_was_interrupted_is_refused() {
    let file = File::filled(6, 3, 9).await;
    let keyspace = open_store().await;
    keyspace.inner.db.writes_left.store(20, Ordering::Relaxed);
    assert!(matches!(fill(&keyspace, &file).await, Err(StoreError::Unavailable(_))));
    keyspace.inner.db.writes_left.store(usize::MAX, Ordering::Relaxed);
    file.store.revoke_key(KeyId::new(1001), now()).await.unwrap();
    let refused = fill(&keyspace, &file).await;
    let Err(StoreError::Conflict(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("the file has changed"), "{why}");
    cluster::give_back(keyspace).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_books_do_not_balance_is_not_moved() {
    let file = File::filled(7, 2, 9).await;
    let path = file.folder.path().join("t.db");
    let sql = "UPDATE accounts SET balance = balance + 1 WHERE id = 1";
    rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap();
    let keyspace = open_store().await;
    let refused = fill(&keyspace, &file).await;
    let Err(StoreError::Conflict(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("do not balance"), "{why}");
    assert_eq!(keyspace.audit().await.unwrap().accounts, 0);
    cluster::give_back(keyspace).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_in_the_end_is_told() {
    let file = File::filled(8, 3, 30).await;
    let keyspace = open_store().await;
    keyspace.inner.begin_move(file.store.digest().await.unwrap()).await.unwrap();
    // Somebody else writes what a move writes.
    let mut stranger = key(AccountId::new(2), 1002);
    stranger.spend_limit = None;
    keyspace.put_key(stranger).await.unwrap();
    keyspace.payout(payout("ghost", PARTNER, Credits::ZERO)).await.unwrap();
    keyspace.create_account(AccountId::new(98), None, now()).await.unwrap();
    let end = fill(&keyspace, &file).await.unwrap();
    let MoveEnd::Differs(differences) = end else { panic!("{end:?}") };
    for told in ["accounts: 3 in the file, 4 moved", "is not the same"] {
        assert!(differences.iter().any(|found| found.contains(told)), "{differences:?}");
    }
    cluster::give_back(keyspace).await;
}

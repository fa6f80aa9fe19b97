//! The actors over every store: nothing lost, nothing doubled, whatever stops or panics.

pub(crate) mod cluster;
pub(crate) mod cql_server;
mod nodes;
mod repeats;
pub(crate) mod stores;

use std::sync::Arc;
use std::time::Duration;

use opencredits_schema::{
    AccountId, Basis, Charged, Checkpoint, Command, Credits, Event, Hold, KeyId, LotKind, Partner,
    PartnerId, PicoUsd, Place, ReferralRate, Refusal, RequestId, SettledBy, Status, Timestamp,
    Usage,
};

use self::stores::Ground;
use crate::{Answer, AskError, Clock, Done, MemoryStore, Settings, Store, System};

pub(crate) const ACCOUNT: AccountId = AccountId::new(1);
pub(crate) const PARTNER: PartnerId = PartnerId::new(2);
pub(crate) const KEY: KeyId = KeyId::new(3);
const LONG: Duration = Duration::from_secs(600);

pub(crate) fn settings(node: u64) -> Settings {
    Settings { hold_lease: LONG, passivate_after: LONG, node, clock: Clock::default() }
}

pub(crate) fn partner() -> Partner {
    Partner {
        id: PARTNER,
        name: "test".to_owned(),
        publishable_key: "oc_pk_test".to_owned(),
        secret_hash: [1; 32],
        referral_rate: ReferralRate::default(),
        allowed_models: None,
        allowed_origins: Vec::new(),
        rate_limit_per_key: None,
        created: Timestamp::default(),
    }
}

async fn start(store: Arc<dyn Store>, accounts: u64) -> System {
    store.put_partner(partner()).await.unwrap();
    let system = System::start(Arc::clone(&store), settings(1)).await.unwrap();
    for number in 1..=accounts {
        store.create_account(AccountId::new(number), None, Timestamp::default()).await.unwrap();
    }
    system
}

pub(crate) fn grant(source: &str, micro: i64) -> Command {
    Command::Receive {
        source: source.to_owned(),
        kind: LotKind::Grant,
        credits: Credits::from_micro(micro),
        reason: String::new(),
        partner: None,
        at: Timestamp::from_millis(5),
    }
}

pub(crate) fn place(request: u128, micro: i64) -> Command {
    Command::Place(Place {
        request: RequestId::new(request),
        key: KEY,
        partner: PARTNER,
        amount: Credits::from_micro(micro),
        least: Credits::from_micro(micro),
        headroom: Credits::ZERO,
        key_limit: None,
        partner_extra: None,
        holds_max: usize::MAX,
        expires_at: Timestamp::from_millis(i64::MAX),
        resumed: false,
    })
}

pub(crate) fn charged(request: u128, cost: i64, share: i64) -> Box<Charged> {
    Box::new(Charged {
        request: RequestId::new(request),
        key: KEY,
        partner: PARTNER,
        model: "openai/gpt-4o".into(),
        price_id: "p".into(),
        rate: ReferralRate::default(),
        usage: Usage { input: 3, ..Usage::default() },
        provider_cost: PicoUsd(cost.saturating_mul(10_000)),
        cost: Credits::from_micro(cost),
        share: Credits::from_micro(share),
        basis: Basis::Provider,
        status: Status::Completed,
    })
}

fn settle(request: u128, cost: i64) -> Command {
    let charged = charged(request, cost, cost / 10);
    Command::Settle { charged, by: SettledBy::Request, at: Timestamp::from_millis(6) }
}

/// A request's own settlement, after its checkpoint was used.
fn late(request: u128, cost: i64) -> Command {
    let charged = charged(request, cost, 0);
    Command::Settle { charged, by: SettledBy::Request, at: Timestamp::from_millis(9) }
}

pub(crate) fn hold(request: u128, micro: i64) -> Hold {
    Hold {
        request: RequestId::new(request),
        amount: Credits::from_micro(micro),
        key: KEY,
        partner: PARTNER,
        expires_at: Timestamp::from_millis(7),
    }
}

pub(crate) fn checkpoint(request: u128, node: u64, cost: Option<i64>) -> Box<Checkpoint> {
    Box::new(Checkpoint {
        account: ACCOUNT,
        hold: hold(request, 50),
        number: 1,
        node,
        charged: cost.map(|cost| charged(request, cost, 0)),
        at: Timestamp::from_millis(1),
    })
}

async fn balance(system: &System, account: AccountId) -> (i64, i64) {
    let view = system.view(account).await.unwrap();
    (view.balance.micro(), view.held.micro())
}

/// How long an ask waits that comes right after so many that are committed together.
async fn wait_behind(writes: u64) -> Duration {
    let system = Arc::new(start(Arc::new(MemoryStore::default()), writes).await);
    for number in 1..=writes {
        system.view(AccountId::new(number)).await.unwrap();
    }
    let mut together = tokio::task::JoinSet::new();
    for number in 1..=writes {
        let system = Arc::clone(&system);
        let grant = grant(&format!("a{number}"), 10);
        together.spawn(async move { system.ask(AccountId::new(number), grant).await });
    }
    for answer in together.join_all().await {
        answer.unwrap();
    }
    let asked = tokio::time::Instant::now();
    system.ask(ACCOUNT, grant("b", 10)).await.unwrap();
    asked.elapsed()
}

#[tokio::test(start_paused = true)]
async fn behind_many_writes_more_gather() {
    assert_eq!(wait_behind(7).await, Duration::ZERO);
    assert_eq!(wait_behind(8).await, Duration::from_millis(1));
}

/// The same story over every store, and balanced books in the end.
async fn over_all<F: Future<Output = System>>(story: impl Fn(Arc<dyn Store>) -> F) {
    for ground in [Ground::memory(), Ground::sqlite(), Ground::scylla().await] {
        let system = story(ground.store()).await;
        assert!(system.stop(LONG).await);
        drop(system);
        ground.end().await;
    }
}

#[tokio::test]
async fn a_settlement_is_durable_when_it_is_answered() {
    over_all(async |store| {
        let system = start(Arc::clone(&store), 1).await;
        system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
        let placed = system.ask(ACCOUNT, place(1, 60)).await.unwrap();
        assert_eq!((placed.balance.micro(), placed.held.micro()), (100, 60));
        let settled = system.ask(ACCOUNT, settle(1, 30)).await.unwrap();
        assert_eq!((settled.balance.micro(), settled.held.micro()), (67, 0));
        let (rows, more) = store.history(ACCOUNT, 1, 0).await.unwrap();
        assert_eq!(rows.first().map(|row| row.balance_after.micro()), Some(67));
        assert!(more);
        let again = system.ask(ACCOUNT, settle(1, 30)).await.unwrap();
        assert_eq!(again.done, settled.done);
        system
    })
    .await;
}

#[tokio::test]
async fn no_account_is_an_answer_of_its_own() {
    over_all(async |store| {
        let system = start(store, 0).await;
        assert_eq!(system.ask(ACCOUNT, place(1, 1)).await, Err(AskError::NoAccount));
        system
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_holds_never_overspend() {
    over_all(async |store| {
        let system = Arc::new(start(store, 1).await);
        system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
        let tasks: Vec<_> = (0..200)
            .map(|request| {
                let system = Arc::clone(&system);
                tokio::spawn(async move { system.ask(ACCOUNT, place(request, 7)).await })
            })
            .collect();
        let mut admitted = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => admitted += 1,
                Err(AskError::Refused(Refusal::InsufficientCredits(_))) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(admitted, 14);
        Arc::into_inner(system).unwrap()
    })
    .await;
}

/// Asks until the outcome is known: so many panics lose the same ask more often than the system
/// asks again by itself.
async fn insist(system: &System, account: AccountId, command: Command) -> Answer {
    loop {
        match system.ask(account, command.clone()).await {
            Err(AskError::Lost) => {}
            answer => return answer.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn panics_and_passivations_under_load_lose_and_double_nothing() {
    const ACCOUNTS: u64 = 8;
    const REQUESTS: u64 = 150;
    over_all(async |store| {
        let system = Arc::new(start(Arc::clone(&store), ACCOUNTS).await);
        for number in 1..=ACCOUNTS {
            system
                .ask(AccountId::new(number), grant(&number.to_string(), 1_000_000))
                .await
                .unwrap();
        }
        let load = (0..32u64).map(|caller| {
            let system = Arc::clone(&system);
            tokio::spawn(async move {
                for round in 0..REQUESTS {
                    let account = AccountId::new(1 + (caller + round) % ACCOUNTS);
                    let request = u128::from(caller * REQUESTS + round) + 1;
                    insist(&system, account, place(request, 20)).await;
                    if round % 3 == 0 {
                        system.panic_account(account);
                    } else if round % 5 == 0 {
                        // Everything idle rests now.
                        system.sweep(Timestamp::from_millis(i64::MAX - 1_000_000));
                    }
                    let settled = insist(&system, account, settle(request, 10)).await;
                    let Done::Settled(outcome) = settled.done else { panic!("{settled:?}") };
                    assert_eq!(outcome.total().micro(), 11);
                }
            })
        });
        for task in load.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let mut total = 0;
        for number in 1..=ACCOUNTS {
            let (balance, held) = balance(&system, AccountId::new(number)).await;
            assert_eq!(held, 0);
            total += balance;
        }
        let spent = i64::try_from(32 * REQUESTS * 11).unwrap();
        assert_eq!(total, i64::try_from(ACCOUNTS).unwrap() * 1_000_000 - spent);
        let earned = store.partner_balance(PARTNER).await.unwrap().earned;
        assert_eq!(earned.micro(), spent / 11);
        Arc::into_inner(system).unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_panic_keeps_the_holds_of_running_requests() {
    over_all(async |store| {
        let system = start(store, 1).await;
        system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
        system.ask(ACCOUNT, place(1, 60)).await.unwrap();
        system.panic_account(ACCOUNT);
        assert_eq!(balance(&system, ACCOUNT).await, (100, 60));
        let refused = system.ask(ACCOUNT, place(2, 41)).await;
        assert!(matches!(refused, Err(AskError::Refused(Refusal::InsufficientCredits(_)))));
        system.ask(ACCOUNT, settle(1, 10)).await.unwrap();
        assert_eq!(balance(&system, ACCOUNT).await, (89, 0));
        system
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_ends_settles_by_the_checkpoint_and_the_request_corrects_it() {
    over_all(async |store| {
        let system = start(store, 1).await;
        system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
        for request in [1, 2] {
            system.ask(ACCOUNT, place(request, 50)).await.unwrap();
        }
        system.checkpoint(checkpoint(1, 1, Some(30)));
        system.sweep(Timestamp::from_millis(i64::MAX));
        // The sweep's messages stand before this one in the mailbox.
        assert_eq!(balance(&system, ACCOUNT).await, (70, 0));
        system.ask(ACCOUNT, late(1, 20)).await.unwrap();
        system.ask(ACCOUNT, settle(2, 10)).await.unwrap();
        assert_eq!(balance(&system, ACCOUNT).await, (69, 0));
        system
    })
    .await;
}

#[tokio::test]
async fn a_start_settles_what_a_crash_left_open_once() {
    over_all(async |store| {
        let system = start(Arc::clone(&store), 1).await;
        system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
        system.ask(ACCOUNT, place(1, 50)).await.unwrap();
        system.ask(ACCOUNT, place(2, 50)).await.unwrap();
        system.checkpoint(checkpoint(1, 1, Some(30)));
        system.checkpoint(checkpoint(2, 1, None));
        // An answered settlement stands behind the checkpoints in the journal.
        system.ask(ACCOUNT, settle(3, 0)).await.unwrap();
        assert_eq!(store.unfinished().await.unwrap().len().min(1), 1);
        drop(system);

        for node in [2, 3] {
            let system = System::start(Arc::clone(&store), settings(node)).await.unwrap();
            assert_eq!(balance(&system, ACCOUNT).await, (70, 0));
            assert!(store.unfinished().await.unwrap().is_empty());
            assert!(system.stop(LONG).await);
        }
        let system = System::start(Arc::clone(&store), settings(4)).await.unwrap();
        let corrected = system.ask(ACCOUNT, late(1, 40)).await.unwrap();
        let Done::Settled(outcome) = corrected.done else { panic!("{corrected:?}") };
        assert_eq!(outcome.total().micro(), 40, "what it costs in all, not the correction");
        assert_eq!(balance(&system, ACCOUNT).await, (60, 0));
        system
    })
    .await;
}

#[tokio::test]
async fn answers_wait_for_a_store_that_fails_and_come_when_it_heals() {
    let store = Arc::new(MemoryStore::default());
    let system = Arc::new(start(Arc::clone(&store) as Arc<dyn Store>, 1).await);
    system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
    system.ask(ACCOUNT, place(1, 50)).await.unwrap();
    store.fail(true);
    let asker = Arc::clone(&system);
    let settling = tokio::spawn(async move { asker.ask(ACCOUNT, settle(1, 10)).await });
    while system.journal().healthy {
        tokio::task::yield_now().await;
    }
    // Holds need no store.
    system.ask(ACCOUNT, place(2, 80)).await.unwrap();
    assert!(!settling.is_finished());
    store.fail(false);
    settling.await.unwrap().unwrap();
    assert!(system.journal().healthy);
    assert_eq!(balance(&system, ACCOUNT).await, (89, 80));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_could_not_be_read_comes_back_as_one_actor() {
    let store = Arc::new(MemoryStore::default());
    let system = Arc::new(start(Arc::clone(&store) as Arc<dyn Store>, 1).await);
    system.ask(ACCOUNT, grant("g", 100)).await.unwrap();
    for round in 0..50 {
        // Rests, so that the next ask has to read it.
        system.sweep(Timestamp::from_millis(i64::MAX));
        while system.active_accounts() > 0 {
            system.sweep(Timestamp::from_millis(i64::MAX));
            tokio::task::yield_now().await;
        }
        store.fail(true);
        let askers: Vec<_> = (0..32)
            .map(|asker| {
                let system = Arc::clone(&system);
                let request = 1 + round * 32 + asker;
                tokio::spawn(async move {
                    loop {
                        match system.ask(ACCOUNT, place(request, 60)).await {
                            Err(AskError::Unavailable(_)) => tokio::task::yield_now().await,
                            other => return other.is_ok().then_some(request),
                        }
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        store.fail(false);
        let mut admitted = Vec::new();
        for asker in askers {
            admitted.extend(asker.await.unwrap());
        }
        assert_eq!(admitted.len(), 1, "two incarnations held the same credits");
        let request = RequestId::new(admitted[0]);
        let release = Command::Release { request, by: SettledBy::Request };
        system.ask(ACCOUNT, release).await.unwrap();
    }
}

#[tokio::test]
async fn a_settlement_that_the_store_knows_gets_the_stored_answer() {
    over_all(async |store| {
        let system = start(Arc::clone(&store), 1).await;
        system.ask(ACCOUNT, grant("g", 1000)).await.unwrap();
        let first = system.ask(ACCOUNT, settle(1, 30)).await.unwrap();
        // So many others that the account has forgotten the first.
        for request in 2..150 {
            system.ask(ACCOUNT, settle(request, 0)).await.unwrap();
        }
        let again = system.ask(ACCOUNT, settle(1, 30)).await.unwrap();
        assert_eq!(again.done, first.done);
        assert_eq!(balance(&system, ACCOUNT).await, (967, 0));
        system
    })
    .await;
}

#[tokio::test]
async fn a_partner_is_paid_no_more_than_it_earned() {
    over_all(async |store| {
        let system = start(Arc::clone(&store), 1).await;
        system.ask(ACCOUNT, grant("g", 1000)).await.unwrap();
        system.ask(ACCOUNT, settle(1, 100)).await.unwrap();
        let payout = |entry: &str, micro| crate::Payout {
            entry: entry.to_owned(),
            partner: PARTNER,
            credits: Credits::from_micro(micro),
            reference: String::new(),
            at: Timestamp::default(),
        };
        let done = |micro| crate::PayoutOutcome::Done(Credits::from_micro(micro));
        let too_much = crate::PayoutOutcome::TooMuch(Credits::from_micro(10));
        assert_eq!(system.payout(payout("a", 11)).await, Ok(too_much));
        assert_eq!(system.payout(payout("a", 6)).await, Ok(done(4)));
        assert_eq!(system.payout(payout("a", 6)).await, Ok(done(4)));
        let renamed = system.change_partner(PARTNER, |p| p.name = "new".to_owned()).await.unwrap();
        assert_eq!(renamed.name, "new");
        assert_eq!(store.partner(PARTNER).await.unwrap().unwrap().name, "new");
        system
    })
    .await;
}

#[test]
fn durable_events_are_all_that_is_journaled() {
    assert!(!Event::Placed(hold(1, 1)).is_durable());
}

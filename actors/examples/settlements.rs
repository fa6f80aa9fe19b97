//! Measures settlements through the actors into a store: `settlements FILE` into SQLite, `settlements
//! HOST:PORT KEYSPACE` into a cluster.
//!
//! So many callers place a hold and settle it, again and again, over 1, 64 and 1,000 accounts. The
//! database or the keyspace is made if it is not there.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opencredits_actors::{
    Clock, ScyllaSettings, ScyllaStore, Settings, SqliteStore, Store, System,
};
use opencredits_schema::{
    AccountId, Basis, Charged, Command, Credits, KeyId, LotKind, Partner, PartnerId, PicoUsd,
    Place, ReferralRate, RequestId, SettledBy, Status, Timestamp, Usage,
};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FILE_CALLERS: u64 = 1000;
const CLUSTER_CALLERS: u64 = 10_000;
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(15);
const PARTNER: PartnerId = PartnerId::new(1);
const KEY: KeyId = KeyId::new(1);

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "settlements FILE, or settlements HOST:PORT KEYSPACE [deferred]";
    let node = arguments.next().ok_or(usage)?;
    let Some(keyspace) = arguments.next() else {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(node.as_ref(), "settlements")?);
        for accounts in [1, 64, 1000] {
            let owner = u64::try_from(now().millis())?;
            measure(Arc::clone(&store), owner, accounts, FILE_CALLERS).await?;
        }
        return Ok(());
    };
    let deferred = arguments.next().is_some();
    let copy_after = Duration::from_secs(if deferred { 3600 } else { 1 });
    for accounts in [1, 64, 1000] {
        let owner = u64::try_from(now().millis())?;
        let settings = ScyllaSettings {
            nodes: vec![node.clone()],
            keyspace: keyspace.clone(),
            owner,
            copy_after,
        };
        ScyllaStore::migrate(&settings).await?;
        let store: Arc<dyn Store> = Arc::new(ScyllaStore::connect(settings).await?);
        measure(store, owner, accounts, CLUSTER_CALLERS).await?;
    }
    Ok(())
}

async fn measure(
    store: Arc<dyn Store>,
    node: u64,
    accounts: u64,
    callers: u64,
) -> Result<(), Failure> {
    store.put_partner(partner()).await?;
    let lease = Duration::from_secs(600);
    let settings =
        Settings { hold_lease: lease, passivate_after: lease, node, clock: Clock::default() };
    let system = Arc::new(System::start(Arc::clone(&store), settings).await?);
    let first = node.wrapping_mul(10_000);
    for number in 0..accounts {
        let account = AccountId::new(first.wrapping_add(number));
        store.create_account(account, None, now()).await?;
        system.ask(account, grant(account)).await?;
    }
    let settled = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let account = AccountId::new(first.wrapping_add(caller % accounts));
            let (system, settled) = (Arc::clone(&system), Arc::clone(&settled));
            tokio::spawn(async move {
                for round in 0u128.. {
                    let request = RequestId::new(
                        (u128::from(node) << 80) | (round << 32) | u128::from(caller),
                    );
                    let placed = system.ask(account, place(request)).await;
                    let done = system.ask(account, settle(request)).await;
                    if placed.and(done).is_err() {
                        return;
                    }
                    settled.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let (before, cpu, started) = (settled.load(Ordering::Relaxed), cpu_ticks()?, Instant::now());
    tokio::time::sleep(MEASURED).await;
    let done = settled.load(Ordering::Relaxed).saturating_sub(before);
    let (cpu, took) = (cpu_ticks()?.saturating_sub(cpu), started.elapsed());
    for task in tasks {
        task.abort();
    }
    system.stop(Duration::from_secs(60)).await;
    // A tick is 10 ms on every Linux that this runs on.
    let micros = cpu.saturating_mul(10_000).checked_div(done).unwrap_or_default();
    let rate = u128::from(done) * 1000 / took.as_millis().max(1);
    println!(
        "{accounts} accounts, {callers} callers: {rate} settlements/s, {micros} µs of CPU each"
    );
    let books = store.audit().await?;
    println!("  {} accounts in the books, differences: {:?}", books.accounts, books.differences);
    Ok(())
}

/// User and system time of this process, in clock ticks.
fn cpu_ticks() -> Result<u64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    Ok(fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<_, _>>()?)
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

fn partner() -> Partner {
    Partner {
        id: PARTNER,
        name: "measured".to_owned(),
        publishable_key: "oc_pk_measured".to_owned(),
        secret_hash: [1; 32],
        referral_rate: ReferralRate::default(),
        allowed_models: None,
        allowed_origins: Vec::new(),
        rate_limit_per_key: None,
        created: Timestamp::default(),
    }
}

fn grant(account: AccountId) -> Command {
    Command::Receive {
        source: format!("measured:{account}"),
        kind: LotKind::Grant,
        credits: Credits::from_micro(1_000_000_000_000),
        reason: String::new(),
        partner: None,
        at: now(),
    }
}

fn place(request: RequestId) -> Command {
    let amount = Credits::from_micro(2000);
    Command::Place(Place {
        request,
        key: KEY,
        partner: PARTNER,
        amount,
        least: amount,
        headroom: Credits::ZERO,
        key_limit: None,
        partner_extra: None,
        holds_max: usize::MAX,
        expires_at: Timestamp::from_millis(i64::MAX),
        resumed: false,
    })
}

fn settle(request: RequestId) -> Command {
    let charged = Box::new(Charged {
        request,
        key: KEY,
        partner: PARTNER,
        model: "openai/gpt-4o".into(),
        price_id: "p".into(),
        rate: ReferralRate::default(),
        usage: Usage { input: 300, output: 120, ..Usage::default() },
        provider_cost: PicoUsd(10_000_000),
        cost: Credits::from_micro(1000),
        share: Credits::from_micro(100),
        basis: Basis::Provider,
        status: Status::Completed,
    });
    Command::Settle { charged, by: SettledBy::Request, at: now() }
}

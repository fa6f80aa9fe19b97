//! Holds and durable settlements without HTTP: the actors, the journal and the store alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opencredits_actors::{Clock, Settings, SqliteStore, Store as _, System};
use opencredits_schema::{AccountId, KeyId, PartnerId, RequestId};
use tokio::task::JoinSet;

use super::super::BenchError;
use super::super::commands::{grant, place, settle};
use super::super::finding::{Bound, Figure, Finding, Outcome};
use super::super::scenario::Scenario;
use super::super::seed::partner;
use super::super::stage::Stage;
use crate::load::job::ratio;
use crate::load::server::cpu_of;

/// Callers, each of which places a hold and settles it, again and again.
const CALLERS: u64 = 1_000;
/// Their accounts.
const ACCOUNTS: u64 = 1_000;
/// Longer than it runs: nothing expires or rests.
const LEASE: Duration = Duration::from_secs(3_600);
/// The longest wait for the last settlements.
const STOP_WAIT: Duration = Duration::from_secs(60);

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let folder = tempfile::tempdir().map_err(BenchError::io("a folder for the database"))?;
    let store = SqliteStore::open(&folder.path().join("settle.db"), "opencredits-loadtest bench")?;
    store.put_partner(partner(PartnerId::new(1))).await?;
    let settings =
        Settings { hold_lease: LEASE, passivate_after: LEASE, node: 1, clock: Clock::default() };
    let store = Arc::new(store);
    let system = Arc::new(System::start(store.clone(), settings).await?);
    let all = stage.options.repetitions();
    for number in 1..=ACCOUNTS {
        let account = AccountId::new(number);
        store.create_account(account, None, system.now()).await?;
        system.ask(account, grant(account)).await?;
    }
    let settled = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(call(Arc::clone(&system), caller, Arc::clone(&settled)));
    }
    tokio::time::sleep(stage.pace().warm).await;
    let (mut per_cpu_second, mut per_second) = (Vec::new(), Vec::new());
    for repetition in 1..=all {
        stage.bar.say(format!("settling {repetition}/{all}"));
        let (count, cpu, took) = window(&settled, stage.pace().flat_out).await?;
        let of = |by: Duration| ratio(count, 1).unwrap_or_default() / by.as_secs_f64();
        per_cpu_second.push(of(cpu));
        per_second.push(of(took));
    }
    callers.abort_all();
    system.stop(STOP_WAIT).await;
    let figure = |name, samples: &[f64]| Figure {
        contender: "actors and SQLite".to_owned(),
        name,
        unit: "/s",
        samples: samples.iter().copied().collect(),
    };
    let (by_cpu, by_clock) = ("settlements for each CPU second", "settlements a second");
    Ok(Outcome {
        figures: vec![figure(by_cpu, &per_cpu_second), figure(by_clock, &per_second)],
        findings: vec![Finding::new(by_cpu, "/s", per_cpu_second).mark(Bound::AtLeast(60_000.0))],
        ..Outcome::new(Scenario::Settle)
    })
}

/// Places and settles until it is aborted or the system ends.
async fn call(system: Arc<System>, caller: u64, settled: Arc<AtomicU64>) {
    let account = AccountId::new((caller % ACCOUNTS).saturating_add(1));
    let key = KeyId::new(account.number());
    for round in 0_u128.. {
        let request = RequestId::new((round << 64) | u128::from(caller));
        let placed = system.ask(account, place(request, key)).await;
        let done = system.ask(account, settle(request, key)).await;
        if placed.and(done).is_err() {
            return;
        }
        settled.fetch_add(1, Ordering::Relaxed);
    }
}

/// What this process settled in a time, with which CPU.
async fn window(
    settled: &AtomicU64,
    length: Duration,
) -> Result<(u64, Duration, Duration), BenchError> {
    let cpu = || cpu_of(std::process::id()).map_err(BenchError::io("its own CPU"));
    let (before, used, began) = (settled.load(Ordering::Relaxed), cpu()?, Instant::now());
    tokio::time::sleep(length).await;
    let count = settled.load(Ordering::Relaxed).saturating_sub(before);
    Ok((count, cpu()?.saturating_sub(used), began.elapsed()))
}

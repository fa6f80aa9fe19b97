//! Holds and durable settlements without HTTP: the actors, the journal and the store alone.

use std::sync::Arc;
use std::time::Duration;

use opencredits_actors::SqliteStore;

use super::super::BenchError;
use super::super::finding::{Bound, Figure, Finding, Outcome};
use super::super::scenario::Scenario;
use super::super::stage::Stage;
use crate::load::job::ratio;
use crate::settle::callers::{Callers, Crowd, Window};

/// Callers, each of which places a hold and settles it, again and again.
const CALLERS: u64 = 1_000;
/// Their accounts.
const ACCOUNTS: u64 = 1_000;

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let folder = tempfile::tempdir().map_err(BenchError::io("a folder for the database"))?;
    let store = SqliteStore::open(&folder.path().join("settle.db"), "opencredits-loadtest bench")?;
    let crowd = Crowd { callers: CALLERS, accounts: ACCOUNTS, node: 1, first: 1 };
    let callers = Callers::start(Arc::new(store), crowd).await?;
    tokio::time::sleep(stage.pace().warm).await;
    let all = stage.options.repetitions();
    let (mut per_cpu_second, mut per_second) = (Vec::new(), Vec::new());
    for repetition in 1..=all {
        stage.bar.say(format!("settling {repetition}/{all}"));
        let Window { settled, cpu, took } = callers.window(stage.pace().flat_out).await?;
        let of = |by: Duration| ratio(settled, 1).unwrap_or_default() / by.as_secs_f64();
        per_cpu_second.push(of(cpu));
        per_second.push(of(took));
    }
    callers.stop().await;
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

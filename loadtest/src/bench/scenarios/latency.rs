//! Plain requests at a rate: what the gateway adds to the time that nginx takes.

use super::super::BenchError;
use super::super::columns::{compared, figures, total_p50, total_p99};
use super::super::finding::{Bound, Finding, Outcome};
use super::super::loads::{at_rate, plain};
use super::super::samples::Samples;
use super::super::scenario::Scenario;
use super::super::stage::Stage;
use super::super::turn::Turn;
use super::flat;

/// Requests a second.
const RATE: f64 = 1_000.0;

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let pace = stage.pace();
    let load = at_rate(plain(), RATE, pace.settle_in, pace.at_rate);
    // Before and after, for what else the machine does has its part in a sync too.
    let before = stage.sync_ms()?;
    let turns = stage.turns(&[stage.gateway(), stage.nginx()?], &load).await?;
    let syncs: Samples = [before, stage.sync_ms()?].into_iter().collect();
    let sync = syncs.median();
    let added_p50 = compared(&turns, (0, 1), |own, nginx| total_p50(own) - total_p50(nginx));
    let added_p99 = compared(&turns, (0, 1), |own, nginx| total_p99(own) - total_p99(nginx));
    Ok(Outcome {
        findings: vec![
            Finding::new("added latency over nginx, p50 (mark: 0.3 ms + F)", "ms", added_p50)
                .mark(Bound::AtMost(0.3 + sync))
                .stretch(Bound::AtMost(0.1 + sync)),
            Finding::new("added latency over nginx, p99 (mark: 2 ms + 2 F)", "ms", added_p99)
                .mark(Bound::AtMost(2.0 + 2.0 * sync)),
            Finding::new("F: one fdatasync", "ms", syncs.iter()),
        ],
        figures: figures(
            &turns,
            &[
                ("total p50", "ms", total_p50),
                ("total p99", "ms", total_p99),
                ("CPU a request", "µs", Turn::cpu_per_request),
            ],
        ),
        turns: flat(turns),
        ..Outcome::new(Scenario::Latency)
    })
}

//! Streams at a provider's pace: CPU a stream, the first byte, the gaps between chunks.

use super::super::BenchError;
use super::super::columns::{
    compared, cpu_ratio, figures, first_byte_p50, first_byte_p99, gap_p99,
};
use super::super::finding::{Bound, Finding, Outcome};
use super::super::loads::{at_rate, streams};
use super::super::scenario::Scenario;
use super::super::stage::Stage;
use super::super::turn::Turn;
use super::flat;

/// Streams a second.
const RATE: f64 = 10.0;
/// Between two chunks, in milliseconds.
const PAUSE_MS: u64 = 5;

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let pace = stage.pace();
    let load = at_rate(streams(PAUSE_MS), RATE, pace.settle_in, pace.streams);
    let contenders = [stage.gateway(), stage.nginx()?, stage.direct()?];
    let turns = stage.turns(&contenders, &load).await?;
    let (over_nginx, over_direct) = ((0, 1), (0, 2));
    let added = |of: fn(&Turn) -> f64| compared(&turns, over_nginx, |a, b| of(a) - of(b));
    let gap = |pair| compared(&turns, pair, |a, b| gap_p99(a) - gap_p99(b));
    Ok(Outcome {
        findings: vec![
            Finding::new(
                "CPU a stream, gateway by nginx",
                "×",
                compared(&turns, over_nginx, cpu_ratio),
            )
            .mark(Bound::AtMost(1.1))
            .stretch(Bound::AtMost(0.9)),
            Finding::new("added time to first byte over nginx, p50", "ms", added(first_byte_p50))
                .mark(Bound::AtMost(0.15)),
            Finding::new("added time to first byte over nginx, p99", "ms", added(first_byte_p99))
                .mark(Bound::AtMost(1.0)),
            Finding::new("gap between chunks over direct, p99", "ms", gap(over_direct))
                .mark(Bound::AtMost(0.3)),
            Finding::new("the same of nginx", "ms", gap((1, 2))),
        ],
        figures: figures(
            &turns,
            &[
                ("CPU a stream", "µs", Turn::cpu_per_request),
                ("first byte p50", "ms", first_byte_p50),
                ("first byte p99", "ms", first_byte_p99),
                ("gap p99", "ms", gap_p99),
            ],
        ),
        turns: flat(turns),
        ..Outcome::new(Scenario::Paced)
    })
}

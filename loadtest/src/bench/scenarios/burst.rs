//! Streams that come at once: CPU a stream.

use super::super::BenchError;
use super::super::columns::{compared, cpu_ratio, figures, rate};
use super::super::finding::{Bound, Finding, Outcome};
use super::super::loads::{flat_out, streams};
use super::super::scenario::Scenario;
use super::super::stage::Stage;
use super::super::turn::Turn;
use super::flat;

/// Connections of the closed loop.
const CONNECTIONS: u32 = 16;

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let load = flat_out(streams(0), CONNECTIONS, stage.pace().flat_out);
    let turns = stage.turns(&[stage.gateway(), stage.nginx()?], &load).await?;
    Ok(Outcome {
        findings: vec![
            Finding::new(
                "CPU a stream, gateway by nginx",
                "×",
                compared(&turns, (0, 1), cpu_ratio),
            )
            .mark(Bound::AtMost(6.0))
            .stretch(Bound::AtMost(3.0)),
        ],
        figures: figures(
            &turns,
            &[("CPU a stream", "µs", Turn::cpu_per_request), ("streams a second", "/s", rate)],
        ),
        turns: flat(turns),
        ..Outcome::new(Scenario::Burst)
    })
}

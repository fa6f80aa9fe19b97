//! Plain requests, flat out: CPU a request.

use super::super::BenchError;
use super::super::columns::{compared, cpu_ratio, figures, rate, total_p50, total_p99};
use super::super::finding::{Bound, Finding, Outcome};
use super::super::loads::{flat_out, plain};
use super::super::scenario::Scenario;
use super::super::stage::Stage;
use super::super::turn::Turn;
use super::flat;

/// Connections of the closed loop.
pub(super) const CONNECTIONS: u32 = 64;

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let load = flat_out(plain(), CONNECTIONS, stage.pace().flat_out);
    let turns = stage.turns(&[stage.gateway(), stage.nginx()?], &load).await?;
    let ratio = compared(&turns, (0, 1), cpu_ratio);
    let rates = compared(&turns, (0, 1), |gateway, nginx| rate(gateway) / rate(nginx));
    Ok(Outcome {
        findings: vec![
            Finding::new("CPU a request, gateway by nginx", "×", ratio)
                .mark(Bound::AtMost(2.5))
                .stretch(Bound::AtMost(1.8)),
            Finding::new("requests a second, gateway by nginx", "×", rates),
        ],
        figures: figures(
            &turns,
            &[
                ("CPU a request", "µs", Turn::cpu_per_request),
                ("requests a second", "/s", rate),
                ("total p50", "ms", total_p50),
                ("total p99", "ms", total_p99),
            ],
        ),
        notes: vec![
            "The client and the provider are on the same machine and take CPU that the contenders \
             lack: the rates are what is left, CPU a request is the figure."
                .to_owned(),
        ],
        turns: flat(turns),
        ..Outcome::new(Scenario::Plain)
    })
}

//! Scaling over cores: requests for each CPU second with two workers and with one.

use super::super::BenchError;
use super::super::columns::{compared, cpu_ratio, figures, rate};
use super::super::finding::{Bound, Finding, Outcome};
use super::super::loads::{flat_out, plain};
use super::super::scenario::Scenario;
use super::super::stage::{ACCOUNTS, Stage, contender, make_accounts};
use super::super::turn::Turn;
use super::flat;

/// So many connections are more than one worker has the time for: with fewer, one serves of two as well.
const CONNECTIONS: u32 = 1_000;
/// The contenders by their number of workers.
const WORKERS: [(&str, &str); 2] = [("two workers", "2"), ("one worker", "1")];

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let folder = tempfile::tempdir().map_err(BenchError::io("a folder for databases"))?;
    let (mut gateways, mut contenders) = (Vec::new(), Vec::new());
    for (name, workers) in WORKERS {
        let database = folder.path().join(format!("{workers}.db"));
        let own = [("WORKERS".to_owned(), workers.to_owned())].into();
        let gateway = stage.another(&database, &own).await?;
        let users = make_accounts(&gateway, ACCOUNTS).await?;
        contenders.push(contender(name, &gateway, users));
        gateways.push(gateway);
    }
    let load = flat_out(plain(), CONNECTIONS, stage.pace().flat_out);
    let turns = stage.turns(&contenders, &load).await?;
    // Requests for each CPU second are the other way round than CPU for each request.
    let ratio = compared(&turns, (1, 0), cpu_ratio);
    Ok(Outcome {
        findings: vec![
            Finding::new("requests for each CPU second, two workers by one", "×", ratio)
                .mark(Bound::AtLeast(0.85)),
        ],
        figures: figures(
            &turns,
            &[("CPU a request", "µs", Turn::cpu_per_request), ("requests a second", "/s", rate)],
        ),
        turns: flat(turns),
        ..Outcome::new(Scenario::Scaling)
    })
}

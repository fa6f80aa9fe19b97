//! One account that a thousand parallel requests use, beside a thousand accounts.

use super::super::BenchError;
use super::super::columns::{compared, figures, rate};
use super::super::finding::{Bound, Finding, Outcome};
use super::super::loads::{flat_out, plain};
use super::super::scenario::Scenario;
use super::super::stage::{Stage, make_accounts};
use super::super::turn::{Contender, Turn};
use super::flat;

/// Parallel requests, and the accounts beside the one.
const PARALLEL: u32 = 1_000;
const ACCOUNTS: usize = 1_000;

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let users = make_accounts(&stage.gateway, ACCOUNTS).await?;
    let one = users.iter().take(1).cloned().collect();
    let contenders = [
        Contender { name: "one account".to_owned(), users: one, ..stage.gateway() },
        Contender { name: "1,000 accounts".to_owned(), users, ..stage.gateway() },
    ];
    let load = flat_out(plain(), PARALLEL, stage.pace().flat_out);
    let turns = stage.turns(&contenders, &load).await?;
    let ratio = compared(&turns, (0, 1), |one, many| rate(one) / rate(many));
    Ok(Outcome {
        findings: vec![
            Finding::new("requests a second, one account by 1,000", "×", ratio)
                .mark(Bound::AtLeast(0.7)),
        ],
        figures: figures(
            &turns,
            &[("requests a second", "/s", rate), ("CPU a request", "µs", Turn::cpu_per_request)],
        ),
        turns: flat(turns),
        ..Outcome::new(Scenario::OneAccount)
    })
}

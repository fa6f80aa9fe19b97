//! Many accounts in turn, from a database with many more: memory, and what a request costs beside one
//! of a few hot accounts.

use std::sync::Arc;

use super::super::BenchError;
use super::super::columns::{compared, cpu_ratio, figures, rate};
use super::super::finding::{Bound, Finding, Outcome};
use super::super::loads::{flat_out, in_turn, plain};
use super::super::process;
use super::super::samples::whole;
use super::super::scenario::Scenario;
use super::super::seed::Seed;
use super::super::stage::{ACCOUNTS, Stage, contender};
use super::super::turn::{Contender, Load, Turn, take};
use super::flat;
use super::plain::CONNECTIONS;
use crate::crash::child::Settings;
use crate::load::job::ratio;

/// Accounts that are used in turn.
const IN_TURN: usize = 100_000;
const QUICK_IN_TURN: usize = 1_000;
/// Accounts of the database in a quick run.
const QUICK_ON_DISK: usize = 2_000;

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let options = &stage.options;
    let (used, on_disk) = if options.quick {
        (QUICK_IN_TURN, QUICK_ON_DISK)
    } else {
        (IN_TURN, options.accounts_on_disk.max(IN_TURN))
    };
    let folder = tempfile::tempdir().map_err(BenchError::io("a folder for the database"))?;
    let database = folder.path().join("opencredits.db");
    stage.bar.say(format!("{on_disk} accounts to the disk"));
    let mut seed = Seed::open(&database).await?;
    seed.accounts(on_disk, used).await?;
    let users = seed.close();
    let gateway = stage.another(&database, &Settings::new()).await?;
    let few: Arc<[_]> = users.iter().take(ACCOUNTS).cloned().collect();
    let all = contender("in turn", &gateway, users);
    let hot = contender("hot", &gateway, few);

    stage.bar.say("the first turn of each account".to_owned());
    let mut asked = 0_usize;
    let load = flat_out(plain(), CONNECTIONS, stage.pace().flat_out);
    while asked < used {
        asked = next_turn(&all, &load, asked).await?.1;
    }
    let mut turns = Vec::new();
    for repetition in 1..=options.repetitions() {
        stage.bar.say(format!("further turns {repetition}"));
        let (churned, further) = next_turn(&all, &load, asked).await?;
        asked = further;
        turns.push(vec![churned, take(&hot, &load).await?]);
    }
    let megabytes = ratio(process::rss(gateway.id()), 1_000_000).unwrap_or(f64::NAN);
    let name = |figure: &str| format!("{figure}, {} accounts in turn", whole(count(used)));
    Ok(Outcome {
        findings: vec![
            Finding::new(name("resident memory"), "MB", [megabytes]).mark(Bound::AtMost(1_250.0)),
            Finding::new(
                name("CPU a request by a hot one's"),
                "×",
                compared(&turns, (0, 1), cpu_ratio),
            )
            .mark(Bound::AtMost(1.5)),
        ],
        figures: figures(
            &turns,
            &[("CPU a request", "µs", Turn::cpu_per_request), ("requests a second", "/s", rate)],
        ),
        notes: vec![format!(
            "The database has {} accounts, each with a key and a grant. What is measured begins when \
             each account in turn has had its first request; {} requests were made by the end.",
            whole(count(on_disk)),
            whole(count(asked))
        )],
        turns: flat(turns),
        ..Outcome::new(Scenario::Churn)
    })
}

/// A turn that begins with the account behind the last one, and where the next one begins.
async fn next_turn(
    all: &Contender,
    load: &Load,
    asked: usize,
) -> Result<(Turn, usize), BenchError> {
    let load = Load { mix: in_turn(load.mix.clone(), asked), ..load.clone() };
    let turn = take(all, &load).await?;
    let further = asked.saturating_add(usize::try_from(turn.requests).unwrap_or_default());
    Ok((turn, further))
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

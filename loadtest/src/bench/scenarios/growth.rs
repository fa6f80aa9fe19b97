//! Growth: what a request costs with a long history, with many models, with many partners.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::BenchError;
use super::super::columns::{Repetitions, compared, cpu_ratio, figures};
use super::super::finding::{Bound, Curve, Finding, Outcome};
use super::super::loads::{mix, plain};
use super::super::price_book;
use super::super::samples::whole;
use super::super::scenario::Scenario;
use super::super::seed::Seed;
use super::super::stage::{ACCOUNTS, Stage, contender};
use super::super::turn::{Load, Turn, take};
use super::flat;
use crate::crash::child::Settings;
use crate::load::arrivals::Pace;
use crate::load::job::{Drive, ratio};
use crate::load::target::User;

/// Requests a second: few enough that a turn does not make a short history a long one, and alike for
/// all sizes, so that as many share a commit.
const RATE: f64 = 2_000.0;
const QUICK_RATE: f64 = 300.0;
/// The longest turn.
pub(super) const TURN: Duration = Duration::from_secs(5);
/// Databases with more rows than this are not copied for each turn: what a turn adds is little to them.
const COPIED_ROWS_MAX: u64 = 100_000;
/// The models and the partners of the contenders.
const MODELS: [u64; 3] = [10, 100, 1_000];
const PARTNERS: [u64; 3] = [1, 100, 10_000];
/// What a history is counted in.
const ROWS: &str = "rows";
/// The shortest history; each further one is ten times as long.
const ROWS_MIN: u64 = 1_000;

/// A gateway of one size: a database, and what it is started with.
struct Size {
    what: &'static str,
    count: u64,
    seed: Seed,
    settings: Settings,
}

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let folder = tempfile::tempdir().map_err(BenchError::io("a folder for databases"))?;
    let in_folder = |name: String| folder.path().join(name);
    let mut outcome = Outcome::new(Scenario::Growth);

    let rows = sizes(stage, &histories(stage.options.history_rows));
    let mut of_history = Vec::new();
    for rows in rows {
        stage.bar.say(format!("{rows} rows to the disk"));
        let mut seed = Seed::open(&in_folder(format!("rows-{rows}.db"))).await?;
        seed.accounts(ACCOUNTS, ACCOUNTS).await?;
        seed.history(rows).await?;
        of_history.push(Size { what: ROWS, count: rows, seed, settings: Settings::new() });
    }
    measure(stage, &mut outcome, "history", of_history).await?;

    let mut of_models = Vec::new();
    for models in sizes(stage, &MODELS) {
        let book = in_folder(format!("models-{models}.json"));
        std::fs::write(&book, price_book::of(models)?).map_err(BenchError::io("a price book"))?;
        let mut seed = Seed::open(&in_folder(format!("models-{models}.db"))).await?;
        seed.accounts(ACCOUNTS, ACCOUNTS).await?;
        let settings = [("PRICES".to_owned(), book.display().to_string())].into();
        of_models.push(Size { what: "models", count: models, seed, settings });
    }
    measure(stage, &mut outcome, "models", of_models).await?;

    let mut of_partners = Vec::new();
    for partners in sizes(stage, &PARTNERS) {
        stage.bar.say(format!("{partners} partners to the disk"));
        let mut seed = Seed::open(&in_folder(format!("partners-{partners}.db"))).await?;
        seed.accounts(ACCOUNTS, ACCOUNTS).await?;
        seed.partners(partners).await?;
        let settings = Settings::new();
        of_partners.push(Size { what: "partners", count: partners, seed, settings });
    }
    measure(stage, &mut outcome, "partners", of_partners).await?;
    outcome.notes.push(
        "Each turn has a gateway of its own, on a copy of its database where that is small. The mark is \
         meant for instructions; CPU time stands for them, for it can be read on every machine."
            .to_owned(),
    );
    Ok(outcome)
}

/// Lets gateways of all sizes take turns; the largest is held against the smallest.
async fn measure(
    stage: &Stage,
    outcome: &mut Outcome,
    what: &'static str,
    sizes: Vec<Size>,
) -> Result<(), BenchError> {
    let mut started = Vec::new();
    for size in sizes {
        started.push(size.closed()?);
    }
    let mut repetitions = Repetitions::new();
    for repetition in 1..=stage.options.repetitions() {
        let (mut turns, mut order) = (Vec::new(), started.iter().collect::<Vec<_>>());
        let is_reversed = repetition.is_multiple_of(2);
        if is_reversed {
            order.reverse();
        }
        for size in order {
            stage.bar.say(format!("{} {repetition}", size.name));
            turns.push(size.turn(stage).await?);
        }
        if is_reversed {
            turns.reverse();
        }
        repetitions.push(turns);
    }
    let last = started.len().saturating_sub(1);
    let name = |at: usize| started.get(at).map_or("", |size| size.name.as_str());
    let name = format!("{what}: CPU a request, {} by {}", name(last), name(0));
    let ratio = compared(&repetitions, (last, 0), cpu_ratio);
    outcome.findings.push(Finding::new(name, "×", ratio).mark(Bound::AtMost(1.1)));
    let own = figures(&repetitions, &[("CPU a request", "µs", Turn::cpu_per_request)]);
    let medians = own.iter().map(|figure| figure.samples.median());
    let points = started.iter().map(|size| size.count).zip(medians).collect();
    outcome.curves.push(Curve { name: what, points });
    outcome.figures.extend(own);
    outcome.turns.extend(flat(repetitions));
    Ok(())
}

/// A size whose database is written and closed.
struct Ready {
    name: String,
    count: f64,
    database: PathBuf,
    is_copied: bool,
    users: Arc<[User]>,
    settings: Settings,
}

impl Size {
    fn closed(self) -> Result<Ready, BenchError> {
        let Self { what, count, seed, settings } = self;
        let database = seed.database().to_owned();
        let users = seed.close();
        let name = format!("{} {what}", whole(count));
        let is_copied = what != ROWS || count <= COPIED_ROWS_MAX;
        let count = ratio(count, 1).unwrap_or_default();
        Ok(Ready { name, count, database, is_copied, users, settings })
    }
}

impl Ready {
    async fn turn(&self, stage: &Stage) -> Result<Turn, BenchError> {
        let folder = tempfile::tempdir().map_err(BenchError::io("a folder for a copy"))?;
        let copy = folder.path().join("opencredits.db");
        let database = if self.is_copied {
            Seed::copy(&self.database, &copy)?;
            &copy
        } else {
            &self.database
        };
        let gateway = stage.another(database, &self.settings).await?;
        let own = contender(self.name.clone(), &gateway, Arc::clone(&self.users));
        let pace = stage.pace();
        let rate = if stage.options.quick { QUICK_RATE } else { RATE };
        let drive = Drive::Open { pace: Pace::Constant, from: rate, to: rate };
        let load = Load {
            mix: mix(plain()),
            drive,
            warm_up: Duration::ZERO,
            measure: TURN.min(pace.at_rate),
        };
        take(&own, &Load { measure: pace.settle_in, ..load.clone() }).await?;
        take(&own, &load).await
    }
}

/// Ten times as many rows each, up to so many.
fn histories(most: u64) -> Vec<u64> {
    let next = |rows: &u64| rows.checked_mul(10).filter(|rows| *rows <= most);
    std::iter::successors(Some(ROWS_MIN), next).collect()
}

/// All of them, or the first two in a quick run.
fn sizes(stage: &Stage, all: &[u64]) -> Vec<u64> {
    let count = if stage.options.quick { 2 } else { all.len() };
    all.iter().copied().take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_grow_by_tens() {
        assert_eq!(histories(1_000_000), [1_000, 10_000, 100_000, 1_000_000]);
        assert_eq!(histories(1), [1_000]);
    }
}

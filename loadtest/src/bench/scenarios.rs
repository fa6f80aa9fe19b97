//! The scenarios, one a file: what each contender does, and which marks that is held against.

mod burst;
mod churn;
mod growth;
mod image;
mod latency;
mod memory;
mod one_account;
mod paced;
mod plain;
mod scaling;
mod settle;

use std::time::Duration;

use super::BenchError;
use super::columns::Repetitions;
use super::finding::Outcome;
use super::options::Options;
use super::scenario::Scenario;
use super::stage::Stage;

/// Runs one.
///
/// # Errors
/// When a contender gives no answers, or something else that it needs fails.
pub(super) async fn run(scenario: Scenario, stage: &Stage) -> Result<Outcome, BenchError> {
    match scenario {
        Scenario::Plain => plain::run(stage).await,
        Scenario::Latency => latency::run(stage).await,
        Scenario::Paced => paced::run(stage).await,
        Scenario::Burst => burst::run(stage).await,
        Scenario::Memory => memory::run(stage).await,
        Scenario::Scaling => scaling::run(stage).await,
        Scenario::Churn => churn::run(stage).await,
        Scenario::OneAccount => one_account::run(stage).await,
        Scenario::Settle => settle::run(stage).await,
        Scenario::Growth => growth::run(stage).await,
        Scenario::Image => image::run(stage).await,
    }
}

/// How long one takes, roughly: for the bar.
pub(super) fn expected(scenario: Scenario, options: &Options) -> Duration {
    let pace = options.pace();
    let turns = |contenders: u32, each: Duration| {
        let warm = pace.warm.saturating_mul(contenders);
        each.saturating_mul(contenders.saturating_mul(options.repetitions())).saturating_add(warm)
    };
    let seconds = Duration::from_secs;
    let at_rate = pace.at_rate.saturating_add(pace.settle_in);
    // A stream lasts a second, and a turn ends with its last one.
    let streams = pace.streams.saturating_add(pace.settle_in).saturating_add(seconds(1));
    match scenario {
        Scenario::Plain | Scenario::Burst | Scenario::Scaling | Scenario::OneAccount => {
            turns(2, pace.flat_out)
        }
        Scenario::Latency => turns(2, at_rate),
        Scenario::Paced => turns(3, streams),
        Scenario::Memory => seconds(if options.quick { 12 } else { 60 }),
        Scenario::Churn => {
            turns(2, pace.flat_out).saturating_add(seconds(if options.quick { 2 } else { 90 }))
        }
        Scenario::Settle => turns(1, pace.flat_out),
        Scenario::Growth => {
            // Each turn starts a gateway.
            let each = growth::TURN.min(at_rate).saturating_add(seconds(2));
            turns(if options.quick { 6 } else { 10 }, each)
        }
        Scenario::Image => {
            turns(2, pace.flat_out).saturating_add(turns(1, pace.warm.saturating_mul(2)))
        }
    }
}

/// All turns in one list, for the raw figures.
fn flat(repetitions: Repetitions) -> Vec<super::turn::Turn> {
    repetitions.into_iter().flatten().collect()
}

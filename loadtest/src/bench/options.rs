//! What a benchmark is told on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::scenario::Scenario;
use crate::load::site::usual_gateway;

/// Repetitions, unless said otherwise: of a whole run and of a quick one.
const REPETITIONS: u32 = 5;
const QUICK_REPETITIONS: u32 = 2;

/// The options of `bench`. Without any it runs every scenario.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The gateway's program [default: `opencredits` beside this one].
    #[arg(long)]
    pub gateway: Option<PathBuf>,
    /// nginx's program [default: the one in the path, or /usr/sbin/nginx].
    #[arg(long)]
    pub nginx: Option<PathBuf>,
    /// Short turns: shows that everything runs, and no figure to believe.
    #[arg(long)]
    pub quick: bool,
    /// Runs these scenarios only.
    #[arg(long, num_args = 1.., value_name = "NAME", value_parser = Scenario::by_name)]
    pub only: Vec<Scenario>,
    /// How often each contender takes its turn [default: 5, and 2 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repetitions: Option<u32>,
    /// Accounts in the database of the scenario churn.
    #[arg(long, default_value = "1000000", value_name = "N")]
    pub accounts_on_disk: usize,
    /// Rows of the longest history of the scenario growth.
    #[arg(long, default_value = "1000000", value_name = "N")]
    pub history_rows: u64,
    /// Where performance.md, its pictures and performance.json go.
    #[arg(long, default_value = "docs", value_name = "FOLDER")]
    pub out: PathBuf,
}

/// The lengths of turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Of the first turn of each contender, which is not measured.
    pub(super) warm: Duration,
    /// Flat out.
    pub(super) flat_out: Duration,
    /// At a rate.
    pub(super) at_rate: Duration,
    /// At a rate of a few streams a second: longer, so that a turn has some 200.
    pub(super) streams: Duration,
    /// Of an open loop before it is measured.
    pub(super) settle_in: Duration,
}

impl Options {
    /// The options of a command line, without the program and the verb.
    ///
    /// # Errors
    /// What the line would be refused with.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, clap::Error> {
        crate::parsed(words)
    }

    /// The scenarios to run, in their order.
    #[must_use]
    pub fn scenarios(&self) -> Vec<Scenario> {
        let wanted = |scenario: &Scenario| self.only.is_empty() || self.only.contains(scenario);
        Scenario::ALL.into_iter().filter(wanted).collect()
    }

    /// How often each contender takes its turn.
    #[must_use]
    pub fn repetitions(&self) -> u32 {
        self.repetitions.unwrap_or(if self.quick { QUICK_REPETITIONS } else { REPETITIONS })
    }

    pub(super) fn gateway(&self) -> PathBuf {
        self.gateway.clone().unwrap_or_else(usual_gateway)
    }

    pub(super) fn pace(&self) -> Pace {
        let millis = Duration::from_millis;
        if self.quick {
            return Pace {
                warm: millis(200),
                flat_out: millis(500),
                at_rate: millis(1_000),
                streams: millis(1_000),
                settle_in: millis(200),
            };
        }
        Pace {
            warm: millis(2_000),
            flat_out: millis(4_000),
            at_rate: millis(8_000),
            streams: millis(20_000),
            settle_in: millis(1_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_run_in_their_order_and_an_unknown_one_is_refused_with_the_list() {
        let options = Options::of(["--only", "burst", "plain", "--quick"]).unwrap();
        assert_eq!(options.scenarios(), [Scenario::Plain, Scenario::Burst]);
        assert_eq!((options.repetitions(), Options::of([]).unwrap().repetitions()), (2, 5));
        assert_eq!(Options::of([]).unwrap().scenarios(), Scenario::ALL);
        let told = Options::of(["--only", "unknown"]).unwrap_err().to_string();
        assert!(Scenario::ALL.iter().all(|scenario| told.contains(scenario.name())), "{told}");
    }
}

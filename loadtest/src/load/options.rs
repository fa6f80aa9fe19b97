//! What a run is told on the command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::arrivals::Pace;
use super::job::{Drive, Times};
use super::mix::Mix;
use super::result::{Machine, Setting};
use super::search::Search;
use super::site;
use super::target::Target;
use crate::crash::child::Settings;

/// The options of `run`. Without any it starts a gateway and simulated providers, and loads them.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// A mix file [default: the built-in chat mix; see loadtest/mixes].
    #[arg(long)]
    pub mix: Option<PathBuf>,
    /// Requests a second, or FROM..TO to climb from one to the other in the measured time.
    #[arg(long, default_value = "100")]
    pub rate: Rate,
    /// How the gaps between requests are drawn.
    #[arg(long, value_enum, default_value = "poisson")]
    pub pace: Pace,
    /// A closed loop instead of a rate: so many connections, each always waiting for an answer.
    #[arg(long, conflicts_with_all = ["rate", "pace", "search_p99"])]
    pub connections: Option<u32>,
    /// The measured time.
    #[arg(long, default_value = "15s")]
    pub duration: Length,
    /// How long the rate is held before anything is measured.
    #[arg(long, default_value = "3s")]
    pub warm_up: Length,
    /// How long the rate climbs from nothing before that.
    #[arg(long, default_value = "2s")]
    pub ramp: Length,
    /// The longest wait for an answer, beyond what its provider was told to take.
    #[arg(long, default_value = "60s")]
    pub timeout: Length,
    /// Looks for the highest rate at which 99 % of the answers have at most so much added to them.
    #[arg(long)]
    pub search_p99: Option<Length>,
    /// The first rate of a search.
    #[arg(long, default_value = "100", requires = "search_p99")]
    pub from: f64,
    /// The highest rate of a search.
    #[arg(long, default_value = "20000", requires = "search_p99")]
    pub to: f64,
    /// Makes all choices repeatable.
    #[arg(long, default_value = "1")]
    pub seed: u64,
    /// Threads that send.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: u32,
    /// Processes that send, each with its threads.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub processes: u32,
    /// A server that runs already, as http://HOST[:PORT][/PREFIX].
    #[arg(long)]
    pub target: Option<String>,
    /// A key for it; may be given several times [default with --admin: accounts of the run's own].
    #[arg(long, requires = "target")]
    pub key: Vec<String>,
    /// Its admin address, if it is a gateway: for its metrics, for accounts and for the books.
    #[arg(long, requires = "target", requires = "admin_token")]
    pub admin: Option<String>,
    /// The token of its admin API.
    #[arg(long, requires = "admin")]
    pub admin_token: Option<String>,
    /// Its process, for CPU and memory.
    #[arg(long, requires = "target")]
    pub pid: Option<u32>,
    /// The gateway's program [default: beside this one].
    #[arg(long, conflicts_with = "target")]
    pub gateway: Option<PathBuf>,
    /// A setting of the gateway that is started, as NAME=VALUE without OPENCREDITS_.
    #[arg(long, conflicts_with = "target", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Does not measure what streams and accounts cost in memory.
    #[arg(long)]
    pub no_footprint: bool,
    /// What the run is called in comparisons [default: the mix's name].
    #[arg(long)]
    pub name: Option<String>,
    /// Where the result goes: PATH.json and PATH.html.
    #[arg(long, default_value = "target/loadtest/run", value_name = "PATH")]
    pub out: PathBuf,
}

/// A rate, or one that changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    from: f64,
    to: f64,
}

/// A length of time as people write it: `500ms`, `20s`, `5m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(pub Duration);

/// Options that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A rate.
    #[error("{0:?} is not a rate above 0 such as 200, nor a climb such as 100..2000")]
    Rate(String),
    /// A length of time.
    #[error("{0:?} is not a length of time such as 500ms, 20s or 5m")]
    Length(String),
    /// A setting.
    #[error("{0:?} is not NAME=VALUE")]
    Setting(String),
    /// Nothing would be measured.
    #[error("--duration is 0")]
    NoDuration,
    /// Nothing would be sent.
    #[error("--connections is 0")]
    NoConnections,
    /// A search goes nowhere.
    #[error("--from is not above 0 and at most --to")]
    Search,
}

impl Options {
    /// The options of a command line, without the program and the verb.
    ///
    /// # Errors
    /// What the line would be refused with.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, clap::Error> {
        crate::parsed(words)
    }

    /// Whether memory is measured at a site of its own.
    #[must_use]
    pub fn measures_footprint(&self) -> bool {
        self.target.is_none() && !self.no_footprint
    }

    /// The gateway's program.
    #[must_use]
    pub fn gateway(&self) -> PathBuf {
        self.gateway.clone().unwrap_or_else(site::usual_gateway)
    }

    /// The settings of the gateway that is started.
    ///
    /// # Errors
    /// For one that has no `=`.
    pub fn settings(&self) -> Result<Settings, OptionsError> {
        let pair = |text: &String| {
            let split = text.split_once('=');
            let (name, value) = split.ok_or_else(|| OptionsError::Setting(text.clone()))?;
            let name = name.strip_prefix("OPENCREDITS_").unwrap_or(name);
            Ok((name.to_owned(), value.to_owned()))
        };
        self.set.iter().map(pair).collect()
    }

    /// The search that is asked for, and the latency that it is for.
    ///
    /// # Errors
    /// For rates that leave nothing to search.
    pub fn search(&self) -> Result<Option<(Search, Duration)>, OptionsError> {
        let Some(Length(p99)) = self.search_p99 else { return Ok(None) };
        if !(self.from > 0.0 && self.from <= self.to && self.to.is_finite()) {
            return Err(OptionsError::Search);
        }
        Ok(Some((Search::new(self.from, self.to), p99)))
    }

    /// What is going to be asked, and how.
    ///
    /// # Errors
    /// When nothing would be sent or measured.
    pub fn setting(&self, mix: Mix, target: &Target) -> Result<Setting, OptionsError> {
        let stem = self.mix.as_ref().and_then(|path| path.file_stem());
        let stem = stem.map_or_else(|| "chat".into(), |stem| stem.to_string_lossy().into_owned());
        let Rate { from, to } = self.rate;
        let drive = match self.connections {
            Some(0) => return Err(OptionsError::NoConnections),
            Some(connections) => Drive::Closed { connections },
            None => Drive::Open { pace: self.pace, from, to },
        };
        if self.duration.0.is_zero() {
            return Err(OptionsError::NoDuration);
        }
        let times = Times {
            ramp: self.ramp.0,
            warm_up: self.warm_up.0,
            measure: self.duration.0,
            timeout: self.timeout.0,
        };
        Ok(Setting {
            name: self.name.clone().unwrap_or(stem),
            target: format!("http://{}{}", target.host, target.prefix),
            mix,
            drive,
            times,
            seed: self.seed,
            processes: self.processes,
            threads: self.threads,
            machine: Machine::here(),
        })
    }
}

impl FromStr for Rate {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let rate = |part: &str| part.parse().ok().filter(|rate| (0.001..1e7).contains(rate));
        match (rate(from), rate(to)) {
            (Some(from), Some(to)) => Ok(Self { from, to }),
            (None, _) | (_, None) => Err(OptionsError::Rate(text.to_owned())),
        }
    }
}

impl FromStr for Length {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0)];
        let mut read = units.into_iter().filter_map(|(unit, seconds)| {
            let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
            Some(number * seconds)
        });
        let seconds = read.next().filter(|seconds| (0.0..=86_400.0).contains(seconds));
        let seconds = seconds.ok_or_else(|| OptionsError::Length(text.to_owned()))?;
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_rates_are_read_as_people_write_them() {
        let length = |text: &str| text.parse::<Length>().map(|length| length.0.as_millis());
        assert_eq!(length("500ms"), Ok(500));
        assert_eq!((length("20s"), length("1.5m"), length("0s")), (Ok(20_000), Ok(90_000), Ok(0)));
        for bad in ["20", "s", "-1s", "infs", "2 h"] {
            assert_eq!(length(bad), Err(OptionsError::Length(bad.to_owned())));
        }
        let rate = |text: &str| text.parse::<Rate>();
        assert_eq!(rate("200"), Ok(Rate { from: 200.0, to: 200.0 }));
        assert_eq!(rate("100..2000"), Ok(Rate { from: 100.0, to: 2_000.0 }));
        for bad in ["0", "-3", "NaN", "1..", "x"] {
            assert_eq!(rate(bad), Err(OptionsError::Rate(bad.to_owned())));
        }
    }
}

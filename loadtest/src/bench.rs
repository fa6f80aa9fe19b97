//! `loadtest bench`: the gateway beside nginx in one run, held against marks.
//!
//! [`scenario`] names what is done, `scenarios` does it on a `stage` (a minimal `upstream`, `nginx`, a
//! `gateway`), in a [`turn`] for each contender; [`commands`] are what is asked without HTTP, `columns` set turns side by side, a [`finding`] is held
//! against its mark, [`report`] tells it all.

mod answers;
mod bar;
mod chart;
mod columns;
pub mod commands;
mod curves;
pub mod finding;
mod gateway;
mod loads;
pub mod machine;
mod nginx;
pub mod options;
mod price_book;
mod process;
pub mod report;
pub mod samples;
pub mod scenario;
mod scenarios;
mod seed;
mod stage;
pub mod turn;
mod upstream;

use std::io::{self, Write as _};

use opencredits_actors::{AskError, StoreError};

use crate::load::accounts::AccountsError;
use crate::load::job::JobError;
use crate::load::raise_descriptors;
use crate::load::target::TargetError;
use crate::settle::SettleError;
use bar::Bar;
use machine::Machine;
use options::Options;
use report::Report;
use stage::Stage;

/// A benchmark that could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// nginx is not there.
    #[error(
        "nginx is not installed, and the gateway is measured beside it: `apt-get install nginx`, or \
         say where it is with --nginx PATH"
    )]
    NoNginx,
    /// nginx did not start.
    #[error("nginx did not start: {0}")]
    Nginx(String),
    /// The gateway did not start; its log.
    #[error("the gateway did not become ready:\n{0}")]
    Gateway(String),
    /// A contender did not answer, however long it was given.
    #[error(
        "{contender} gave no usable turn in {tries} tries ({why}): stop what else runs on this \
         machine, and try that scenario alone with --only"
    )]
    NoAnswers {
        /// Who.
        contender: String,
        /// How often it was tried.
        tries: u32,
        /// What went wrong the last time.
        why: String,
    },
    /// A file, a socket, a process.
    #[error("{what}: {source}")]
    Io {
        /// What it was about.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// The admin API refused.
    #[error("{0}")]
    Accounts(#[from] AccountsError),
    /// The generator.
    #[error("{0}")]
    Job(#[from] JobError),
    /// An address is odd.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// A database cannot be written beforehand.
    #[error("a database for it cannot be written: {0}")]
    Seed(String),
    /// A store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The actors.
    #[error("{0}")]
    Ask(#[from] AskError),
    /// Settlements without HTTP.
    #[error("{0}")]
    Settle(#[from] SettleError),
    /// A task broke.
    #[error("a task broke: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl BenchError {
    /// What the system said, with what it was about.
    fn io(what: &str) -> impl FnOnce(io::Error) -> Self + use<> {
        let what = what.to_owned();
        move |source| Self::Io { what, source }
    }
}

/// Runs the scenarios that the options name.
///
/// # Errors
/// When one cannot be run to its end. A mark that is not met is none: the report says so.
pub async fn run(options: &Options) -> Result<Report, BenchError> {
    raise_descriptors();
    let scenarios = options.scenarios();
    let expected = scenarios.iter().map(|one| (*one, scenarios::expected(*one, options)));
    let bar = Bar::new(expected.collect());
    let moving = tokio::spawn(bar.clone().run());
    let stage = Stage::set(options.clone(), bar.clone()).await?;
    let machine = Machine::here(&stage.program, stage.nginx.version());
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        bar.enter(scenario);
        outcomes.push(scenarios::run(scenario, &stage).await?);
    }
    moving.abort();
    bar.end();
    Ok(Report { machine, quick: options.quick, repetitions: options.repetitions(), outcomes })
}

/// Runs the benchmark, writes its files and prints its page.
///
/// # Errors
/// As [`run`], or when the files cannot be written.
pub async fn told(options: &Options) -> Result<(), BenchError> {
    let report = run(options).await?;
    let page = report.write(&options.out)?;
    let mut out = io::stdout().lock();
    let told = write!(out, "{report}").and_then(|()| writeln!(out, "{}", page.display()));
    told.map_err(BenchError::io("standard output"))
}

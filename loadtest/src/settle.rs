//! `loadtest settle`: how many holds and durable settlements a store takes, without HTTP.
//!
//! Callers hold and settle over more and more accounts; at the end the store's books must hold.

pub(crate) mod callers;

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use opencredits::config::StoreConfig;
use opencredits_actors::{AskError, ScyllaSettings, ScyllaStore, SqliteStore, Store, StoreError};
use serde::Serialize;

use self::callers::{Callers, Crowd, Window};
use crate::load::job::ratio;

/// Copies are made after so long, and after longer than any run.
const COPY_AFTER: Duration = Duration::from_secs(1);
const COPY_NEVER: Duration = Duration::from_secs(24 * 3_600);
/// Numbers of accounts that one run may take.
const NUMBERS: u64 = 1_000_000;

/// The options of `settle`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Where to: sqlite:PATH or scylla:HOST:PORT[,HOST:PORT…]/KEYSPACE, made if it is not there.
    #[arg(long)]
    store: StoreConfig,
    /// Numbers of accounts, one after the other.
    #[arg(long, num_args = 1.., default_values_t = [1, 64, 1_000], value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    accounts: Vec<u64>,
    /// Callers, each of which holds and settles again and again.
    #[arg(long, default_value = "10000", value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    callers: u64,
    /// How long each number of accounts is measured, after a third of it that is not.
    #[arg(long, default_value = "15", value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Makes a cluster's copies (histories, partners' sums) after the measurement, not beside it.
    #[arg(long)]
    defer_copies: bool,
    /// Prints a line of JSON for each number of accounts.
    #[arg(long)]
    json: bool,
}

/// A measurement that could not be made, or books that do not hold.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// A store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The actors.
    #[error("{0}")]
    Ask(#[from] AskError),
    /// The CPU time of this process.
    #[error("its own CPU time cannot be read: {0}")]
    Cpu(io::Error),
    /// No number for this incarnation.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// Settlements that are not written down.
    #[error("the store did not take the last settlements within a minute")]
    Late,
    /// Books.
    #[error("the books do not hold:\n{}", .0.join("\n"))]
    Books(Vec<String>),
    /// Standard output.
    #[error("the result cannot be printed: {0}")]
    Out(#[from] io::Error),
}

/// What one number of accounts brought.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// How many accounts were asked.
    pub accounts: u64,
    /// How many callers asked them.
    pub callers: u64,
    /// Durable settlements in a second of the clock.
    pub settlements_per_second: f64,
    /// Of this process: the actors, the journal and the store's client or the embedded store.
    pub cpu_us_per_settlement: f64,
    /// In one conditional batch of a cluster; SQLite has none.
    pub events_per_batch: Option<f64>,
}

/// A store of either kind; a cluster tells how many batches it took.
enum Opened {
    Sqlite(Arc<SqliteStore>),
    Cluster(Arc<ScyllaStore>),
}

impl Options {
    /// The options of a command line, without the program and the verb.
    ///
    /// # Errors
    /// What the line would be refused with.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, clap::Error> {
        crate::parsed(words)
    }
}

/// Measures, tells each number of accounts, and holds the books against what was settled.
///
/// # Errors
/// When it cannot be measured, or the books do not hold.
pub async fn run(
    options: &Options,
    mut tell: impl FnMut(&Measured) -> io::Result<()>,
) -> Result<(), SettleError> {
    // No other incarnation has it, and its accounts' numbers fit behind it.
    let mut node = u64::from(getrandom::u32()?);
    for accounts in options.accounts.iter().copied() {
        node = node.wrapping_add(1);
        let store = Opened::open(options, node).await?;
        tell(&measure(options, &store, accounts, node).await?)?;
        let books = store.store().audit().await?;
        if !books.differences.is_empty() {
            return Err(SettleError::Books(books.differences));
        }
    }
    Ok(())
}

/// Runs it and prints a line for each number of accounts.
///
/// # Errors
/// As [`run`].
pub async fn told(options: &Options) -> Result<(), SettleError> {
    run(options, |measured| {
        let mut out = io::stdout().lock();
        if options.json {
            return writeln!(out, "{}", serde_json::to_string(measured)?);
        }
        writeln!(out, "{measured}")
    })
    .await
}

async fn measure(
    options: &Options,
    store: &Opened,
    accounts: u64,
    node: u64,
) -> Result<Measured, SettleError> {
    let bar = bar(options, accounts);
    let crowd =
        Crowd { callers: options.callers, accounts, node, first: node.wrapping_mul(NUMBERS) };
    let callers = Callers::start(store.store(), crowd).await?;
    callers.window(Duration::from_secs(options.seconds) / 3).await?;
    let (batches, mut sum) =
        (store.batches(), Window { settled: 0, cpu: Duration::ZERO, took: Duration::ZERO });
    for _ in 0..options.seconds {
        let Window { settled, cpu, took } = callers.window(Duration::from_secs(1)).await?;
        sum.settled = sum.settled.saturating_add(settled);
        (sum.cpu, sum.took) = (sum.cpu.saturating_add(cpu), sum.took.saturating_add(took));
        bar.inc(1);
    }
    let batches = store.batches().zip(batches).map(|(now, then)| now.saturating_sub(then));
    bar.finish_and_clear();
    if !callers.stop().await {
        return Err(SettleError::Late);
    }
    let settled = ratio(sum.settled, 1).unwrap_or_default();
    Ok(Measured {
        accounts,
        callers: options.callers,
        settlements_per_second: settled / sum.took.as_secs_f64(),
        cpu_us_per_settlement: sum.cpu.as_secs_f64() * 1e6 / settled,
        events_per_batch: batches.and_then(|batches| ratio(sum.settled, batches)),
    })
}

/// How far a measurement is; quiet where the error stream is no terminal.
fn bar(options: &Options, accounts: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {elapsed}, {msg}");
    let bar = ProgressBar::new(options.seconds);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(format!("{} callers on {accounts} accounts", options.callers))
}

impl Opened {
    async fn open(options: &Options, owner: u64) -> Result<Self, SettleError> {
        let (nodes, keyspace) = match options.store.clone() {
            StoreConfig::Sqlite(path) => {
                let store = SqliteStore::open(&path, "opencredits-loadtest settle")?;
                return Ok(Self::Sqlite(Arc::new(store)));
            }
            StoreConfig::Scylla { nodes, keyspace } => (nodes, keyspace),
        };
        let copy_after = if options.defer_copies { COPY_NEVER } else { COPY_AFTER };
        let settings = ScyllaSettings { nodes, keyspace, owner, copy_after };
        ScyllaStore::migrate(&settings).await?;
        Ok(Self::Cluster(Arc::new(ScyllaStore::connect(settings).await?)))
    }

    fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as Arc<dyn Store>,
            Self::Cluster(store) => Arc::clone(store) as Arc<dyn Store>,
        }
    }

    fn batches(&self) -> Option<u64> {
        match self {
            Self::Sqlite(_) => None,
            Self::Cluster(store) => Some(store.batches()),
        }
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { accounts, callers, settlements_per_second, cpu_us_per_settlement, .. } = self;
        write!(
            f,
            "{accounts} accounts, {callers} callers: {settlements_per_second:.0} settlements/s, \
             {cpu_us_per_settlement:.1} µs of CPU each"
        )?;
        match self.events_per_batch {
            Some(events) => write!(f, ", {events:.1} events in a batch"),
            None => Ok(()),
        }
    }
}

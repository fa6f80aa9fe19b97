//! The result of a run, as JSON: everything that a table, a page or a comparison needs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::footprint::Footprint;
use super::job::{Done, Drive, Generator, Times};
use super::mix::Mix;
use super::record::Record;
use super::search::Step;
use super::server::ServerFigures;
use super::verdict::Verdict;

/// The form of the file; another number is another form.
pub const FORMAT: u32 = 1;
/// Differences of the books that a result lists; of more it tells the number.
const DIFFERENCES_MAX: usize = 1_000;

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of this program.
    pub version: String,
    /// What was asked, and how.
    pub setting: Setting,
    /// What the requests saw.
    pub record: Record,
    /// What the generators took.
    pub generator: Generator,
    /// Whether the generators kept up.
    pub verdict: Verdict,
    /// The server's side, as far as it could be read.
    pub server: Option<ServerFigures>,
    /// What streams and accounts cost in memory, if that was measured.
    pub footprint: Option<Footprint>,
    /// The books, if they could be read.
    pub books: Option<BooksResult>,
    /// The steps of a search for the highest rate; the record is of the highest one that was kept.
    pub search: Vec<Step>,
}

/// What was asked, of whom, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// What the run is called in a comparison.
    pub name: String,
    /// The server's address.
    pub target: String,
    /// The mix, with its defaults filled in.
    pub mix: Mix,
    /// How often it was asked.
    pub drive: Drive,
    /// For how long.
    pub times: Times,
    /// The seed of all choices.
    pub seed: u64,
    /// Processes that sent, each with its threads.
    pub processes: u32,
    /// Threads of each.
    pub threads: u32,
    /// The machine of the generator.
    pub machine: Machine,
}

/// The machine that a result is from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// CPUs that the process may use.
    pub cpus: usize,
    /// The system's name and version.
    pub system: String,
}

/// What the books say at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BooksResult {
    /// Requests that were compared.
    pub requests: usize,
    /// What does not agree; nothing, if the books hold.
    pub differences: Vec<String>,
}

/// A file that is no result, or results that do not go together.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// The file cannot be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// It is no result.
    #[error("{0} is no result of a run: {1}")]
    Parse(PathBuf, serde_json::Error),
    /// It is of another version.
    #[error("{0} has form {1}; this program reads form {FORMAT}")]
    Format(PathBuf, u32),
    /// The runs were not the same.
    #[error("{0} cannot be merged: another {1}")]
    Other(String, &'static str),
    /// There is nothing to merge.
    #[error("no result was given")]
    None,
}

impl RunResult {
    /// The result of what was done.
    #[must_use]
    pub fn new(setting: Setting, done: &Done) -> Self {
        let verdict = Verdict::of(done, setting.drive);
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            record: done.record.clone(),
            generator: done.generator,
            verdict,
            setting,
            server: None,
            footprint: None,
            books: None,
            search: Vec::new(),
        }
    }

    /// Why the run failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let differences = self.books.as_ref().map_or(0, |books| books.differences.len());
        let books = format!("the books differ in {differences} point(s)");
        let books = (differences > 0).then_some(books);
        books.or_else(|| self.verdict.refused.clone())
    }

    /// Reads a result from a file.
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn read(path: &Path) -> Result<Self, ResultError> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let bytes = std::fs::read(path).map_err(|error| ResultError::Io(path.into(), error))?;
        let parse = |error| ResultError::Parse(path.into(), error);
        let Form { format } = serde_json::from_slice(&bytes).map_err(parse)?;
        if format != FORMAT {
            return Err(ResultError::Format(path.into(), format));
        }
        serde_json::from_slice(&bytes).map_err(parse)
    }

    /// Writes it to a file.
    ///
    /// # Errors
    /// [`ResultError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), ResultError> {
        let json = serde_json::to_vec_pretty(self);
        let json = json.map_err(|error| ResultError::Parse(path.into(), error))?;
        std::fs::write(path, json).map_err(|error| ResultError::Io(path.into(), error))
    }

    /// One result of several machines that did the same at the same time.
    ///
    /// # Errors
    /// When there is none, or they were not of the same mix, drive and times.
    pub fn merge(results: impl IntoIterator<Item = Self>) -> Result<Self, ResultError> {
        let mut results = results.into_iter();
        let first = results.next().ok_or(ResultError::None)?;
        let mut setting = first.setting.clone();
        let (mut done, mut books) = (first.done(), first.books.clone());
        let (mut server, mut footprint) = (first.server.clone(), first.footprint);
        for other in results {
            let own = &other.setting;
            let differs = [
                (own.mix != setting.mix, "mix"),
                (own.times != setting.times, "length"),
                (own.target != setting.target, "target"),
            ];
            if let Some((_, what)) = differs.into_iter().find(|(differs, _)| *differs) {
                return Err(ResultError::Other(own.name.clone(), what));
            }
            let sum = setting.drive.plus(own.drive);
            setting.drive =
                sum.ok_or_else(|| ResultError::Other(own.name.clone(), "kind of drive"))?;
            setting.processes = setting.processes.saturating_add(own.processes);
            done.add(other.done());
            server = server.or(other.server);
            footprint = footprint.or(other.footprint);
            if let Some(more) = other.books {
                books.get_or_insert_default().add(more);
            }
        }
        Ok(Self { server, footprint, books, ..Self::new(setting, &done) })
    }

    fn done(&self) -> Done {
        let (record, generator) = (self.record.clone(), self.generator);
        Done { record, generator, receipts: Vec::new() }
    }
}

impl BooksResult {
    /// The books' differences, of which a bounded number is kept.
    #[must_use]
    pub fn new(requests: usize, mut differences: Vec<String>) -> Self {
        let more = differences.len().saturating_sub(DIFFERENCES_MAX);
        if more > 0 {
            differences.truncate(DIFFERENCES_MAX);
            differences.push(format!("and {more} more"));
        }
        Self { requests, differences }
    }

    fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.differences.extend(other.differences);
    }
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            system: format!("{} {}", std::env::consts::OS, release.trim()),
        }
    }
}

//! The words of the command line: what they print, which files they write, when they fail.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::calibrate::{self, RATIO_MAX};
use super::compare::Comparison;
use super::options::Options;
use super::page::Page;
use super::result::{ResultError, RunResult};
use super::table::Table;
use super::{RunError, parts};

/// Runs a load, prints its table and writes its files.
///
/// # Errors
/// When it cannot be run, or its result does not stand: a late generator, books that differ.
pub async fn run(options: &Options) -> Result<(), RunError> {
    told(&super::run(options).await?, &options.out)
}

/// Does the part of a run that standard input describes.
///
/// # Errors
/// When it cannot be done.
pub async fn run_part() -> Result<(), RunError> {
    Ok(tokio::task::spawn_blocking(parts::run_part).await??)
}

/// Prints how the second result differs from the first.
///
/// # Errors
/// When one cannot be read.
pub fn compare(first: &Path, second: &Path) -> Result<(), RunError> {
    let (first, second) = (RunResult::read(first)?, RunResult::read(second)?);
    Ok(write!(std::io::stdout(), "{}", Comparison::new(&first, &second))?)
}

/// Merges results, and shows the whole as `run` does.
///
/// # Errors
/// When they do not go together, or the whole does not stand.
pub fn merge(results: &[PathBuf], out: &Path) -> Result<(), RunError> {
    let results: Vec<_> =
        results.iter().map(|path| RunResult::read(path)).collect::<Result<_, _>>()?;
    told(&RunResult::merge(results)?, out)
}

/// Holds the generator's CPU against wrk's.
///
/// # Errors
/// When wrk is not there, or the generator takes more than [`RATIO_MAX`] times its CPU.
pub async fn calibrate() -> Result<(), RunError> {
    let found = tokio::task::spawn_blocking(calibrate::run).await??;
    writeln!(std::io::stdout(), "{found}")?;
    if found.ratio() > RATIO_MAX {
        return Err(RunError::Refused("the generator takes too much".to_owned()));
    }
    Ok(())
}

/// Prints and writes a result.
fn told(result: &RunResult, out: &Path) -> Result<(), RunError> {
    let io = |error| ResultError::Io(out.to_owned(), error);
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    let (json, html) = (out.with_extension("json"), out.with_extension("html"));
    result.write(&json)?;
    std::fs::write(&html, Page(result).to_string()).map_err(io)?;
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{}", Table(result))?;
    writeln!(stdout, "\n{}\n{}", json.display(), html.display())?;
    result.failure().map_or(Ok(()), |why| Err(RunError::Refused(why)))
}

//! Parts of a run in processes of their own: each gets its job as JSON and gives back what it did.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use opencredits_schema::{Credits, RequestId};
use serde::{Deserialize, Serialize};

use super::job::{Done, Generator, Job, JobError, Progress};
use super::record::Record;
use crate::receipts::{End, Receipt, Seen, Tokens};

/// The word of the command line that makes this program a part.
pub const WORD: &str = "run-part";

/// What a part gives back.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    record: Record,
    generator: Generator,
    receipts: Vec<Line>,
}

/// A receipt on its way between two processes.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    payer: usize,
    model: Arc<str>,
    request: Option<RequestId>,
    refused: bool,
    /// In microcredits.
    charge: Option<i64>,
    tokens: Option<(u64, u64)>,
}

/// Does a job in so many processes; one is this one itself.
///
/// # Errors
/// When a process cannot be started or does not give back what it did.
pub fn run(job: &Job, processes: u32, progress: &Arc<Progress>) -> Result<Done, JobError> {
    if processes <= 1 {
        return Job { parts: job.threads, ..job.clone() }.run(progress);
    }
    let parts = processes.saturating_mul(job.threads);
    let own = std::env::current_exe()?;
    let mut children = Vec::new();
    for process in 0..processes {
        let part = process.saturating_mul(job.threads);
        let job = serde_json::to_vec(&Job { part, parts, ..job.clone() });
        let mut command = Command::new(&own);
        command.arg(WORD).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(&job.map_err(io::Error::other)?)?;
        }
        children.push(child);
    }
    let mut done = Done { record: Record::new(), ..Done::default() };
    for child in children {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!("a part ended with {}", output.status)).into());
        }
        let told: Told = serde_json::from_slice(&output.stdout).map_err(io::Error::other)?;
        progress.sum(&told.record);
        done.add(told.into());
    }
    Ok(done)
}

/// Does the part of a run that standard input describes, and writes what it did to standard output.
///
/// # Errors
/// When the job is not understood or cannot be done.
pub fn run_part() -> Result<(), JobError> {
    let job: Job = serde_json::from_reader(io::stdin().lock()).map_err(io::Error::other)?;
    let told = Told::from(job.run(&Arc::default())?);
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &told).map_err(io::Error::other)?;
    Ok(out.flush()?)
}

impl From<Done> for Told {
    fn from(done: Done) -> Self {
        let Done { record, generator, receipts } = done;
        Self { record, generator, receipts: receipts.into_iter().map(Line::from).collect() }
    }
}

impl From<Told> for Done {
    fn from(told: Told) -> Self {
        let Told { record, generator, receipts } = told;
        Self { record, generator, receipts: receipts.into_iter().map(Receipt::from).collect() }
    }
}

impl From<Receipt> for Line {
    fn from(receipt: Receipt) -> Self {
        let Receipt { payer, model, request, seen, .. } = receipt;
        let (refused, end) = match seen {
            Seen::End(end) => (false, Some(end)),
            Seen::Refused => (true, None),
            Seen::Broken => (false, None),
        };
        let charge = end.map(|end| end.charge.micro());
        let tokens = end.and_then(|end| end.tokens).map(|tokens| (tokens.input, tokens.output));
        Self { payer, model, request, refused, charge, tokens }
    }
}

impl From<Line> for Receipt {
    fn from(line: Line) -> Self {
        let Line { payer, model, request, refused, charge, tokens } = line;
        let tokens = tokens.map(|(input, output)| Tokens { input, output });
        let seen = match charge {
            Some(micro) => Seen::End(End { charge: Credits::from_micro(micro), tokens }),
            None if refused => Seen::Refused,
            None => Seen::Broken,
        };
        Self { payer, model, request, seen, at_most: None }
    }
}

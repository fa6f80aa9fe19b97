//! What a crash run found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use opencredits_schema::Credits;
use serde::Serialize;

use super::plan::Fault;
use crate::receipts::{MovedKind, Receipts, Seen, Totals};

/// The result of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Makes the same schedule again.
    pub seed: u64,
    /// The command that does.
    pub command: String,
    /// How long it took, in seconds.
    pub seconds: u64,
    /// Each kind of fault that was met.
    pub faults: Vec<FaultLine>,
    /// What could not be broken here, and why.
    pub not_run: Vec<NotRun>,
    /// Times that the gateway was killed, in recovery too.
    pub crashes: usize,
    /// What clients did.
    pub requests: Requests,
    /// Money that came in and went back beside requests, by kind.
    pub money: BTreeMap<&'static str, usize>,
    /// What the books hold of it.
    pub books: BooksLine,
    /// Everything that does not agree; empty = the books hold.
    pub differences: Vec<String>,
}

/// One kind of fault.
#[derive(Clone, Debug, Serialize)]
pub struct FaultLine {
    /// Its name.
    pub fault: &'static str,
    /// Rounds of it, each ended by kill -9.
    pub times: usize,
    /// How often the gateway met it, where that can be counted.
    pub met: Option<i64>,
    /// From the start of the program to its readiness, in milliseconds.
    pub recovery_median_ms: u64,
    /// The longest of these.
    pub recovery_max_ms: u64,
}

/// A fault that was not tried, or was never met.
#[derive(Clone, Debug, Serialize)]
pub struct NotRun {
    /// Its name.
    pub fault: &'static str,
    /// Why not.
    pub why: String,
}

/// What clients did, and saw.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Requests {
    /// Requests that reached the gateway, or may have.
    pub begun: usize,
    /// Whole answers: each is a receipt.
    pub seen: usize,
    /// Refusals.
    pub refused: usize,
    /// Answers that broke off, or never came.
    pub broken: usize,
}

/// What the books hold in the end.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BooksLine {
    /// Requests that were charged.
    pub charged: u64,
    /// Of these, from a checkpoint.
    pub recovered: u64,
    /// Charges that were corrected afterwards.
    pub adjusted: u64,
    /// The sum of all charges, in credits.
    pub credits: String,
}

/// What is noted of a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) fault: Fault,
    pub(super) met: Option<i64>,
    pub(super) recovery: Duration,
}

impl Report {
    pub(super) fn count(&mut self, receipts: &Receipts, totals: Totals) {
        let count = |wanted: fn(&Seen) -> bool| {
            receipts.requests.iter().filter(|receipt| wanted(&receipt.seen)).count()
        };
        self.requests = Requests {
            begun: receipts.requests.len(),
            seen: count(|seen| matches!(seen, Seen::End(_))),
            refused: count(|seen| matches!(seen, Seen::Refused)),
            broken: count(|seen| matches!(seen, Seen::Broken)),
        };
        for moved in &receipts.moved {
            let name = match moved.kind {
                MovedKind::Grant => "grants",
                MovedKind::Purchase => "purchases",
                MovedKind::Refund => "refunds",
                MovedKind::Dispute => "dispute stages",
            };
            let count = self.money.entry(name).or_default();
            *count = count.saturating_add(1);
        }
        let Totals { charged, recovered, adjusted, credits } = totals;
        let credits = Credits::to_string(&credits);
        self.books = BooksLine { charged, recovered, adjusted, credits };
    }

    /// A line for each kind; what was never met did not happen.
    pub(super) fn note(&mut self, rounds: &[Done]) {
        for fault in Fault::ALL {
            let own: Vec<_> = rounds.iter().filter(|round| round.fault == fault).collect();
            if own.is_empty() {
                continue;
            }
            let met = own.iter().filter_map(|round| round.met).reduce(i64::saturating_add);
            if met == Some(0) {
                let why = "the gateway never met it".to_owned();
                self.not_run.push(NotRun { fault: fault.name(), why });
                continue;
            }
            let mut recoveries: Vec<_> = own.iter().map(|round| millis(round.recovery)).collect();
            recoveries.sort_unstable();
            self.faults.push(FaultLine {
                fault: fault.name(),
                times: own.len(),
                met,
                recovery_median_ms: recoveries.get(own.len() / 2).copied().unwrap_or_default(),
                recovery_max_ms: recoveries.last().copied().unwrap_or_default(),
            });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "fault                 times      met  recovery ms: median     max")?;
        for line in &self.faults {
            let FaultLine { fault, times, recovery_median_ms, recovery_max_ms, .. } = line;
            let met = line.met.map_or_else(|| "-".to_owned(), |met| met.to_string());
            writeln!(
                f,
                "{fault:<20} {times:>6} {met:>8} {recovery_median_ms:>20} {recovery_max_ms:>7}"
            )?;
        }
        for NotRun { fault, why } in &self.not_run {
            writeln!(f, "{fault:<20} did not run: {why}")?;
        }
        let Requests { begun, seen, refused, broken } = self.requests;
        writeln!(f)?;
        writeln!(f, "{} crashes in {} s", self.crashes, self.seconds)?;
        writeln!(
            f,
            "{begun} requests: {seen} ended, {refused} refused, {broken} broken off or unanswered"
        )?;
        let money: Vec<_> =
            self.money.iter().map(|(what, count)| format!("{count} {what}")).collect();
        writeln!(f, "{}", money.join(", "))?;
        let BooksLine { charged, recovered, adjusted, credits } = &self.books;
        writeln!(
            f,
            "{charged} charged ({recovered} from checkpoints, {adjusted} corrected), {credits} credits"
        )?;
        for difference in &self.differences {
            writeln!(f, "! {difference}")?;
        }
        let verdict =
            if self.differences.is_empty() { "the books hold" } else { "THE BOOKS DO NOT HOLD" };
        writeln!(f, "{verdict}: {} differences", self.differences.len())?;
        write!(f, "again: {}", self.command)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! The search for the highest rate at which 99 % of the answers are quick enough: doubling, then
//! halving the span that is left.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::job::{Done, Drive, ratio};
use super::verdict::Verdict;

/// The span between a rate that was kept and one that was not, at which the search ends.
const CLOSE: f64 = 1.06;
/// The share of failures that a kept rate may have.
const FAILED_MAX: f64 = 0.001;

/// A search, and what it has found so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    next: f64,
    most: f64,
    kept: Option<f64>,
    missed: Option<f64>,
}

/// One step of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Requests a second that were due.
    pub rate: f64,
    /// What was added to 99 % of the answers at most, in milliseconds.
    pub added_p99_ms: f64,
    /// The share of requests that failed.
    pub failed: f64,
    /// Why the rate was not kept; none if it was.
    pub missed: Option<String>,
}

impl Search {
    /// A search between two rates.
    #[must_use]
    pub fn new(from: f64, to: f64) -> Self {
        Self { next: from, most: to.max(from), kept: None, missed: None }
    }

    /// The rate to try next; none at the end.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let close = match (self.kept, self.missed) {
            (Some(kept), Some(missed)) => missed / kept < CLOSE,
            (Some(kept), None) => kept >= self.most,
            // Not even the lowest rate is kept.
            (None, Some(_)) => true,
            (None, None) => false,
        };
        (!close).then_some(self.next)
    }

    /// Goes on after the rate was tried; whether it is the highest one that was kept so far.
    pub fn tried(&mut self, kept: bool) -> bool {
        if kept {
            self.kept = Some(self.next);
        } else {
            self.missed = Some(self.next);
        }
        self.next = match (self.kept, self.missed) {
            (Some(kept), Some(missed)) => f64::midpoint(kept, missed),
            (Some(kept), None) => (kept * 2.0).min(self.most),
            (None, _) => self.next,
        };
        kept
    }
}

impl Step {
    /// Judges a rate by what was done at it.
    #[must_use]
    pub fn new(rate: f64, drive: Drive, done: &Done, p99: Duration) -> Self {
        let whole = done.record.whole();
        let added = whole.latencies.added.quantile(0.99);
        let failed = ratio(whole.failures(), whole.begun).unwrap_or_default();
        // What a late generator adds is not the server's.
        let late = Verdict::of(done, drive).refused;
        let failing = (failed > FAILED_MAX).then(|| "too many failed".to_owned());
        let slow = (added > p99).then(|| "too slow".to_owned());
        let missed = late.or(failing).or(slow);
        Self { rate, added_p99_ms: added.as_secs_f64() * 1e3, failed, missed }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, added_p99_ms, failed, missed } = self;
        let verdict = missed.as_deref().unwrap_or("kept");
        let failed = failed * 100.0;
        write!(f, "{rate:>9.0}/s  p99 +{added_p99_ms:>9.2} ms  {failed:>5.2} % failed  {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates that are tried where all up to `most` are kept.
    fn tried(from: f64, to: f64, most: f64) -> Vec<f64> {
        let mut search = Search::new(from, to);
        let mut rates = Vec::new();
        while let Some(rate) = search.rate() {
            rates.push(rate);
            search.tried(rate <= most);
            assert!(rates.len() < 100);
        }
        rates
    }

    #[test]
    fn it_doubles_and_then_halves_the_span() {
        let rates = tried(100.0, 20_000.0, 1_000.0);
        assert_eq!(rates[..5], [100.0, 200.0, 400.0, 800.0, 1_600.0]);
        assert_eq!(rates[5..8], [1_200.0, 1_000.0, 1_100.0]);
        let kept = rates.iter().filter(|rate| **rate <= 1_000.0).copied().reduce(f64::max);
        assert_eq!(kept, Some(1_000.0));
    }

    #[test]
    fn it_ends_at_the_most_and_below_the_least() {
        assert_eq!(tried(100.0, 500.0, 1e9), [100.0, 200.0, 400.0, 500.0]);
        assert_eq!(tried(100.0, 500.0, 10.0), [100.0]);
    }
}

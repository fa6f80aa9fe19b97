//! What a run saw: counts and latencies, in windows of the measured time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::micros::Micros;

/// Windows of a record: enough to plot, and to see how much a figure spreads.
pub const WINDOWS: u32 = 20;
/// Different failures that are told apart; further ones are counted as `others`.
const FAILURES_MAX: usize = 32;

/// What requests saw that were due in the measured time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The windows, all equally long, the first one first.
    pub windows: Vec<Window>,
}

/// What requests saw that were due in one window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Requests that were begun.
    pub begun: u64,
    /// Answers of success that came to their end.
    pub whole: u64,
    /// Answers whose client hung up, as the mix says.
    pub hung_up: u64,
    /// Answers that were read slowly, as the mix says; not in the latencies.
    pub slow: u64,
    /// Requests without a whole answer of success, by what went wrong.
    pub failed: BTreeMap<String, u64>,
    /// Bytes of bodies that came in.
    pub bytes: u64,
    /// The latencies.
    pub latencies: Latencies,
}

/// The latencies of whole answers, all from the moment at which the request was due.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// To the last byte of the body.
    pub total: Micros,
    /// The total, less what the simulated provider was told to take.
    pub added: Micros,
    /// To the first byte of the body.
    pub first_byte: Micros,
    /// Between the reads that brought a streamed body.
    pub gap: Micros,
    /// To the first byte of the request that was written: the generator's own lateness.
    pub lateness: Micros,
}

impl Record {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { windows: (0..WINDOWS).map(|_| Window::default()).collect() }
    }

    /// The window of a moment of the measured time.
    pub fn at(&mut self, since: Duration, length: Duration) -> Option<&mut Window> {
        let place = since.as_nanos().saturating_mul(WINDOWS.into()) / length.as_nanos().max(1);
        self.windows.get_mut(usize::try_from(place).ok()?)
    }

    /// Adds the record of another generator of the same run.
    pub fn add(&mut self, other: &Self) {
        self.windows.resize_with(self.windows.len().max(other.windows.len()), Window::default);
        for (window, more) in self.windows.iter_mut().zip(&other.windows) {
            window.add(more);
        }
    }

    /// All windows as one.
    #[must_use]
    pub fn whole(&self) -> Window {
        let mut whole = Window::default();
        self.windows.iter().for_each(|window| whole.add(window));
        whole
    }
}

impl Window {
    /// Counts a failure.
    pub fn fail(&mut self, what: &str) {
        let known = self.failed.len() < FAILURES_MAX || self.failed.contains_key(what);
        let count = self.failed.entry(if known { what } else { "others" }.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// How many failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    fn add(&mut self, other: &Self) {
        let counts = [
            (&mut self.begun, other.begun),
            (&mut self.whole, other.whole),
            (&mut self.hung_up, other.hung_up),
            (&mut self.slow, other.slow),
            (&mut self.bytes, other.bytes),
        ];
        for (count, more) in counts {
            *count = count.saturating_add(more);
        }
        for (what, more) in &other.failed {
            let count = self.failed.entry(what.clone()).or_default();
            *count = count.saturating_add(*more);
        }
        let Latencies { total, added, first_byte, gap, lateness } = &other.latencies;
        let own = &mut self.latencies;
        own.total.add(total);
        own.added.add(added);
        own.first_byte.add(first_byte);
        own.gap.add(gap);
        own.lateness.add(lateness);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_window_and_the_end_has_none() {
        let mut record = Record::new();
        let length = Duration::from_secs(20);
        for seconds in [0, 7, 19] {
            record.at(Duration::from_secs(seconds), length).unwrap().begun += 1;
        }
        assert!(record.at(length, length).is_none());
        let begun: Vec<_> = record.windows.iter().map(|window| window.begun).collect();
        assert_eq!((begun[0], begun[7], begun[19], begun[1]), (1, 1, 1, 0));
    }

    #[test]
    fn records_of_several_generators_add_up() {
        let mut record = Record::new();
        let mut other = Record::new();
        for (record, count) in [(&mut record, 1), (&mut other, 2)] {
            let window = record.at(Duration::ZERO, Duration::from_secs(1)).unwrap();
            window.whole += count;
            window.latencies.total.note(Duration::from_millis(count));
            window.fail("status 429");
        }
        record.add(&other);
        let whole = record.whole();
        assert_eq!((whole.whole, whole.failed["status 429"], whole.failures()), (3, 2, 2));
        assert_eq!(whole.latencies.total.count(), 2);
    }

    #[test]
    fn kinds_of_failures_have_a_bound() {
        let mut window = Window::default();
        (0..100).for_each(|n| window.fail(&format!("error {n}")));
        assert_eq!((window.failed.len(), window.failures()), (FAILURES_MAX + 1, 100));
    }
}

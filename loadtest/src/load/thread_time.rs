//! How long this thread was on a CPU, and how long it waited for one.

use std::io;
use std::time::Duration;

/// The times of a thread since it began, as Linux counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ThreadTime {
    /// On a CPU.
    pub(super) on_cpu: Duration,
    /// Ready, but not on a CPU.
    pub(super) waiting: Duration,
}

impl ThreadTime {
    /// The times of the calling thread.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(super) fn now() -> io::Result<Self> {
        Self::parse(&std::fs::read_to_string("/proc/thread-self/schedstat")?)
    }

    /// What came in between.
    #[must_use]
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            on_cpu: self.on_cpu.saturating_sub(earlier.on_cpu),
            waiting: self.waiting.saturating_sub(earlier.waiting),
        }
    }

    fn parse(text: &str) -> io::Result<Self> {
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(on_cpu)), Some(Ok(waiting))) => Ok(Self {
                on_cpu: Duration::from_nanos(on_cpu),
                waiting: Duration::from_nanos(waiting),
            }),
            _ => Err(io::Error::other("schedstat is not two numbers")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_has_been_on_a_cpu() {
        let before = ThreadTime::now().unwrap();
        let mut sum = 0_u64;
        while ThreadTime::now().unwrap().since(before).on_cpu < Duration::from_millis(5) {
            sum = (0..10_000).fold(sum, |sum: u64, n| std::hint::black_box(sum ^ n));
        }
        assert!(ThreadTime::parse("nonsense").is_err());
    }
}

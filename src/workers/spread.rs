//! How many workers serve, and which connection is at home on which.
//!
//! What one worker has the time for is cheapest on one: it finds more to do each time it wakes, and accounts
//! and providers' connections are on the same core. Above that connections go over all workers that serve
//! by their numbers, so that few long-lived ones are spread evenly.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use metrics::gauge;

use crate::lock::lock;
use crate::telemetry;

/// Between two looks, at least.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The part of its time above which a worker is too busy: others come to help.
const TOO_BUSY: f64 = 0.8;
/// The part of their time that fewer workers would be busy with, for so long, before fewer serve.
const AT_EASE: f64 = 0.5;
const AT_EASE_FOR: Duration = Duration::from_secs(1);

/// How many of the workers serve.
#[derive(Debug)]
pub(super) struct Spread {
    workers: NonZeroUsize,
    serving: AtomicUsize,
    began: Instant,
    /// When the next look is due, in nanoseconds since it began.
    due: AtomicU64,
    seen: Mutex<Seen>,
}

/// What the last look saw.
#[derive(Debug)]
struct Seen {
    at: Instant,
    /// How long each worker was busy until then.
    busy: Vec<Duration>,
    /// For how long fewer would have done.
    at_ease: Duration,
}

impl Spread {
    pub(super) fn new(workers: NonZeroUsize) -> Self {
        let began = Instant::now();
        let busy = vec![Duration::ZERO; workers.get()];
        let seen = Mutex::new(Seen { at: began, busy, at_ease: Duration::ZERO });
        let due = AtomicU64::new(nanos(LOOK_EVERY));
        let spread = Self { workers, serving: AtomicUsize::new(1), began, due, seen };
        spread.set(1);
        spread
    }

    /// The worker of a connection.
    pub(super) fn home(&self, connection: usize) -> usize {
        connection.checked_rem(self.serving.load(Ordering::Relaxed)).unwrap_or_default()
    }

    fn set(&self, serving: usize) {
        self.serving.store(serving, Ordering::Relaxed);
        gauge!(telemetry::WORKERS_SERVING).set(number(serving));
    }

    /// Sets it once and for all.
    #[cfg(test)]
    pub(super) fn fix(&self, serving: usize) {
        self.due.store(u64::MAX, Ordering::Relaxed);
        self.set(serving);
    }

    /// Decides by how long each worker has been busy so far, if it is time.
    pub(super) fn look(&self, busy: impl Fn(usize) -> Duration) {
        if self.workers == NonZeroUsize::MIN {
            return;
        }
        let now = Instant::now();
        let since = now.saturating_duration_since(self.began);
        let due = self.due.load(Ordering::Relaxed);
        if nanos(since) < due {
            return;
        }
        let next = nanos(since.saturating_add(LOOK_EVERY));
        // Another worker may be looking already.
        if self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let busy = (0..self.workers.get()).map(busy).collect();
            let serving = self.serving.load(Ordering::Relaxed);
            let wanted = lock(&self.seen).wanted(serving, self.workers.get(), now, busy);
            if wanted != serving {
                self.set(wanted);
            }
        }
    }
}

impl Seen {
    /// How many are to serve from now on.
    fn wanted(&mut self, serving: usize, all: usize, now: Instant, busy: Vec<Duration>) -> usize {
        let passed = now.saturating_duration_since(self.at);
        let before = std::mem::replace(&mut self.busy, busy);
        self.at = now;
        let parts = self.busy.iter().zip(&before);
        let parts = parts.map(|(now, before)| now.saturating_sub(*before).div_duration_f64(passed));
        let (mut most, mut sum) = (0.0_f64, 0.0);
        for part in parts.filter(|part| part.is_finite()) {
            (most, sum) = (most.max(part), sum + part);
        }
        if most > TOO_BUSY {
            self.at_ease = Duration::ZERO;
            return serving.saturating_mul(2).min(all);
        }
        let enough = (1..serving).find(|count| sum <= AT_EASE * number(*count));
        self.at_ease = enough.map_or(Duration::ZERO, |_| self.at_ease.saturating_add(passed));
        match enough {
            Some(enough) if self.at_ease >= AT_EASE_FOR => {
                self.at_ease = Duration::ZERO;
                enough
            }
            _ => serving,
        }
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn nanos(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

//! A job: all that one generator needs to know, so that several threads, processes and machines can
//! each do a part of one run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::arrivals::{Pace, Span};
use super::mix::Mix;
use super::plan::Plan;
use super::record::Record;
use super::target::{Target, User};
use super::worker;
use crate::receipts::Receipt;

/// What one generator shall send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Where to.
    pub target: Target,
    /// Who sends.
    pub users: Vec<User>,
    /// What.
    pub mix: Mix,
    /// How often.
    pub drive: Drive,
    /// For how long.
    pub times: Times,
    /// Makes the choices repeatable.
    pub seed: u64,
    /// Which of the like generators this one is, from 0.
    pub part: u32,
    /// How many like generators there are, over all threads and processes.
    pub parts: u32,
    /// Threads of this one; each is a generator.
    pub threads: u32,
    /// Asks what each answer cost and keeps it, for the books.
    pub receipts: bool,
}

/// How often requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drive {
    /// At a rate, whatever the server does. It goes linearly from one value to the other.
    Open {
        /// How the gaps are drawn.
        pace: Pace,
        /// Requests a second at the start of the measured time.
        from: f64,
        /// Requests a second at its end.
        to: f64,
    },
    /// So many connections, each sending its next request when it has the answer to the last one.
    Closed {
        /// Over all generators.
        connections: u32,
    },
}

/// The parts of a run's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// The rate climbs from nothing; not measured.
    pub ramp: Duration,
    /// The rate is held; not measured.
    pub warm_up: Duration,
    /// The rate is held or changes; measured.
    pub measure: Duration,
    /// The longest wait for an answer.
    pub timeout: Duration,
}

/// What came of a job, or of several parts of one run.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// What the measured requests saw.
    pub record: Record,
    /// What the generators themselves took.
    pub generator: Generator,
    /// What each client was told, if that was kept: of the warm-up too.
    pub receipts: Vec<Receipt>,
}

/// What the generators themselves took, over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Requests that they sent, those of the warm-up too.
    pub requests: u64,
    /// Their time on a CPU, in microseconds.
    pub cpu_us: u64,
    /// The time that they stood ready and waited for a CPU, in microseconds.
    pub waited_us: u64,
    /// The largest share of its time that one of the threads was on a CPU.
    pub busiest: f64,
}

/// How far a job is, for a bar that shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Requests whose end was seen.
    pub ended: AtomicU64,
    /// Those among them that failed.
    pub failed: AtomicU64,
}

/// A job that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A thread, a socket or a timer.
    #[error("the generator: {0}")]
    Io(#[from] std::io::Error),
    /// A thread panicked.
    #[error("a generator's thread broke")]
    Panicked,
}

impl Drive {
    /// The same at a steady rate; a closed loop has none.
    #[must_use]
    pub fn at(self, rate: f64) -> Self {
        match self {
            Self::Open { pace, .. } => Self::Open { pace, from: rate, to: rate },
            Self::Closed { .. } => self,
        }
    }

    /// Both at once; none where they are not of one kind.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Open { pace, from, to }, Self::Open { pace: own, from: more, to: most })
                if pace == own =>
            {
                Some(Self::Open { pace, from: from + more, to: to + most })
            }
            (Self::Closed { connections }, Self::Closed { connections: more }) => {
                Some(Self::Closed { connections: connections.saturating_add(more) })
            }
            (Self::Open { .. } | Self::Closed { .. }, _) => None,
        }
    }
}

impl Times {
    /// What comes before the measured time.
    #[must_use]
    pub fn before(&self) -> Duration {
        self.ramp.saturating_add(self.warm_up)
    }

    /// From the first request to the last.
    #[must_use]
    pub fn all(&self) -> Duration {
        self.before().saturating_add(self.measure)
    }

    /// The rate over time of an open drive.
    #[must_use]
    pub fn spans(&self, from: f64, to: f64) -> Vec<Span> {
        let spans = [
            Span { length: self.ramp, from: 0.0, to: from },
            Span { length: self.warm_up, from, to: from },
            Span { length: self.measure, from, to },
        ];
        spans.into_iter().filter(|span| !span.length.is_zero()).collect()
    }
}

impl Progress {
    pub(super) fn ended(&self, failed: bool) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Progress {
    /// Counts what another process did.
    pub(super) fn sum(&self, record: &Record) {
        let whole = record.whole();
        self.ended.fetch_add(whole.begun, Ordering::Relaxed);
        self.failed.fetch_add(whole.failures(), Ordering::Relaxed);
    }
}

impl Job {
    /// Does it, in threads of its own, and waits for all of its answers.
    ///
    /// # Errors
    /// [`JobError`]. A server that fails is none: that is what the record is for.
    pub fn run(&self, progress: &Arc<Progress>) -> Result<Done, JobError> {
        let Self { target, users, mix, seed, receipts, .. } = self;
        let plan = Arc::new(Plan::new(mix, target, users.clone(), *receipts, *seed));
        let start = Instant::now();
        let threads: Vec<_> = (0..self.threads.max(1))
            .map(|thread| {
                let (job, plan) = (self.clone_without_users(), Arc::clone(&plan));
                let progress = Arc::clone(progress);
                let part = self.part.saturating_add(thread);
                let named = std::thread::Builder::new().name(format!("load-{part}"));
                named.spawn(move || worker::run(job, part, plan, start, progress))
            })
            .collect::<Result<_, _>>()?;
        let mut done = Done { record: Record::new(), ..Done::default() };
        for thread in threads {
            done.add(thread.join().map_err(|_| JobError::Panicked)??);
        }
        Ok(done)
    }

    /// The users are in the plan already, and may be a million.
    fn clone_without_users(&self) -> Self {
        let Self { target, mix, .. } = self;
        Self { target: target.clone(), users: Vec::new(), mix: mix.clone(), ..*self }
    }
}

impl Done {
    /// Adds what another generator of the same run did.
    pub fn add(&mut self, other: Self) {
        self.record.add(&other.record);
        self.generator.add(&other.generator);
        self.receipts.extend(other.receipts);
    }
}

impl Generator {
    /// Adds what another one took.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.cpu_us = self.cpu_us.saturating_add(other.cpu_us);
        self.waited_us = self.waited_us.saturating_add(other.waited_us);
        self.busiest = self.busiest.max(other.busiest);
    }

    /// Microseconds of CPU that a request took; none without requests.
    #[must_use]
    pub fn cpu_us_per_request(&self) -> Option<f64> {
        ratio(self.cpu_us, self.requests)
    }
}

/// One count by another; none where that is 0.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "figures for a report")]
pub(crate) fn ratio(of: u64, by: u64) -> Option<f64> {
    (by > 0).then(|| of as f64 / by as f64)
}

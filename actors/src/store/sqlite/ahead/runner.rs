//! What the log does, step by step: appends and answers, and has the writer apply what has gathered.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Touched;
use super::generation::{Effects, Generation, Known, check};
use super::log::Log;
use crate::store::sqlite::entry::Entry;
use crate::store::sqlite::thread::Job;
use crate::store::sqlite::{commit, unavailable};
use crate::store::{Batch, Rejected, StoreError};

/// How long writes gather: the longer, the more of them change the same pages.
const GATHER: Duration = Duration::from_secs(5);
/// So many do not wait longer; with as many more behind them, new ones wait for the database.
const GATHERED_MAX: usize = 16_384;
/// The pause after the database took a generation not.
const RETRY: Duration = Duration::from_millis(200);

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the log's thread is asked or told.
#[derive(Debug)]
pub(super) enum Message {
    /// To have all that is durable applied.
    Apply(Reply<()>),
    /// Something gathers: it is to be applied in time.
    Gathering,
    /// The writer is done with what it was given.
    Written(Result<(), StoreError>),
    /// To end.
    End,
}

pub(super) struct Runner {
    log: Log,
    known: Known,
    jobs: Sender<Job>,
    me: Sender<Message>,
    touched: Arc<Touched>,
    gathering: Generation,
    /// What the database gets next; stays until it has it.
    applying: Option<Arc<Generation>>,
    /// Whether the writer works for us.
    writing: bool,
    commits: VecDeque<(Batch, Reply<Vec<Rejected>>)>,
    /// Who waits for a generation to be applied.
    flushes: Vec<(u64, Reply<()>)>,
    failure: Option<(StoreError, Instant)>,
    ending: bool,
}

/// The runner, for the two threads that make its steps: whoever commits, and the log's own, which does
/// what is due later. A step that panics takes the runner with it, and all who wait for it are told.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Option<Runner>>>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runner")
    }
}

impl Shared {
    pub(super) fn new(runner: Runner) -> Self {
        Self(Arc::new(Mutex::new(Some(runner))))
    }

    pub(super) fn with<T>(&self, step: impl FnOnce(&mut Runner) -> T) -> Option<T> {
        let mut place = self.0.lock().ok()?;
        let mut runner = place.take()?;
        let done = step(&mut runner);
        *place = Some(runner);
        Some(done)
    }

    /// Makes a batch durable, or drops its reply where nobody can; blocks while the log is written.
    /// Whether the log's thread is to be told that something gathers.
    pub(super) fn commit(&self, batch: Batch, reply: Reply<Vec<Rejected>>) -> bool {
        self.with(|runner| runner.commit(batch, reply)).unwrap_or(false)
    }

    /// The log's own thread.
    pub(super) fn run(&self, inbox: &Receiver<Message>) {
        while let Some(next_look) = self.with(|runner| runner.next_look()) {
            let message = match next_look {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            let message = match message {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if self.with(|runner| runner.hear(message)).unwrap_or(true) {
                return;
            }
        }
    }
}

impl Runner {
    pub(super) fn new(
        mut log: Log,
        generation: u64,
        known: Known,
        (jobs, me): (Sender<Job>, Sender<Message>),
        touched: Arc<Touched>,
    ) -> Self {
        log.begin(generation);
        Self {
            log,
            known,
            jobs,
            me,
            touched,
            gathering: Generation::new(generation),
            applying: None,
            writing: false,
            commits: VecDeque::new(),
            flushes: Vec::new(),
            failure: None,
            ending: false,
        }
    }

    /// Makes a batch durable, on the thread that asks; whether something gathers that the log's thread
    /// does not know of.
    fn commit(&mut self, batch: Batch, reply: Reply<Vec<Rejected>>) -> bool {
        let knows = self.next_look().is_some();
        self.commits.push_back((batch, reply));
        self.step();
        !knows && self.next_look().is_some()
    }

    /// Does what a message asks for; whether it was the last.
    fn hear(&mut self, message: Option<Message>) -> bool {
        if let Some(message) = message {
            self.take(message);
        }
        self.step();
        self.ending && !self.writing && (self.is_done() || self.failure.is_some())
    }

    fn step(&mut self) {
        let alone = self.commit_waiting();
        self.apply(alone);
    }

    /// When something is to be done although nobody says so.
    fn next_look(&self) -> Option<Instant> {
        if self.writing {
            return None;
        }
        match &self.failure {
            Some((_, since)) => since.checked_add(RETRY),
            None => self.gathering.since.and_then(|since| since.checked_add(GATHER)),
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Gathering => {}
            Message::Apply(reply) => self.flushes.push((self.newest(), reply)),
            Message::Written(result) => self.written(result),
            Message::End => self.ending = true,
        }
        self.answer_flushes();
    }

    /// The last generation that holds anything.
    const fn newest(&self) -> u64 {
        let before = self.gathering.number.saturating_sub(1);
        if self.gathering.is_empty() { before } else { self.gathering.number }
    }

    fn is_done(&self) -> bool {
        self.commits.is_empty() && self.applying.is_none() && self.gathering.is_empty()
    }

    fn written(&mut self, result: Result<(), StoreError>) {
        self.writing = false;
        match result {
            Ok(()) => {
                self.failure = None;
                if let Some(done) = self.applying.take() {
                    self.known.applied(&done);
                    self.touched.with(|touched| touched.retain(|_, last| *last > done.number));
                }
            }
            Err(error) => {
                for (_, reply) in self.flushes.drain(..) {
                    // The asker may be gone, here and below.
                    drop(reply.send(Err(error.clone())));
                }
                // Where nothing is to be applied, whoever gave the batch was told.
                self.failure = self.applying.as_ref().map(|_| (error, Instant::now()));
            }
        }
    }

    fn answer_flushes(&mut self) {
        let applied = self.applying.as_ref().map_or(self.gathering.number, |next| next.number);
        for (_, reply) in self.flushes.extract_if(.., |(generation, _)| *generation < applied) {
            drop(reply.send(Ok(())));
        }
    }

    /// Appends the batches that wait; whether the first of the rest must go to the database itself.
    fn commit_waiting(&mut self) -> bool {
        while let Some((batch, reply)) = self.commits.pop_front() {
            // What the writer does alone may change what this batch is checked against.
            let writes_alone = self.writing && self.applying.is_none();
            let full = self.gathering.writes.len() >= GATHERED_MAX && self.applying.is_some();
            if writes_alone || full && self.failure.is_none() {
                self.commits.push_front((batch, reply));
                return false;
            }
            if let Some((error, _)) = self.failure.as_ref().filter(|_| full) {
                drop(reply.send(Err(error.clone())));
                continue;
            }
            let waiting: Vec<_> =
                std::iter::once(&self.gathering).chain(self.applying.as_deref()).collect();
            let appended = match check(&batch, &waiting, &mut self.known) {
                Ok(effects) => effects.is_some_and(|effects| self.append(&batch, effects)),
                Err(error) => {
                    drop(reply.send(Err(error)));
                    continue;
                }
            };
            if !appended {
                self.commits.push_front((batch, reply));
                return true;
            }
            drop(reply.send(Ok(Vec::new())));
        }
        false
    }

    /// Whether the log holds the batch. What it does not take, the database is asked to take.
    fn append(&mut self, batch: &Batch, effects: Effects) -> bool {
        let entries = Entry::all(batch).map_err(io::Error::from);
        let appended = entries.and_then(|entries| self.log.append(&entries).map(|()| entries));
        let entries = match appended {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(%error, writes = batch.len(), "the ahead log took no batch");
                return false;
            }
        };
        let generation = self.gathering.number;
        self.touched.with(|touched| {
            touched.extend(batch.iter().map(|write| (write.account(), generation)));
        });
        self.gathering.gather(entries, effects);
        true
    }

    /// Gives the writer what is due: a batch that stands `alone`, once nothing is before it, or a
    /// generation.
    fn apply(&mut self, alone: bool) {
        let now = Instant::now();
        let rests = |(_, since): &(StoreError, Instant)| now.duration_since(*since) < RETRY;
        if self.writing || self.failure.as_ref().is_some_and(rests) {
            self.refuse_alone(alone);
            return;
        }
        if self.applying.is_none() {
            if self.gathering.is_empty() {
                self.write_alone(alone);
                return;
            }
            let aged = |since| now.duration_since(since) >= GATHER;
            let due = alone
                || self.ending
                || !self.flushes.is_empty()
                || self.gathering.writes.len() >= GATHERED_MAX
                || self.gathering.since.is_some_and(aged);
            if !due {
                return;
            }
            self.applying = Some(Arc::new(self.next_generation()));
        }
        if let Some(next) = self.applying.clone() {
            self.write(move |connection| commit::apply(connection, next.number, &next.writes));
        }
    }

    /// Begins the next generation; the one before it.
    fn next_generation(&mut self) -> Generation {
        let next = Generation::behind(&self.gathering);
        self.log.begin(next.number);
        std::mem::replace(&mut self.gathering, next)
    }

    /// While the database takes nothing, a batch that only it can look at is not kept waiting.
    fn refuse_alone(&mut self, alone: bool) {
        let Some((error, _)) = self.failure.as_ref().filter(|_| alone && !self.writing) else {
            return;
        };
        if let Some((_, reply)) = self.commits.pop_front() {
            drop(reply.send(Err(error.clone())));
        }
    }

    fn write_alone(&mut self, alone: bool) {
        let Some((batch, reply)) = self.commits.pop_front_if(|_| alone) else { return };
        self.known.forget(&batch);
        // Whether it is written or not, nothing else gets its number: the log may hold a part of it.
        let number = self.next_generation().number;
        self.write(move |connection| {
            drop(reply.send(commit::commit(connection, number, &batch)));
            Ok(())
        });
    }

    fn write(
        &mut self,
        work: impl FnOnce(&mut rusqlite::Connection) -> Result<(), StoreError> + Send + 'static,
    ) {
        let mut report = Report(Some(self.me.clone()));
        self.writing = true;
        let job: Job = Box::new(move |connection| report.send(work(connection)));
        // A writer that is gone drops the job, and its report says so.
        self.jobs.send(job).ok();
    }
}

/// Tells what became of a job, also when it panicked or was never done.
struct Report(Option<Sender<Message>>);

impl Report {
    fn send(&mut self, result: Result<(), StoreError>) {
        if let Some(to) = self.0.take() {
            // At the end nobody listens any more.
            to.send(Message::Written(result)).ok();
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.send(Err(unavailable(&"the writer's thread has stopped")));
    }
}

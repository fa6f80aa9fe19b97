//! The ahead log: batches become durable in an append-only file and reach the database later, many at
//! once ([ADR 12](../../../../docs/adr/0012-ahead-log.md)).
//!
//! Whoever commits checks its batch against the database and what waits for it, appends it and syncs, on
//! its own thread. What has gathered (a generation) the writer's thread applies in one transaction while
//! the next one gathers; a thread of the log's own sees to that. Whoever reads what events change asks for
//! it to be applied first.

mod generation;
mod heads;
mod log;
mod runner;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use foldhash::HashMap;
use opencredits_schema::AccountId;
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::oneshot;

use self::generation::Known;
pub(super) use self::heads::{does_not_fit, with_heads};
use self::log::Log;
pub(super) use self::log::Logged;
use self::runner::{Message, Runner, Shared};
use super::super::{Answered, Batch, Rejected, StoreError};
use super::thread::{Job, Thread};
use super::{commit, failed, unavailable};

/// The ahead log of an open store; dropped, it applies what it has and ends.
#[derive(Debug)]
pub(super) struct Ahead {
    runner: Shared,
    messages: Sender<Message>,
    touched: Arc<Touched>,
    thread: Option<JoinHandle<()>>,
}

/// The accounts with writes that the database may not hold yet, and the last generation of these.
#[derive(Debug, Default)]
struct Touched(Mutex<HashMap<AccountId, u64>>);

/// What the log says beyond its database.
pub(super) struct Missing {
    generation: u64,
    writes: Vec<Logged>,
}

impl Touched {
    fn with<T>(&self, look: impl FnOnce(&mut HashMap<AccountId, u64>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ahead {
    /// Applies what a crash left in the log, then starts.
    pub(super) fn start(
        path: &Path,
        mut connection: Connection,
        probe: Connection,
    ) -> Result<(Self, Thread), StoreError> {
        let (log, applied) = replayed(path, &mut connection)?;
        let writer = Thread::start("sqlite-writer", connection)?;
        let jobs: Sender<Job> =
            writer.jobs().ok_or_else(|| unavailable(&"its thread has stopped"))?;
        let (messages, inbox) = mpsc::channel();
        let touched = Arc::<Touched>::default();
        let runner = Runner::new(
            log,
            applied.saturating_add(1),
            Known::new(probe),
            (jobs, messages.clone()),
            Arc::clone(&touched),
        );
        let runner = Shared::new(runner);
        let running = runner.clone();
        let thread = std::thread::Builder::new().name("sqlite-ahead".to_owned());
        let thread = thread.spawn(move || running.run(&inbox));
        let thread = Some(thread.map_err(|error| unavailable(&error))?);
        Ok((Self { runner, messages, touched, thread }, writer))
    }

    /// Makes a batch durable; blocks while it is written to the log and synced, and answers then. One that
    /// the log cannot take is answered when the database has.
    pub(super) fn commit(&self, batch: Batch) -> Answered<'static, Vec<Rejected>> {
        let (reply, answer) = oneshot::channel();
        if self.runner.commit(batch, reply) {
            // A thread that has stopped applies nothing any more; the next start does.
            self.messages.send(Message::Gathering).ok();
        }
        answered(answer)
    }

    /// Resolves when the database holds all that was durable of an account before.
    pub(super) fn applied_of(&self, account: AccountId) -> Answered<'static, ()> {
        self.applied(self.touched.with(|touched| touched.contains_key(&account)))
    }

    /// Resolves when the database holds all that was durable before.
    pub(super) fn applied_all(&self) -> Answered<'static, ()> {
        self.applied(self.touched.with(|touched| !touched.is_empty()))
    }

    fn applied(&self, waits: bool) -> Answered<'static, ()> {
        if !waits {
            return Box::pin(std::future::ready(Ok(())));
        }
        let (reply, answer) = oneshot::channel();
        // A thread that has stopped drops the reply.
        self.messages.send(Message::Apply(reply)).ok();
        answered(answer)
    }
}

/// What is answered, or that nobody is left to answer.
fn answered<T: Send + 'static>(
    answer: oneshot::Receiver<Result<T, StoreError>>,
) -> Answered<'static, T> {
    Box::pin(async move { answer.await.map_err(|_| unavailable(&"its thread has stopped"))? })
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.messages.send(Message::End).ok();
        if let Some(thread) = self.thread.take() {
            // It panicked: whoever asked was told.
            thread.join().ok();
        }
    }
}

/// What is durable in a database's log and not in the database, the oldest first; nothing for a database
/// from before there was such a log.
///
/// # Errors
/// When the log or the database cannot be read.
pub(super) fn missing(path: &Path, connection: &Connection) -> Result<Vec<Missing>, StoreError> {
    let exist = log::paths(path).iter().all(|path| path.exists());
    let sql = "SELECT 1 FROM sqlite_schema WHERE name = 'ahead'";
    let known = connection.query_row(sql, [], |_| Ok(())).optional().map_err(failed)?.is_some();
    if !exist || !known {
        return Ok(Vec::new());
    }
    let (name, applied) = state(connection)?;
    let log = Log::open(path, name).map_err(|error| unavailable(&error))?;
    behind(&log, applied)
}

/// Applies what the log of a database says beyond it, which another process may be applying as well.
///
/// # Errors
/// When it cannot be written, or does not fit.
pub(super) fn replay(connection: &mut Connection, missing: Vec<Missing>) -> Result<(), StoreError> {
    for Missing { generation, writes } in missing {
        commit::replay(connection, generation, writes)?;
    }
    Ok(())
}

/// The log of a database that holds all of it, and the last generation's number.
fn replayed(path: &Path, connection: &mut Connection) -> Result<(Log, u64), StoreError> {
    let (name, applied) = state(connection)?;
    let log = Log::open(path, name).map_err(|error| unavailable(&error))?;
    let missing = behind(&log, applied)?;
    let writes: usize = missing.iter().map(|missing| missing.writes.len()).sum();
    if writes > 0 {
        replay(connection, missing)?;
        tracing::info!(writes, "applied what a crash had left in the ahead log");
    }
    Ok((log, state(connection)?.1))
}

fn behind(log: &Log, applied: u64) -> Result<Vec<Missing>, StoreError> {
    let unreadable = |error| StoreError::Corrupt(format!("the ahead log: {error}"));
    let mut missing = Vec::new();
    for generation in log.generations().map_err(unreadable)? {
        if generation > applied {
            let writes = log.read(generation).map_err(unreadable)?;
            missing.push(Missing { generation, writes });
        }
    }
    Ok(missing)
}

/// The name of the database's log, and the generation that it holds.
fn state(connection: &Connection) -> Result<(u64, u64), StoreError> {
    let sql = "SELECT log, generation FROM ahead";
    let row = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    let (name, generation): (i64, i64) = row.map_err(failed)?;
    Ok((name.cast_unsigned(), generation.cast_unsigned()))
}

//! A thread that owns a connection and does one job after the other.

use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::super::{Answered, StoreError};
use super::unavailable;

pub(super) type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The thread; when it is dropped, it does what it was asked before, and ends.
#[derive(Debug)]
pub(super) struct Thread {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    pub(super) fn start(name: &str, mut connection: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let run = move || {
            for job in queue {
                job(&mut connection);
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|error| unavailable(&error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Another end of its queue. The thread lives until all of them are gone.
    pub(super) fn jobs(&self) -> Option<Sender<Job>> {
        self.jobs.clone()
    }

    /// Has some work done and resolves with its answer.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answered<'static, T> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |connection: &mut Connection| {
            // The asker may be gone; the work stands.
            drop(reply.send(work(connection)));
        });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        Box::pin(async move {
            let stopped = || unavailable(&"its thread has stopped");
            if !sent {
                return Err(stopped());
            }
            answer.await.map_err(|_| stopped())?
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            // It panicked: whoever asked was told.
            thread.join().ok();
        }
    }
}

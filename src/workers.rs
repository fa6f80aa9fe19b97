//! The threads that serve: a runtime each, so that a request, its account's actor and its connection to
//! the provider mostly stay on one core and wake nobody on another.

use std::cell::Cell;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
}

/// The serving threads; they end when this is dropped, with whatever still runs on them.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Dropped to end it.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The number of the worker on whose thread this is called; 0 on any other thread.
#[must_use]
pub fn index() -> usize {
    INDEX.get()
}

impl Workers {
    /// Starts so many.
    ///
    /// # Errors
    /// When the system has no more threads or descriptors.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let workers = (0..count.get()).map(Worker::start).collect::<io::Result<_>>()?;
        Ok(Self { workers, next: AtomicUsize::new(0) })
    }

    /// The runtime that serves the next connection, in turns.
    ///
    /// # Panics
    /// Outside of a runtime, where there are no workers.
    pub fn next(&self) -> Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.workers.len());
        let worker = turn.and_then(|turn| self.workers.get(turn));
        worker.map_or_else(Handle::current, |worker| worker.runtime.clone())
    }
}

impl Worker {
    fn start(index: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let named = thread::Builder::new().name(format!("worker-{index}"));
        let thread = named.spawn(move || serve(runtime, index, stopped))?;
        Ok(Self { runtime: handle, stop: Some(stop), thread: Some(thread) })
    }
}

fn serve(runtime: Runtime, index: usize, stopped: oneshot::Receiver<()>) {
    INDEX.set(index);
    // Its sender says nothing; it is dropped.
    runtime.block_on(stopped).ok();
    // What was put off to a thread of its own must not hold up the end.
    runtime.shutdown_background();
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            drop(worker.stop.take());
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // A thread that panicked has said so.
                thread.join().ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_goes_round_and_knows_where_it_is() {
        let workers = Workers::start(NonZeroUsize::new(3).unwrap()).unwrap();
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(workers.next().spawn(async { index() }).await.unwrap());
        }
        assert_eq!(seen, [0, 1, 2, 0, 1, 2]);
    }

    #[tokio::test]
    async fn what_still_runs_ends_with_them() {
        let workers = Workers::start(NonZeroUsize::MIN).unwrap();
        let (alive, ended) = oneshot::channel::<()>();
        workers.next().spawn(async move {
            std::future::pending::<()>().await;
            drop(alive);
        });
        drop(workers);
        ended.await.unwrap_err();
    }
}

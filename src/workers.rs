//! The threads that serve: a runtime each, so that a request, its account's actor and its connection to
//! the provider mostly stay on one core and wake nobody on another. As few of them serve as have the time.

mod spread;

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use self::spread::Spread;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
}

/// The serving threads; they end when this is dropped, with whatever still runs on them.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    spread: Spread,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// What Linux tells of its thread's time.
    time: Option<File>,
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
        Ok(Self { workers, spread: Spread::new(count) })
    }

    /// The number of the worker that a connection, by its own number, is served on for now.
    #[must_use]
    pub fn home(&self, connection: usize) -> usize {
        self.spread.home(connection)
    }

    /// The runtime of the worker of that number.
    ///
    /// # Panics
    /// Outside of a runtime, where there is no such worker.
    #[must_use]
    pub fn runtime(&self, index: usize) -> Handle {
        self.workers.get(index).map_or_else(Handle::current, |worker| worker.runtime.clone())
    }

    /// Looks, now and then, how busy those that serve are, and has more or fewer of them serve. To be called
    /// when a request begins: what begins no requests needs no others.
    pub fn look(&self) {
        let busy = |index: usize| self.workers.get(index).map(Worker::busy).unwrap_or_default();
        self.spread.look(busy);
    }

    /// Has so many serve, however busy they are.
    #[cfg(test)]
    pub(crate) fn serve_on(&self, count: usize) {
        self.spread.fix(count);
    }
}

impl Worker {
    fn start(index: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let named = thread::Builder::new().name(format!("worker-{index}"));
        let thread = named.spawn(move || {
            // Nobody listens where the start has failed.
            tell.send(File::open("/proc/thread-self/schedstat").ok()).ok();
            serve(runtime, index, stopped);
        })?;
        let time = told.recv().unwrap_or_default();
        Ok(Self { runtime: handle, time, stop: Some(stop), thread: Some(thread) })
    }

    /// How long it has run on a core; where the system does not tell, how long it was awake.
    fn busy(&self) -> Duration {
        let ran = self.time.as_ref().and_then(ran);
        ran.unwrap_or_else(|| self.runtime.metrics().worker_total_busy_duration(0))
    }
}

/// The time on a core, the first figure of a thread's `schedstat` (Linux, `Documentation/scheduler/sched-stats.rst`).
fn ran(file: &File) -> Option<Duration> {
    let mut text = [0; 64];
    let read = file.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(text.get(..read)?).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
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
    async fn each_worker_knows_its_number() {
        let workers = Workers::start(NonZeroUsize::new(3).unwrap()).unwrap();
        for number in 0..3 {
            let told = workers.runtime(number).spawn(async { index() }).await.unwrap();
            assert_eq!(told, number);
        }
    }

    #[tokio::test]
    async fn a_worker_that_works_was_busy() {
        let workers = Workers::start(NonZeroUsize::new(2).unwrap()).unwrap();
        let [working, resting] = workers.workers.as_slice() else { panic!() };
        let before = working.busy();
        let worked = working.runtime.spawn(async {
            let began = std::time::Instant::now();
            while began.elapsed() < Duration::from_millis(50) {}
        });
        worked.await.unwrap();
        assert!(working.busy() - before > resting.busy() * 2);
    }

    #[tokio::test]
    async fn what_still_runs_ends_with_them() {
        let workers = Workers::start(NonZeroUsize::MIN).unwrap();
        let (alive, ended) = oneshot::channel::<()>();
        workers.runtime(0).spawn(async move {
            std::future::pending::<()>().await;
            drop(alive);
        });
        drop(workers);
        ended.await.unwrap_err();
    }
}

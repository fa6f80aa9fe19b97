//! The tasks of connections, each on the worker that its connection is at home on, which changes with the
//! number of workers that serve. A connection goes along when its next request begins.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use tokio::task::JoinSet;

use crate::lock::lock;
use crate::workers::{self, Workers};

/// What serves a connection to its end.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The tasks of a listener's connections.
#[derive(Debug)]
pub(super) struct Tasks {
    workers: Arc<Workers>,
    numbers: AtomicUsize,
    /// None once they were cut.
    running: Mutex<Option<JoinSet<()>>>,
}

/// Where a connection is served.
#[derive(Debug)]
pub(super) struct Place {
    number: usize,
    workers: Arc<Workers>,
    /// Whether it is at home elsewhere.
    leaves: AtomicBool,
}

impl Place {
    /// Says that a request begins: on the wrong worker, perhaps.
    pub(super) fn request_begins(&self) {
        self.workers.look();
        if self.workers.home(self.number) != workers::index() {
            self.leaves.store(true, Ordering::Relaxed);
        }
    }

    fn leaves(&self) -> bool {
        self.leaves.load(Ordering::Relaxed) && self.leaves.swap(false, Ordering::Relaxed)
    }
}

impl Tasks {
    pub(super) fn new(workers: Arc<Workers>) -> Self {
        let running = Mutex::new(Some(JoinSet::new()));
        Self { workers, numbers: AtomicUsize::new(0), running }
    }

    /// A place for a new connection.
    pub(super) fn place(&self) -> Arc<Place> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let workers = Arc::clone(&self.workers);
        Arc::new(Place { number, workers, leaves: AtomicBool::new(false) })
    }

    /// Serves a connection where it is at home.
    pub(super) fn serve(self: &Arc<Self>, place: Arc<Place>, mut serving: Serving) {
        let runtime = self.workers.runtime(self.workers.home(place.number));
        let tasks = Arc::clone(self);
        let task = async move {
            let ended = poll_fn(|cx| match serving.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(true),
                // Polled again there, it hears of what happens meanwhile.
                Poll::Pending if place.leaves() => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            });
            if !ended.await {
                tasks.serve(place, serving);
            }
        };
        if let Some(running) = lock(&self.running).as_mut() {
            // Reap what has ended, so that the set holds about as many tasks as are open.
            while running.try_join_next().is_some() {}
            running.spawn_on(task, &runtime);
        }
    }

    /// Cuts what still runs; how many that were.
    pub(super) async fn cut(&self) -> usize {
        let Some(mut running) = lock(&self.running).take() else { return 0 };
        while running.try_join_next().is_some() {}
        let connections = running.len();
        running.shutdown().await;
        connections
    }
}

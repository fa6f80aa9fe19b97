//! The holds of an account's running requests, which outlive an incarnation that fails.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use opencredits_schema::{Hold, RequestId};

/// A hold counts until its end is durable: a settlement may be dropped with what was queued before
/// it, and is asked again then.
#[derive(Debug, Default)]
pub(crate) struct RunningHolds(Mutex<BTreeMap<RequestId, Running>>);

#[derive(Debug)]
struct Running {
    hold: Hold,
    /// The number of the event that settles it.
    settled: Option<u64>,
}

impl RunningHolds {
    pub(crate) fn run(&self, hold: Hold) {
        self.lock().insert(hold.request, Running { hold, settled: None });
    }

    /// Ends a hold by a release, of which nothing becomes durable.
    pub(crate) fn end(&self, request: RequestId) {
        self.lock().remove(&request);
    }

    /// A request was settled by an event of this number.
    pub(crate) fn settled(&self, request: RequestId, seq: u64) {
        if let Some(running) = self.lock().get_mut(&request) {
            running.settled = Some(seq);
        }
    }

    /// Forgets what was settled by events up to this number, which are durable.
    pub(crate) fn forget_durable(&self, seq: u64) {
        self.lock().retain(|_, running| running.settled.is_none_or(|settled| settled > seq));
    }

    /// The holds that the next incarnation takes over.
    pub(crate) fn holds(&self) -> Vec<Hold> {
        self.lock().values().map(|running| running.hold.clone()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RequestId, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

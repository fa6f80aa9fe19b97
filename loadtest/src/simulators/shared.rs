//! What the connections of a simulator share: scripts, seen requests, counts and gates.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::sync::{Semaphore, watch};

use super::script::Script;

/// Scripts that can wait in the queue.
pub const SCRIPTS_MAX: usize = 10_000;
/// Requests that are kept for [`Providers::requests`](super::Providers::requests).
pub const REQUESTS_MAX: usize = 4_096;
/// Bytes of request bodies that are kept with them.
pub const REQUEST_BYTES_MAX: usize = 256 << 20;
/// Gates that can have a name at the same time; a further one stands open.
pub const GATES_MAX: usize = 4_096;

/// The queue of scripts is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{SCRIPTS_MAX} scripts wait already")]
pub struct QueueFull;

/// A request as it reached the provider.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// All headers, keys included.
    pub headers: HeaderMap,
    /// The body's exact bytes.
    pub body: Bytes,
}

impl Seen {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What has happened since the start, and what goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests whose body has come in whole.
    pub requests: u64,
    /// Answers whose head was sent and whose body is not over.
    pub open_streams: u64,
    /// Content chunks handed to connections.
    pub chunks: u64,
    /// Bodies that came to the end of their script, cut ones included.
    pub finished: u64,
    /// Bodies whose client went away before their end.
    pub clients_gone: u64,
    /// Answers that stand at a gate, by its name.
    pub waiting: BTreeMap<String, u64>,
}

/// The state behind all connections of one address.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) gates: Gates,
    counts: watch::Sender<Counts>,
    scripts: Mutex<VecDeque<Script>>,
    seen: Mutex<Log>,
    serial: AtomicU64,
}

#[derive(Debug, Default)]
struct Log {
    requests: VecDeque<Seen>,
    bytes: usize,
}

impl Shared {
    pub(super) fn queue(&self, script: Script) -> Result<(), QueueFull> {
        let mut scripts = lock(&self.scripts);
        if scripts.len() >= SCRIPTS_MAX {
            return Err(QueueFull);
        }
        scripts.push_back(script);
        Ok(())
    }

    /// The first script in the queue that fits the model, used up one time.
    pub(super) fn take_script(&self, model: &str) -> Option<Script> {
        let mut scripts = lock(&self.scripts);
        let fits = |script: &Script| script.model.as_deref().is_none_or(|own| own == model);
        let place = scripts.iter().position(fits)?;
        let script = scripts.get_mut(place)?;
        if script.times > 1 {
            script.times = script.times.saturating_sub(1);
            return Some(script.clone());
        }
        scripts.remove(place)
    }

    pub(super) fn clear_scripts(&self) {
        lock(&self.scripts).clear();
    }

    pub(super) fn saw(&self, request: Seen) {
        let mut log = lock(&self.seen);
        log.bytes = log.bytes.saturating_add(request.body.len());
        log.requests.push_back(request);
        while log.requests.len() > REQUESTS_MAX || log.bytes > REQUEST_BYTES_MAX {
            let Some(oldest) = log.requests.pop_front() else { break };
            log.bytes = log.bytes.saturating_sub(oldest.body.len());
        }
        drop(log);
        self.count(|counts| counts.requests = counts.requests.saturating_add(1));
    }

    pub(super) fn requests(&self) -> Vec<Seen> {
        lock(&self.seen).requests.iter().cloned().collect()
    }

    pub(super) fn clear_requests(&self) {
        *lock(&self.seen) = Log::default();
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    pub(super) async fn until(&self, wanted: impl FnMut(&Counts) -> bool) -> Counts {
        let mut watcher = self.counts.subscribe();
        // The sender lives as long as `self`, so the wait cannot fail.
        watcher.wait_for(wanted).await.map(|counts| counts.clone()).unwrap_or_default()
    }

    /// The next number of an answer, from 1.
    pub(super) fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }
}

/// Named gates; one that nobody opened is closed.
#[derive(Debug, Default)]
pub(super) struct Gates {
    named: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Gates {
    pub(super) fn open(&self, name: &str) {
        if let Some(gate) = self.gate(name) {
            gate.close();
        }
    }

    /// Returns when the gate is open; the wait shows in the counts.
    pub(super) async fn pass(&self, name: &str, shared: &Shared) {
        let Some(gate) = self.gate(name) else { return };
        if gate.is_closed() {
            return;
        }
        let _waiting = Waiting::new(name, shared);
        // A gate's semaphore has no permits; it is closed to open the gate.
        drop(gate.acquire().await);
    }

    fn gate(&self, name: &str) -> Option<Arc<Semaphore>> {
        let mut named = lock(&self.named);
        if let Some(gate) = named.get(name) {
            return Some(Arc::clone(gate));
        }
        if named.len() >= GATES_MAX {
            return None;
        }
        let gate = Arc::new(Semaphore::new(0));
        named.insert(name.to_owned(), Arc::clone(&gate));
        Some(gate)
    }
}

/// Someone who stands at a gate, until dropped.
struct Waiting<'a> {
    name: &'a str,
    shared: &'a Shared,
}

impl<'a> Waiting<'a> {
    fn new(name: &'a str, shared: &'a Shared) -> Self {
        shared.count(|counts| {
            let waiting = counts.waiting.entry(name.to_owned()).or_default();
            *waiting = waiting.saturating_add(1);
        });
        Self { name, shared }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.count(|counts| {
            let left = counts.waiting.get(self.name).copied().unwrap_or_default().saturating_sub(1);
            if left == 0 {
                counts.waiting.remove(self.name);
            } else {
                counts.waiting.insert(self.name.to_owned(), left);
            }
        });
    }
}

/// The data behind a lock; nothing that holds one can leave it half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_waits_for_its_model_and_is_used_up() {
        let shared = Shared::default();
        shared.queue(Script { times: 2, ..Script::error(500) }.for_model("a")).unwrap();
        shared.queue(Script::error(429)).unwrap();
        assert_eq!(shared.take_script("b").unwrap().status, Some(429));
        assert!(shared.take_script("b").is_none());
        assert_eq!(shared.take_script("a").unwrap().status, Some(500));
        assert_eq!(shared.take_script("a").unwrap().status, Some(500));
        assert!(shared.take_script("a").is_none());
    }

    #[test]
    fn the_queue_of_scripts_has_a_bound() {
        let shared = Shared::default();
        for _ in 0..SCRIPTS_MAX {
            shared.queue(Script::default()).unwrap();
        }
        assert_eq!(shared.queue(Script::default()), Err(QueueFull));
    }

    #[test]
    fn only_the_newest_requests_are_kept() {
        let shared = Shared::default();
        for number in 0..=REQUESTS_MAX {
            shared.saw(Seen {
                method: Method::POST,
                path: format!("/{number}"),
                headers: HeaderMap::new(),
                body: Bytes::new(),
            });
        }
        let kept = shared.requests();
        assert_eq!((kept.len(), kept[0].path.as_str()), (REQUESTS_MAX, "/1"));
        assert_eq!(shared.counts().requests, 4_097);
    }

    #[test]
    fn a_gate_too_many_stands_open() {
        let gates = Gates::default();
        for number in 0..GATES_MAX {
            assert!(gates.gate(&number.to_string()).is_some());
        }
        assert!(gates.gate("one more").is_none());
    }
}

//! The table of running requests: their checkpoints, their leases, their end when the gateway stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use opencredits_schema::RequestId;

use crate::config::{Config, OnClientGone};
use crate::gateway::Gateway;
use crate::live::Live;

/// How often the table is gone through. A hold that is older gets a checkpoint, and another when
/// more has come: twice as often as is promised.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a request whose usage is not known yet is read on without its client.
#[must_use]
pub const fn drain_time(config: &Config) -> Duration {
    match config.on_client_gone {
        OnClientGone::Auto | OnClientGone::Drain => config.times.drain,
        OnClientGone::Cancel => Duration::ZERO,
    }
}

/// All running requests.
#[derive(Debug)]
pub struct Running {
    table: DashMap<RequestId, Arc<Live>>,
    drains: AtomicUsize,
    drains_max: usize,
}

impl Running {
    /// None yet; at most so many may be read on without their client.
    #[must_use]
    pub fn new(drains_max: usize) -> Self {
        Self { table: DashMap::new(), drains: AtomicUsize::new(0), drains_max }
    }

    /// Enters a request.
    pub(crate) fn enter(&self, live: &Arc<Live>) {
        self.table.insert(live.id(), Arc::clone(live));
    }

    /// Takes a request out.
    pub(crate) fn leave(&self, request: RequestId) {
        self.table.remove(&request);
    }

    /// How many run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table.len()
    }

    /// A place among those that are read on without their client; `None` when all are taken.
    #[must_use]
    pub fn drain(gateway: &Arc<Gateway>) -> Option<Drain> {
        let running = &gateway.running;
        if running.drains.fetch_add(1, Ordering::AcqRel) >= running.drains_max {
            running.drains.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        gateway.metrics.open_drains.increment(1.0);
        Some(Drain(Arc::clone(gateway)))
    }

    /// How many are read on without their client.
    #[must_use]
    pub fn drains(&self) -> usize {
        self.drains.load(Ordering::Acquire)
    }

    /// Tells every request to end now.
    pub fn cut_all(&self) {
        for live in &self.table {
            live.cut.notify_one();
        }
    }
}

/// A place among those that are read on without their client.
#[derive(Debug)]
pub struct Drain(Arc<Gateway>);

impl Drop for Drain {
    fn drop(&mut self) {
        self.0.running.drains.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.open_drains.decrement(1.0);
    }
}

/// Checkpoints what has run for a while, and renews the leases of what runs: slow readers, quiet
/// upstreams and detached drains too.
pub async fn look_after(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let third = gateway.config.times.hold_lease / 3;
    loop {
        ticks.tick().await;
        let all = gateway.running.table.iter().map(|live| Arc::clone(&live));
        let running: Vec<_> = all.filter(|live| live.age() >= LOOK_EVERY).collect();
        for live in running {
            if let Some(checkpoint) = live.checkpoint(gateway.system.node(), gateway.system.now()) {
                gateway.system.checkpoint(checkpoint);
            }
            if live.renews(third) {
                gateway.system.renew(live.terms.account, live.id());
            }
        }
    }
}

//! How far a move is, for whoever shows it meanwhile.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::super::super::sqlite::Totals;

/// What a move has done so far; `Display` tells it in one line.
#[derive(Debug, Default)]
pub struct MoveProgress {
    stage: Mutex<(&'static str, Totals)>,
    accounts: AtomicU64,
    events: AtomicU64,
    records: AtomicU64,
}

impl MoveProgress {
    /// Begins to count anew.
    pub(super) fn begin(&self, stage: &'static str, totals: Totals) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = (stage, totals);
        for count in [&self.accounts, &self.events, &self.records] {
            count.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn account(&self) {
        self.accounts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn events(&self, count: u64) {
        self.events.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn record(&self) {
        self.records.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that were counted.
    pub(super) fn records_so_far(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }
}

impl fmt::Display for MoveProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stage, totals) = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if stage.is_empty() {
            return f.write_str("making the keyspace ready");
        }
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (accounts, events) = (now(&self.accounts), now(&self.events));
        write!(
            f,
            "{stage}: {accounts} of {} accounts, {events} of {} events, {} of {} other records",
            totals.accounts,
            totals.events,
            now(&self.records),
            totals.records
        )
    }
}

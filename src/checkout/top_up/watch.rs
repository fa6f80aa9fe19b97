//! Who is topped up, in memory: what the end of a request is compared with, and how it wakes the worker.
//!
//! A request never waits for it. An account without a top-up costs one look into a map that misses;
//! one with it two comparisons of integers, and now and then a message into a queue with a bound.

use std::sync::atomic::{AtomicI64, Ordering};

use dashmap::DashMap;
use opencredits_actors::StoreError;
use opencredits_schema::{Credits, DocumentKind, OrderId, Timestamp, TopUp, TopUpState};
use tokio::sync::{Mutex, MutexGuard, mpsc};

use super::Owner;
use crate::checkout::documents;
use crate::gateway::Gateway;

/// Top-ups that are watched; beyond it a metric says that some are not.
const WATCHED_MAX: usize = 200_000;
/// Messages that wait for the worker. One that finds no room is lost: the next request says it again,
/// and what was begun is due in the sweep.
const WAKES_MAX: usize = 1024;
/// How long one is quiet after it woke the worker, unless the worker knows better.
const QUIET_MS: i64 = 60_000;

/// Top-ups that are on and not watched.
const UNWATCHED: &str = "opencredits_top_ups_unwatched_total";

/// What the worker is woken for.
#[derive(Clone, Copy, Debug)]
pub(in crate::checkout) enum Wake {
    /// Few credits are left.
    Low(Owner),
    /// Something is to be done about a top-up.
    Look(Owner),
    /// A paid order wishes a top-up.
    Keep(OrderId),
}

/// All top-ups that are on.
pub(in crate::checkout) struct TopUps {
    watched: DashMap<Owner, Watched>,
    changing: Mutex<()>,
    wake: mpsc::Sender<Wake>,
    wakes: Mutex<mpsc::Receiver<Wake>>,
}

struct Watched {
    threshold: Credits,
    /// In milliseconds since 1970.
    quiet_until: AtomicI64,
}

/// The right to change documents of top-ups: one at a time, so that what is watched is what is written.
pub(super) struct Turn<'a> {
    top_ups: &'a TopUps,
    _alone: MutexGuard<'a, ()>,
}

impl TopUps {
    pub(in crate::checkout) fn new() -> Self {
        let (wake, wakes) = mpsc::channel(WAKES_MAX);
        Self { watched: DashMap::new(), changing: Mutex::default(), wake, wakes: Mutex::new(wakes) }
    }

    /// Wakes the worker; `false` where it has too much to do.
    pub(in crate::checkout) fn wake(&self, wake: Wake) -> bool {
        self.wake.try_send(wake).is_ok()
    }

    /// What the worker is woken for, from now on.
    pub(super) async fn wakes(&self) -> MutexGuard<'_, mpsc::Receiver<Wake>> {
        self.wakes.lock().await
    }

    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn { top_ups: self, _alone: self.changing.lock().await }
    }

    /// Nothing can come of waking the worker before that moment.
    pub(super) fn rest(&self, owner: Owner, until: Timestamp) {
        if let Some(watched) = self.watched.get(&owner) {
            watched.quiet_until.store(until.millis(), Ordering::Relaxed);
        }
    }
}

impl Turn<'_> {
    /// Watches for a top-up as it is now.
    pub(super) fn note(&self, top_up: &TopUp, now: Timestamp) {
        let owner = (top_up.account, top_up.partner);
        let watched = &self.top_ups.watched;
        if top_up.state != TopUpState::On {
            watched.remove(&owner);
            return;
        }
        if watched.len() >= WATCHED_MAX && !watched.contains_key(&owner) {
            metrics::counter!(UNWATCHED).increment(1);
            return;
        }
        let busy = top_up.in_flight.as_ref().map(|_| now.plus_millis(QUIET_MS));
        let quiet_until = AtomicI64::new(busy.unwrap_or(top_up.rests_until).millis());
        watched.insert(owner, Watched { threshold: top_up.terms.threshold, quiet_until });
    }
}

/// So many credits are left of an account after a request by a partner's key: wakes the worker where
/// that is fewer than its user agreed to.
pub(crate) fn left(gateway: &Gateway, owner: Owner, available: Credits) {
    let Some(desk) = &gateway.desk else { return };
    let Some(watched) = desk.top_ups.watched.get(&owner) else { return };
    if available >= watched.threshold {
        return;
    }
    let now = gateway.system.now();
    let quiet_until = watched.quiet_until.load(Ordering::Relaxed);
    if now.millis() < quiet_until {
        return;
    }
    let quiet = now.plus_millis(QUIET_MS).millis();
    let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
    let first = watched.quiet_until.compare_exchange(quiet_until, quiet, success, failure);
    if first.is_ok() && !desk.top_ups.wake(Wake::Low(owner)) {
        watched.quiet_until.store(quiet_until, Ordering::Relaxed);
    }
}

/// Begins to watch for all that are on, before the first request: one that finds its account low may be
/// the last for long. What a crash left open is looked at now.
///
/// # Errors
/// As the store says.
pub(crate) async fn load(gateway: &Gateway) -> Result<(), StoreError> {
    let Some(desk) = &gateway.desk else { return Ok(()) };
    let turn = desk.top_ups.turn().await;
    let (kind, ever) = (DocumentKind::TopUp, Timestamp::from_millis(i64::MAX));
    let found = gateway.system.store().due_documents(kind, ever, WATCHED_MAX).await?;
    if found.len() >= WATCHED_MAX {
        metrics::counter!(UNWATCHED).increment(1);
    }
    for document in found {
        let top_up: TopUp = match documents::parse(&document) {
            Ok(found) => found.value,
            Err(error) => {
                tracing::error!(%error, "a top-up cannot be read");
                continue;
            }
        };
        turn.note(&top_up, gateway.system.now());
        if top_up.in_flight.is_some() || top_up.notice_due.is_some() {
            // One that finds no room is due in the sweep.
            desk.top_ups.wake(Wake::Look((top_up.account, top_up.partner)));
        }
    }
    Ok(())
}

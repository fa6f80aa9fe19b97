//! What all requests share: configuration, actors, prices, limits, upstreams.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use opencredits_actors::System;
use opencredits_schema::PriceBook;
use quick_cache::sync::Cache;

use crate::auth::Caller;
use crate::checkout::Desk;
use crate::config::Config;
use crate::key_uses::KeyUses;
use crate::limits::{BadKeyLimits, KeyLimits, OpenStreams};
use crate::recent_items::RecentItems;
use crate::running::Running;
use crate::telemetry::{self, Metrics};
use crate::upstream::Upstream;

/// Keys whose owner is remembered, and unknown keys that are remembered as unknown.
const KEYS_MAX: usize = 200_000;
const UNKNOWN_KEYS_MAX: usize = 100_000;

/// How long readiness waits for the store to say that it can be written.
const CHECK_WAIT: Duration = Duration::from_secs(2);

/// A running gateway.
pub struct Gateway {
    /// The settings it was started with.
    pub config: Config,
    /// The actors.
    pub system: System,
    /// What sells credits; `None` without Stripe's keys.
    pub desk: Option<Desk>,
    /// The providers' client.
    pub upstream: Upstream,
    /// Kept handles of the hot path's metrics.
    pub metrics: Metrics,
    /// How often each key may ask.
    pub key_limits: KeyLimits,
    /// How many bad keys an address may try.
    pub bad_keys: BadKeyLimits,
    /// How many requests of a key run at once.
    pub open_streams: OpenStreams,
    /// What clients of `/v1/responses` may refer to.
    pub recent_items: RecentItems,
    /// The running requests, for checkpoints and leases.
    pub running: Running,
    pub(crate) callers: Cache<[u8; 32], Arc<Caller>>,
    pub(crate) unknown: Cache<[u8; 32], ()>,
    pub(crate) revocations: AtomicU64,
    pub(crate) key_uses: KeyUses,
    book: RwLock<Arc<PriceBook>>,
    ready: AtomicBool,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway around its parts; ready once [`Gateway::set_ready`] says so.
    #[must_use]
    pub fn new(
        config: Config,
        system: System,
        upstream: Upstream,
        desk: Option<Desk>,
        book: PriceBook,
    ) -> Self {
        Self {
            key_limits: KeyLimits::new(),
            bad_keys: BadKeyLimits::new(),
            open_streams: OpenStreams::new(config.inside.open_streams_per_key),
            recent_items: RecentItems::new(config.responses_cache),
            running: Running::new(config.inside.drain_count),
            callers: Cache::new(KEYS_MAX),
            unknown: Cache::new(UNKNOWN_KEYS_MAX),
            revocations: AtomicU64::new(0),
            key_uses: KeyUses::new(config.times.key_idle),
            book: RwLock::new(Arc::new(book)),
            ready: AtomicBool::new(false),
            metrics: Metrics::new(),
            config,
            desk,
            system,
            upstream,
        }
    }

    /// The price book of this moment; a request keeps the one that it started with.
    #[must_use]
    pub fn book(&self) -> Arc<PriceBook> {
        Arc::clone(&self.book.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another price book in force for requests that start from now on.
    pub fn set_book(&self, book: PriceBook) {
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(book);
    }

    /// Whether it takes requests: not before recovery, not while it stops, not while the store
    /// cannot be written, not without its lease where it is one of several.
    pub async fn is_ready(&self) -> bool {
        let up = self.ready.load(Ordering::Relaxed)
            && self.system.journal().healthy
            && self.system.may_decide();
        let writable = tokio::time::timeout(CHECK_WAIT, self.system.store().check());
        up && matches!(writable.await, Ok(Ok(())))
    }

    /// All metrics as Prometheus reads them.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        // A figure that is only looked at is not kept up to date beside the directory.
        let active = u32::try_from(self.system.active_accounts()).unwrap_or(u32::MAX);
        self.metrics.active_accounts.set(f64::from(active));
        telemetry::render()
    }

    /// Says that it takes requests, or no more.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}

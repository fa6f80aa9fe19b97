//! Keys of the checkout that nobody uses for long expire. A request only looks at a number in memory; at
//! most once a day a key, its use is handed to a task that writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use http::header::ORIGIN;
use opencredits_schema::{Key, KeyId, KeyUse, Timestamp};
use tokio::sync::{Mutex, mpsc};

use crate::gateway::Gateway;

/// How often the use of a key is written at most.
const WRITE_EVERY: Duration = Duration::from_secs(86_400);
/// Uses that wait to be written; those beyond are told by a later request.
const QUEUE_MAX: usize = 1024;
/// Longest origin that is kept: a host's name has at most 253 bytes.
const ORIGIN_MAX: usize = 300;

/// When a key in memory was used, in milliseconds since 1970.
#[derive(Debug)]
pub(crate) struct LastUse {
    at: AtomicI64,
    /// The last use that is written, or on its way there; `i64::MIN` before any.
    written: AtomicI64,
}

impl LastUse {
    /// As the store knows it.
    pub(crate) fn of(key: &Key) -> Self {
        let written = key.last_use.as_ref().map_or(i64::MIN, |last| last.at.millis());
        Self { at: AtomicI64::new(key.resting_since().millis()), written: AtomicI64::new(written) }
    }
}

/// The way from requests to the task that writes.
#[derive(Debug)]
pub(crate) struct KeyUses {
    idle_ms: i64,
    write_every_ms: i64,
    waiting: mpsc::Sender<(KeyId, KeyUse)>,
    coming: Mutex<mpsc::Receiver<(KeyId, KeyUse)>>,
}

impl KeyUses {
    /// Keys stay good for so long without being used.
    pub(crate) fn new(idle: Duration) -> Self {
        let (waiting, coming) = mpsc::channel(QUEUE_MAX);
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self {
            idle_ms: millis(idle),
            // A key that is used all the time must not expire between two writes.
            write_every_ms: millis(WRITE_EVERY.min(idle / 4)),
            waiting,
            coming: Mutex::new(coming),
        }
    }

    /// Whether the key has rested for too long.
    pub(crate) fn rested(&self, key: &Key, since: Timestamp, now: Timestamp) -> bool {
        key.checkout && now.millis().saturating_sub(since.millis()) >= self.idle_ms
    }

    /// Whether the key has not rested for too long; if so, this is a use of it.
    pub(crate) fn admit(
        &self,
        key: &Key,
        last: &LastUse,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> bool {
        if !key.checkout {
            return true;
        }
        if self.rested(key, Timestamp::from_millis(last.at.load(Ordering::Relaxed)), now) {
            return false;
        }
        last.at.fetch_max(now.millis(), Ordering::Relaxed);
        let written = last.written.load(Ordering::Relaxed);
        if now.millis().saturating_sub(written) < self.write_every_ms {
            return true;
        }
        let ours = last.written.compare_exchange(
            written,
            now.millis(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if ours.is_ok() && self.waiting.try_send((key.id, used(headers, now))).is_err() {
            last.written.store(written, Ordering::Relaxed);
        }
        true
    }
}

fn used(headers: &HeaderMap, at: Timestamp) -> KeyUse {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    KeyUse { at, origin: origin.filter(|text| text.len() <= ORIGIN_MAX).map(str::to_owned) }
}

/// Writes uses for as long as the gateway runs.
pub(crate) async fn look_after(gateway: Arc<Gateway>) {
    let mut coming = gateway.key_uses.coming.lock().await;
    while let Some((key, used)) = coming.recv().await {
        if let Err(error) = gateway.system.store().use_key(key, used).await {
            tracing::warn!(%key, %error, "the use of a key was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use opencredits_schema::{AccountId, PartnerId};

    use super::*;

    const DAY: i64 = 86_400_000;

    fn key(checkout: bool) -> Key {
        Key {
            id: KeyId::new(1),
            hash: [0; 32],
            account: AccountId::new(1),
            partner: PartnerId::new(1),
            checkout,
            rate_limit: None,
            spend_limit: None,
            expires_at: None,
            revoked_at: None,
            created: Timestamp::default(),
            last_use: None,
        }
    }

    /// Which of the uses, on these days, are let through, and which are written.
    fn check(idle_days: u64, checkout: bool, days: &[i64], admitted: &[bool], written: &[i64]) {
        let uses = KeyUses::new(Duration::from_secs(86_400 * idle_days));
        let key = key(checkout);
        let last = LastUse::of(&key);
        let admit = |day: &i64| {
            uses.admit(&key, &last, &HeaderMap::new(), Timestamp::from_millis(day * DAY))
        };
        assert_eq!(days.iter().map(admit).collect::<Vec<_>>(), admitted);
        let mut coming = uses.coming.try_lock().unwrap();
        let told =
            std::iter::from_fn(|| coming.try_recv().ok()).map(|(_, used)| used.at.millis() / DAY);
        assert_eq!(told.collect::<Vec<_>>(), written);
    }

    #[test]
    fn a_key_of_the_checkout_expires_when_it_rests_and_no_other_does() {
        check(90, true, &[89], &[true], &[89]);
        check(90, true, &[90], &[false], &[]);
        check(
            90,
            true,
            &[80, 160, 249, 339, 340],
            &[true, true, true, false, false],
            &[80, 160, 249],
        );
        check(90, false, &[400], &[true], &[]);
    }

    #[test]
    fn a_use_is_written_at_most_once_a_day() {
        check(90, true, &[0, 0, 0, 1, 1, 2], &[true; 6], &[0, 1, 2]);
    }

    #[test]
    fn a_key_that_is_in_use_does_not_expire_between_two_writes() {
        let days: Vec<i64> = (0..8).collect();
        check(1, true, &[0, 1], &[true, false], &[0]);
        check(2, true, &days, &[true; 8], &days);
    }

    #[test]
    fn a_use_that_finds_the_queue_full_is_told_by_a_later_one() {
        let uses = KeyUses::new(Duration::from_secs(86_400 * 90));
        let (key, now) = (key(true), Timestamp::from_millis(5));
        for _ in 0..QUEUE_MAX {
            assert!(uses.admit(&key, &LastUse::of(&key), &HeaderMap::new(), now));
        }
        let last = LastUse::of(&key);
        for written in [i64::MIN, now.millis()] {
            assert!(uses.admit(&key, &last, &HeaderMap::new(), now));
            assert_eq!(last.written.load(Ordering::Relaxed), written);
            uses.coming.try_lock().unwrap().try_recv().unwrap();
        }
    }
}

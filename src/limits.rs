//! Limits at the front: how often a key may ask, how much of it runs at once, how many bad keys
//! one address may try.

use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderName};
use opencredits_schema::KeyId;

use crate::config::RateLimit;

/// Addresses whose bad keys are counted one by one; beyond them all others share one count.
pub const ADDRESSES_MAX: usize = 100_000;

/// Bad keys that one address may try.
pub const BAD_KEYS: RateLimit =
    RateLimit { count: NonZeroU32::new(120).unwrap(), per: Duration::from_secs(60) };

type Limiter<K, C> = RateLimiter<K, DashMapStateStore<K>, C, StateInformationMiddleware>;

/// What a caller is told about a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateHeaders {
    /// Requests in the limit's whole period.
    pub limit: u32,
    /// Requests that may come right now.
    pub remaining: u32,
    /// Time until as many may come at once as ever.
    pub reset: Duration,
}

impl RateHeaders {
    /// Writes the three `x-ratelimit-…` headers.
    pub fn write(&self, headers: &mut HeaderMap) {
        const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
        const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
        const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");
        headers.insert(LIMIT, self.limit.into());
        headers.insert(REMAINING, self.remaining.into());
        if let Ok(reset) = format!("{}s", whole_seconds(self.reset)).parse() {
            headers.insert(RESET, reset);
        }
    }
}

/// A request that came too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Seconds until one would be let through, rounded up; at least 1.
    pub retry_after_s: u64,
    /// What the caller is told beside it.
    pub headers: RateHeaders,
}

/// How often each key may ask, each by its own limit.
pub struct KeyLimits<C: Clock = DefaultClock> {
    clock: C,
    /// Keys of one limit share a limiter; there are as many as there are different limits.
    by_rate: DashMap<RateLimit, Arc<Limiter<KeyId, C>>>,
}

impl<C: Clock> fmt::Debug for KeyLimits<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLimits").field("rates", &self.by_rate.len()).finish_non_exhaustive()
    }
}

impl KeyLimits {
    /// No key has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(DefaultClock::default())
    }
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock + Clone> KeyLimits<C> {
    /// The same with another clock.
    pub fn with_clock(clock: C) -> Self {
        Self { clock, by_rate: DashMap::new() }
    }

    /// Counts a request of a key against the key's limit.
    ///
    /// # Errors
    /// It came too early, and is not counted.
    pub fn check(&self, key: KeyId, rate: RateLimit) -> Result<RateHeaders, Limited> {
        let known = self.by_rate.get(&rate).map(|limiter| Arc::clone(&limiter));
        let limiter = known.unwrap_or_else(|| {
            let fresh = || Arc::new(limiter(rate, &self.clock));
            Arc::clone(&self.by_rate.entry(rate).or_insert_with(fresh))
        });
        check(&limiter, &key, rate, &self.clock)
    }

    /// Forgets the keys that have not asked for so long that it makes no difference; to be called
    /// every minute or so.
    pub fn upkeep(&self) {
        self.by_rate.retain(|_, limiter| {
            limiter.retain_recent();
            limiter.shrink_to_fit();
            !limiter.is_empty()
        });
    }

    /// Keys that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_rate.iter().map(|limiter| limiter.len()).sum()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How many unknown keys each address may try; an IPv6 address stands for its /64 network.
pub struct BadKeyLimits<C: Clock = DefaultClock> {
    clock: C,
    rate: RateLimit,
    addresses_max: usize,
    by_address: Limiter<IpAddr, C>,
}

impl<C: Clock> fmt::Debug for BadKeyLimits<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BadKeyLimits").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl BadKeyLimits {
    /// No bad key has come yet; each address may try as many as [`BAD_KEYS`] says.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(DefaultClock::default(), BAD_KEYS, ADDRESSES_MAX)
    }
}

impl Default for BadKeyLimits {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock + Clone> BadKeyLimits<C> {
    /// The same with another clock, limit and number of addresses.
    pub fn with_clock(clock: C, rate: RateLimit, addresses_max: usize) -> Self {
        let by_address = limiter(rate, &clock);
        Self { clock, rate, addresses_max, by_address }
    }

    /// Counts a key that is not known yet, before the store is asked for it.
    ///
    /// # Errors
    /// The address has tried too many; the store is not to be asked.
    pub fn check(&self, address: IpAddr) -> Result<(), Limited> {
        let crowded = self.by_address.len() >= self.addresses_max;
        let counted = if crowded { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { network(address) };
        check(&self.by_address, &counted, self.rate, &self.clock).map(|_| ())
    }

    /// Forgets the addresses that have been quiet; to be called every minute or so.
    pub fn upkeep(&self) {
        self.by_address.retain_recent();
        self.by_address.shrink_to_fit();
    }
}

/// How many requests of each key run at once.
#[derive(Clone, Debug)]
pub struct OpenStreams {
    counts: Arc<DashMap<KeyId, usize>>,
    max: usize,
}

impl OpenStreams {
    /// At most `max` for each key.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { counts: Arc::default(), max }
    }

    /// A place for one request more; `None` when the key has none left. Dropping gives it back.
    #[must_use]
    pub fn open(&self, key: KeyId) -> Option<OpenStream> {
        let mut count = self.counts.entry(key).or_default();
        if *count >= self.max {
            return None;
        }
        *count = count.saturating_add(1);
        drop(count);
        Some(OpenStream { counts: Arc::clone(&self.counts), key })
    }

    /// How many run now, of all keys.
    #[must_use]
    pub fn count(&self) -> usize {
        self.counts.iter().map(|count| *count).sum()
    }
}

/// The place of one running request.
#[derive(Debug)]
pub struct OpenStream {
    counts: Arc<DashMap<KeyId, usize>>,
    key: KeyId,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        // The entry goes with its last request: keys that do nothing take no memory.
        self.counts.remove_if_mut(&self.key, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

fn limiter<K: Clone + Hash + Eq, C: Clock + Clone>(rate: RateLimit, clock: &C) -> Limiter<K, C> {
    // `RateLimit` refuses a rate of more than one in a nanosecond; the fallback is never used.
    let interval = rate.per.checked_div(rate.count.get()).unwrap_or(rate.per);
    let quota = Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
    RateLimiter::dashmap_with_clock(quota.allow_burst(rate.burst()), clock.clone())
        .with_middleware::<StateInformationMiddleware>()
}

fn check<K: Clone + Hash + Eq, C: Clock>(
    limiter: &Limiter<K, C>,
    key: &K,
    rate: RateLimit,
    clock: &C,
) -> Result<RateHeaders, Limited> {
    let interval = rate.per.checked_div(rate.count.get()).unwrap_or(rate.per);
    let told = |remaining: u32| {
        let used = rate.burst().get().saturating_sub(remaining);
        RateHeaders { limit: rate.count.get(), remaining, reset: interval.saturating_mul(used) }
    };
    match limiter.check_key(key) {
        Ok(state) => Ok(told(state.remaining_burst_capacity())),
        Err(early) => {
            let retry_after_s = whole_seconds(early.wait_time_from(clock.now())).max(1);
            Err(Limited { retry_after_s, headers: told(0) })
        }
    }
}

/// Rounded up, because who comes a moment too early is refused again.
const fn whole_seconds(span: Duration) -> u64 {
    span.as_secs().saturating_add(if span.subsec_nanos() == 0 { 0 } else { 1 })
}

/// Whoever has one IPv6 address has the whole /64 around it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const KEY: KeyId = KeyId::new(1);
    const OTHER: KeyId = KeyId::new(2);

    fn rate(text: &str) -> RateLimit {
        text.parse().unwrap()
    }

    fn limits() -> (KeyLimits<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (KeyLimits::with_clock(clock.clone()), clock)
    }

    #[test]
    fn a_rate_a_minute_allows_a_burst_of_a_tenth() {
        let (limits, clock) = limits();
        let sixty = rate("60/min");
        for remaining in (0..6).rev() {
            assert_eq!(limits.check(KEY, sixty).unwrap().remaining, remaining);
        }
        let limited = limits.check(KEY, sixty).unwrap_err();
        assert_eq!(limited.retry_after_s, 1);
        let reset = Duration::from_secs(6);
        assert_eq!(limited.headers, RateHeaders { limit: 60, remaining: 0, reset });
        assert!(limits.check(OTHER, sixty).is_ok());
        clock.advance(Duration::from_secs(1));
        assert!(limits.check(KEY, sixty).is_ok());
        assert!(limits.check(KEY, sixty).is_err());
    }

    #[test]
    fn a_small_rate_allows_one_and_tells_the_wait_rounded_up() {
        let (limits, clock) = limits();
        let few = rate("5/min");
        assert!(limits.check(KEY, few).is_ok());
        clock.advance(Duration::from_millis(500));
        assert_eq!(limits.check(KEY, few).unwrap_err().retry_after_s, 12);
        assert!(limits.check(OTHER, rate("5/s")).is_ok());
        assert_eq!(limits.check(OTHER, rate("5/s")).unwrap_err().retry_after_s, 1);
    }

    #[test]
    fn each_key_has_its_own_limit() {
        let (limits, _) = limits();
        assert!(limits.check(KEY, rate("1/h")).is_ok());
        assert!(limits.check(KEY, rate("1/h")).is_err());
        assert_eq!(limits.check(OTHER, rate("600/min")).unwrap().remaining, 59);
    }

    #[test]
    fn quiet_keys_are_forgotten() {
        let (limits, clock) = limits();
        for number in 0..1000 {
            limits.check(KeyId::new(number), rate("60/min")).unwrap();
        }
        assert_eq!(limits.len(), 1000);
        clock.advance(Duration::from_secs(60));
        limits.upkeep();
        assert!(limits.is_empty() && limits.by_rate.is_empty());
    }

    #[test]
    fn the_headers_tell_the_limit() {
        let mut headers = HeaderMap::new();
        let reset = Duration::from_millis(5900);
        RateHeaders { limit: 600, remaining: 1, reset }.write(&mut headers);
        assert_eq!(headers["x-ratelimit-limit-requests"], "600");
        assert_eq!(headers["x-ratelimit-remaining-requests"], "1");
        assert_eq!(headers["x-ratelimit-reset-requests"], "6s");
    }

    #[test]
    fn an_address_tries_a_bounded_number_of_keys() {
        let limits = BadKeyLimits::with_clock(FakeRelativeClock::default(), rate("20/min"), 100);
        let check = |address: &str| limits.check(address.parse().unwrap());
        assert!(check("1.1.1.1").is_ok() && check("1.1.1.1").is_ok());
        assert!(check("1.1.1.1").is_err() && check("::ffff:1.1.1.1").is_err());
        assert!(check("2001:db8::1").is_ok() && check("2001:db8::2").is_ok());
        assert!(check("2001:db8::3").is_err());
        assert!(check("2001:db8:0:1::3").is_ok());
    }

    #[test]
    fn the_addresses_that_are_counted_are_bounded() {
        let clock = FakeRelativeClock::default();
        let limits = BadKeyLimits::with_clock(clock.clone(), rate("10/min"), 3);
        for host in 1..=3 {
            assert!(limits.check(IpAddr::from([10, 0, 0, host])).is_ok());
        }
        assert!(limits.check(IpAddr::from([10, 0, 0, 4])).is_ok());
        assert!(limits.check(IpAddr::from([10, 0, 0, 5])).is_err(), "these two share one count");
        assert_eq!(limits.by_address.len(), 4);
        clock.advance(Duration::from_secs(60));
        limits.upkeep();
        assert!(limits.check(IpAddr::from([10, 0, 0, 5])).is_ok());
    }

    #[test]
    fn a_key_runs_a_bounded_number_of_requests_at_once() {
        let streams = OpenStreams::new(2);
        let first = streams.open(KEY).unwrap();
        let second = streams.open(KEY).unwrap();
        assert!(streams.open(KEY).is_none());
        assert!(streams.open(OTHER).is_some());
        drop(first);
        assert!(streams.open(KEY).is_some());
        assert_eq!(streams.count(), 1);
        drop(second);
        assert!(streams.counts.is_empty());
    }
}

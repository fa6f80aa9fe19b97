//! From a request's headers to the caller: whose key it is, and whether it is good.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::HeaderMap;
use http::header::{AUTHORIZATION, ORIGIN};
use opencredits_actors::Notice;
use opencredits_schema::{Credits, Key, Partner};
use tokio::sync::broadcast::error::RecvError;

use crate::checkout;
use crate::config::RateLimit;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::key_uses::LastUse;
use crate::keys;
use crate::limits::RateHeaders;

/// Who asks.
#[derive(Debug)]
pub struct Caller {
    /// What the user lets the partner's keys spend beyond what was bought there; `None` = no limit.
    pub partner_extra: Option<Credits>,
    /// The key's record.
    pub key: Key,
    /// The key's own rate limit.
    pub rate: Option<RateLimit>,
    /// When it was used last.
    pub(crate) last_use: LastUse,
}

impl Gateway {
    /// Finds the caller of a request, from memory when the key was used before.
    ///
    /// # Errors
    /// 401 for a key that is missing, malformed, unknown, expired or revoked; 429 for an address
    /// that tries too many of them; 503 when the store cannot say.
    pub async fn caller(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Arc<Caller>, ApiError> {
        let key = presented(headers).ok_or_else(ApiError::missing_api_key)?;
        if !keys::may_be_key(keys::USER_KEY, key) {
            return Err(ApiError::invalid_user_key());
        }
        let hash = keys::hash(key);
        let caller = match self.callers.get(&hash) {
            Some(caller) => caller,
            // A key that is known need not be read for typing errors.
            None if keys::is_well_formed(keys::USER_KEY, key) => self.look_up(hash, peer).await?,
            None => return Err(ApiError::invalid_user_key()),
        };
        let now = self.system.now();
        let is_good = caller.key.is_good(now)
            && self.key_uses.admit(&caller.key, &caller.last_use, headers, now);
        if is_good { Ok(caller) } else { Err(ApiError::invalid_user_key()) }
    }

    /// Whether a key that nobody is using right now would be let in.
    pub(crate) fn is_good(&self, key: &Key) -> bool {
        let now = self.system.now();
        key.is_good(now) && !self.key_uses.rested(key, key.resting_since(), now)
    }

    /// The caller's partner, if browsers may use the key from where the request comes.
    ///
    /// # Errors
    /// 403 from an origin that the partner has not listed.
    pub async fn partner_of(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Result<Arc<Partner>, ApiError> {
        let partner = self.system.partner(caller.key.partner).await?;
        let partner = partner.ok_or_else(ApiError::invalid_user_key)?;
        let listed = &partner.allowed_origins;
        match headers.get(ORIGIN) {
            Some(origin) if !listed.is_empty() => {
                let origin = origin.to_str().unwrap_or_default();
                let known = listed.iter().any(|allowed| matches_origin(allowed, origin));
                if known { Ok(partner) } else { Err(ApiError::origin_not_allowed()) }
            }
            Some(_) | None => Ok(partner),
        }
    }

    /// Counts the request against the key's rate limit.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn admit(&self, caller: &Caller, partner: &Partner) -> Result<RateHeaders, ApiError> {
        let of_partner = || partner.rate_limit_per_key.as_ref().and_then(|rate| rate.parse().ok());
        let rate = caller.rate.or_else(of_partner).unwrap_or(self.config.rates.per_key);
        self.key_limits.check(caller.key.id, rate).map_err(|limited| {
            self.metrics.rate_limited.increment(1);
            let mut headers = HeaderMap::new();
            limited.headers.write(&mut headers);
            let error = ApiError::rate_limited(limited.retry_after_s);
            headers
                .iter()
                .fold(error, |error, (name, value)| error.with_header(name.clone(), value.clone()))
        })
    }

    /// Forgets a key on this node and all others, so that its next use asks the store.
    ///
    /// # Errors
    /// When the other nodes cannot be told.
    pub async fn forget_key(&self, hash: &[u8; 32]) -> Result<(), ApiError> {
        self.forget(Notice::Key(*hash));
        Ok(self.system.notify(Notice::Key(*hash)).await?)
    }

    fn forget(&self, notice: Notice) {
        self.revocations.fetch_add(1, Ordering::AcqRel);
        match notice {
            Notice::Key(hash) => {
                self.callers.remove(&hash);
                self.unknown.remove(&hash);
            }
            Notice::Partner(_) => {}
            Notice::Everything => {
                self.callers.clear();
                self.unknown.clear();
            }
        }
    }

    async fn look_up(&self, hash: [u8; 32], peer: IpAddr) -> Result<Arc<Caller>, ApiError> {
        if self.unknown.get(&hash).is_none() {
            let revocations = self.revocations.load(Ordering::Acquire);
            if let Some(key) = self.system.store().key_by_hash(hash).await? {
                let rate = key.rate_limit.as_ref().and_then(|rate| rate.parse().ok());
                let partner_extra = checkout::partner_extra(self, &key).await?;
                let last_use = LastUse::of(&key);
                let caller = Arc::new(Caller { partner_extra, key, rate, last_use });
                self.callers.insert(hash, Arc::clone(&caller));
                // A key that was revoked while the store was asked must not stay in memory.
                if self.revocations.load(Ordering::Acquire) != revocations {
                    self.callers.remove(&hash);
                }
                return Ok(caller);
            }
            self.unknown.insert(hash, ());
        }
        self.bad_keys
            .check(peer)
            .map_err(|limited| ApiError::rate_limited(limited.retry_after_s))?;
        Err(ApiError::invalid_user_key())
    }
}

/// Forgets what other nodes have changed, for as long as the gateway runs.
pub(crate) async fn follow(gateway: Arc<Gateway>) {
    let Some(mut notices) = gateway.system.notices() else { return };
    loop {
        match notices.recv().await {
            Ok(notice) => gateway.forget(notice),
            Err(RecvError::Lagged(_)) => gateway.forget(Notice::Everything),
            Err(RecvError::Closed) => return,
        }
    }
}

/// The key of a request: `X-User-Key`, else `Authorization: Bearer`, else `x-api-key`.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = text("x-user-key").or_else(|| bearer(headers)).or_else(|| text("x-api-key"));
    key.filter(|key| !key.is_empty())
}

/// The token of `Authorization: Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether an origin is the listed one; a listed `:*` stands for any port.
pub(crate) fn matches_origin(allowed: &str, origin: &str) -> bool {
    match allowed.strip_suffix(":*") {
        Some(host) => origin.strip_prefix(host).is_some_and(|port| {
            port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok())
        }),
        None => allowed == origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_headers_are_read_in_their_order() {
        let mut headers = HeaderMap::new();
        assert_eq!(presented(&headers), None);
        headers.insert("x-api-key", "c".parse().unwrap());
        assert_eq!(presented(&headers), Some("c"));
        headers.insert("authorization", "bearer b".parse().unwrap());
        assert_eq!(presented(&headers), Some("b"));
        headers.insert("x-user-key", "a".parse().unwrap());
        assert_eq!(presented(&headers), Some("a"));
    }

    #[test]
    fn an_origin_is_matched_whole() {
        for (allowed, origin, matches) in [
            ("https://app.example", "https://app.example", true),
            ("https://app.example", "https://app.example.evil", false),
            ("http://localhost:*", "http://localhost:5173", true),
            ("http://localhost:*", "http://localhost.evil:80", false),
        ] {
            assert_eq!(matches_origin(allowed, origin), matches, "{allowed} {origin}");
        }
    }
}

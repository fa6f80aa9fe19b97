//! The output items that an account has just been given, for clients of `/v1/responses` that send
//! back references instead of items. In memory only, bounded, for an hour.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opencredits_dialects::responses::completed_items;
use opencredits_schema::AccountId;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// How long an item can be referred to.
const ITEM_AGE_MAX: Duration = Duration::from_secs(3600);

/// What an entry costs beside its text: the key, the time, the cache's own words.
const ENTRY_BYTES: usize = 128;

/// The items that the cache expects, by its size: it only sizes tables.
const ITEM_BYTES_USUAL: usize = 1 << 10;

/// Recent output items by account and id.
pub struct RecentItems {
    /// `None` when it is turned off.
    items: Option<Cache<(AccountId, Arc<str>), Item, ByBytes>>,
}

/// One item: its JSON, and when it came.
#[derive(Clone)]
struct Item {
    json: Arc<str>,
    came: Instant,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(AccountId, Arc<str>), Item> for ByBytes {
    fn weight(&self, (_, id): &(AccountId, Arc<str>), item: &Item) -> u64 {
        let bytes = id.len().saturating_add(item.json.len()).saturating_add(ENTRY_BYTES);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Debug for RecentItems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.items.as_ref().map(Cache::len);
        f.debug_struct("RecentItems").field("count", &count).finish()
    }
}

impl RecentItems {
    /// A cache of at most so many bytes; 0 keeps nothing.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let usual = bytes_max.div_ceil(ITEM_BYTES_USUAL);
        let bytes = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let items = (bytes_max > 0).then(|| Cache::with_weighter(usual, bytes, ByBytes));
        Self { items }
    }

    /// Remembers the output items of a response: a whole body, or the data of the event that ends
    /// a stream.
    pub fn keep(&self, account: AccountId, response: &[u8], now: Instant) {
        let Some(items) = &self.items else { return };
        for (id, json) in completed_items(response) {
            let item = Item { json: json.get().into(), came: now };
            items.insert((account, id.into()), item);
        }
    }

    /// The JSON of an item that this account was given.
    #[must_use]
    pub fn find(&self, account: AccountId, id: &str, now: Instant) -> Option<Arc<str>> {
        let item = self.items.as_ref()?.get(&(account, id.into()))?;
        let fresh = now.saturating_duration_since(item.came) < ITEM_AGE_MAX;
        fresh.then_some(item.json)
    }

    /// Whether anything is kept at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.items.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"object":"response","output":[{"id":"msg_1","type":"message"}]}"#;

    fn account(n: u8) -> AccountId {
        format!("acc_{n:016}").parse().unwrap()
    }

    #[test]
    fn an_account_finds_its_own_items_for_an_hour() {
        let (items, now) = (RecentItems::new(1 << 20), Instant::now());
        items.keep(account(1), BODY, now);
        let found = items.find(account(1), "msg_1", now);
        assert_eq!(found.as_deref(), Some(r#"{"id":"msg_1","type":"message"}"#));
        assert_eq!(items.find(account(2), "msg_1", now), None, "another's");
        assert_eq!(items.find(account(1), "msg_2", now), None);
        assert_eq!(items.find(account(1), "msg_1", now + ITEM_AGE_MAX), None, "old");
    }

    #[test]
    fn it_is_bounded_and_can_be_turned_off() {
        let now = Instant::now();
        let off = RecentItems::new(0);
        off.keep(account(1), BODY, now);
        assert_eq!(off.find(account(1), "msg_1", now), None);

        let small = RecentItems::new(64 << 10);
        let text = "a".repeat(1 << 10);
        let many = 1_000;
        for n in 0..many {
            let body = format!(r#"{{"output":[{{"id":"{n}","text":"{text}"}}]}}"#);
            small.keep(account(1), body.as_bytes(), now);
        }
        let kept = (0..many).filter(|n| small.find(account(1), &n.to_string(), now).is_some());
        assert!((1..=64).contains(&kept.count()));
    }
}

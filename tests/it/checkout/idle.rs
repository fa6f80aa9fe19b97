//! Keys of the checkout that nobody uses expire; when and where a key was used is kept.

use super::{ORIGIN, Shop, answer};
use crate::operate::until;
use opencredits::keys;
use opencredits_schema::{Key, KeyUse, Timestamp};

const DAY: i64 = 86_400_000;

impl Shop {
    async fn key(&self, key: &str) -> Key {
        let store = self.world.gateway.system.store();
        store.key_by_hash(keys::hash(key)).await.unwrap().unwrap()
    }

    /// Makes a key so many days older, and unused.
    async fn age(&self, key: &str, days: i64) {
        let Key { id, created, .. } = self.key(key).await;
        let file = rusqlite::Connection::open(self.world.folder.path().join("oc.db")).unwrap();
        let sql = "UPDATE keys SET body = json_set(body, '$.created', ?2, '$.last_use', NULL) \
                   WHERE id = ?1";
        let created = created.millis() - days * DAY;
        assert_eq!(file.execute(sql, rusqlite::params![id.column(), created]).unwrap(), 1);
    }

    /// What a key is answered from a page.
    pub async fn status(&self, key: &str) -> u16 {
        let url = format!("{}/v1/credits/balance", self.client.base);
        let request = self.client.http.get(url).header("x-user-key", key);
        answer(request.header("origin", ORIGIN)).await.0
    }
}

#[tokio::test]
async fn a_key_that_rested_for_90_days_is_refused_as_a_revoked_one_is() {
    let shop = Shop::open().await;
    let (old, young) = (shop.log_in("a@example.com").await, shop.log_in("b@example.com").await);
    shop.age(&old, 90).await;
    shop.age(&young, 89).await;
    assert_eq!(shop.status(&old).await, 401);
    assert_eq!(shop.status(&young).await, 200);
    shop.close().await;
}

#[tokio::test]
async fn the_operators_keys_do_not_expire_by_themselves() {
    let shop = Shop::open().await;
    let made = shop.world.user("10").await;
    shop.age(&made.key, 400).await;
    assert_eq!(shop.status(&made.key).await, 200);
    shop.close().await;
}

#[tokio::test]
async fn the_time_that_a_key_may_rest_is_a_setting() {
    let shop = Shop::with(&[("KEY_IDLE", "7d")]).await;
    let key = shop.log_in("a@example.com").await;
    shop.age(&key, 7).await;
    assert_eq!(shop.status(&key).await, 401);
    shop.close().await;
}

#[tokio::test]
async fn the_use_of_a_key_is_written_with_its_origin_and_keeps_it_good() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    assert_eq!(shop.key(&key).await.last_use, None);
    shop.age(&key, 89).await;
    assert_eq!(shop.status(&key).await, 200);
    until(async || shop.key(&key).await.last_use.is_some()).await;
    let KeyUse { at, origin } = shop.key(&key).await.last_use.unwrap();
    let now = shop.world.gateway.system.now();
    assert!(at <= now && now.millis() - at.millis() < DAY);
    assert_eq!(origin.as_deref(), Some(ORIGIN));
    shop.close().await;
}

#[tokio::test]
async fn keys_from_before_uses_were_kept_count_as_used_at_the_migration() {
    let shop = Shop::open().await;
    let (of_checkout, made) = (shop.log_in("a@example.com").await, shop.world.user("10").await);
    shop.age(&of_checkout, 400).await;
    shop.age(&made.key, 400).await;
    let folder = shop.world.end().await;
    let file = rusqlite::Connection::open(folder.path().join("oc.db")).unwrap();
    file.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(file);
    let store = opencredits_actors::SqliteStore::open(&folder.path().join("oc.db"), "a test");
    let store = store.unwrap();
    let key = async |key: &str| {
        opencredits_actors::Store::key_by_hash(&store, keys::hash(key)).await.unwrap().unwrap()
    };
    let last = key(&of_checkout).await.last_use.unwrap();
    assert!(last.at > Timestamp::from_millis(1_700_000_000_000) && last.origin.is_none());
    assert_eq!(key(&made.key).await.last_use, None);
}

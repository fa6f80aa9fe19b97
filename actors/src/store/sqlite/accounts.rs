//! The writer's part for accounts and keys: one, or many at once.

use opencredits_schema::{AccountId, Head, Key, Timestamp};
use rusqlite::{Connection, params};

use super::super::{Answered, StoreError};
use super::{SqliteStore, failed, to_text};

impl SqliteStore {
    /// Makes the accounts of these keys, and the keys, in one commit; does nothing about those that are
    /// there. For whoever fills a store before it is served.
    pub fn import(&self, keys: Vec<Key>) -> Answered<'_, ()> {
        self.write(move |connection| {
            let transaction = connection.transaction().map_err(failed)?;
            for key in &keys {
                create(&transaction, key.account, None, key.created)?;
                put_key(&transaction, key)?;
            }
            transaction.commit().map_err(failed)
        })
    }
}

/// Makes an account unless it is there.
pub(super) fn create(
    connection: &Connection,
    account: AccountId,
    email: Option<String>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let head = to_text(&Head::new(account))?;
    let sql = "INSERT INTO accounts (id, created, email, seq, balance, head) \
               VALUES (?1, ?2, ?3, 0, 0, ?4) ON CONFLICT (id) DO NOTHING";
    let row = params![account.column(), at.millis(), email, head];
    connection.prepare_cached(sql).and_then(|mut sql| sql.execute(row)).map_err(failed)?;
    Ok(())
}

/// Makes a key unless its id is there.
pub(super) fn put_key(connection: &Connection, key: &Key) -> Result<(), StoreError> {
    let sql = "INSERT INTO keys (id, hash, account, body) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT (id) DO NOTHING";
    let row = params![key.id.column(), key.hash, key.account.column(), to_text(key)?];
    connection.prepare_cached(sql).and_then(|mut sql| sql.execute(row)).map_err(failed)?;
    Ok(())
}

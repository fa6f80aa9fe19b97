//! Databases as if they had been in use for long: written by the store itself, in large batches.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use opencredits::keys::{self, USER_KEY};
use opencredits_actors::{SqliteStore, Store as _, Write};
use opencredits_schema::{Account, AccountId, Command, Key, KeyId, PartnerId, RequestId};

use super::BenchError;
use super::commands::{AT, PARTNER, grant, partner, place, settle};
use crate::load::target::User;

/// Accounts or events of one commit.
const BATCH: usize = 10_000;

/// A database that is written to; closed when it is dropped.
#[derive(Debug)]
pub(super) struct Seed {
    store: SqliteStore,
    database: PathBuf,
    /// Those who send.
    users: Vec<User>,
    /// Their accounts.
    accounts: Vec<Account>,
    made: u64,
    settled: u64,
}

impl Seed {
    /// Opens a database, with one partner in it.
    ///
    /// # Errors
    /// As the store says.
    pub(super) async fn open(database: &Path) -> Result<Self, BenchError> {
        let store = SqliteStore::open(database, "opencredits-loadtest bench")?;
        store.put_partner(partner(PARTNER)).await?;
        let (database, users, accounts) = (database.to_owned(), Vec::new(), Vec::new());
        Ok(Self { store, database, users, accounts, made: 0, settled: 0 })
    }

    /// Makes so many funded accounts with a key each; of them so many are those who send.
    ///
    /// # Errors
    /// As the store says.
    pub(super) async fn accounts(&mut self, count: usize, send: usize) -> Result<(), BenchError> {
        let mut left = count;
        while left > 0 {
            let size = left.min(BATCH);
            left = left.saturating_sub(size);
            let (mut keys, mut grants) = (Vec::with_capacity(size), Vec::with_capacity(size));
            for _ in 0..size {
                self.made = self.made.saturating_add(1);
                let (user, key) = user(self.made)?;
                let mut account = Account::new(key.account);
                grants.push(written(&mut account, &grant(key.account))?);
                keys.push(key);
                if self.users.len() < send {
                    self.users.push(user);
                    self.accounts.push(account);
                }
            }
            self.store.import(keys).await?;
            self.store.commit(Arc::new(grants)).await?;
        }
        Ok(())
    }

    /// Writes so many settlements of those who send, in turn.
    ///
    /// # Errors
    /// As the store says.
    pub(super) async fn history(&mut self, rows: u64) -> Result<(), BenchError> {
        let mut batch = Vec::with_capacity(BATCH);
        for row in 0..rows {
            let many = u64::try_from(self.accounts.len()).unwrap_or(1).max(1);
            let at = usize::try_from(row % many).unwrap_or_default();
            let Some(account) = self.accounts.get_mut(at) else { break };
            self.settled = self.settled.saturating_add(1);
            let request = RequestId::new(self.settled.into());
            let key = KeyId::new(account.head().id.number());
            let refused = |refusal| BenchError::Seed(format!("{refusal}"));
            let placed = account.decide(&place(request, key)).map_err(refused)?;
            account.apply(&placed);
            batch.push(written(account, &settle(request, key))?);
            if batch.len() == BATCH {
                self.store.commit(Arc::new(std::mem::take(&mut batch))).await?;
            }
        }
        self.store.commit(Arc::new(batch)).await?;
        Ok(())
    }

    /// Makes further partners until there are so many.
    ///
    /// # Errors
    /// As the store says.
    pub(super) async fn partners(&self, count: u64) -> Result<(), BenchError> {
        for number in 2..=count {
            self.store.put_partner(partner(PartnerId::new(number))).await?;
        }
        Ok(())
    }

    /// Closes it; those who send.
    pub(super) fn close(self) -> Arc<[User]> {
        self.users.into()
    }

    /// Where it is.
    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    /// Copies a database.
    ///
    /// # Errors
    /// As the store says.
    pub(super) fn copy(from: &Path, to: &Path) -> Result<(), BenchError> {
        Ok(SqliteStore::backup_file(from, to)?)
    }
}

/// Lets an account do what a command asks, as a write for the store.
fn written(account: &mut Account, command: &Command) -> Result<Arc<Write>, BenchError> {
    let event = account.decide(command).map_err(|refusal| BenchError::Seed(refusal.to_string()))?;
    account.apply(&event);
    let head = account.head().clone();
    Ok(Arc::new(Write::Event { event, head, forget: false }))
}

/// The user of a number, and the record of its key.
fn user(number: u64) -> Result<(User, Key), BenchError> {
    let secret = keys::generate(USER_KEY).map_err(|error| BenchError::Seed(error.to_string()))?;
    let account = AccountId::new(number);
    let key = Key {
        id: KeyId::new(number),
        hash: keys::hash(secret.expose()),
        account,
        partner: PARTNER,
        checkout: false,
        rate_limit: None,
        spend_limit: None,
        expires_at: None,
        revoked_at: None,
        created: AT,
        last_use: None,
    };
    Ok((User { account: account.to_string(), key: secret.expose().to_owned() }, key))
}

#[cfg(test)]
mod tests {
    use opencredits_schema::Event;

    use super::*;

    #[tokio::test]
    async fn a_seeded_database_has_balanced_books() {
        let folder = tempfile::tempdir().unwrap();
        let (database, copy) = (folder.path().join("it.db"), folder.path().join("copy.db"));
        let mut seed = Seed::open(&database).await.unwrap();
        seed.accounts(25, 5).await.unwrap();
        seed.history(33).await.unwrap();
        seed.partners(7).await.unwrap();
        Seed::copy(&database, &copy).unwrap();
        assert_eq!(seed.close().len(), 5);
        for file in [database, copy] {
            let store = SqliteStore::open(&file, "test").unwrap();
            let books = store.audit().await.unwrap();
            assert_eq!((books.differences, books.accounts), (Vec::new(), 25));
            assert_eq!(store.partners().await.unwrap().len(), 7);
            let (rows, _) = store.history(AccountId::new(1), 100, 0).await.unwrap();
            assert_eq!(rows.len(), 1 + 7, "a grant and its part of the settlements");
            assert!(matches!(rows.last().unwrap().event, Event::Received(_)));
        }
    }
}

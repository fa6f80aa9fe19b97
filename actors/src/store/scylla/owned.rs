//! What this store knows of the accounts it writes: their epochs, and how far their events are.

use dashmap::DashMap;
use opencredits_schema::{AccountId, Head};

use super::db::Db;
use super::{StoreError, from_text};

/// Accounts that are remembered at most; one that is forgotten is read again when it is written.
const ACCOUNTS_MAX: usize = 100_000;

/// An account that this store may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    /// The number under which it was taken; a later owner has a higher one.
    pub(super) epoch: i64,
    /// The number of its last durable event.
    pub(super) head_seq: i64,
    /// Events up to this one are in the copies too.
    pub(super) copied: i64,
    /// Events up to this one are no longer in the account's partition.
    pub(super) trimmed: i64,
}

/// An account's head as the cluster has it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) owned: Owned,
    pub(super) owner: i64,
    text: String,
}

impl Stored {
    pub(super) fn head(&self) -> Result<Head, StoreError> {
        from_text(&self.text)
    }
}

/// Whether a read must end what is being decided in the partition first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Freshness {
    Quorum,
    Serial,
}

impl Db {
    /// An account's head; `None` if there is no such account.
    pub(super) async fn head(
        &self,
        account: AccountId,
        freshness: Freshness,
    ) -> Result<Option<Stored>, StoreError> {
        type Statics = (Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<String>);
        let statement = match freshness {
            Freshness::Quorum => &self.cql.head,
            Freshness::Serial => &self.cql.head_now,
        };
        let row = self.one::<Statics>(statement, (account.column(),)).await?;
        let Some((Some(head_seq), Some(epoch), Some(owner), Some(copied), Some(text))) = row else {
            return Ok(None);
        };
        // What was trimmed was copied before; where exactly the trimming stands is not kept.
        let owned = Owned { epoch, head_seq, copied, trimmed: 0 };
        Ok(Some(Stored { owned, owner, text }))
    }
}

/// The accounts that this store has taken.
#[derive(Debug, Default)]
pub(super) struct Accounts(DashMap<AccountId, Owned>);

impl Accounts {
    pub(super) fn get(&self, account: AccountId) -> Option<Owned> {
        self.0.get(&account).map(|owned| *owned)
    }

    pub(super) fn put(&self, account: AccountId, owned: Owned) {
        if self.0.len() >= ACCOUNTS_MAX {
            self.0.clear();
        }
        self.0.insert(account, owned);
    }

    pub(super) fn forget(&self, account: AccountId) {
        self.0.remove(&account);
    }

    /// Notes how far the copies of an account are.
    pub(super) fn note_copied(&self, account: AccountId, seq: i64) {
        if let Some(mut owned) = self.0.get_mut(&account) {
            owned.copied = owned.copied.max(seq);
        }
    }
}

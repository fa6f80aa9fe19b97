//! A commit: accounts beside each other, each account's events in order, then the checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use opencredits_schema::AccountId;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::{Batch, Rejected, StoreError, Write};
use super::checkpoints::Left;
use super::flush::{Flush, Flushed, Item};
use super::{Inner, unavailable};

/// Accounts whose batches are under way at the same time.
const FLUSHES_AT_ONCE: usize = 128;

impl Inner {
    /// Makes a batch durable: each account's events in order, accounts beside each other.
    pub(super) async fn commit(self: Arc<Self>, batch: Batch) -> Result<Vec<Rejected>, StoreError> {
        let mut accounts: BTreeMap<AccountId, Vec<usize>> = BTreeMap::new();
        for (index, write) in batch.iter().enumerate() {
            accounts.entry(write.account()).or_default().push(index);
        }
        let room = Arc::new(Semaphore::new(FLUSHES_AT_ONCE));
        let mut flushes = JoinSet::new();
        for (account, places) in accounts {
            let (inner, room, batch) = (Arc::clone(&self), Arc::clone(&room), Arc::clone(&batch));
            flushes.spawn(async move {
                let _place = room.acquire_owned().await;
                inner.flush(account, &batch, &places).await
            });
        }
        let mut rejected: Vec<Rejected> = Vec::new();
        let mut failure = None;
        while let Some(flushed) = flushes.join_next().await {
            match flushed.map_err(|error| unavailable(&error)).flatten() {
                Ok(refused) => rejected.extend(refused),
                Err(error) => failure = Some(error),
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        let refused: BTreeMap<AccountId, usize> = rejected
            .iter()
            .filter_map(|rejected| Some((batch.get(rejected.index)?.account(), rejected.index)))
            .collect();
        let mut left = Left::default();
        for (index, write) in batch.iter().enumerate() {
            if refused.get(&write.account()).is_none_or(|refused| index < *refused) {
                left.add(write);
            }
        }
        self.write_checkpoints(left).await?;
        Ok(rejected)
    }

    /// Makes one account's events durable, and lets them be copied.
    async fn flush(
        &self,
        account: AccountId,
        batch: &[Arc<Write>],
        places: &[usize],
    ) -> Result<Option<Rejected>, StoreError> {
        let mut items = Vec::new();
        let mut item_places = Vec::new();
        for place in places {
            let Some(write) = batch.get(*place) else { continue };
            if let Some(item) = Item::of(write)? {
                items.push(item);
                item_places.push(*place);
            }
        }
        if items.is_empty() {
            return Ok(None);
        }
        let flush = Flush { db: &self.db, accounts: &self.accounts, owner: self.owner };
        let flushed = flush.events(account, &items).await?;
        let rejected = match flushed {
            Flushed::All => None,
            Flushed::UpTo(at, why) => {
                items.truncate(at);
                item_places.get(at).map(|index| Rejected { index: *index, why })
            }
        };
        if !items.is_empty() {
            self.copies.add(account, items);
        }
        Ok(rejected)
    }
}

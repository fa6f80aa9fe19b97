//! Checkpoints of running requests: rows that anyone may write again, by the node that runs them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dashmap::DashMap;
use opencredits_schema::{AccountId, Checkpoint, RequestId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::{StoreError, Write};
use super::read::name;
use super::{Inner, from_text, to_text, unavailable};

/// Partitions of a node's checkpoints.
const BUCKETS: u64 = 256;

/// Partitions that are read at the same time.
const READS_AT_ONCE: usize = 32;

/// The timestamp of a delete: behind every number that a checkpoint can have.
const FORGOTTEN: i64 = 1 << 40;

/// How often a node says that it may have checkpoints, and how long it is believed.
const SAY_EVERY: Duration = Duration::from_secs(60);
const BELIEVED_MILLIS: i64 = 3_600_000;

/// Rows in one batch, and their bytes.
const ROWS_MAX: usize = 50;
const BYTES_MAX: usize = 40 * 1024;

/// What this store knows of open checkpoints.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// The node that runs each request, for its delete.
    nodes: DashMap<RequestId, i64>,
    /// When a node was last said to have checkpoints.
    said: DashMap<i64, Instant>,
}

/// What a batch of writes leaves of its checkpoints.
#[derive(Debug, Default)]
pub(super) struct Left<'a> {
    newest: HashMap<RequestId, &'a Checkpoint>,
    gone: HashMap<RequestId, AccountId>,
}

impl<'a> Left<'a> {
    /// Follows the writes in their order.
    pub(super) fn add(&mut self, write: &'a Write) {
        match write {
            Write::Checkpoint(checkpoint) => {
                let request = checkpoint.hold.request;
                if !self.gone.contains_key(&request) {
                    self.newest.insert(request, checkpoint);
                }
            }
            Write::Forget { account, request } => self.end(*account, *request),
            Write::Event { event, head, .. } => {
                if let Some(request) = super::super::event_keys::EventKeys::of(event).request {
                    self.end(head.id, request);
                }
            }
        }
    }

    fn end(&mut self, account: AccountId, request: RequestId) {
        self.newest.remove(&request);
        self.gone.insert(request, account);
    }
}

impl Inner {
    /// Writes what is left of a batch's checkpoints.
    pub(super) async fn write_checkpoints(&self, left: Left<'_>) -> Result<(), StoreError> {
        type Rows = Vec<(i64, i32, i64, Vec<u8>, String, i64)>;
        let mut partitions: BTreeMap<(i64, i32), Rows> = BTreeMap::new();
        for (request, checkpoint) in left.newest {
            let node = checkpoint.node.cast_signed();
            let (account, bucket) = (checkpoint.account.column(), bucket(checkpoint.account));
            let number = i64::try_from(checkpoint.number).unwrap_or(FORGOTTEN - 1);
            let row = (node, bucket, account, bytes(request), to_text(checkpoint)?, number);
            partitions.entry((node, bucket)).or_default().push(row);
            self.checkpoints.nodes.insert(request, node);
        }
        for node in partitions.keys().map(|(node, _)| *node).collect::<HashSet<_>>() {
            self.say(node).await?;
        }
        for rows in partitions.into_values() {
            let mut batch: Rows = Vec::new();
            let mut size = 0usize;
            for row in rows {
                if batch.len() >= ROWS_MAX || size.saturating_add(row.4.len()) > BYTES_MAX {
                    let full = std::mem::take(&mut batch);
                    self.db.write_all(&self.db.cql.put_checkpoint, full).await?;
                    size = 0;
                }
                size = size.saturating_add(row.4.len());
                batch.push(row);
            }
            self.db.write_all(&self.db.cql.put_checkpoint, batch).await?;
        }
        for (request, account) in left.gone {
            // One that this store knows nothing of is found by whoever reads it.
            if let Some((_, node)) = self.checkpoints.nodes.remove(&request) {
                self.forget_checkpoint(node, account, request).await?;
            }
        }
        Ok(())
    }

    /// An account's open checkpoints, of whatever node. Those whose request is settled were left by a
    /// crash and are deleted.
    pub(super) async fn open_checkpoints(
        &self,
        account: AccountId,
    ) -> Result<Vec<Checkpoint>, StoreError> {
        let mut found: Vec<Checkpoint> = Vec::new();
        for (node, _) in self.nodes().await? {
            let values = (node, bucket(account), account.column());
            let bodies: Vec<(String,)> = self.db.all(&self.db.cql.checkpoints_of, values).await?;
            for (body,) in bodies {
                found.push(from_text(&body)?);
            }
        }
        let requests = found.iter().map(|checkpoint| checkpoint.hold.request).collect();
        let settled = self.settled(account, requests).await?;
        for checkpoint in &found {
            let (request, node) = (checkpoint.hold.request, checkpoint.node.cast_signed());
            if settled.contains(&request) {
                self.forget_checkpoint(node, account, request).await?;
            } else {
                self.checkpoints.nodes.insert(request, node);
            }
        }
        found.retain(|checkpoint| !settled.contains(&checkpoint.hold.request));
        Ok(found)
    }

    /// Accounts that have open checkpoints, with so many each.
    pub(super) async fn unfinished(
        self: &Arc<Self>,
    ) -> Result<BTreeMap<AccountId, usize>, StoreError> {
        let mut unfinished: BTreeMap<AccountId, HashSet<RequestId>> = BTreeMap::new();
        for (node, seen) in self.nodes().await? {
            let found = self.checkpoints_of_node(node).await?;
            if found.is_empty() {
                self.forget_node(node, seen).await?;
            }
            for (account, request) in found {
                unfinished.entry(account).or_default().insert(request);
            }
        }
        let mut open = BTreeMap::new();
        for (account, requests) in unfinished {
            let settled = self.settled(account, requests.iter().copied().collect()).await?;
            let count = requests.difference(&settled).count();
            if count > 0 {
                open.insert(account, count);
            }
        }
        Ok(open)
    }

    async fn checkpoints_of_node(
        self: &Arc<Self>,
        node: i64,
    ) -> Result<Vec<(AccountId, RequestId)>, StoreError> {
        let room = Arc::new(Semaphore::new(READS_AT_ONCE));
        let mut reads = JoinSet::new();
        for bucket in 0..i32::try_from(BUCKETS).unwrap_or(0) {
            let (inner, room) = (Arc::clone(self), Arc::clone(&room));
            reads.spawn(async move {
                let _place = room.acquire_owned().await;
                let statement = &inner.db.cql.checkpoints_in;
                inner.db.all::<(i64, Vec<u8>)>(statement, (node, bucket)).await
            });
        }
        let mut found = Vec::new();
        while let Some(rows) = reads.join_next().await {
            for (account, request) in rows.map_err(|error| unavailable(&error))?? {
                let request = request.first_chunk().map_or(0, |bits| u128::from_be_bytes(*bits));
                found.push((AccountId::from_column(account), RequestId::new(request)));
            }
        }
        Ok(found)
    }

    /// Which of an account's requests are settled.
    async fn settled(
        &self,
        account: AccountId,
        requests: Vec<RequestId>,
    ) -> Result<HashSet<RequestId>, StoreError> {
        let names = requests.iter().map(|request| name(1, *request)).collect();
        let known = self.known(account, names).await?;
        let is_settled = |request: &RequestId| known.contains_key(&name(1, *request));
        Ok(requests.into_iter().filter(is_settled).collect())
    }

    async fn forget_checkpoint(
        &self,
        node: i64,
        account: AccountId,
        request: RequestId,
    ) -> Result<(), StoreError> {
        let values = (FORGOTTEN, node, bucket(account), account.column(), bytes(request));
        self.db.run(&self.db.cql.forget_checkpoint, values).await
    }

    /// The nodes that may have checkpoints, and when they said so last.
    async fn nodes(&self) -> Result<Vec<(i64, i64)>, StoreError> {
        self.db.all(&self.db.cql.nodes, ()).await
    }

    /// Says that a node has checkpoints, before the first of them is written and now and then.
    async fn say(&self, node: i64) -> Result<(), StoreError> {
        let said = self.checkpoints.said.get(&node).map(|said| said.elapsed());
        if said.is_some_and(|ago| ago < SAY_EVERY) {
            return Ok(());
        }
        self.db.run(&self.db.cql.put_node, (node, now_micros(), now_micros())).await?;
        self.checkpoints.said.insert(node, Instant::now());
        Ok(())
    }

    /// Forgets a node that has no checkpoints and has said nothing for long.
    async fn forget_node(&self, node: i64, seen: i64) -> Result<(), StoreError> {
        if now_micros().saturating_sub(seen) / 1000 < BELIEVED_MILLIS {
            return Ok(());
        }
        // If it says so again meanwhile, that is newer than this delete.
        self.db.run(&self.db.cql.forget_node, (seen, node)).await
    }
}

fn bucket(account: AccountId) -> i32 {
    i32::try_from(account.number() % BUCKETS).unwrap_or(0)
}

fn bytes(request: RequestId) -> Vec<u8> {
    request.bits().to_be_bytes().to_vec()
}

/// The wall clock, for the order of writes that no number orders.
pub(super) fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

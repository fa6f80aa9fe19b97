//! One account's events become durable: conditional batches in its partition, and what their
//! outcome was when nobody said.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use opencredits_schema::{AccountId, Event, Head, Outcome, RequestId};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::statement::batch::BatchStatement;

use super::super::event_keys::{EventKeys, whole};
use super::super::{Rejection, StoreError, Write};
use super::db::Db;
use super::owned::{Accounts, Freshness, Owned};
use super::read::{events, name};
use super::{to_text, unavailable};

/// Events in one conditional batch, and their bytes: a batch stays below what Cassandra refuses
/// (50 KiB, `batch_size_fail_threshold`).
const EVENTS_MAX: usize = 50;
const BYTES_MAX: usize = 40 * 1024;

/// What a row costs beside its body.
const ROW_BYTES: usize = 96;

/// How often a flush looks at the account again before it says that it does not know.
const TRIES_MAX: usize = 3;

/// How many copied events wait in an account's partition before they are trimmed.
const TRIM_EVERY: i64 = 256;

/// How long a request's id is remembered, in seconds: far longer than any settlement of it may wait.
pub(super) const REQUEST_TTL: i32 = 8 * 24 * 3600;
pub(super) const FOREVER: i32 = 0;

/// An event on its way into the store.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) seq: i64,
    pub(super) body: String,
    pub(super) keys: EventKeys,
    /// What makes it unique within its account.
    name: Option<Vec<u8>>,
    write: Arc<Write>,
}

impl Item {
    /// The event of a write, if it is one.
    pub(super) fn of(write: &Arc<Write>) -> Result<Option<Self>, StoreError> {
        let Write::Event { event, head, .. } = write.as_ref() else { return Ok(None) };
        let (seq, body) = (head.seq.cast_signed(), to_text(event)?);
        let keys = EventKeys::of(event);
        let name = keys.name();
        Ok(Some(Self { seq, body, keys, name, write: Arc::clone(write) }))
    }

    pub(super) fn event(&self) -> Option<(&Event, &Head)> {
        match self.write.as_ref() {
            Write::Event { event, head, .. } => Some((event, head)),
            Write::Checkpoint(_) | Write::Forget { .. } => None,
        }
    }
}

/// How far a flush came.
#[derive(Debug)]
pub(super) enum Flushed {
    All,
    /// The event at this place was refused for good, those before it are durable.
    UpTo(usize, Rejection),
}

/// Flushes accounts for one store.
#[derive(Debug)]
pub(super) struct Flush<'a> {
    pub(super) db: &'a Db,
    pub(super) accounts: &'a Accounts,
    /// Who writes.
    pub(super) owner: i64,
}

impl Flush<'_> {
    /// Makes an account's events durable, in order.
    pub(super) async fn events(
        &self,
        account: AccountId,
        items: &[Item],
    ) -> Result<Flushed, StoreError> {
        let mut at = 0;
        let mut tries = 0;
        let mut failure: Option<StoreError> = None;
        loop {
            if let Some(failure) = failure.as_ref().filter(|_| tries >= TRIES_MAX) {
                return Err(failure.clone());
            }
            let rest = items.get(at..).unwrap_or_default();
            let Some(first) = rest.first() else { return Ok(Flushed::All) };
            let Some((owned, ours)) = self.account(account, failure.is_some()).await? else {
                return Ok(Flushed::UpTo(at, Rejection::Fenced));
            };
            if first.seq <= owned.head_seq {
                // Given again after an unknown outcome, or by a writer that lost the account.
                let given = rest.partition_point(|item| item.seq <= owned.head_seq);
                let same = self.same(account, rest.get(..given).unwrap_or_default()).await?;
                at = at.saturating_add(same);
                if same < given {
                    return Ok(Flushed::UpTo(at, Rejection::Fenced));
                }
                continue;
            }
            if !ours || first.seq != owned.head_seq.saturating_add(1) {
                return Ok(Flushed::UpTo(at, Rejection::Fenced));
            }
            let mut chunk = chunk(rest);
            if failure.is_some()
                && let Some((place, rejection)) = self.duplicate(account, chunk).await?
            {
                if place == 0 {
                    return Ok(Flushed::UpTo(at, rejection));
                }
                chunk = chunk.get(..place).unwrap_or_default();
            }
            match self.write(account, owned, chunk).await {
                Ok(true) => {
                    at = at.saturating_add(chunk.len());
                    (tries, failure) = (0, None);
                    continue;
                }
                Ok(false) => failure = Some(unavailable(&"the account's batch is refused")),
                Err(error) => {
                    tracing::warn!(%account, %error, "the outcome of a batch is unknown");
                    failure = Some(error);
                }
            }
            tries = tries.saturating_add(1);
        }
    }

    /// The account as far as this store knows it, or read anew; and whether it is this store's.
    async fn account(
        &self,
        account: AccountId,
        anew: bool,
    ) -> Result<Option<(Owned, bool)>, StoreError> {
        if let Some(owned) = self.accounts.get(account).filter(|_| !anew) {
            return Ok(Some((owned, true)));
        }
        let Some(stored) = self.db.head(account, Freshness::Serial).await? else {
            return Ok(None);
        };
        let ours = stored.owner == self.owner;
        if !ours {
            self.accounts.forget(account);
            return Ok(Some((stored.owned, false)));
        }
        let known = self.accounts.get(account);
        let owned = Owned {
            copied: known.map_or(stored.owned.copied, |known| known.copied),
            trimmed: known.map_or(0, |known| known.trimmed),
            ..stored.owned
        };
        self.accounts.put(account, owned);
        Ok(Some((owned, true)))
    }

    /// How many of the items, from the first, the store has exactly so.
    async fn same(&self, account: AccountId, items: &[Item]) -> Result<usize, StoreError> {
        let (Some(first), Some(last)) = (items.first(), items.last()) else { return Ok(0) };
        let stored = events(self.db, account, first.seq, last.seq, 0).await?;
        let stored: HashMap<i64, Event> =
            stored.into_iter().map(|row| (row.seq.cast_signed(), row.event)).collect();
        let is_same = |item: &&Item| {
            item.event().is_some_and(|(event, _)| stored.get(&item.seq) == Some(event))
        };
        Ok(items.iter().take_while(is_same).count())
    }

    /// The first item whose name the account knows from an earlier event.
    async fn duplicate(
        &self,
        account: AccountId,
        items: &[Item],
    ) -> Result<Option<(usize, Rejection)>, StoreError> {
        let names: Vec<&[u8]> = items.iter().filter_map(|item| item.name.as_deref()).collect();
        let known: Vec<(Vec<u8>, i64)> =
            self.db.all(&self.db.cql.names, (account.column(), &names)).await?;
        let known: HashMap<Vec<u8>, i64> = known.into_iter().collect();
        let is_known = |item: &Item| item.name.as_ref().and_then(|name| known.get(name));
        let found = items.iter().enumerate().find_map(|(at, item)| Some((at, *is_known(item)?)));
        let Some((place, _)) = found else { return Ok(None) };
        let request = items.get(place).and_then(|item| item.keys.request);
        let outcome = match request {
            Some(request) => self.outcome(account, request).await?,
            None => None,
        };
        Ok(Some((place, Rejection::Duplicate(outcome))))
    }

    /// What a request was charged in all, by its settlement and its adjustment.
    async fn outcome(
        &self,
        account: AccountId,
        request: RequestId,
    ) -> Result<Option<Outcome>, StoreError> {
        let names = vec![name(1, request), name(2, request)];
        let known: Vec<(Vec<u8>, i64)> =
            self.db.all(&self.db.cql.names, (account.column(), names)).await?;
        let mut outcomes = Vec::new();
        // By name: the settlement stands before its adjustment.
        for (_, seq) in known.into_iter().collect::<BTreeMap<_, _>>() {
            let stored = events(self.db, account, seq, seq, 0).await?.pop();
            outcomes.extend(stored.and_then(|row| EventKeys::of(&row.event).outcome));
        }
        Ok(whole(outcomes.into_iter()))
    }

    /// One conditional batch; whether it was applied.
    async fn write(
        &self,
        account: AccountId,
        owned: Owned,
        items: &[Item],
    ) -> Result<bool, StoreError> {
        let Some((_, head)) = items.last().and_then(Item::event) else { return Ok(true) };
        let cql = &self.db.cql;
        let id = account.column();
        let mut statements: Vec<BatchStatement> = Vec::with_capacity(items.len().saturating_mul(2));
        let mut values = Vec::with_capacity(statements.capacity());
        let mut add = |statement: &scylla::statement::prepared::PreparedStatement, row| {
            statements.push(statement.clone().into());
            values.push(row);
        };
        let seq = head.seq.cast_signed();
        let (balance, text) = (head.balance.micro(), to_text(head)?);
        let Owned { epoch, head_seq, copied, trimmed } = owned;
        add(&cql.put_head, Values::Head { seq, balance, text, copied, id, epoch, head_seq });
        for item in items {
            let Some((_, head)) = item.event() else { continue };
            let (seq, balance, body) = (item.seq, head.balance.micro(), &*item.body);
            add(&cql.put_event, Values::Event { id, seq, balance, body });
            if let Some(name) = item.name.as_deref() {
                let ttl = if item.keys.request.is_some() { REQUEST_TTL } else { FOREVER };
                add(&cql.put_name, Values::Name { id, name, seq, ttl });
            }
            if item.keys.recovered {
                add(&cql.put_recovered, Values::Recovered { id, seq, body, ttl: REQUEST_TTL });
            }
        }
        let trim = copied.saturating_sub(trimmed) >= TRIM_EVERY;
        if trim {
            add(&cql.trim, Values::Trim { id, seq: copied });
        }
        if !self.db.batch_applied(statements, values).await? {
            return Ok(false);
        }
        // The copies may have gone on meanwhile.
        let copied = self.accounts.get(account).map_or(copied, |now| now.copied.max(copied));
        let trimmed = if trim { owned.copied } else { trimmed };
        self.accounts.put(account, Owned { epoch, head_seq: seq, copied, trimmed });
        Ok(true)
    }
}

/// So many of the items as one batch carries: consecutive ones, within its bounds, and none with the
/// name of another, for conditions are compared with what was there before the batch.
fn chunk(items: &[Item]) -> &[Item] {
    let first = items.first().map_or(0, |item| item.seq);
    let head = items.last().and_then(Item::event).map_or(0, |(_, head)| {
        // The head's text grows with its lots; its exact size is not worth writing it twice.
        head.lots.len().saturating_mul(256)
    });
    let mut bytes = head;
    let mut names = HashSet::new();
    let fits = items.iter().take(EVENTS_MAX).zip(first..).take_while(|(item, seq)| {
        bytes = bytes.saturating_add(item.body.len()).saturating_add(ROW_BYTES);
        let is_new = item.name.as_ref().is_none_or(|name| names.insert(name));
        item.seq == *seq && is_new && (bytes <= BYTES_MAX || item.seq == first)
    });
    let count = fits.count();
    items.get(..count).unwrap_or(items)
}

/// The values of one statement of a batch.
#[derive(Debug)]
enum Values<'a> {
    Head { seq: i64, balance: i64, text: String, copied: i64, id: i64, epoch: i64, head_seq: i64 },
    Event { id: i64, seq: i64, balance: i64, body: &'a str },
    Name { id: i64, name: &'a [u8], seq: i64, ttl: i32 },
    Recovered { id: i64, seq: i64, body: &'a str, ttl: i32 },
    Trim { id: i64, seq: i64 },
}

impl SerializeRow for Values<'_> {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        match self {
            Self::Head { seq, balance, text, copied, id, epoch, head_seq } => {
                (seq, balance, text, copied, id, epoch, head_seq).serialize(context, writer)
            }
            Self::Event { id, seq, balance, body } => {
                (id, seq, balance, body).serialize(context, writer)
            }
            Self::Name { id, name, seq, ttl } => (id, name, seq, ttl).serialize(context, writer),
            Self::Recovered { id, seq, body, ttl } => {
                (id, seq, body, ttl).serialize(context, writer)
            }
            Self::Trim { id, seq } => (id, seq).serialize(context, writer),
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

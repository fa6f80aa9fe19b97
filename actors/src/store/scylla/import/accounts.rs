//! One account moves: its events go to the history and the partners' rows, its names and its head into
//! its partition, the head last.
//!
//! Whoever finds a head finds the whole account. Everything before it is guarded by its absence or can
//! be written again.

use std::collections::HashSet;

use opencredits_schema::{Account, AccountId, HistoryRow, RequestId, Timestamp};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::statement::batch::BatchStatement;

use super::super::super::event_keys::EventKeys;
use super::super::super::sqlite::AccountRow;
use super::super::super::{SqliteStore, Store as _, StoreError};
use super::super::checkpoints::now_micros;
use super::super::flush::{FOREVER, REQUEST_TTL};
use super::super::owned::Freshness;
use super::super::{Inner, to_text};
use super::progress::MoveProgress;

/// Rows in one batch, and their bytes.
const ROWS_MAX: usize = 50;
const BYTES_MAX: usize = 40 * 1024;

/// What a row costs beside its body.
const ROW_BYTES: usize = 96;

impl Inner {
    /// Moves an account with its events, unless it is here.
    pub(super) async fn move_account(
        &self,
        from: &SqliteStore,
        row: &AccountRow,
        progress: &MoveProgress,
    ) -> Result<(), StoreError> {
        let id = row.head.id;
        let mut here = self.db.head(id, Freshness::Serial).await?;
        if here.is_some() {
            progress.events(row.head.seq);
        } else {
            self.move_events(from, row, progress).await?;
            if self.put_moved_head(row).await? {
                progress.account();
                return Ok(());
            }
            // Another run was faster, or it is this very write and its first answer was lost.
            here = self.db.head(id, Freshness::Serial).await?;
        }
        if here.map(|here| here.head()).transpose()?.as_ref() != Some(&row.head) {
            return Err(StoreError::Conflict(format!("account {id} is another one here")));
        }
        progress.account();
        Ok(())
    }

    /// Moves all that an account has before its head.
    async fn move_events(
        &self,
        from: &SqliteStore,
        row: &AccountRow,
        progress: &MoveProgress,
    ) -> Result<(), StoreError> {
        let id = row.head.id;
        if let Some(email) = &row.email {
            self.claim_email(email, id).await?;
        }
        let loaded = from.load(id).await?;
        let recent = loaded.iter().flat_map(|loaded| &loaded.recent);
        let correctable: HashSet<RequestId> = recent.map(|outcome| outcome.request).collect();
        let mut replayed = Account::new(id);
        loop {
            let events = from.events_after(id, replayed.head().seq).await?;
            if events.is_empty() {
                return Ok(());
            }
            for row in &events {
                replayed.apply(&row.event);
            }
            self.copy_rows(id, replayed.head(), &events).await?;
            self.put_names(id, &events, &correctable).await?;
            progress.events(u64::try_from(events.len()).unwrap_or(0));
        }
    }

    /// The account is there from here on; `false` if one was there before.
    async fn put_moved_head(&self, row: &AccountRow) -> Result<bool, StoreError> {
        let AccountRow { head, created, email } = row;
        let (seq, balance, text) = (head.seq.cast_signed(), head.balance.micro(), to_text(head)?);
        let (owner, created, id) = (self.owner, created.millis(), head.id.column());
        let values = (seq, balance, text, owner, seq, created, email, id);
        self.db.applied(&self.db.cql.move_account, values).await
    }

    /// Writes what makes an account's events unique, and what may still be corrected.
    async fn put_names(
        &self,
        account: AccountId,
        rows: &[HistoryRow],
        correctable: &HashSet<RequestId>,
    ) -> Result<(), StoreError> {
        let now = Timestamp::from_millis(now_micros() / 1000);
        let id = account.column();
        let mut batch = Batch::new(self, account);
        for row in rows {
            let keys = EventKeys::of(&row.event);
            let may_be_corrected = keys.recovered
                && keys.request.is_some_and(|request| correctable.contains(&request));
            let is_asked_for = may_be_corrected || is_remembered(row, &keys, now);
            let Some(name) = keys.name().filter(|_| is_asked_for) else { continue };
            let seq = row.seq.cast_signed();
            let ttl = if keys.request.is_some() { REQUEST_TTL } else { FOREVER };
            let body = if may_be_corrected { Some(to_text(&row.event)?) } else { None };
            batch.make_room(body.as_ref().map_or(0, String::len)).await?;
            batch.add(Row::Name { id, name, seq, ttl });
            if let Some(body) = body {
                batch.add(Row::Recovered { id, seq, body, ttl });
            }
        }
        batch.write().await
    }
}

/// Whether an event's name is still asked for: money's always is, a request's for as long as a
/// settlement of it may come.
fn is_remembered(row: &HistoryRow, keys: &EventKeys, now: Timestamp) -> bool {
    let kept_millis = i64::from(REQUEST_TTL).saturating_mul(1000);
    keys.request.is_none() || row.event.at().plus_millis(kept_millis) >= now
}

/// A conditional batch in the partition of an account that is not there yet.
struct Batch<'a> {
    inner: &'a Inner,
    id: i64,
    rows: Vec<Row>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    fn new(inner: &'a Inner, account: AccountId) -> Self {
        Self { inner, id: account.column(), rows: Vec::new(), bytes: 0 }
    }

    /// Writes what is full before more is added.
    async fn make_room(&mut self, bytes: usize) -> Result<(), StoreError> {
        let after = self.bytes.saturating_add(bytes);
        if self.rows.len() >= ROWS_MAX || after > BYTES_MAX {
            self.write().await?;
        }
        Ok(())
    }

    fn add(&mut self, row: Row) {
        let body = match &row {
            Row::Recovered { body, .. } => body.len(),
            Row::Name { name, .. } => name.len(),
            Row::Guard { .. } => 0,
        };
        self.bytes = self.bytes.saturating_add(body).saturating_add(ROW_BYTES);
        self.rows.push(row);
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let db = &self.inner.db;
        let mut rows = vec![Row::Guard { owner: self.inner.owner, id: self.id }];
        rows.append(&mut self.rows);
        let statement = |row: &Row| match row {
            Row::Guard { .. } => BatchStatement::from(db.cql.moving_account.clone()),
            Row::Name { .. } => db.cql.move_name.clone().into(),
            Row::Recovered { .. } => db.cql.put_recovered.clone().into(),
        };
        // Refused where the account is there by now: its head is compared in the end.
        db.batch_applied(rows.iter().map(statement).collect(), rows).await?;
        Ok(())
    }
}

/// The values of one statement of a batch.
#[derive(Debug)]
enum Row {
    Guard { owner: i64, id: i64 },
    Name { id: i64, name: Vec<u8>, seq: i64, ttl: i32 },
    Recovered { id: i64, seq: i64, body: String, ttl: i32 },
}

impl SerializeRow for Row {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        match self {
            Self::Guard { owner, id } => (owner, id).serialize(context, writer),
            Self::Name { id, name, seq, ttl } => (id, name, seq, ttl).serialize(context, writer),
            Self::Recovered { id, seq, body, ttl } => {
                (id, seq, body, ttl).serialize(context, writer)
            }
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

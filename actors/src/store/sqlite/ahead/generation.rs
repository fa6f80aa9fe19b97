//! A generation of the log: what waits for the database, and what it says of the next batch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use opencredits_schema::AccountId;
use rusqlite::{Connection, OptionalExtension as _, Params, Transaction, params};

use crate::store::event_keys::EventKeys;
use crate::store::sqlite::commit::{bytes, stored_seq};
use crate::store::sqlite::failed;
use crate::store::{Batch, StoreError, Write};

/// Writes that are durable in the log and not yet in the database.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) writes: Vec<Arc<Write>>,
    /// When the first of them came.
    pub(super) since: Option<Instant>,
    effects: Effects,
}

/// What writes change of what a later batch is checked against.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Accounts, by the number of their last event.
    seqs: HashMap<AccountId, u64>,
    /// What makes events unique.
    names: HashSet<Vec<u8>>,
}

impl Generation {
    pub(super) fn new(number: u64) -> Self {
        Self { number, writes: Vec::new(), since: None, effects: Effects::default() }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Takes a batch that the log holds now.
    pub(super) fn gather(&mut self, batch: &Batch, effects: Effects) {
        self.since.get_or_insert_with(Instant::now);
        self.writes.extend(batch.iter().cloned());
        self.effects.seqs.extend(effects.seqs);
        self.effects.names.extend(effects.names);
    }
}

/// What a batch would change, if each of its events is its account's next one and happened never
/// before; `None` where that is not so: then the database itself must look.
pub(super) fn check(
    batch: &Batch,
    waiting: &[&Generation],
    probe: &Probe,
) -> Result<Option<Effects>, StoreError> {
    // One look at one moment of the database: each statement by itself would lock and unlock it.
    let looking = probe.look()?;
    let effects = next_and_new(batch, waiting, probe);
    looking.finish().map_err(failed)?;
    effects
}

fn next_and_new(
    batch: &Batch,
    waiting: &[&Generation],
    probe: &Probe,
) -> Result<Option<Effects>, StoreError> {
    let mut effects = Effects::default();
    for write in batch.iter() {
        let Write::Event { event, head, .. } = write.as_ref() else { continue };
        let seqs = std::iter::once(&effects).chain(waiting.iter().map(|later| &later.effects));
        let stored = match seqs.filter_map(|effects| effects.seqs.get(&head.id)).max() {
            Some(seq) => Some(*seq),
            None => probe.seq(head.id)?,
        };
        let keys = EventKeys::of(event);
        let next = stored.is_some() && stored == head.seq.checked_sub(1);
        let Some(name) = keys.name().filter(|_| next) else { return Ok(None) };
        let waits = waiting.iter().any(|generation| generation.effects.names.contains(&name));
        if waits || probe.has(&keys)? || !effects.names.insert(name) {
            return Ok(None);
        }
        effects.seqs.insert(head.id, head.seq);
    }
    Ok(Some(effects))
}

/// A connection that looks at what the database holds.
pub(super) struct Probe(Connection);

impl Probe {
    pub(super) const fn new(connection: Connection) -> Self {
        Self(connection)
    }

    /// Begins a read of one state of the database.
    fn look(&self) -> Result<Transaction<'_>, StoreError> {
        self.0.unchecked_transaction().map_err(failed)
    }

    fn seq(&self, account: AccountId) -> Result<Option<u64>, StoreError> {
        stored_seq(&self.0, account)
    }

    fn has(&self, keys: &EventKeys) -> Result<bool, StoreError> {
        match (keys.request, &keys.source) {
            (Some(request), _) => {
                let sql = "SELECT 1 FROM events WHERE request = ?1 AND kind = ?2";
                self.finds(sql, params![bytes(request), keys.kind])
            }
            (None, Some(source)) => {
                self.finds("SELECT 1 FROM events WHERE source = ?1", params![source])
            }
            (None, None) => Ok(false),
        }
    }

    fn finds(&self, sql: &str, row: impl Params) -> Result<bool, StoreError> {
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let found = statement.query_row(row, |_| Ok(())).optional().map_err(failed)?;
        Ok(found.is_some())
    }
}

//! A generation of the log: what waits for the database, and what it says of the next batch.

use std::sync::Arc;
use std::time::Instant;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use opencredits_schema::{AccountId, Event, RequestId};
use rusqlite::Connection;

use crate::store::event_keys::EventKeys;
use crate::store::sqlite::commit::stored_seq;
use crate::store::sqlite::entry::Entry;
use crate::store::sqlite::{failed, names};
use crate::store::{Batch, StoreError, Write};

/// So many accounts' numbers are remembered: a few megabytes.
const SEQS_MAX: usize = 100_000;

/// Writes that are durable in the log and not yet in the database.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) writes: Vec<Entry>,
    /// When the first of them came.
    pub(super) since: Option<Instant>,
    effects: Effects,
}

/// What writes change of what a later batch is checked against.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Accounts, by the number of their last event.
    seqs: HashMap<AccountId, u64>,
    /// What makes events unique: a kind with a request, or an outside name.
    requests: HashSet<(u8, RequestId)>,
    sources: HashSet<String>,
}

impl Effects {
    /// Whether an event of the same name is among them.
    fn has(&self, keys: &EventKeys) -> bool {
        match (keys.request, &keys.source) {
            (Some(request), _) => self.requests.contains(&(keys.kind, request)),
            (None, source) => source.as_ref().is_some_and(|source| self.sources.contains(source)),
        }
    }

    /// Notes an event's name; whether it is new.
    fn insert(&mut self, keys: EventKeys) -> bool {
        match (keys.request, keys.source) {
            (Some(request), _) => self.requests.insert((keys.kind, request)),
            (None, Some(source)) => self.sources.insert(source),
            (None, None) => false,
        }
    }

    fn extend(&mut self, later: Self) {
        self.seqs.extend(later.seqs);
        self.requests.extend(later.requests);
        self.sources.extend(later.sources);
    }
}

impl Generation {
    /// The one behind `before`, likely about as large.
    pub(super) fn behind(before: &Self) -> Self {
        let Effects { seqs, requests, .. } = &before.effects;
        let effects = Effects {
            seqs: HashMap::with_capacity(seqs.len()),
            requests: HashSet::with_capacity(requests.len()),
            sources: HashSet::default(),
        };
        let writes = Vec::with_capacity(before.writes.len());
        Self { number: before.number.saturating_add(1), writes, since: None, effects }
    }

    pub(super) fn new(number: u64) -> Self {
        Self { number, writes: Vec::new(), since: None, effects: Effects::default() }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Takes a batch that the log holds now.
    pub(super) fn gather(&mut self, batch: Vec<Entry>, effects: Effects) {
        self.since.get_or_insert_with(Instant::now);
        self.writes.extend(batch);
        self.effects.extend(effects);
    }
}

/// What a batch would change, if each of its events is its account's next one and happened never
/// before; `None` where that is not so: then the database itself must look.
pub(super) fn check(
    batch: &Batch,
    waiting: &[&Generation],
    known: &mut Known,
) -> Result<Option<Effects>, StoreError> {
    // Where a look could not be ended, what it sees is old.
    known.probe.stop_looking()?;
    let effects = next_and_new(batch, waiting, known);
    known.probe.stop_looking()?;
    effects
}

fn next_and_new(
    batch: &Batch,
    waiting: &[&Generation],
    known: &mut Known,
) -> Result<Option<Effects>, StoreError> {
    let mut effects = Effects::default();
    for write in batch.iter() {
        let Write::Event { event, head, .. } = write.as_ref() else { continue };
        let seqs = std::iter::once(&effects).chain(waiting.iter().map(|later| &later.effects));
        let stored = match seqs.filter_map(|effects| effects.seqs.get(&head.id)).max() {
            Some(seq) => Some(*seq),
            None => known.seq(head.id)?,
        };
        let keys = EventKeys::of(event);
        let next = stored.is_some() && stored == head.seq.checked_sub(1);
        let waits = waiting.iter().any(|generation| generation.effects.has(&keys));
        if !next || waits || known.has(event, &keys)? || !effects.insert(keys) {
            return Ok(None);
        }
        effects.seqs.insert(head.id, head.seq);
    }
    Ok(Some(effects))
}

/// What the database holds of what batches are checked against; what is not remembered is looked up.
pub(super) struct Known {
    probe: Probe,
    /// The last events' numbers of accounts that settled lately.
    seqs: HashMap<AccountId, u64>,
    /// The largest request that an event is of: a larger one is new. Requests are numbered by time, so
    /// that is nearly each one that began after the last generation was applied.
    newest: Option<RequestId>,
}

impl Known {
    pub(super) fn new(probe: Connection) -> Self {
        Self { probe: Probe::new(probe), seqs: HashMap::default(), newest: None }
    }

    /// Learns what a generation changed that the database holds now.
    pub(super) fn applied(&mut self, generation: &Generation) {
        let Effects { seqs, requests, .. } = &generation.effects;
        if self.seqs.len() > SEQS_MAX {
            self.seqs.clear();
        }
        self.seqs.extend(seqs);
        self.raise(requests.iter().map(|(_, request)| *request).max());
    }

    /// Forgets what a batch may change that goes to the database beside the log.
    pub(super) fn forget(&mut self, batch: &Batch) {
        self.seqs.clear();
        let request = |write: &Arc<Write>| match write.as_ref() {
            Write::Event { event, .. } => EventKeys::of(event).request,
            Write::Checkpoint(_) | Write::Forget { .. } => None,
        };
        // If it is not written, more is looked up than need be.
        self.raise(batch.iter().filter_map(request).max());
    }

    fn raise(&mut self, newest: Option<RequestId>) {
        self.newest = self.newest.map(|before| newest.map_or(before, |newest| newest.max(before)));
    }

    fn seq(&mut self, account: AccountId) -> Result<Option<u64>, StoreError> {
        match self.seqs.get(&account) {
            Some(seq) => Ok(Some(*seq)),
            None => stored_seq(self.probe.look()?, account),
        }
    }

    fn has(&mut self, event: &Event, keys: &EventKeys) -> Result<bool, StoreError> {
        if let Some(request) = keys.request
            && request > self.newest()?
        {
            return Ok(false);
        }
        names::happened(self.probe.look()?, event, keys)
    }

    fn newest(&mut self) -> Result<RequestId, StoreError> {
        if let Some(newest) = self.newest {
            return Ok(newest);
        }
        let newest = names::newest_request(self.probe.look()?)?;
        Ok(*self.newest.insert(newest))
    }
}

/// A connection that looks at what the database holds.
struct Probe {
    connection: Connection,
    looking: bool,
}

impl Probe {
    const fn new(connection: Connection) -> Self {
        Self { connection, looking: false }
    }

    /// One look at one moment of the database for all of a batch: each statement by itself would lock
    /// and unlock it.
    fn look(&mut self) -> Result<&Connection, StoreError> {
        if !self.looking {
            self.run("BEGIN")?;
            self.looking = true;
        }
        Ok(&self.connection)
    }

    fn stop_looking(&mut self) -> Result<(), StoreError> {
        if self.looking {
            self.run("COMMIT")?;
            self.looking = false;
        }
        Ok(())
    }

    fn run(&self, sql: &str) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        statement.execute([]).map_err(failed)?;
        Ok(())
    }
}

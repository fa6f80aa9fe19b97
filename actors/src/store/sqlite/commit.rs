//! The writer's part: one batch in one database transaction.

use std::sync::Arc;

use opencredits_schema::{AccountId, Event, Head, RequestId};
use rusqlite::{
    CachedStatement, Connection, OptionalExtension, Statement, Transaction, TransactionBehavior,
    params,
};

use super::super::event_keys::EventKeys;
use super::super::{Payout, PayoutOutcome, Rejected, Rejection, StoreError, Write};
use super::ahead::{Logged, does_not_fit, with_heads};
use super::body::Body;
use super::checkpoints::Checkpoints;
use super::entry::Entry;
use super::event_row::EventRow;
use super::partner_usage::UsageRow;
use super::rows::Rows;
use super::sums::Sums;
use super::{failed, names, no_json, read, to_text};

/// Writes a batch that did not go through the log, in the place of a generation of it.
pub(super) fn commit(
    connection: &mut Connection,
    generation: u64,
    batch: &[Arc<Write>],
) -> Result<Vec<Rejected>, StoreError> {
    let transaction = begin(connection)?;
    mark(&transaction, generation)?;
    let rejected = write(&transaction, &Entry::all(batch).map_err(no_json)?, Names::Unknown)?;
    transaction.commit().map_err(failed)?;
    Ok(rejected)
}

/// Writes a generation of the log, unless it was written before.
pub(super) fn apply(
    connection: &mut Connection,
    generation: u64,
    writes: &[Entry],
) -> Result<(), StoreError> {
    apply_once(connection, generation, |_| Ok(writes))
}

/// The same of a generation that was read from the log's file.
pub(super) fn replay(
    connection: &mut Connection,
    generation: u64,
    writes: Vec<Logged>,
) -> Result<(), StoreError> {
    apply_once(connection, generation, |transaction| {
        Entry::all(&with_heads(transaction, writes)?).map_err(no_json)
    })
}

fn apply_once<W: AsRef<[Entry]>>(
    connection: &mut Connection,
    generation: u64,
    writes: impl FnOnce(&Transaction<'_>) -> Result<W, StoreError>,
) -> Result<(), StoreError> {
    let transaction = begin(connection)?;
    if !mark(&transaction, generation)? {
        return Ok(());
    }
    let writes = writes(&transaction)?;
    let rejected =
        write(&transaction, writes.as_ref(), Names::New).map_err(|error| match error {
            StoreError::Conflict(why) => does_not_fit(&why),
            StoreError::Unavailable(_) | StoreError::Corrupt(_) => error,
        })?;
    if !rejected.is_empty() {
        return Err(does_not_fit(&format!("{rejected:?}")));
    }
    transaction.commit().map_err(failed)
}

/// Notes that the database holds a generation; whether it did not before.
fn mark(transaction: &Transaction<'_>, generation: u64) -> Result<bool, StoreError> {
    let sql = "UPDATE ahead SET generation = ?1 WHERE generation < ?1";
    Ok(transaction.execute(sql, [column(generation)]).map_err(failed)? > 0)
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>, StoreError> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)
}

/// What is known of the names of a batch's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// None happened before: they were looked up before the log took the batch.
    New,
    /// Each is looked up behind all that stand before it.
    Unknown,
}

/// Heads and sums are written once, however many events change them.
fn write(
    transaction: &Transaction<'_>,
    batch: &[Entry],
    names: Names,
) -> Result<Vec<Rejected>, StoreError> {
    let mut work = Work::begin(transaction, names)?;
    let mut rejected = Vec::new();
    for entries in by_account(batch).chunk_by(|one, next| one.0 == next.0) {
        rejected.extend(work.account(entries)?);
    }
    work.end()?;
    Ok(rejected)
}

/// An entry with its account and its place in the batch.
type Placed<'a> = (AccountId, usize, &'a Entry);

/// Account by account, each one's entries as they were given.
fn by_account(batch: &[Entry]) -> Vec<Placed<'_>> {
    let mut placed: Vec<Placed<'_>> =
        batch.iter().enumerate().map(|(at, entry)| (entry.write.account(), at, entry)).collect();
    placed.sort_unstable_by_key(|(account, at, _)| (*account, *at));
    placed
}

struct Work<'t, 'b> {
    transaction: &'t Transaction<'t>,
    names: Names,
    often: Often<'t>,
    events: Rows<'t, EventRow<'b>>,
    usage: Rows<'t, UsageRow>,
    checkpoints: Checkpoints<'b>,
    sums: Sums,
}

/// The statements of nearly every write: to find them in the connection's cache, each time, was 3 % of a
/// settlement's CPU.
struct Often<'t> {
    seq: CachedStatement<'t>,
    head: CachedStatement<'t>,
}

impl<'t> Often<'t> {
    fn prepare(transaction: &'t Transaction<'t>) -> Result<Self, StoreError> {
        let prepare = |sql| transaction.prepare_cached(sql).map_err(failed);
        Ok(Self {
            seq: prepare(SEQ)?,
            head: prepare("UPDATE accounts SET seq = ?2, balance = ?3, head = ?4 WHERE id = ?1")?,
        })
    }
}

/// The number of an account's last event.
pub(super) const SEQ: &str = "SELECT seq FROM accounts WHERE id = ?1";

impl<'t, 'b> Work<'t, 'b> {
    fn begin(transaction: &'t Transaction<'t>, names: Names) -> Result<Self, StoreError> {
        Ok(Self {
            transaction,
            names,
            often: Often::prepare(transaction)?,
            events: Rows::prepare(transaction)?,
            usage: Rows::prepare(transaction)?,
            checkpoints: Checkpoints::default(),
            sums: Sums::default(),
        })
    }

    fn end(mut self) -> Result<(), StoreError> {
        self.events.flush()?;
        self.usage.flush()?;
        self.checkpoints.write(self.transaction)?;
        self.sums.write(self.transaction)
    }

    /// The writes of one account, up to the first that is refused.
    fn account(&mut self, entries: &[Placed<'b>]) -> Result<Option<Rejected>, StoreError> {
        let mut stored: Option<u64> = None;
        let mut last: Option<&Head> = None;
        let mut rejected = None;
        for &(_, index, entry) in entries {
            let refused = match entry.write.as_ref() {
                Write::Event { event, head, forget } => {
                    let seq = match stored {
                        Some(seq) => Some(seq),
                        None => seq_of(&mut self.often.seq, head.id)?,
                    };
                    let result = self.event(seq, (event, entry.text()), head, *forget)?;
                    stored = seq.map(|seq| seq.max(head.seq));
                    if result == Ok(Written::New) {
                        last = Some(head);
                    }
                    result.err()
                }
                Write::Checkpoint(checkpoint) => {
                    self.checkpoints.keep(checkpoint, entry.text());
                    None
                }
                Write::Forget { request, .. } => {
                    self.checkpoints.forget(*request);
                    None
                }
            };
            if let Some(why) = refused {
                rejected = Some(Rejected { index, why });
                break;
            }
        }
        if let Some(head) = last {
            let (id, seq) = (head.id.column(), column(head.seq));
            let row = params![id, seq, head.balance.micro(), to_text(head)?];
            self.often.head.execute(row).map_err(failed)?;
        }
        Ok(rejected)
    }

    fn event(
        &mut self,
        stored: Option<u64>,
        (event, json): (&Event, &'b str),
        head: &Head,
        forget: bool,
    ) -> Result<Result<Written, Rejection>, StoreError> {
        let Some(stored) = stored else { return Ok(Err(Rejection::Fenced)) };
        if head.seq <= stored {
            // Given again after an unknown outcome, or by a writer that lost the account.
            let sql = "SELECT body FROM events WHERE account = ?1 AND seq = ?2";
            let row = params![head.id.column(), column(head.seq)];
            let same: Option<Body<Event>> = read::one(self.transaction, sql, row)?;
            return Ok(same
                .filter(|Body(same)| same == event)
                .map_or(Err(Rejection::Fenced), |_| Ok(Written::Before)));
        }
        if head.seq != stored.saturating_add(1) {
            return Ok(Err(Rejection::Fenced));
        }
        let keys = EventKeys::of(event);
        if self.names == Names::Unknown && names::happened(self.transaction, event, &keys)? {
            let charged = event.charged().map(|charged| names::outcome(self.transaction, charged));
            return Ok(Err(Rejection::Duplicate(charged.transpose()?.flatten())));
        }
        self.add(event, keys, head, forget, json)?;
        Ok(Ok(Written::New))
    }

    /// Writes a new event, at the latest when all is written.
    fn add(
        &mut self,
        event: &Event,
        keys: EventKeys,
        head: &Head,
        forget: bool,
        json: &'b str,
    ) -> Result<(), StoreError> {
        if let Some(request) = keys.request.filter(|_| forget) {
            self.checkpoints.forget(request);
        }
        if let Some(charged) = event.charged() {
            self.usage.push(UsageRow::new(charged, keys.kind, head));
        }
        self.sums.add(event);
        self.events.push(EventRow::new(keys, head, json));
        match self.names {
            Names::New if self.events.is_full() => self.events.flush(),
            Names::New => Ok(()),
            Names::Unknown => {
                self.events.flush()?;
                self.usage.flush()
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Written {
    New,
    Before,
}

/// Books a payout unless it is more than payable.
pub(super) fn payout(
    connection: &mut Connection,
    payout: &Payout,
) -> Result<PayoutOutcome, StoreError> {
    let transaction = begin(connection)?;
    let before = read::partner_balance(&transaction, payout.partner)?;
    let sql = "SELECT 1 FROM payouts WHERE entry = ?1";
    let known = transaction.query_row(sql, [&payout.entry], |_| Ok(())).optional();
    if known.map_err(failed)?.is_some() {
        return Ok(PayoutOutcome::Done(before.payable()));
    }
    if payout.credits > before.payable() {
        return Ok(PayoutOutcome::TooMuch(before.payable()));
    }
    let (partner, credits) = (payout.partner.column(), payout.credits.micro());
    let sql = "INSERT INTO payouts (entry, partner, credits, reference, at) \
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let row = params![payout.entry, partner, credits, payout.reference, payout.at.millis()];
    transaction.execute(sql, row).map_err(failed)?;
    let sql = "UPDATE partners SET paid_out = paid_out + ?2 WHERE id = ?1";
    transaction.execute(sql, params![partner, credits]).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(PayoutOutcome::Done(before.payable().minus(payout.credits)))
}

/// The number of an account's last event; `None` if there is no such account.
pub(super) fn stored_seq(
    connection: &Connection,
    account: AccountId,
) -> Result<Option<u64>, StoreError> {
    let mut statement = connection.prepare_cached(SEQ).map_err(failed)?;
    seq_of(&mut statement, account)
}

fn seq_of(statement: &mut Statement<'_>, account: AccountId) -> Result<Option<u64>, StoreError> {
    let found = statement.query_row([account.column()], |row| row.get(0));
    let seq: Option<i64> = found.optional().map_err(failed)?;
    Ok(seq.map(i64::cast_unsigned))
}

/// A request id as the bytes of a column: in the order of time.
pub(super) fn bytes(request: RequestId) -> [u8; 16] {
    request.bits().to_be_bytes()
}

/// A count as a signed column.
pub(super) const fn column(number: u64) -> i64 {
    number.cast_signed()
}

#[cfg(test)]
mod tests;

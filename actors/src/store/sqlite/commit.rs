//! The writer's part: one batch in one database transaction.

use std::sync::Arc;

use opencredits_schema::{AccountId, Event, Head, Outcome, RequestId};
use rusqlite::{
    CachedStatement, Connection, OptionalExtension, Statement, Transaction, TransactionBehavior,
    params,
};

use super::super::event_keys::{EventKeys, whole};
use super::super::{Payout, PayoutOutcome, Rejected, Rejection, StoreError, Write};
use super::ahead::{Logged, does_not_fit, with_heads};
use super::body::Body;
use super::entry::Entry;
use super::partner_usage::PartnerUsage;
use super::sums::Sums;
use super::{failed, no_json, read, to_text};

/// Writes a batch that did not go through the log, in the place of a generation of it.
pub(super) fn commit(
    connection: &mut Connection,
    generation: u64,
    batch: &[Arc<Write>],
) -> Result<Vec<Rejected>, StoreError> {
    let transaction = begin(connection)?;
    mark(&transaction, generation)?;
    let rejected = write(&transaction, &Entry::all(batch).map_err(no_json)?)?;
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
    let rejected = write(&transaction, writes(&transaction)?.as_ref())?;
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

/// Heads and sums are written once, however many events change them.
fn write(transaction: &Transaction<'_>, batch: &[Entry]) -> Result<Vec<Rejected>, StoreError> {
    let mut work = Work {
        transaction,
        often: Often::prepare(transaction)?,
        sums: Sums::default(),
        usage: PartnerUsage::default(),
    };
    let mut rejected = Vec::new();
    for entries in by_account(batch).chunk_by(|one, next| one.0 == next.0) {
        rejected.extend(work.account(entries)?);
    }
    work.usage.write(transaction)?;
    work.sums.write(transaction)?;
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

struct Work<'a> {
    transaction: &'a Transaction<'a>,
    often: Often<'a>,
    sums: Sums,
    usage: PartnerUsage,
}

/// The statements of nearly every write: to find them in the connection's cache, each time, was 3 % of a
/// settlement's CPU.
struct Often<'a> {
    seq: CachedStatement<'a>,
    event: CachedStatement<'a>,
    head: CachedStatement<'a>,
}

impl<'a> Often<'a> {
    fn prepare(transaction: &'a Transaction<'a>) -> Result<Self, StoreError> {
        let prepare = |sql| transaction.prepare_cached(sql).map_err(failed);
        Ok(Self {
            seq: prepare(SEQ)?,
            event: prepare(
                "INSERT OR IGNORE INTO events \
                 (account, seq, kind, request, source, balance_after, recovered, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            head: prepare("UPDATE accounts SET seq = ?2, balance = ?3, head = ?4 WHERE id = ?1")?,
        })
    }
}

/// The number of an account's last event.
const SEQ: &str = "SELECT seq FROM accounts WHERE id = ?1";

impl Work<'_> {
    /// The writes of one account, up to the first that is refused.
    fn account(&mut self, entries: &[Placed<'_>]) -> Result<Option<Rejected>, StoreError> {
        let mut stored: Option<u64> = None;
        let mut last: Option<&Head> = None;
        let mut rejected = None;
        for (_, index, entry) in entries {
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
                    let hold = &checkpoint.hold;
                    let sql = "INSERT INTO checkpoints (request, account, number, body) \
                               SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM events \
                               WHERE request = ?1 AND kind = 1) ON CONFLICT (request) DO UPDATE \
                               SET number = ?3, body = ?4 WHERE number < ?3";
                    let number = i64::try_from(checkpoint.number).unwrap_or(i64::MAX);
                    let account = checkpoint.account.column();
                    let row = params![bytes(hold.request), account, number, entry.text()];
                    self.run(sql, row)?;
                    None
                }
                Write::Forget { request, .. } => {
                    self.forget(*request)?;
                    None
                }
            };
            if let Some(why) = refused {
                rejected = Some(Rejected { index: *index, why });
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
        (event, json): (&Event, &str),
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
        let request = keys.request.map(bytes);
        let row = params![
            head.id.column(),
            column(head.seq),
            keys.kind,
            request,
            keys.source,
            head.balance.micro(),
            keys.recovered,
            json
        ];
        let new = self.often.event.execute(row).map_err(failed)?;
        if new == 0 {
            return Ok(Err(Rejection::Duplicate(self.outcome(&keys)?)));
        }
        if let Some(request) = keys.request.filter(|_| forget) {
            self.forget(request)?;
        }
        if let Event::Settled(settlement) | Event::Adjusted(settlement) = event {
            self.usage.add(&settlement.charged, keys.kind, head);
        }
        self.sums.add(event);
        Ok(Ok(Written::New))
    }

    fn outcome(&self, keys: &EventKeys) -> Result<Option<Outcome>, StoreError> {
        let Some(request) = keys.request.map(bytes) else { return Ok(None) };
        let sql = "SELECT body FROM events WHERE request = ?1 ORDER BY kind";
        let events: Vec<Body<Event>> = read::many(self.transaction, sql, params![request])?;
        Ok(whole(events.iter().filter_map(|Body(event)| EventKeys::of(event).outcome)))
    }

    fn forget(&self, request: RequestId) -> Result<(), StoreError> {
        self.run("DELETE FROM checkpoints WHERE request = ?1", params![bytes(request)])?;
        Ok(())
    }

    fn run(&self, sql: &str, row: impl rusqlite::Params) -> Result<usize, StoreError> {
        self.transaction.prepare_cached(sql).and_then(|mut s| s.execute(row)).map_err(failed)
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

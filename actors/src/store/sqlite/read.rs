//! The reader's part: activations, histories, earnings, the audit, the backup.

use std::path::Path;
use std::time::Duration;

use opencredits_schema::{
    AccountId, Checkpoint, Credits, EarningsRow, Event, Head, HistoryRow, Outcome, Partner,
    PartnerBalance, PartnerId, RECENT_MAX, Timestamp, UsageQuery,
};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::super::audit::Auditor;
use super::super::{Books, Loaded, StoreError};
use super::body::{self, Body};
use super::commit::bytes;
use super::{failed, from_text, names, unavailable};

/// The pages that a backup copies before it lets the writer have a turn.
const BACKUP_PAGES: i32 = 1024;

/// Settlements that were not the request's own, newest first.
pub(super) const RECOVERED: &str =
    "SELECT body FROM events WHERE account = ?1 AND recovered = 1 ORDER BY seq DESC";

/// The one record of a query that has a single column of JSON.
pub(super) fn one<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    sql: &str,
    row: impl Params,
) -> Result<Option<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let body: Option<String> =
        statement.query_row(row, |row| row.get(0)).optional().map_err(failed)?;
    body.map(|body| from_text(&body)).transpose()
}

/// The records of a query that has a single column of JSON.
pub(super) fn many<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    sql: &str,
    row: impl Params,
) -> Result<Vec<T>, StoreError> {
    let bodies: Vec<String> = rows(connection, sql, row, |row| row.get(0))?;
    bodies.iter().map(|body| from_text(body)).collect()
}

/// What a query's rows are read as.
pub(super) fn rows<T>(
    connection: &Connection,
    sql: &str,
    row: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let rows = statement.query_map(row, read).map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}

pub(super) fn load(
    connection: &mut Connection,
    account: AccountId,
) -> Result<Option<Loaded>, StoreError> {
    let snapshot = connection.transaction().map_err(failed)?;
    let id = params![account.column()];
    let Some(head) = one::<Head>(&snapshot, "SELECT head FROM accounts WHERE id = ?1", id)? else {
        return Ok(None);
    };
    let recent = recent(&snapshot, account)?;
    let checkpoints: Vec<Checkpoint> =
        many(&snapshot, "SELECT body FROM checkpoints WHERE account = ?1", id)?;
    Ok(Some(Loaded { head, recent, checkpoints }))
}

/// The newest settlements that their requests may still correct, oldest first.
fn recent(connection: &Connection, account: AccountId) -> Result<Vec<Outcome>, StoreError> {
    let mut statement = connection.prepare_cached(RECOVERED).map_err(failed)?;
    let mut rows = statement.query([account.column()]).map_err(failed)?;
    let mut recent = Vec::new();
    while recent.len() < RECENT_MAX
        && let Some(row) = rows.next().map_err(failed)?
    {
        let Body(event) = from_text(&row.get::<_, String>(0).map_err(failed)?)?;
        if let Event::Settled(settlement) = event
            && !names::is_adjusted(connection, &settlement.charged)?
        {
            recent.push(Outcome::from(settlement.as_ref()));
        }
    }
    recent.reverse();
    Ok(recent)
}

pub(super) fn unfinished(connection: &mut Connection) -> Result<Vec<AccountId>, StoreError> {
    let sql = "SELECT DISTINCT account FROM checkpoints";
    rows(connection, sql, [], |row| row.get(0).map(AccountId::from_column))
}

pub(super) fn history(
    connection: &Connection,
    account: AccountId,
    limit: usize,
    offset: usize,
) -> Result<(Vec<HistoryRow>, bool), StoreError> {
    let sql = "SELECT account, seq, balance_after, body FROM events WHERE account = ?1 \
               ORDER BY seq DESC LIMIT ?2 OFFSET ?3";
    let bound = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let row = params![account.column(), bound(limit.saturating_add(1)), bound(offset)];
    let mut page = events(connection, sql, row)?;
    let more = page.len() > limit;
    page.truncate(limit);
    Ok((page, more))
}

/// The events of a query for account, seq, balance after, body.
pub(super) fn events(
    connection: &Connection,
    sql: &str,
    row: impl Params,
) -> Result<Vec<HistoryRow>, StoreError> {
    let raw = rows(connection, sql, row, |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?))
    })?;
    raw.into_iter()
        .map(|(account, seq, balance, body): (i64, i64, i64, String)| {
            Ok(HistoryRow {
                account: AccountId::from_column(account),
                seq: seq.cast_unsigned(),
                event: from_text::<Body<Event>>(&body)?.0,
                balance_after: Credits::from_micro(balance),
            })
        })
        .collect()
}

pub(super) fn partner_balance(
    connection: &Connection,
    id: PartnerId,
) -> Result<PartnerBalance, StoreError> {
    let sql = "SELECT earned, paid_out FROM partners WHERE id = ?1";
    let balance = connection.query_row(sql, [id.column()], |row| {
        let (earned, paid_out) = (row.get(0)?, row.get(1)?);
        Ok(PartnerBalance {
            earned: Credits::from_micro(earned),
            paid_out: Credits::from_micro(paid_out),
        })
    });
    Ok(balance.optional().map_err(failed)?.unwrap_or_default())
}

pub(super) fn partner_usage(
    connection: &Connection,
    id: PartnerId,
    query: &UsageQuery,
) -> Result<Vec<HistoryRow>, StoreError> {
    // A request id begins with its time, so a range of times is a range of the primary key.
    let floor =
        |at: Timestamp| (u128::from(at.millis().max(0).cast_unsigned()) << 80).to_be_bytes();
    let after = query.after.map_or([0xff; 16], bytes);
    let to = query.to.map_or([0xff; 16], floor).min(after);
    let from = query.from.map_or([0; 16], floor);
    let sql = "SELECT e.account, e.seq, e.balance_after, e.body FROM partner_usage AS u \
               JOIN events AS e ON e.account = u.account AND e.seq = u.seq \
               WHERE u.partner = ?1 AND u.request >= ?2 AND u.request < ?3 AND (?4 IS NULL OR \
               coalesce(e.body ->> ?6, e.body ->> '$.settled.charged.model', \
               e.body ->> '$.adjusted.charged.model') = ?4) \
               ORDER BY u.request DESC, u.kind DESC LIMIT ?5";
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    events(connection, sql, params![id.column(), from, to, query.model, limit, body::MODEL])
}

pub(super) fn earnings(
    connection: &Connection,
    id: PartnerId,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Vec<EarningsRow>, StoreError> {
    let sql = "SELECT day, model, requests, cost, share FROM partner_days WHERE partner = ?1 \
               AND day >= ?2 AND day <= ?3 ORDER BY day, model";
    let from = from.map_or(i64::MIN, Timestamp::day);
    let to = to.map_or(i64::MAX, |to| to.plus_millis(-1).day());
    rows(connection, sql, params![id.column(), from, to], |row| {
        Ok(EarningsRow {
            day: row.get(0)?,
            model: row.get(1)?,
            requests: row.get::<_, i64>(2)?.cast_unsigned(),
            cost: Credits::from_micro(row.get(3)?),
            share: Credits::from_micro(row.get(4)?),
        })
    })
}

/// Audits from one snapshot, so that a running gateway may go on beside it.
pub(super) fn audit(connection: &mut Connection) -> Result<Books, StoreError> {
    let snapshot = connection.transaction().map_err(failed)?;
    let mut auditor = Auditor::default();
    let sql = "SELECT id, balance, head FROM accounts ORDER BY id";
    let mut statement = snapshot.prepare(sql).map_err(failed)?;
    let mut accounts = statement.query([]).map_err(failed)?;
    let mut charges = 0_i64;
    while let Some(row) = accounts.next().map_err(failed)? {
        let id = AccountId::from_column(row.get(0).map_err(failed)?);
        let balance = Credits::from_micro(row.get(1).map_err(failed)?);
        let head: String = row.get(2).map_err(failed)?;
        let sql = "SELECT account, seq, balance_after, body FROM events WHERE account = ?1 \
                   ORDER BY seq";
        match (from_text::<Head>(&head), events(&snapshot, sql, params![id.column()])) {
            (Ok(head), Ok(rows)) => {
                let charged = rows.iter().filter_map(|row| row.event.charged()).count();
                charges =
                    charges.saturating_add_unsigned(u64::try_from(charged).unwrap_or(u64::MAX));
                let events: Vec<_> = rows.into_iter().map(|row| (row.seq, row.event)).collect();
                auditor.account(&head, balance, &events);
            }
            (Err(error), _) | (_, Err(error)) => auditor.corrupt(id, &error.to_string()),
        }
    }
    for partner in many::<Partner>(&snapshot, "SELECT body FROM partners ORDER BY id", [])? {
        let sql = "SELECT coalesce(sum(share), 0) FROM partner_days WHERE partner = ?1";
        let by_day = snapshot.query_row(sql, [partner.id.column()], |row| row.get(0));
        let by_day = Credits::from_micro(by_day.map_err(failed)?);
        auditor.partner(partner.id, partner_balance(&snapshot, partner.id)?, by_day);
    }
    let sql = "SELECT (SELECT count(*) FROM checkpoints), (SELECT count(*) FROM partner_usage)";
    let counts = snapshot.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    let (open, listed): (i64, i64) = counts.map_err(failed)?;
    if listed != charges {
        auditor.differ(format!("partners' lists hold {listed} charges, accounts {charges}"));
    }
    Ok(auditor.finish(open.cast_unsigned()))
}

/// Copies the database page by page into a new file.
pub(super) fn backup(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Conflict(format!("{} is there already", to.display())));
    }
    let mut copy = Connection::open(to).map_err(failed)?;
    // One snapshot for the whole copy: a writer beside it would make the backup begin again.
    let snapshot = connection.unchecked_transaction().map_err(failed)?;
    snapshot.query_row("SELECT count(*) FROM accounts", [], |_| Ok(())).map_err(failed)?;
    let backup =
        rusqlite::backup::Backup::new(&snapshot, &mut copy).map_err(|error| unavailable(&error))?;
    backup.run_to_completion(BACKUP_PAGES, Duration::ZERO, None).map_err(failed)?;
    drop(backup);
    // The copy has another log than the original's, should that ever stand beside it.
    copy.execute("UPDATE ahead SET log = random()", []).map(|_| ()).map_err(failed)
}

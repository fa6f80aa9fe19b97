//! What a move to another store reads of a file: its records in pages, and a digest that says whether
//! it is still the same.

use opencredits_schema::{
    AccountId, Checkpoint, Credits, Document, DocumentKind, Head, HistoryRow, Key, Partner,
    PartnerId, Timestamp,
};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params};
use sha2::{Digest as _, Sha256};

use super::super::{Answered, Payout, StoreError};
use super::{SqliteStore, documents, failed, from_text, read};

/// Records in one page. An event's page is a bucket of the cluster's history.
const PAGE_ROWS: i64 = 512;

/// An account without its events.
#[derive(Clone, Debug)]
pub(crate) struct AccountRow {
    pub(crate) head: Head,
    pub(crate) created: Timestamp,
    pub(crate) email: Option<String>,
}

/// A partner, and the names under which it is found.
#[derive(Clone, Debug)]
pub(crate) struct PartnerRow {
    pub(crate) partner: Partner,
    pub(crate) publishable: String,
    pub(crate) secret_hash: [u8; 32],
}

/// A record that stands beside the accounts and the partners.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Price(String, String),
    Key(Box<Key>),
    Payout(Payout),
    Once { key: String, fingerprint: Vec<u8>, answer: String },
    Document(Document),
    Checkpoint(Box<Checkpoint>),
}

/// Where such records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Prices,
    Keys,
    Payouts,
    Once,
    Documents(DocumentKind),
    Checkpoints,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) accounts: u64,
    pub(crate) events: u64,
    pub(crate) records: u64,
}

/// A place in the order of a table.
#[derive(Clone, Debug)]
pub(crate) struct Place(Value);

impl Table {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let documents = DocumentKind::ALL.into_iter().map(Self::Documents);
        [Self::Prices, Self::Keys, Self::Payouts, Self::Once]
            .into_iter()
            .chain(documents)
            .chain([Self::Checkpoints])
    }

    /// The place before its first record.
    pub(crate) fn start(self) -> Place {
        Place(match self {
            Self::Keys => Value::Integer(i64::MIN),
            Self::Checkpoints => Value::Blob(Vec::new()),
            Self::Prices | Self::Payouts | Self::Once | Self::Documents(_) => {
                Value::Text(String::new())
            }
        })
    }

    /// Its records behind a place: the column of the place first.
    fn sql(self) -> String {
        let (place, columns, table) = match self {
            Self::Prices => ("id", "body", "prices"),
            Self::Keys => ("id", "body", "keys"),
            Self::Payouts => ("entry", "partner, credits, reference, at", "payouts"),
            Self::Once => ("key", "fingerprint, answer", "once"),
            Self::Checkpoints => ("request", "body", "checkpoints"),
            Self::Documents(kind) => {
                let kind = kind.column();
                return format!(
                    "SELECT id, version, name, due, body FROM documents \
                     WHERE kind = {kind} AND id > ?1 ORDER BY id LIMIT {PAGE_ROWS}"
                );
            }
        };
        format!(
            "SELECT {place}, {columns} FROM {table} WHERE {place} > ?1 \
             ORDER BY {place} LIMIT {PAGE_ROWS}"
        )
    }

    fn record(self, row: &Row<'_>) -> Result<Record, StoreError> {
        let text = |at| row.get::<_, String>(at).map_err(failed);
        Ok(match self {
            Self::Prices => Record::Price(text(0)?, text(1)?),
            Self::Keys => Record::Key(from_text(&text(1)?)?),
            Self::Checkpoints => Record::Checkpoint(from_text(&text(1)?)?),
            Self::Documents(kind) => Record::Document(documents::read(kind, row).map_err(failed)?),
            Self::Once => Record::Once {
                key: text(0)?,
                fingerprint: row.get(1).map_err(failed)?,
                answer: text(2)?,
            },
            Self::Payouts => Record::Payout(Payout {
                entry: text(0)?,
                partner: PartnerId::from_column(row.get(1).map_err(failed)?),
                credits: Credits::from_micro(row.get(2).map_err(failed)?),
                reference: text(3)?,
                at: Timestamp::from_millis(row.get(4).map_err(failed)?),
            }),
        })
    }
}

impl SqliteStore {
    /// How much there is to move.
    pub(crate) fn totals(&self) -> Answered<'_, Totals> {
        self.read_behind(None, |connection| {
            let sql = "SELECT count(*), coalesce(sum(seq), 0), (SELECT count(*) FROM prices) + \
                       (SELECT count(*) FROM keys) + (SELECT count(*) FROM payouts) + \
                       (SELECT count(*) FROM once) + (SELECT count(*) FROM documents) + \
                       (SELECT count(*) FROM checkpoints) FROM accounts";
            let number = |row: &Row<'_>, at| row.get::<_, i64>(at).map(i64::cast_unsigned);
            let totals = connection.query_row(sql, [], |row| {
                let (accounts, events) = (number(row, 0)?, number(row, 1)?);
                Ok(Totals { accounts, events, records: number(row, 2)? })
            });
            totals.map_err(failed)
        })
    }

    /// SHA-256 of all that moves: accounts with their heads, which stand for their events, and the
    /// records as they are stored.
    pub(crate) fn digest(&self) -> Answered<'_, [u8; 32]> {
        self.read_behind(None, digest)
    }

    /// A page of accounts, in the order of their columns; `None` begins.
    pub(crate) fn accounts_after(&self, after: Option<AccountId>) -> Answered<'_, Vec<AccountRow>> {
        self.read_behind(None, move |connection| {
            let sql = "SELECT created, email, head FROM accounts WHERE id >= ?1 \
                       ORDER BY id LIMIT ?2";
            let Some(from) = after.map_or(Some(i64::MIN), |after| after.column().checked_add(1))
            else {
                return Ok(Vec::new());
            };
            let mut statement = connection.prepare_cached(sql).map_err(failed)?;
            let mut rows = statement.query(params![from, PAGE_ROWS]).map_err(failed)?;
            let mut page = Vec::new();
            while let Some(row) = rows.next().map_err(failed)? {
                page.push(AccountRow {
                    created: Timestamp::from_millis(row.get(0).map_err(failed)?),
                    email: row.get(1).map_err(failed)?,
                    head: from_text(&row.get::<_, String>(2).map_err(failed)?)?,
                });
            }
            Ok(page)
        })
    }

    /// A page of an account's events behind one of them, in order.
    pub(crate) fn events_after(
        &self,
        account: AccountId,
        seq: u64,
    ) -> Answered<'_, Vec<HistoryRow>> {
        self.read_behind(Some(account), move |connection| {
            let sql = "SELECT account, seq, balance_after, body FROM events \
                       WHERE account = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
            read::events(connection, sql, params![account.column(), seq.cast_signed(), PAGE_ROWS])
        })
    }

    /// All partners with the names under which they are found.
    pub(crate) fn partner_rows(&self) -> Answered<'_, Vec<PartnerRow>> {
        self.read(|connection| {
            let sql = "SELECT publishable, secret_hash, body FROM partners ORDER BY id";
            let found = read::rows(connection, sql, [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))
            })?;
            let row = |(publishable, secret_hash, body): (_, _, String)| {
                Ok(PartnerRow { partner: from_text(&body)?, publishable, secret_hash })
            };
            found.into_iter().map(row).collect()
        })
    }

    /// A page of a table's records behind a place, and the place of each.
    pub(crate) fn records_after(
        &self,
        table: Table,
        Place(after): Place,
    ) -> Answered<'_, Vec<(Place, Record)>> {
        self.read_behind(None, move |connection| {
            let mut statement = connection.prepare_cached(&table.sql()).map_err(failed)?;
            let mut rows = statement.query([after]).map_err(failed)?;
            let mut page = Vec::new();
            while let Some(row) = rows.next().map_err(failed)? {
                page.push((Place(row.get(0).map_err(failed)?), table.record(row)?));
            }
            Ok(page)
        })
    }
}

fn digest(connection: &mut Connection) -> Result<[u8; 32], StoreError> {
    let mut digest = Sha256::new();
    for (table, order) in [
        ("accounts", "id"),
        ("partners", "id"),
        ("keys", "id"),
        ("payouts", "entry"),
        ("prices", "id"),
        ("once", "key"),
        ("documents", "kind, id"),
        ("checkpoints", "request"),
    ] {
        digest.update(table);
        let sql = format!("SELECT * FROM {table} ORDER BY {order}");
        let mut statement = connection.prepare(&sql).map_err(failed)?;
        let columns = statement.column_count();
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            for column in 0..columns {
                add(&mut digest, row.get_ref(column).map_err(failed)?);
            }
        }
    }
    Ok(digest.finalize().into())
}

/// Adds a value with its type and length, so that no two rows read the same.
fn add(digest: &mut Sha256, value: ValueRef<'_>) {
    let (kind, bytes): (u8, &[u8]) = match value {
        ValueRef::Null => (0, &[]),
        ValueRef::Integer(number) => {
            digest.update([1]);
            digest.update(number.to_be_bytes());
            return;
        }
        ValueRef::Real(number) => {
            digest.update([2]);
            digest.update(number.to_be_bytes());
            return;
        }
        ValueRef::Text(text) => (3, text),
        ValueRef::Blob(bytes) => (4, bytes),
    };
    digest.update([kind]);
    digest.update(bytes.len().to_be_bytes());
    digest.update(bytes);
}

//! What a batch adds to partners' lists of requests: in the order of the table, many rows a statement.
//!
//! A row by itself costs a statement's start and end and a search from the tree's root.

use opencredits_schema::{Charged, Head};
use rusqlite::{Connection, Statement};

use super::super::StoreError;
use super::commit::{bytes, column};
use super::failed;

/// Rows of one statement.
const TOGETHER: usize = 64;

/// Where the event of a partner's request is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    partner: i64,
    request: [u8; 16],
    kind: u8,
    account: i64,
    seq: i64,
}

/// The rows of a batch.
#[derive(Debug, Default)]
pub(super) struct PartnerUsage(Vec<Row>);

impl PartnerUsage {
    /// Adds the event that an account has last.
    pub(super) fn add(&mut self, charged: &Charged, kind: u8, head: &Head) {
        self.0.push(Row {
            partner: charged.partner.column(),
            request: bytes(charged.request),
            kind,
            account: head.id.column(),
            seq: column(head.seq),
        });
    }

    /// # Errors
    /// When the database refuses a row.
    pub(super) fn write(mut self, connection: &Connection) -> Result<(), StoreError> {
        self.0.sort_unstable();
        let many = self.0.chunks_exact(TOGETHER);
        let rest = many.remainder();
        insert(connection, TOGETHER, many).map_err(failed)?;
        insert(connection, 1, rest.chunks_exact(1)).map_err(failed)
    }
}

fn insert<'a>(
    connection: &Connection,
    together: usize,
    groups: impl ExactSizeIterator<Item = &'a [Row]>,
) -> rusqlite::Result<()> {
    if groups.len() == 0 {
        return Ok(());
    }
    let values = ["(?, ?, ?, ?, ?)"].repeat(together).join(", ");
    let sql =
        format!("INSERT INTO partner_usage (partner, request, kind, account, seq) VALUES {values}");
    let mut statement = connection.prepare_cached(&sql)?;
    for group in groups {
        for (first, row) in (1..).step_by(5).zip(group) {
            bind(&mut statement, first, row)?;
        }
        statement.raw_execute()?;
    }
    Ok(())
}

fn bind(statement: &mut Statement<'_>, first: usize, row: &Row) -> rusqlite::Result<()> {
    let at = |place: usize| first.saturating_add(place);
    statement.raw_bind_parameter(at(0), row.partner)?;
    statement.raw_bind_parameter(at(1), row.request)?;
    statement.raw_bind_parameter(at(2), row.kind)?;
    statement.raw_bind_parameter(at(3), row.account)?;
    statement.raw_bind_parameter(at(4), row.seq)
}

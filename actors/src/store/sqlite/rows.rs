//! Rows of one table: in its order, many a statement.
//!
//! A row by itself costs a statement's start and end and a search from the tree's root.

use rusqlite::{CachedStatement, Connection, Statement, ToSql};

use super::super::StoreError;
use super::failed;

/// Rows of one statement.
const TOGETHER: usize = 64;

/// A row that is new: its order is that of its table's key.
pub(super) trait Row: Ord {
    /// The table, and its columns in the order in which they are bound.
    const INTO: &'static str;
    /// How many columns.
    const COLUMNS: usize;

    /// # Errors
    /// When a value cannot be bound.
    fn bind(&self, values: &mut Values<'_, '_>) -> rusqlite::Result<()>;
}

/// The values of a statement, bound one after the other.
pub(super) struct Values<'a, 'c> {
    statement: &'a mut Statement<'c>,
    place: usize,
}

impl Values<'_, '_> {
    /// # Errors
    /// When the statement has no more of them.
    pub(super) fn bind(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.place = self.place.saturating_add(1);
        self.statement.raw_bind_parameter(self.place, value)
    }
}

/// Rows that wait, and the statements that write them.
pub(super) struct Rows<'c, R> {
    many: CachedStatement<'c>,
    one: CachedStatement<'c>,
    waiting: Vec<R>,
}

impl<'c, R: Row> Rows<'c, R> {
    /// # Errors
    /// When there is no such table.
    pub(super) fn prepare(connection: &'c Connection) -> Result<Self, StoreError> {
        let statement = |rows: usize| {
            let row = format!("({})", ["?"].repeat(R::COLUMNS).join(", "));
            let rows = vec![row; rows].join(", ");
            // What conflicts fails the whole transaction, so nothing is kept to undo one statement.
            let sql = format!("INSERT OR ROLLBACK INTO {} VALUES {rows}", R::INTO);
            connection.prepare_cached(&sql).map_err(failed)
        };
        Ok(Self { many: statement(TOGETHER)?, one: statement(1)?, waiting: Vec::new() })
    }

    pub(super) fn push(&mut self, row: R) {
        self.waiting.push(row);
    }

    /// Whether those that wait make a whole statement.
    pub(super) const fn is_full(&self) -> bool {
        self.waiting.len() >= TOGETHER
    }

    /// Writes all that wait.
    ///
    /// # Errors
    /// When the database refuses a row; its transaction is rolled back then.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.waiting.sort_unstable();
        let many = self.waiting.chunks_exact(TOGETHER);
        let rest = many.remainder();
        for rows in many {
            insert(&mut self.many, rows).map_err(failed)?;
        }
        for row in rest.chunks_exact(1) {
            insert(&mut self.one, row).map_err(failed)?;
        }
        self.waiting.clear();
        Ok(())
    }
}

fn insert<R: Row>(statement: &mut Statement<'_>, rows: &[R]) -> rusqlite::Result<()> {
    let mut values = Values { statement: &mut *statement, place: 0 };
    for row in rows {
        row.bind(&mut values)?;
    }
    statement.raw_execute().map(|_| ())
}

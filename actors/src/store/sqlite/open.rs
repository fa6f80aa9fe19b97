//! Connections to the file, and its migrations.

use std::path::Path;
use std::time::Duration;

use opencredits_schema::SQL_MIGRATIONS;
use rusqlite::{Connection, OpenFlags};

use super::{StoreError, failed, unavailable};

/// How long a connection waits for another process's lock (a backup, an audit) before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages of the write-ahead log before they are copied into the database: the more, the more of them are
/// copied once for many writes.
const LOG_PAGES: u32 = 8192;

/// Memory for pages, in KiB, of a connection that writes and of one that only looks: each has its own.
const WRITER_KIB: i32 = 64 << 10;
const READER_KIB: i32 = 16 << 10;

/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 64;

fn existing() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| unavailable(&format!("{}: {error}", path.display())))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
    connection.pragma_update(None, "cache_size", -WRITER_KIB).map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES).map_err(failed)?;
    Ok(connection)
}

/// A second connection to a file that is open, to look at it.
pub(super) fn beside(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::default())?;
    connection.pragma_update(None, "cache_size", -READER_KIB).map_err(failed)?;
    Ok(connection)
}

/// A file that is there already, to look at it or to copy it.
///
/// # Errors
/// When it cannot be opened, or is of a newer program.
pub(super) fn open_existing(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path, existing())?;
    migrations_done(&connection)?;
    Ok(connection)
}

/// Runs the migrations that the file has not seen; how many those were.
pub(super) fn migrate(connection: &mut Connection) -> Result<usize, StoreError> {
    let transaction = connection.transaction().map_err(failed)?;
    let done = migrations_done(&transaction)?;
    for migration in SQL_MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    let version = i64::try_from(SQL_MIGRATIONS.len()).unwrap_or(i64::MAX);
    transaction.pragma_update(None, "user_version", version).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(SQL_MIGRATIONS.len().saturating_sub(done))
}

/// The migrations that the file has seen, all of which this program must know.
fn migrations_done(connection: &Connection) -> Result<usize, StoreError> {
    let sql = "PRAGMA user_version";
    let version: i64 = connection.query_row(sql, [], |row| row.get(0)).map_err(failed)?;
    let (done, known) = (usize::try_from(version).unwrap_or(0), SQL_MIGRATIONS.len());
    if done > known {
        let why = format!("the database is of version {done}, newer than this program's {known}");
        return Err(StoreError::Corrupt(why));
    }
    Ok(done)
}

#[cfg(test)]
mod tests;

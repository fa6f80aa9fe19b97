//! Documents in SQLite: conditional writes and a few lookups.

use opencredits_schema::{Document, DocumentKind, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, failed};

const COLUMNS: &str = "SELECT id, version, name, due, body FROM documents WHERE kind = ?1";

pub(super) fn by_id(
    connection: &Connection,
    kind: DocumentKind,
    id: &str,
) -> Result<Option<Document>, StoreError> {
    let mut statement = prepare(connection, "AND id = ?2")?;
    let found = statement.query_row(params![kind.column(), id], |row| read(kind, row));
    found.optional().map_err(failed)
}

pub(super) fn by_name(
    connection: &Connection,
    kind: DocumentKind,
    name: &str,
) -> Result<Option<Document>, StoreError> {
    let mut statement = prepare(connection, "AND name = ?2 LIMIT 1")?;
    let found = statement.query_row(params![kind.column(), name], |row| read(kind, row));
    found.optional().map_err(failed)
}

pub(super) fn due(
    connection: &Connection,
    kind: DocumentKind,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<Document>, StoreError> {
    let mut statement = prepare(connection, "AND due < ?2 ORDER BY due LIMIT ?3")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = params![kind.column(), before.millis(), limit];
    let found = statement.query_map(values, |row| read(kind, row)).map_err(failed)?;
    found.collect::<Result<_, _>>().map_err(failed)
}

pub(super) fn put(connection: &Connection, document: &Document) -> Result<bool, StoreError> {
    let Document { kind, id, version, name, due, body } = document;
    let due = due.map(Timestamp::millis);
    let version = i64::try_from(*version).unwrap_or(i64::MAX);
    let written = if version == 0 {
        let sql = "INSERT OR IGNORE INTO documents (kind, id, version, name, due, body) \
                   VALUES (?1, ?2, 1, ?3, ?4, ?5)";
        connection.execute(sql, params![kind.column(), id, name, due, body])
    } else {
        let sql = "UPDATE documents SET version = version + 1, name = ?4, due = ?5, body = ?6 \
                   WHERE kind = ?1 AND id = ?2 AND version = ?3";
        connection.execute(sql, params![kind.column(), id, version, name, due, body])
    };
    Ok(written.map_err(failed)? == 1)
}

pub(super) fn forget(
    connection: &Connection,
    kind: DocumentKind,
    before: Timestamp,
) -> Result<usize, StoreError> {
    let sql = "DELETE FROM documents WHERE kind = ?1 AND due < ?2";
    connection.execute(sql, params![kind.column(), before.millis()]).map_err(failed)
}

fn prepare<'a>(
    connection: &'a Connection,
    condition: &str,
) -> Result<rusqlite::CachedStatement<'a>, StoreError> {
    connection.prepare_cached(&format!("{COLUMNS} {condition}")).map_err(failed)
}

pub(super) fn read(kind: DocumentKind, row: &Row<'_>) -> rusqlite::Result<Document> {
    let version: i64 = row.get(1)?;
    let due: Option<i64> = row.get(3)?;
    Ok(Document {
        kind,
        id: row.get(0)?,
        version: u64::try_from(version).unwrap_or(0),
        name: row.get(2)?,
        due: due.map(Timestamp::from_millis),
        body: row.get(4)?,
    })
}

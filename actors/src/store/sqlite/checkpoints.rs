//! What a batch changes of checkpoints: once its events are written, for a settled request has none.

use opencredits_schema::{Checkpoint, RequestId};
use rusqlite::{Connection, params};

use super::super::StoreError;
use super::commit::bytes;
use super::{failed, names};

pub(super) const KEEP: &str = "INSERT INTO checkpoints (request, account, number, body) \
     SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM partner_usage \
     WHERE partner = ?5 AND request = ?1 AND kind = 1) ON CONFLICT (request) DO UPDATE \
     SET number = ?3, body = ?4 WHERE number < ?3";
pub(super) const FORGET: &str = "DELETE FROM checkpoints WHERE request = ?1";

/// The changes that wait, in the order of the batch.
#[derive(Debug, Default)]
pub(super) struct Checkpoints<'b>(Vec<Change<'b>>);

#[derive(Debug)]
enum Change<'b> {
    Keep(&'b Checkpoint, &'b str),
    Forget(RequestId),
}

impl<'b> Checkpoints<'b> {
    /// Keeps a request's checkpoint, given with its JSON, unless it is settled or has a newer one.
    pub(super) fn keep(&mut self, checkpoint: &'b Checkpoint, json: &'b str) {
        self.0.push(Change::Keep(checkpoint, json));
    }

    /// Deletes a request's checkpoint.
    pub(super) fn forget(&mut self, request: RequestId) {
        self.0.push(Change::Forget(request));
    }

    /// Makes the changes; those who settled are known by then.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(super) fn write(self, connection: &Connection) -> Result<(), StoreError> {
        for change in self.0 {
            match change {
                Change::Keep(checkpoint, json) => keep(connection, checkpoint, json),
                Change::Forget(request) => run(connection, FORGET, params![bytes(request)]),
            }
            .map_err(failed)?;
        }
        Ok(())
    }
}

fn keep(connection: &Connection, checkpoint: &Checkpoint, json: &str) -> rusqlite::Result<()> {
    let (partner, request) = names::key(checkpoint.hold.partner, checkpoint.hold.request);
    let number = i64::try_from(checkpoint.number).unwrap_or(i64::MAX);
    let row = params![request, checkpoint.account.column(), number, json, partner];
    run(connection, KEEP, row)
}

fn run(connection: &Connection, sql: &str, row: impl rusqlite::Params) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute(row).map(|_| ())
}

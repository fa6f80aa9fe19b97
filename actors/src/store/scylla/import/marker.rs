//! The marker of a move: from which content it began, and whether it ended.
//!
//! It is a row of `once`: whoever is first claims it, whoever comes again with the same content goes
//! on, and other content is refused.

use super::super::super::{Once, StoreError};
use super::super::Inner;
use super::super::db::{corrupt, failed};

/// The marker's name among the idempotency keys; those of the admin API begin with `admin:`.
const NAME: &str = "move from sqlite";

const BEGUN: &str = "begun";
const ENDED: &str = "ended";

/// Tables of which each store in use has rows in at least one.
const TABLES: [&str; 6] = ["accounts", "emails", "partners", "keys", "documents", "payouts"];

/// What the marker said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Begun,
    Ended,
}

impl Inner {
    /// Refuses a keyspace that holds anything and is of no move.
    pub(super) async fn refuse_foreign(&self) -> Result<(), StoreError> {
        if self.marker().await?.is_some() { Ok(()) } else { self.refuse_used().await }
    }

    /// Claims an empty keyspace for the move of a content, or finds the claim of an earlier run.
    pub(super) async fn begin_move(&self, digest: [u8; 32]) -> Result<Known, StoreError> {
        self.refuse_foreign().await?;
        match self.once(NAME.to_owned(), digest, BEGUN.to_owned()).await? {
            Once::Repeat(answer) if answer == ENDED => Ok(Known::Ended),
            Once::First | Once::Repeat(_) => Ok(Known::Begun),
            // It is in use by now: nobody may be told to drop it.
            Once::Other if self.marker().await?.as_deref() == Some(ENDED) => {
                Err(StoreError::Conflict(
                    "a move into this keyspace has ended before, and the file is another one or was \
                     changed since: name an empty keyspace if it is to be moved all the same"
                        .to_owned(),
                ))
            }
            Once::Other => Err(StoreError::Conflict(
                "the keyspace holds half a move of another file, or the file has changed since that move \
                 was interrupted: drop the keyspace, or name a new one, and run this again"
                    .to_owned(),
            )),
        }
    }

    /// Says that the move of a content has ended.
    pub(super) async fn end_move(&self, digest: [u8; 32]) -> Result<(), StoreError> {
        self.db.applied(&self.db.cql.change_once, (ENDED, NAME, digest.to_vec())).await?;
        Ok(())
    }

    /// Refuses a keyspace in which a move was begun and not ended.
    pub(in super::super) async fn refuse_half_moved(&self) -> Result<(), StoreError> {
        if self.marker().await?.is_none_or(|answer| answer == ENDED) {
            return Ok(());
        }
        Err(StoreError::Conflict(
            "a move from SQLite into this keyspace was interrupted: run `opencredits migrate \
             --from … --to …` again to its end"
                .to_owned(),
        ))
    }

    async fn marker(&self) -> Result<Option<String>, StoreError> {
        let row: Option<(Vec<u8>, String)> = self.db.one(&self.db.cql.once, (NAME,)).await?;
        Ok(row.map(|(_, answer)| answer))
    }

    async fn refuse_used(&self) -> Result<(), StoreError> {
        if let Some(member) = self.members().await?.first() {
            return Err(StoreError::Conflict(format!(
                "the gateway {} runs on the keyspace: stop it, and name an empty keyspace",
                member.address
            )));
        }
        for table in TABLES {
            let look = format!("SELECT * FROM {table} LIMIT 1");
            let found = self.db.session.query_unpaged(look, &[]).await.map_err(failed)?;
            if found.into_rows_result().map_err(corrupt)?.rows_num() > 0 {
                return Err(StoreError::Conflict(format!(
                    "the keyspace has {table} already, which are of no move from SQLite: name an \
                     empty keyspace"
                )));
            }
        }
        Ok(())
    }
}

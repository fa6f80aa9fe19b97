//! A move from a SQLite file into an empty keyspace: all of it is written again, then compared.
//!
//! A marker in the keyspace says from which content the move began and whether it ended. Every write
//! is conditional or may be done again with the same content, and an account is there only when it is
//! there whole: so whatever stopped a move, it is run again and goes on.

mod accounts;
mod compare;
mod lanes;
mod marker;
mod progress;
mod records;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use opencredits_schema::AccountId;

use self::lanes::{AT_ONCE, Lanes};
pub use self::progress::MoveProgress;
use super::super::sqlite::{AccountRow, Place, Record, Table};
use super::super::{Books, SqliteStore, Store, StoreError};
use super::{Inner, ScyllaSettings, ScyllaStore};

/// How a move ended.
#[derive(Clone, Debug)]
pub enum MoveEnd {
    /// Everything is in the keyspace and the books of both sides agree: these are the keyspace's.
    Moved(Books),
    /// An earlier run had ended so; nothing was written.
    MovedBefore,
    /// What is not the same on both sides.
    Differs(Vec<String>),
}

/// A move under way.
struct Import {
    from: Arc<SqliteStore>,
    to: Arc<Inner>,
    progress: Arc<MoveProgress>,
}

impl ScyllaStore {
    /// Moves a SQLite store into a keyspace, which is made and migrated first; goes on with an earlier
    /// run that was interrupted. The file is only read.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the file's books do not balance, when the keyspace holds what is
    /// not of this move, when gateways run on it, or when the file changed since an interrupted run;
    /// [`StoreError::Unavailable`] when the cluster does not answer: run it again.
    pub async fn import(
        settings: ScyllaSettings,
        from: Arc<SqliteStore>,
        progress: Arc<MoveProgress>,
    ) -> Result<MoveEnd, StoreError> {
        Self::migrate(&settings).await?;
        Self::open(settings).await?.fill(from, progress).await
    }

    /// Moves everything and compares it.
    async fn fill(
        &self,
        from: Arc<SqliteStore>,
        progress: Arc<MoveProgress>,
    ) -> Result<MoveEnd, StoreError> {
        let import = Import { from, to: Arc::clone(&self.inner), progress };
        import.to.refuse_foreign().await?;
        import.progress.begin("auditing the file", import.from.totals().await?);
        let books = import.from.audit().await?;
        if let Some(difference) = books.differences.first() {
            return Err(StoreError::Conflict(format!(
                "the file's books do not balance, so nothing was moved; `opencredits books` tells \
                 all differences, the first is: {difference}"
            )));
        }
        let digest = import.from.digest().await?;
        if import.to.begin_move(digest).await? == marker::Known::Ended {
            return Ok(MoveEnd::MovedBefore);
        }
        import.write().await?;
        import.progress.begin("auditing the keyspace", import.from.totals().await?);
        let there = self.audit().await?;
        let differences = import.compare(&books, &there).await?;
        if !differences.is_empty() {
            return Ok(MoveEnd::Differs(differences));
        }
        import.to.end_move(digest).await?;
        Ok(MoveEnd::Moved(there))
    }
}

impl Import {
    /// Writes everything. Partners stand before the accounts that they earn from, accounts before
    /// their keys and checkpoints.
    async fn write(&self) -> Result<(), StoreError> {
        let totals = self.from.totals().await?;
        self.progress.begin("moving", totals);
        for row in self.from.partner_rows().await? {
            self.to.move_partner(&row).await?;
        }
        self.write_accounts().await?;
        for table in Table::all() {
            self.write_records(table).await?;
        }
        let moved = self.progress.records_so_far();
        if moved != totals.records {
            let all = totals.records;
            return Err(StoreError::Corrupt(format!("{moved} of {all} other records were found")));
        }
        Ok(())
    }

    async fn write_accounts(&self) -> Result<(), StoreError> {
        let mut lanes = Lanes::new(AT_ONCE);
        let mut last = None;
        while let Some(page) = self.accounts(&mut last).await? {
            for row in page {
                let (from, to) = (Arc::clone(&self.from), Arc::clone(&self.to));
                let (row, progress) = (Arc::new(row), Arc::clone(&self.progress));
                let put = move || {
                    let (from, to) = (Arc::clone(&from), Arc::clone(&to));
                    let (row, progress) = (Arc::clone(&row), Arc::clone(&progress));
                    async move { to.move_account(&from, &row, &progress).await }
                };
                lanes.run(put).await?;
            }
        }
        lanes.end().await
    }

    async fn write_records(&self, table: Table) -> Result<(), StoreError> {
        // A partner's payouts follow each other: each is booked on what was booked before.
        let mut lanes = Lanes::new(if table == Table::Payouts { 1 } else { AT_ONCE });
        let mut place = table.start();
        while let Some(page) = self.records(table, &mut place).await? {
            for record in page.into_iter().map(Arc::new) {
                let (to, progress) = (Arc::clone(&self.to), Arc::clone(&self.progress));
                let put = move || {
                    let (to, record) = (Arc::clone(&to), Arc::clone(&record));
                    let progress = Arc::clone(&progress);
                    async move {
                        to.move_record(&record).await?;
                        progress.record();
                        Ok(())
                    }
                };
                lanes.run(put).await?;
            }
        }
        lanes.end().await
    }

    /// The next page of accounts; `None` behind the last one.
    async fn accounts(
        &self,
        last: &mut Option<AccountId>,
    ) -> Result<Option<Vec<AccountRow>>, StoreError> {
        let page = self.from.accounts_after(*last).await?;
        let Some(row) = page.last() else { return Ok(None) };
        *last = Some(row.head.id);
        Ok(Some(page))
    }

    /// The next page of a table; `None` behind the last one.
    async fn records(
        &self,
        table: Table,
        place: &mut Place,
    ) -> Result<Option<Vec<Record>>, StoreError> {
        let page = self.from.records_after(table, place.clone()).await?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        *place = last.clone();
        Ok(Some(page.into_iter().map(|(_, record)| record).collect()))
    }
}

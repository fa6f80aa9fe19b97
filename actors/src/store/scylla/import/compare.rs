//! After a move: what is not the same on both sides.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::super::sqlite::{AccountRow, PartnerRow, Table};
use super::super::super::{Books, Store as _, StoreError};
use super::super::Inner;
use super::super::owned::Freshness;
use super::Import;
use super::lanes::{AT_ONCE, Lanes};
use super::records::called;

/// More differences than this are not listed one by one.
const DIFFERENCES_MAX: usize = 100;

/// What was found.
#[derive(Clone, Debug, Default)]
struct Found(Arc<Mutex<Vec<String>>>);

impl Found {
    fn differ(&self, difference: String) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() < DIFFERENCES_MAX {
            found.push(difference);
        }
    }

    fn list(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Import {
    /// Compares the books of both sides, then every account, partner and record.
    pub(super) async fn compare(
        &self,
        file: &Books,
        keyspace: &Books,
    ) -> Result<Vec<String>, StoreError> {
        let found = Found::default();
        keyspace.differences.iter().cloned().for_each(|difference| found.differ(difference));
        compare_books(file, keyspace, &found);
        self.progress.begin("comparing", self.from.totals().await?);
        for row in self.from.partner_rows().await? {
            self.compare_partner(&row, &found).await?;
        }
        self.compare_accounts(&found).await?;
        self.compare_records(&found).await?;
        Ok(found.list())
    }

    async fn compare_partner(&self, row: &PartnerRow, found: &Found) -> Result<(), StoreError> {
        let id = row.partner.id;
        if !self.to.has_partner(row).await? {
            found.differ(format!("partner {id} or one of its names is not the same"));
        }
        let money = (self.from.partner_balance(id).await?, self.to.partner_balance(id).await?);
        if money.0 != money.1 {
            found.differ(format!("partner {id}: {:?} in the file, {:?} moved", money.0, money.1));
        }
        if self.from.earnings(id, None, None).await? != self.to.earnings(id, None, None).await? {
            found.differ(format!("partner {id}: its earnings by day and model are not the same"));
        }
        Ok(())
    }

    async fn compare_accounts(&self, found: &Found) -> Result<(), StoreError> {
        let mut lanes = Lanes::new(AT_ONCE);
        let mut last = None;
        while let Some(page) = self.accounts(&mut last).await? {
            for row in page.into_iter().map(Arc::new) {
                let (to, found) = (Arc::clone(&self.to), found.clone());
                let progress = Arc::clone(&self.progress);
                let compare = move || {
                    let (to, found) = (Arc::clone(&to), found.clone());
                    let (row, progress) = (Arc::clone(&row), Arc::clone(&progress));
                    async move {
                        if !to.has_account(&row).await? {
                            found.differ(format!("account {} is not the same", row.head.id));
                        }
                        progress.account();
                        progress.events(row.head.seq);
                        Ok(())
                    }
                };
                lanes.run(compare).await?;
            }
        }
        lanes.end().await
    }

    async fn compare_records(&self, found: &Found) -> Result<(), StoreError> {
        let mut lanes = Lanes::new(AT_ONCE);
        for table in Table::all() {
            let mut place = table.start();
            while let Some(page) = self.records(table, &mut place).await? {
                for record in page.into_iter().map(Arc::new) {
                    let (to, found) = (Arc::clone(&self.to), found.clone());
                    let progress = Arc::clone(&self.progress);
                    let compare = move || {
                        let (to, found) = (Arc::clone(&to), found.clone());
                        let (record, progress) = (Arc::clone(&record), Arc::clone(&progress));
                        async move {
                            if !to.has_record(&record).await? {
                                found.differ(format!("{} is not the same", called(&record)));
                            }
                            progress.record();
                            Ok(())
                        }
                    };
                    lanes.run(compare).await?;
                }
            }
        }
        lanes.end().await
    }
}

impl Inner {
    /// Whether an account is here, the same.
    async fn has_account(&self, row: &AccountRow) -> Result<bool, StoreError> {
        let id = row.head.id;
        let Some(stored) = self.db.head(id, Freshness::Quorum).await? else { return Ok(false) };
        if stored.head()? != row.head || self.email_of(id).await? != row.email {
            return Ok(false);
        }
        match row.email.clone() {
            Some(email) => Ok(self.account_by_email(email).await? == Some(id)),
            None => Ok(true),
        }
    }
}

fn compare_books(file: &Books, keyspace: &Books, found: &Found) {
    for (what, file, keyspace) in [
        ("accounts", file.accounts, keyspace.accounts),
        ("postings", file.postings, keyspace.postings),
        ("open checkpoints", file.open_checkpoints, keyspace.open_checkpoints),
    ] {
        if file != keyspace {
            found.differ(format!("{what}: {file} in the file, {keyspace} moved"));
        }
    }
    if file.sums != keyspace.sums {
        let (file, keyspace) = (&file.sums, &keyspace.sums);
        found.differ(format!("sums in microcredits: {file:?} in the file, {keyspace:?} moved"));
    }
}

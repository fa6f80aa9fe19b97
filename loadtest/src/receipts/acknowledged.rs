//! What was acknowledged so far, looked up again and again while a gateway runs.

use std::collections::HashMap;

use opencredits_schema::{Credits, RequestId};

use super::ask::{self, Row};
use super::{Access, AuditError, Receipts, Seen};
use crate::client::Client;

/// Reads each account's newest rows and checks receipts against all that were read so far. What
/// [`super::audit`] checks once in the end, as far as it can be while requests run.
#[derive(Debug, Default)]
pub struct Acknowledged {
    accounts: Vec<Account>,
    totals: Totals,
}

/// What the histories hold so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were charged.
    pub charged: u64,
    /// Of these, those that were charged from a checkpoint, after a crash.
    pub recovered: u64,
    /// Charges that their requests corrected afterwards.
    pub adjusted: u64,
    /// What all of it cost.
    pub credits: Credits,
}

#[derive(Debug, Default)]
struct Account {
    /// The newest row that was read.
    newest: Option<String>,
    charges: HashMap<RequestId, Charge>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Charge {
    rows: u32,
    credits: Credits,
}

impl Acknowledged {
    /// Reads what is new, and says which of these receipts (those since the last look) are not there.
    ///
    /// # Errors
    /// When the gateway does not answer, or not in its documented form.
    pub async fn look(
        &mut self,
        client: &Client,
        access: &Access,
        receipts: &Receipts,
    ) -> Result<Vec<String>, AuditError> {
        self.accounts.resize_with(receipts.payers.len(), Account::default);
        for (account, payer) in self.accounts.iter_mut().zip(&receipts.payers) {
            let newest = account.newest.clone();
            let known = |row: &Row| newest.as_ref() == Some(&row.id);
            let rows = ask::history(client, access, payer, known).await?;
            account.newest = rows.first().map(|row| row.id.clone()).or(newest);
            for row in &rows {
                account.read(row, &mut self.totals);
            }
        }
        let mut lines = Vec::new();
        for receipt in &receipts.requests {
            let (Seen::End(end), Some(request)) = (receipt.seen, receipt.request) else { continue };
            let account = self.accounts.get(receipt.payer);
            let charge = account.and_then(|account| account.charges.get(&request));
            let Charge { rows, credits } = charge.copied().unwrap_or_default();
            if rows == 0 {
                lines.push(format!("request {request}: acknowledged with {}, lost", end.charge));
            } else if credits != end.charge {
                let told = end.charge;
                lines.push(format!("request {request}: acknowledged with {told}, now {credits}"));
            }
        }
        Ok(lines)
    }

    /// What the histories held when they were last looked at.
    pub const fn totals(&self) -> Totals {
        self.totals
    }
}

impl Account {
    fn read(&mut self, row: &Row, totals: &mut Totals) {
        let Ok(request) = row.request_id.parse() else { return };
        let charge = self.charges.entry(request).or_default();
        charge.rows = charge.rows.saturating_add(1);
        charge.credits = charge.credits.minus(row.credits);
        totals.credits = totals.credits.minus(row.credits);
        let count = match (row.kind.as_str(), row.status.as_str()) {
            ("adjustment", _) => &mut totals.adjusted,
            (_, "recovered") => {
                totals.charged = totals.charged.saturating_add(1);
                &mut totals.recovered
            }
            _ => &mut totals.charged,
        };
        *count = count.saturating_add(1);
    }
}

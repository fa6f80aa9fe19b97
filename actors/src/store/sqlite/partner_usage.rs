//! A row of a partner's list of requests: where the event of a request is.

use opencredits_schema::{Charged, Head};

use super::commit::column;
use super::names;
use super::rows::{Row, Values};

/// In the order of the table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UsageRow {
    partner: i64,
    request: [u8; 16],
    kind: u8,
    account: i64,
    seq: i64,
}

impl UsageRow {
    /// Of the event that an account has last.
    pub(super) fn new(charged: &Charged, kind: u8, head: &Head) -> Self {
        let (partner, request) = names::key(charged.partner, charged.request);
        Self { partner, request, kind, account: head.id.column(), seq: column(head.seq) }
    }
}

impl Row for UsageRow {
    const INTO: &'static str = "partner_usage (partner, request, kind, account, seq)";
    const COLUMNS: usize = 5;

    fn bind(&self, values: &mut Values<'_, '_>) -> rusqlite::Result<()> {
        values.bind(self.partner)?;
        values.bind(self.request)?;
        values.bind(self.kind)?;
        values.bind(self.account)?;
        values.bind(self.seq)
    }
}

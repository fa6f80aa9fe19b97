//! A row of the journal: an event of an account, with its JSON.

use opencredits_schema::Head;

use super::super::event_keys::EventKeys;
use super::commit::{bytes, column};
use super::rows::{Row, Values};

/// In the order of the table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventRow<'b> {
    account: i64,
    seq: i64,
    kind: u8,
    request: Option<[u8; 16]>,
    source: Option<String>,
    balance_after: i64,
    recovered: bool,
    body: &'b str,
}

impl<'b> EventRow<'b> {
    /// Of the event that an account has last.
    pub(super) fn new(keys: EventKeys, head: &Head, body: &'b str) -> Self {
        Self {
            account: head.id.column(),
            seq: column(head.seq),
            kind: keys.kind,
            request: keys.request.map(bytes),
            source: keys.source,
            balance_after: head.balance.micro(),
            recovered: keys.recovered,
            body,
        }
    }
}

impl Row for EventRow<'_> {
    const INTO: &'static str =
        "events (account, seq, kind, request, source, balance_after, recovered, body)";
    const COLUMNS: usize = 8;

    fn bind(&self, values: &mut Values<'_, '_>) -> rusqlite::Result<()> {
        values.bind(self.account)?;
        values.bind(self.seq)?;
        values.bind(self.kind)?;
        values.bind(self.request)?;
        values.bind(&self.source)?;
        values.bind(self.balance_after)?;
        values.bind(self.recovered)?;
        values.bind(self.body)
    }
}

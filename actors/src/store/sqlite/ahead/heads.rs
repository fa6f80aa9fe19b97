//! The heads of accounts behind each event of the log: they follow from the stored ones.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use opencredits_schema::{Account, AccountId, Event, Head};
use rusqlite::{Transaction, params};

use super::log::{Line, Logged, Named};
use crate::store::sqlite::body::Body;
use crate::store::sqlite::read;
use crate::store::{StoreError, Write};

/// The writes that the log tells of, as they were given.
///
/// # Errors
/// When an event is not the next one of its account.
pub(in crate::store::sqlite) fn with_heads(
    transaction: &Transaction<'_>,
    logged: Vec<Logged>,
) -> Result<Vec<Arc<Write>>, StoreError> {
    let mut heads = Heads { transaction, accounts: HashMap::new() };
    let whole = |line| match line {
        Line::Event { event: Body(event), head, forget } => {
            let head = heads.after(&event, &head)?;
            Ok(Write::Event { event, head, forget })
        }
        Line::Checkpoint(checkpoint) => Ok(Write::Checkpoint(checkpoint)),
        Line::Forget { account, request } => Ok(Write::Forget { account, request }),
    };
    logged.into_iter().map(whole).map(|write| write.map(Arc::new)).collect()
}

struct Heads<'a> {
    transaction: &'a Transaction<'a>,
    accounts: HashMap<AccountId, Account>,
}

impl Heads<'_> {
    fn after(&mut self, event: &Event, named: &Named) -> Result<Head, StoreError> {
        let Named { id, seq } = *named;
        let account = match self.accounts.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let sql = "SELECT head FROM accounts WHERE id = ?1";
                let head = read::one(self.transaction, sql, params![id.column()])?;
                let head = head.ok_or_else(|| does_not_fit(&format!("no account {id}")))?;
                entry.insert(Account::load(head, []))
            }
        };
        account.apply(event);
        let head = account.head().clone();
        if head.seq != seq {
            let next = head.seq;
            return Err(does_not_fit(&format!("{seq}, where {next} is account {id}'s next event")));
        }
        Ok(head)
    }
}

pub(in crate::store::sqlite) fn does_not_fit(what: &str) -> StoreError {
    StoreError::Corrupt(format!("the ahead log does not fit the database: {what}"))
}

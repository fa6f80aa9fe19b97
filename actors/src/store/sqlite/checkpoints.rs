//! What a batch changes of checkpoints: once its events are written, for a settled request has none.

use foldhash::{HashMap, HashMapExt as _};
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

    /// Makes the changes that another does not undo; those who settled are known by then.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(super) fn write(self, connection: &Connection) -> Result<(), StoreError> {
        for change in lasting(self.0) {
            match change {
                Change::Keep(checkpoint, json) => keep(connection, checkpoint, json),
                Change::Forget(request) => run(connection, FORGET, params![bytes(request)]),
            }
            .map_err(failed)?;
        }
        Ok(())
    }
}

/// The changes without the checkpoints that a later change forgets or puts a newer one in the place of: most
/// requests that get one end before the batch is written.
fn lasting(changes: Vec<Change<'_>>) -> Vec<Change<'_>> {
    let mut later = HashMap::with_capacity(changes.len());
    let mut lasting: Vec<_> = changes.into_iter().rev().collect();
    lasting.retain(|change| {
        let (request, number) = match change {
            Change::Keep(checkpoint, _) => (checkpoint.hold.request, checkpoint.number),
            Change::Forget(request) => (*request, u64::MAX),
        };
        let newest = later.entry(request).or_insert(None);
        let lasts = Some(number) > *newest;
        *newest = Some(number).max(*newest);
        lasts
    });
    lasting.reverse();
    lasting
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::tests::checkpoint;

    /// What stands at last of what stood at first, change by change as the statements make them.
    fn after(first: &BTreeMap<u128, u64>, changes: &[Change<'_>]) -> BTreeMap<u128, u64> {
        let mut stands = first.clone();
        for change in changes {
            match change {
                Change::Keep(checkpoint, _) => {
                    let number = stands.entry(checkpoint.hold.request.bits()).or_default();
                    *number = checkpoint.number.max(*number);
                }
                Change::Forget(request) => drop(stands.remove(&request.bits())),
            }
        }
        stands
    }

    fn numbered((request, number): (u128, u64)) -> Box<Checkpoint> {
        Box::new(Checkpoint { number, ..*checkpoint(request, 1, None) })
    }

    /// Number 0 stands for the end of the request.
    fn change(checkpoint: &Checkpoint) -> Change<'_> {
        match checkpoint.number {
            0 => Change::Forget(checkpoint.hold.request),
            _ => Change::Keep(checkpoint, ""),
        }
    }

    fn changes(checkpoints: &[Box<Checkpoint>]) -> Vec<Change<'_>> {
        checkpoints.iter().map(|checkpoint| change(checkpoint)).collect()
    }

    proptest! {
        #[test]
        fn what_lasts_comes_to_the_same(
            first in prop::collection::btree_map(1..4_u128, 1..6_u64, 0..3),
            later in prop::collection::vec((1..4_u128, 0..6_u64).prop_map(numbered), 0..12),
        ) {
            let (all, lasting) = (changes(&later), lasting(changes(&later)));
            prop_assert_eq!(after(&first, &lasting), after(&first, &all));
        }
    }

    #[test]
    fn a_request_that_ends_in_its_batch_leaves_only_its_end() {
        let given = [(1, 1), (2, 1), (1, 2), (1, 0)].map(numbered);
        let lasting = lasting(changes(&given));
        let [Change::Keep(kept, _), Change::Forget(ended)] = lasting.as_slice() else {
            panic!("{lasting:?}")
        };
        assert_eq!((kept.hold.request, *ended), (given[1].hold.request, given[0].hold.request));
    }
}

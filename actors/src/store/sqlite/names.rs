//! What makes events unique, looked up: a request in its partner's list, money by its outside name.
//!
//! All events of a request name the partner whose key it came with, so the partners' lists are the index
//! of requests, too.

use opencredits_schema::{Charged, Event, Outcome, PartnerId, RequestId};
use rusqlite::{Connection, OptionalExtension as _, Params, params};

use super::super::StoreError;
use super::super::event_keys::{EventKeys, whole};
use super::body::Body;
use super::commit::bytes;
use super::{failed, read};

const OF_REQUEST: &str =
    "SELECT 1 FROM partner_usage WHERE partner = ?1 AND request = ?2 AND kind = ?3";
const OF_SOURCE: &str = "SELECT 1 FROM events WHERE source = ?1";
const OUTCOME: &str = "SELECT e.body FROM partner_usage AS u \
     JOIN events AS e ON e.account = u.account AND e.seq = u.seq \
     WHERE u.partner = ?1 AND u.request = ?2 ORDER BY u.kind";
/// From partner to partner by the table's key, and the last request of each.
const NEWEST: &str = "WITH RECURSIVE found (partner) AS (\
     SELECT min(partner) FROM partner_usage UNION ALL \
     SELECT (SELECT min(partner) FROM partner_usage WHERE partner > found.partner) FROM found \
     WHERE found.partner IS NOT NULL) \
     SELECT max((SELECT max(request) FROM partner_usage WHERE partner = found.partner)) FROM found";

/// The kind of a settlement's correction.
const ADJUSTED: u8 = 2;

/// Whether an event of the same name is in the database.
pub(super) fn happened(
    connection: &Connection,
    event: &Event,
    keys: &EventKeys,
) -> Result<bool, StoreError> {
    match (event.charged(), &keys.source) {
        (Some(charged), _) => of_request(connection, charged, keys.kind),
        (None, Some(source)) => finds(connection, OF_SOURCE, params![source]),
        (None, None) => Ok(false),
    }
}

/// Whether a request's settlement was corrected.
pub(super) fn is_adjusted(connection: &Connection, charged: &Charged) -> Result<bool, StoreError> {
    of_request(connection, charged, ADJUSTED)
}

/// The largest request that has an event; the least of all where none has.
pub(super) fn newest_request(connection: &Connection) -> Result<RequestId, StoreError> {
    let mut statement = connection.prepare_cached(NEWEST).map_err(failed)?;
    let found = statement.query_row([], |row| row.get::<_, Option<[u8; 16]>>(0));
    Ok(RequestId::new(found.map_err(failed)?.map_or(0, u128::from_be_bytes)))
}

/// What a request was charged in all.
pub(super) fn outcome(
    connection: &Connection,
    charged: &Charged,
) -> Result<Option<Outcome>, StoreError> {
    let (partner, request) = key(charged.partner, charged.request);
    let events: Vec<Body<Event>> = read::many(connection, OUTCOME, params![partner, request])?;
    Ok(whole(events.iter().filter_map(|Body(event)| EventKeys::of(event).outcome)))
}

/// A request as the table's columns.
pub(super) fn key(partner: PartnerId, request: RequestId) -> (i64, [u8; 16]) {
    (partner.column(), bytes(request))
}

fn of_request(connection: &Connection, charged: &Charged, kind: u8) -> Result<bool, StoreError> {
    let (partner, request) = key(charged.partner, charged.request);
    finds(connection, OF_REQUEST, params![partner, request, kind])
}

fn finds(connection: &Connection, sql: &str, row: impl Params) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let found = statement.query_row(row, |_| Ok(())).optional().map_err(failed)?;
    Ok(found.is_some())
}

#[cfg(test)]
mod tests;

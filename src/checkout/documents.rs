//! Documents as the values that they hold, changed by whoever read the latest version.

use opencredits_actors::StoreError;
use opencredits_schema::{Document, DocumentKind, Order, OrderId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::gateway::Gateway;

/// How often a change is tried again after someone else was faster.
const TRIES_MAX: usize = 32;

/// How long after it was made an order is asked about first, if nobody tells.
const FIRST_LOOK_MS: i64 = 60_000;
/// How long between later looks at most.
const LOOK_MAX_MS: i64 = 3_600_000;

/// A value and the version of the document that holds it.
#[derive(Clone, Debug)]
pub(crate) struct Versioned<T> {
    pub(crate) value: T,
    pub(crate) version: u64,
}

/// Reads the value of a document.
pub(super) async fn read<T: DeserializeOwned>(
    gateway: &Gateway,
    kind: DocumentKind,
    id: &str,
) -> Result<Option<Versioned<T>>, StoreError> {
    let found = gateway.system.store().document(kind, id.to_owned()).await?;
    found.as_ref().map(parse).transpose()
}

/// Writes a value over the version that was read (0 = a new document); `false` if someone was faster.
pub(super) async fn write(
    gateway: &Gateway,
    kind: DocumentKind,
    id: &str,
    version: u64,
    due: Option<Timestamp>,
    value: &(impl Serialize + Sync),
) -> Result<bool, StoreError> {
    let document =
        Document { kind, id: id.to_owned(), version, name: None, due, body: text(value)? };
    gateway.system.store().put_document(document).await
}

/// An order.
pub(super) async fn order(
    gateway: &Gateway,
    id: OrderId,
) -> Result<Option<Versioned<Order>>, StoreError> {
    read(gateway, DocumentKind::Order, &id.to_string()).await
}

/// The order of a payment.
pub(super) async fn order_of_payment(
    gateway: &Gateway,
    payment: &str,
) -> Result<Option<Order>, StoreError> {
    let store = gateway.system.store();
    let found = store.document_named(DocumentKind::Order, payment.to_owned()).await?;
    Ok(found.as_ref().map(parse).transpose()?.map(|order| order.value))
}

/// Writes an order over the version that was read; `false` if someone was faster.
pub(super) async fn put_order(
    gateway: &Gateway,
    order: &Order,
    version: u64,
) -> Result<bool, StoreError> {
    let now = gateway.system.now();
    let age = now.millis().saturating_sub(order.created.millis());
    // Looks become rarer as an order grows old: delayed methods take days.
    let wait = age.clamp(FIRST_LOOK_MS, LOOK_MAX_MS);
    let document = Document {
        kind: DocumentKind::Order,
        id: order.id.to_string(),
        version,
        name: order.payment.clone(),
        due: order.is_pending().then(|| now.plus_millis(wait)),
        body: text(order)?,
    };
    gateway.system.store().put_document(document).await
}

/// Changes an order, whoever else changes it; the order as it is then. `None` if there is none.
pub(super) async fn change_order(
    gateway: &Gateway,
    id: OrderId,
    change: impl Fn(&mut Order),
) -> Result<Option<Order>, StoreError> {
    for _ in 0..TRIES_MAX {
        let Some(Versioned { mut value, version }) = order(gateway, id).await? else {
            return Ok(None);
        };
        let before = value.clone();
        change(&mut value);
        if value == before || put_order(gateway, &value, version).await? {
            return Ok(Some(value));
        }
    }
    Err(StoreError::Unavailable(format!("{id} changes too often")))
}

fn parse<T: DeserializeOwned>(document: &Document) -> Result<Versioned<T>, StoreError> {
    let value = serde_json::from_str(&document.body)
        .map_err(|error| StoreError::Corrupt(format!("{}: {error}", document.id)))?;
    Ok(Versioned { value, version: document.version })
}

fn text(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

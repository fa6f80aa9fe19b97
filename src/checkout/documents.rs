//! Documents as the values that they hold, changed by whoever read the latest version.

use opencredits_actors::StoreError;
use opencredits_schema::{CheckoutMode, Document, DocumentKind, Order, OrderId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::gateway::Gateway;

/// How often a change is tried again after someone else was faster.
const TRIES_MAX: usize = 32;

/// How long after it began something is looked at first, if nobody tells.
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

/// A value that several may want to change, and when something is to be done about it.
pub(super) trait Record: Serialize + DeserializeOwned + Clone + PartialEq + Sync {
    /// Among what it is found by its id.
    const KIND: DocumentKind;

    /// Its id.
    fn id(&self) -> String;

    /// Another name by which it is found.
    fn name(&self) -> Option<String>;

    /// When somebody has to look at it if nothing happens.
    fn due(&self, now: Timestamp) -> Option<Timestamp>;
}

impl Record for Order {
    const KIND: DocumentKind = DocumentKind::Order;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> Option<String> {
        self.payment.clone()
    }

    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        // An automatic order is looked after by its top-up.
        let waits = self.is_pending() && self.mode != CheckoutMode::Auto;
        (waits || self.wants_top_up()).then(|| next_look(self.created, now))
    }
}

/// The next look at something that began then: ever rarer, since delayed methods take days.
pub(super) fn next_look(since: Timestamp, now: Timestamp) -> Timestamp {
    let age = now.millis().saturating_sub(since.millis());
    now.plus_millis(age.clamp(FIRST_LOOK_MS, LOOK_MAX_MS))
}

/// Writes a record over the version that was read; `false` if someone was faster.
pub(super) async fn put<T: Record>(
    gateway: &Gateway,
    record: &T,
    version: u64,
) -> Result<bool, StoreError> {
    let document = Document {
        kind: T::KIND,
        id: record.id(),
        version,
        name: record.name(),
        due: record.due(gateway.system.now()),
        body: text(record)?,
    };
    gateway.system.store().put_document(document).await
}

/// Changes a record, whoever else changes it; the record as it is then. `None` if there is none.
pub(super) async fn change<T: Record>(
    gateway: &Gateway,
    id: &str,
    change: impl Fn(&mut T),
) -> Result<Option<T>, StoreError> {
    for _ in 0..TRIES_MAX {
        let Some(Versioned { mut value, version }) = read::<T>(gateway, T::KIND, id).await? else {
            return Ok(None);
        };
        let before = value.clone();
        change(&mut value);
        if value == before || put(gateway, &value, version).await? {
            return Ok(Some(value));
        }
    }
    Err(StoreError::Unavailable(format!("{id} changes too often")))
}

/// Changes an order, whoever else changes it; the order as it is then. `None` if there is none.
pub(super) async fn change_order(
    gateway: &Gateway,
    id: OrderId,
    change_it: impl Fn(&mut Order),
) -> Result<Option<Order>, StoreError> {
    change(gateway, &id.to_string(), change_it).await
}

/// Takes so many records that are due, and moves their next look on, so that what is not decided by
/// this one is looked at ever more rarely, and by one process at a time.
pub(super) async fn take_due<T: Record>(
    gateway: &Gateway,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<T>, StoreError> {
    let mut taken = Vec::new();
    for document in gateway.system.store().due_documents(T::KIND, now, limit).await? {
        let Versioned { value, version } = match parse::<T>(&document) {
            Ok(found) => found,
            // One that cannot be read must not keep the others waiting.
            Err(error) => {
                tracing::error!(%error, "a record cannot be read");
                continue;
            }
        };
        if put(gateway, &value, version).await? {
            taken.push(value);
        }
    }
    Ok(taken)
}

pub(super) fn parse<T: DeserializeOwned>(document: &Document) -> Result<Versioned<T>, StoreError> {
    let value = serde_json::from_str(&document.body)
        .map_err(|error| StoreError::Corrupt(format!("{}: {error}", document.id)))?;
    Ok(Versioned { value, version: document.version })
}

fn text(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

//! Documents: conditional writes of a version, and pointers to find them by name and by when due.
//!
//! A pointer is written before its document and is believed only if the document confirms it, so a
//! crash between leaves at most a pointer that nobody follows.

use opencredits_schema::{Document, DocumentKind, Timestamp};

use super::super::StoreError;
use super::Inner;
use super::checkpoints::now_micros;

/// Partitions over which the documents of a kind are spread by when they are due.
const BUCKETS: i32 = 16;

/// A pointer younger than this may belong to a document that is being written.
const YOUNG_MICROS: i64 = 60_000_000;

/// A pointer to a document that was due: when, its id, when the pointer was made.
type Pointer = (i64, String, i64);

impl Inner {
    pub(super) async fn document(
        &self,
        kind: DocumentKind,
        id: &str,
    ) -> Result<Option<Document>, StoreError> {
        type Found = (i64, Option<String>, Option<i64>, String);
        let row: Option<Found> = self.db.one(&self.db.cql.document, (number(kind), id)).await?;
        Ok(row.map(|(version, name, due, body)| Document {
            kind,
            id: id.to_owned(),
            version: version.cast_unsigned(),
            name,
            due: due.map(Timestamp::from_millis),
            body,
        }))
    }

    pub(super) async fn document_named(
        &self,
        kind: DocumentKind,
        name: &str,
    ) -> Result<Option<Document>, StoreError> {
        let cql = &self.db.cql;
        let ids: Vec<(String,)> = self.db.all(&cql.documents_named, (number(kind), name)).await?;
        for (id,) in ids {
            let found = self.document(kind, &id).await?;
            if found.as_ref().is_some_and(|found| found.name.as_deref() == Some(name)) {
                return Ok(found);
            }
        }
        Ok(None)
    }

    pub(super) async fn put_document(&self, document: &Document) -> Result<bool, StoreError> {
        let Document { kind, id, version, name, due, body } = document;
        self.point_to(document).await?;
        let (cql, kind, due) = (&self.db.cql, number(*kind), due.map(Timestamp::millis));
        let applied = match version.cast_signed() {
            0 => self.db.applied(&cql.make_document, (kind, id, 1_i64, name, due, body)).await?,
            version => {
                let next = version.saturating_add(1);
                let values = (next, name, due, body, kind, id, version);
                self.db.applied(&cql.change_document, values).await?
            }
        };
        if applied {
            return Ok(true);
        }
        // Somebody was faster, or it is this very write and its first answer was lost.
        let version = version.saturating_add(1);
        let written = Document { version, ..document.clone() };
        Ok(self.document(document.kind, id).await? == Some(written))
    }

    /// Writes a document of another store with the version that it has there, unless it is here.
    pub(super) async fn move_document(&self, document: &Document) -> Result<(), StoreError> {
        self.point_to(document).await?;
        let Document { kind, id, version, name, due, body } = document;
        let due = due.map(Timestamp::millis);
        let row = (number(*kind), id, version.cast_signed(), name, due, body);
        self.db.applied(&self.db.cql.make_document, row).await?;
        Ok(())
    }

    /// Writes the pointers to a document.
    async fn point_to(&self, document: &Document) -> Result<(), StoreError> {
        let Document { kind, id, name, due, .. } = document;
        let (cql, kind) = (&self.db.cql, number(*kind));
        if let Some(name) = name {
            self.db.run(&cql.put_document_name, (kind, name, id)).await?;
        }
        if let Some(due) = due.map(Timestamp::millis) {
            let now = now_micros();
            let pointer = (kind, bucket(id), due, id, now, now);
            self.db.run(&cql.put_document_due, pointer).await?;
        }
        Ok(())
    }

    pub(super) async fn due_documents(
        &self,
        kind: DocumentKind,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let mut found = Vec::new();
        for (due, id, made) in self.pointers(kind, before).await? {
            if found.len() >= limit {
                break;
            }
            match self.document(kind, &id).await? {
                Some(document) if document.due == Some(Timestamp::from_millis(due)) => {
                    found.push(document);
                }
                Some(_) | None => self.forget_pointer(kind, (due, id, made)).await?,
            }
        }
        Ok(found)
    }

    pub(super) async fn forget_documents(
        &self,
        kind: DocumentKind,
        before: Timestamp,
    ) -> Result<usize, StoreError> {
        let cql = &self.db.cql;
        let mut count = 0usize;
        for (due, id, made) in self.pointers(kind, before).await? {
            let found = self.document(kind, &id).await?;
            if let Some(document) = found.filter(|d| d.due == Some(Timestamp::from_millis(due))) {
                let values = (number(kind), &id, document.version.cast_signed());
                if !self.db.applied(&cql.forget_document, values).await? {
                    continue;
                }
                count = count.saturating_add(1);
                if let Some(name) = document.name {
                    self.db.run(&cql.forget_document_name, (number(kind), name, &id)).await?;
                }
            }
            self.forget_pointer(kind, (due, id, made)).await?;
        }
        Ok(count)
    }

    /// Pointers to documents that were due before a moment, the oldest first.
    async fn pointers(
        &self,
        kind: DocumentKind,
        before: Timestamp,
    ) -> Result<Vec<Pointer>, StoreError> {
        let mut pointers: Vec<Pointer> = Vec::new();
        for bucket in 0..BUCKETS {
            let values = (number(kind), bucket, before.millis());
            pointers.extend(self.db.all::<Pointer>(&self.db.cql.documents_due, values).await?);
        }
        pointers.sort();
        Ok(pointers)
    }

    /// Deletes a pointer that leads nowhere, unless its document may be about to be written.
    async fn forget_pointer(
        &self,
        kind: DocumentKind,
        (due, id, made): Pointer,
    ) -> Result<(), StoreError> {
        if now_micros().saturating_sub(made) < YOUNG_MICROS {
            return Ok(());
        }
        // If it is made again meanwhile, that is newer than this delete.
        let values = (made, number(kind), bucket(&id), due, id);
        self.db.run(&self.db.cql.forget_document_due, values).await
    }
}

fn number(kind: DocumentKind) -> i8 {
    i8::try_from(kind.column()).unwrap_or(0)
}

/// FNV-1a: the same on every node and in every version.
fn bucket(id: &str) -> i32 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    i32::try_from(hash % u64::from(BUCKETS.unsigned_abs())).unwrap_or(0)
}

//! Documents in memory.

use std::collections::BTreeMap;

use opencredits_schema::{Document, DocumentKind, Timestamp};

/// All documents, by kind and id.
#[derive(Debug, Default)]
pub(super) struct Documents(BTreeMap<(DocumentKind, String), Document>);

impl Documents {
    pub(super) fn by_id(&self, kind: DocumentKind, id: String) -> Option<Document> {
        self.0.get(&(kind, id)).cloned()
    }

    pub(super) fn by_name(&self, kind: DocumentKind, name: &str) -> Option<Document> {
        let named =
            |document: &&Document| document.kind == kind && document.name.as_deref() == Some(name);
        self.0.values().find(named).cloned()
    }

    pub(super) fn put(&mut self, document: Document) -> bool {
        let key = (document.kind, document.id.clone());
        let version = self.0.get(&key).map_or(0, |kept| kept.version);
        let is_latest = version == document.version;
        if is_latest {
            let version = version.saturating_add(1);
            self.0.insert(key, Document { version, ..document });
        }
        is_latest
    }

    pub(super) fn due(&self, kind: DocumentKind, before: Timestamp, limit: usize) -> Vec<Document> {
        let due = |document: &&Document| {
            document.kind == kind && document.due.is_some_and(|due| due < before)
        };
        let mut found: Vec<_> = self.0.values().filter(due).cloned().collect();
        found.sort_by_key(|document| document.due);
        found.truncate(limit);
        found
    }

    pub(super) fn forget(&mut self, kind: DocumentKind, before: Timestamp) -> usize {
        let count = self.0.len();
        self.0.retain(|_, document| {
            document.kind != kind || document.due.is_none_or(|due| due >= before)
        });
        count.saturating_sub(self.0.len())
    }
}

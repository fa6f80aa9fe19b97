//! A write with its JSON, which the log and the database both keep: made once.

use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};

use super::super::Write;
use super::body::Body;

/// A write that is about to become durable.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) write: Arc<Write>,
    /// The event or the checkpoint.
    pub(super) json: Option<Box<RawValue>>,
}

impl Entry {
    fn of(write: &Arc<Write>) -> serde_json::Result<Self> {
        let json = match write.as_ref() {
            Write::Event { event, .. } => Some(to_raw_value(&Body(event))?),
            Write::Checkpoint(checkpoint) => Some(to_raw_value(checkpoint)?),
            Write::Forget { .. } => None,
        };
        Ok(Self { write: Arc::clone(write), json })
    }

    /// A batch with its JSON.
    ///
    /// # Errors
    /// When a write has none.
    pub(super) fn all(batch: &[Arc<Write>]) -> serde_json::Result<Vec<Self>> {
        batch.iter().map(Self::of).collect()
    }

    /// The text of a column.
    pub(super) fn text(&self) -> &str {
        self.json.as_deref().map_or("", RawValue::get)
    }
}

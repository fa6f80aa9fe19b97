//! What keeps OpenAI's responses without a state at the provider.

use std::ops::Range;

use opencredits_schema::Model;

use super::edit::Splice;
use super::{Dialect, Place, Request};

/// Asks for thinking in a form that can come back.
pub(super) const ENCRYPTED_REASONING: &str = "\"reasoning.encrypted_content\"";

/// The `include` of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Include {
    #[default]
    Absent,
    /// `null` stands here.
    Null(Range<usize>),
    /// It asks already, or is nothing that can be added to.
    Given,
    /// An array that does not ask for it; its beginning.
    Lacks(Place),
}

/// The `store` of a request; `true` is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Store {
    #[default]
    Absent,
    /// `null` stands here.
    Null(Range<usize>),
    /// `false`.
    Off,
}

impl Request {
    /// An absent `store` would mean yes. Where the caller leaves it to us, thinking is asked for in
    /// the form in which it can come back with the next step of a tool loop.
    pub(super) fn splice_state(&self, model: &Model, splices: &mut Vec<Splice>) {
        if self.dialect != Dialect::Responses {
            return;
        }
        splices.push(match &self.store {
            Store::Off => return,
            Store::Absent => self.insert(r#""store":false"#),
            Store::Null(span) => (span.clone(), "false".to_owned()),
        });
        if !model.features.reasoning {
            return;
        }
        splices.push(match &self.include {
            Include::Given => return,
            Include::Absent => self.insert(&format!("\"include\":[{ENCRYPTED_REASONING}]")),
            Include::Null(span) => (span.clone(), format!("[{ENCRYPTED_REASONING}]")),
            Include::Lacks(place) => place.insert(ENCRYPTED_REASONING),
        });
    }
}

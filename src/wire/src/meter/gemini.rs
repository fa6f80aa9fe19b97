//! The chunks of a native Gemini answer.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use opencredits_schema::{Basis, Usage};
use serde::Deserialize as _;

use super::Verdict;
use super::seen::Seen;
use crate::upstream_error::InBandError;
use crate::usage::{GoogleUsage, Node};

static CONTENT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"content\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usageMetadata\""));
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finishReason\""));
static BLOCKED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"blockReason\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));

/// What is known of an answer. There is no mark of its end but a reason: after one the stream may
/// end, and until it does more may come.
#[derive(Debug, Default)]
pub(super) struct Gemini {
    usage: GoogleUsage,
    finished: bool,
}

impl Gemini {
    pub(super) fn read(&mut self, data: &[u8], seen: &mut Seen) -> Verdict {
        if data.trim_ascii_start().starts_with(b"{") && ERROR.find(data).is_some() {
            let chunk = serde_json::from_slice(data).unwrap_or(Node::Null);
            if chunk.get("error").is_some_and(|error| !error.is_null()) {
                return Verdict::Failed(InBandError::read(data));
            }
        }
        seen.add(&CONTENT, data);
        if let Some(metadata) = value_of(&USAGE, data) {
            self.usage.merge(&metadata);
        }
        let ends = |key| value_of(key, data).is_some_and(|reason| !reason.is_null());
        if ends(&FINISH) || ends(&BLOCKED) {
            self.finished = true;
            return Verdict::Hold;
        }
        // The usage may come once more, behind the end.
        let is_empty = CONTENT.find(data).is_none();
        if self.finished && is_empty { Verdict::Hold } else { Verdict::Content }
    }

    /// Whether the answer may end here.
    pub(super) const fn has_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn usage(&self) -> Option<(Usage, Basis)> {
        let basis = if self.finished { Basis::Provider } else { Basis::Partial };
        Some((self.usage.usage()?, basis))
    }
}

/// The value that stands behind a key, the last one of the chunk. Text can't hold the key: its
/// quotation marks are escaped.
fn value_of<'a>(key: &Finder<'_>, data: &'a [u8]) -> Option<Node<'a>> {
    let at = key.find_iter(data).last()?;
    let rest = data.get(at + key.needle().len()..)?.trim_ascii_start().strip_prefix(b":")?;
    Node::deserialize(&mut serde_json::Deserializer::from_slice(rest)).ok()
}

//! The events of a chat completion.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use opencredits_schema::{Basis, Provider, Tier, Usage};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Verdict;
use super::seen::Seen;
use crate::upstream_error::InBandError;
use crate::usage::{self, Node};

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"delta\""));

/// What is known of a chat completion.
#[derive(Debug)]
pub(super) struct Chat {
    provider: Provider,
    hide_usage_chunk: bool,
    /// Whether the last content chunk waits if it tells usage.
    hold_usage: bool,
    parsed_one: bool,
    usage: Option<Usage>,
    /// Whether `usage` came in a chunk of its own, which is the last word.
    is_final: bool,
    tier: Option<Tier>,
}

/// The few fields of a chunk that matter.
#[derive(Deserialize)]
struct Chunk<'a> {
    choices: Option<Vec<Choice>>,
    #[serde(borrow)]
    usage: Option<Node<'a>>,
    #[serde(borrow)]
    service_tier: Option<Node<'a>>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    finish_reason: Option<IgnoredAny>,
}

impl Chat {
    pub(super) const fn new(provider: Provider, hide_usage_chunk: bool) -> Self {
        Self {
            provider,
            hide_usage_chunk,
            hold_usage: false,
            parsed_one: false,
            usage: None,
            is_final: false,
            tier: None,
        }
    }

    pub(super) const fn hold_usage(&mut self) {
        self.hold_usage = true;
    }

    pub(super) fn read(&mut self, name: Option<&[u8]>, data: &[u8], seen: &mut Seen) -> Verdict {
        if data.trim_ascii() == b"[DONE]" {
            return Verdict::Terminal;
        }
        if name == Some(b"error") {
            return Verdict::Failed(InBandError::read(data));
        }
        seen.add(&DELTA, data);
        // One chunk tells the tier for all of them; a full parse of each would cost twenty times
        // the search.
        let matters = !self.parsed_one || tells(&USAGE, data) || tells(&ERROR, data);
        match matters.then(|| serde_json::from_slice::<Chunk<'_>>(data)) {
            Some(Ok(chunk)) => self.read_chunk(&chunk, data),
            Some(Err(_)) | None => Verdict::Content,
        }
    }

    /// The numbers; those of a content chunk are final once the stream has ended.
    pub(super) fn usage(&self, ended: bool) -> Option<(Usage, Basis)> {
        let mut usage = self.usage.clone()?;
        usage.tier = self.tier.unwrap_or(usage.tier);
        let basis = if self.is_final || ended { Basis::Provider } else { Basis::Partial };
        Some((usage, basis))
    }

    fn read_chunk(&mut self, chunk: &Chunk<'_>, data: &[u8]) -> Verdict {
        self.parsed_one = true;
        if chunk.error.is_some() {
            return Verdict::Failed(InBandError::read(data));
        }
        self.tier = chunk.service_tier.as_ref().and_then(usage::tier).or(self.tier);
        let told = chunk.usage.as_ref().and_then(|usage| usage::chat(self.provider, usage));
        let Some(told) = told else { return Verdict::Content };
        self.usage = Some(told);
        let choices = chunk.choices.as_deref().unwrap_or_default();
        self.is_final = choices.is_empty();
        if self.is_final {
            return if self.hide_usage_chunk { Verdict::Hide } else { Verdict::Hold };
        }
        let finished = choices.iter().any(|choice| choice.finish_reason.is_some());
        if self.hold_usage && finished { Verdict::Hold } else { Verdict::Content }
    }
}

/// Whether the key stands there with a value that is not null. Text can't hold the key: its
/// quotation marks are escaped.
fn tells(key: &Finder<'_>, data: &[u8]) -> bool {
    let mut rest = data;
    while let Some(at) = key.find(rest) {
        rest = rest.get(at + key.needle().len()..).unwrap_or_default();
        let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        if value.is_some_and(|value| !value.starts_with(b"null")) {
            return true;
        }
    }
    false
}

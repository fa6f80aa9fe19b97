//! The events of a response of OpenAI's or xAI's.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use opencredits_schema::{Basis, Provider, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::seen::Seen;
use super::{Kind, Verdict};
use crate::Dialect;
use crate::upstream_error::InBandError;
use crate::usage::usage_of_body;

static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"delta\""));
static ITEM: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"item\""));

/// What is known of a response.
#[derive(Debug)]
pub(super) struct Responses {
    provider: Provider,
    usage: Option<Usage>,
    /// Whether anything of the running item came in deltas.
    told: bool,
}

impl Responses {
    pub(super) const fn new(provider: Provider) -> Self {
        Self { provider, usage: None, told: false }
    }

    pub(super) fn read(&mut self, name: Option<&[u8]>, data: &[u8], seen: &mut Seen) -> Verdict {
        let name = name.map_or_else(|| Cow::Owned(kind_of(data)), Cow::Borrowed);
        match name.as_ref() {
            name if name.ends_with(b".delta") => {
                self.told = true;
                seen.add_text(&DELTA, data, kind(name));
                Verdict::Content
            }
            b"response.output_item.added" => {
                self.told = false;
                Verdict::Content
            }
            b"response.output_item.done" => {
                // What did not come in deltas comes here only; thinking that is sealed, always.
                if !self.told {
                    seen.add(&ITEM, data);
                }
                Verdict::Content
            }
            b"response.completed" | b"response.incomplete" if self.end(data) => Verdict::Terminal,
            b"response.failed" => {
                self.end(data);
                let told: Value = serde_json::from_slice(data).unwrap_or_default();
                let error = json!({"error": told.pointer("/response/error")});
                Verdict::Failed(InBandError::read(error.to_string().as_bytes()))
            }
            b"error" => Verdict::Failed(InBandError::read(data)),
            _ => Verdict::Content,
        }
    }

    pub(super) fn usage(&self) -> Option<(Usage, Basis)> {
        Some((self.usage.clone()?, Basis::Provider))
    }

    /// Reads the whole response that the last event holds.
    fn end(&mut self, data: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct End<'a> {
            #[serde(borrow)]
            response: &'a serde_json::value::RawValue,
        }
        let Ok(End { response }) = serde_json::from_slice(data) else { return false };
        let body = response.get().as_bytes();
        self.usage = usage_of_body(self.provider, Dialect::Responses, body);
        true
    }
}

/// Whose words a delta tells.
fn kind(name: &[u8]) -> Kind {
    let has = |word: &[u8]| memchr::memmem::find(name, word).is_some();
    match () {
        () if has(b"reasoning") => Kind::Thinking,
        () if has(b"arguments") || has(b"input") => Kind::Tool,
        () => Kind::Text,
    }
}

/// The kind of an event without an `event:` line.
fn kind_of(data: &[u8]) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Named {
        r#type: Option<Value>,
    }
    let named = serde_json::from_slice(data).ok().and_then(|Named { r#type }| r#type);
    named.as_ref().and_then(Value::as_str).unwrap_or_default().into()
}

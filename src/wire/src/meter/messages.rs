//! The events of an Anthropic message.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use opencredits_schema::{Basis, Usage};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Verdict;
use super::seen::Seen;
use crate::upstream_error::InBandError;
use crate::usage::{AnthropicUsage, Node};

static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"delta\""));
static BLOCK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"content_block\""));

/// What is known of a message.
#[derive(Debug, Default)]
pub(super) struct Messages {
    usage: AnthropicUsage,
    /// Whether a `message_delta` has told usage.
    is_final: bool,
    /// Whether the `message_delta` with the usage waits.
    hold_usage: bool,
}

impl Messages {
    pub(super) const fn hold_usage(&mut self) {
        self.hold_usage = true;
    }

    pub(super) fn read(&mut self, name: Option<&[u8]>, data: &[u8], seen: &mut Seen) -> Verdict {
        let told = name.map_or_else(|| Cow::Owned(kind_of(data)), Cow::Borrowed);
        match told.as_ref() {
            b"message_start" => {
                self.start(data);
                Verdict::Content
            }
            b"content_block_delta" => {
                seen.add(&DELTA, data);
                Verdict::Content
            }
            b"content_block_start" => {
                seen.add(&BLOCK, data);
                Verdict::Content
            }
            b"content_block_stop" => Verdict::Content,
            b"message_delta" => self.delta(data),
            b"message_stop" if serde_json::from_slice::<IgnoredAny>(data).is_ok() => {
                Verdict::Terminal
            }
            b"error" => Verdict::Failed(InBandError::read(data)),
            // A kind of tomorrow: its text counts.
            _ => {
                seen.add(&DELTA, data);
                Verdict::Neutral
            }
        }
    }

    pub(super) fn usage(&self) -> Option<(Usage, Basis)> {
        let basis = if self.is_final { Basis::Provider } else { Basis::Partial };
        Some((self.usage.usage()?, basis))
    }

    fn start(&mut self, data: &[u8]) {
        #[derive(Deserialize)]
        struct Start<'a> {
            #[serde(borrow)]
            message: Message<'a>,
        }
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            usage: Option<Node<'a>>,
        }
        if let Ok(Start { message: Message { usage: Some(usage) } }) = serde_json::from_slice(data)
        {
            self.usage.merge(&usage);
        }
    }

    fn delta(&mut self, data: &[u8]) -> Verdict {
        #[derive(Deserialize)]
        struct Delta<'a> {
            #[serde(borrow)]
            usage: Option<Node<'a>>,
        }
        let Ok(Delta { usage: Some(usage) }) = serde_json::from_slice(data) else {
            return Verdict::Content;
        };
        self.usage.merge(&usage);
        self.is_final |= usage.get("output_tokens").and_then(Node::as_count).is_some();
        if self.hold_usage { Verdict::Hold } else { Verdict::Content }
    }
}

/// The kind of an event without an `event:` line.
fn kind_of(data: &[u8]) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow)]
        r#type: Option<Node<'a>>,
    }
    let kind = serde_json::from_slice(data).ok().and_then(|Kind { r#type }| r#type);
    kind.as_ref().and_then(Node::as_word).unwrap_or_default().into()
}

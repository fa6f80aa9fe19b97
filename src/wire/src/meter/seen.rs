//! What an answer has said: how much, and the words themselves, to be counted if need be.

use super::Delivered;
use crate::bound::count_escaped;

/// The most words that are kept, in bytes; the rest is weighed by its bytes.
const WORDS_MAX: usize = 1 << 20;

/// What came so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) delivered: Delivered,
    /// Visible text and tool arguments as JSON spells them.
    words: Vec<u8>,
    /// The bytes of those that are not kept.
    beyond: u64,
}

impl Seen {
    /// Keeps words that the client reads.
    pub(super) fn keep(&mut self, escaped: &[u8]) {
        if self.words.len().saturating_add(escaped.len()) <= WORDS_MAX {
            self.words.extend_from_slice(escaped);
        } else {
            self.beyond = self.beyond.saturating_add(escaped.len() as u64);
        }
    }

    /// The o200k tokens of the visible words, and an estimate of what is not kept of them.
    pub(super) fn counted_tokens(&self) -> u64 {
        // Cut at a character at worst: the last word is then read as far as it is whole.
        let text = match std::str::from_utf8(&self.words) {
            Ok(text) => text,
            Err(error) => {
                let whole = self.words.get(..error.valid_up_to()).unwrap_or_default();
                std::str::from_utf8(whole).unwrap_or_default()
            }
        };
        let thinking = self.delivered.thinking_bytes;
        let weighed = self.beyond.saturating_add(thinking).div_ceil(4);
        count_escaped(text).saturating_add(weighed)
    }

    /// Whether all that the model wrote so far was seen: words, and no thinking.
    pub(super) const fn is_countable(&self) -> bool {
        let Delivered { text_bytes, thinking_bytes, tool_bytes } = self.delivered;
        thinking_bytes == 0 && (text_bytes > 0 || tool_bytes > 0)
    }
}

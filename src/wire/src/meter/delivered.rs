//! How much an answer has delivered, in bytes, found without parsing it.

use memchr::memmem::Finder;
use memchr::{memchr2, memchr3};

use super::seen::Seen;

/// Audio in base64 has some 3,200 bytes a token where text has four: so many bytes of it weigh as
/// one of text, still above the truth.
const AUDIO_BYTES_PER_BYTE: u64 = 256;

/// Bytes delivered, as JSON spells them: not below what they were before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Of visible text; refusals and whatever has no other name too.
    pub text_bytes: u64,
    /// Of thinking that is shown, and of thinking that is sent encrypted.
    pub thinking_bytes: u64,
    /// Of tools' names and arguments.
    pub tool_bytes: u64,
}

/// Whose words a string holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Visible text.
    Text,
    /// Thinking.
    Thinking,
    /// A tool's name or arguments.
    Tool,
}

impl Delivered {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.text_bytes.saturating_add(self.thinking_bytes).saturating_add(self.tool_bytes)
    }

    /// An estimate of the tokens in them: a quarter, rounded up.
    #[must_use]
    pub const fn tokens(self) -> u64 {
        self.total().div_ceil(4)
    }
}

impl Seen {
    /// Adds the string that stands under `key` in `json`.
    pub(super) fn add_text(&mut self, key: &Finder<'_>, json: &[u8], kind: Kind) {
        let after = |at: usize| json.get(at + key.needle().len()..);
        let Some(rest) = key.find(json).and_then(after) else { return };
        let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        let Some(string) = value.and_then(|value| value.strip_prefix(b"\"")) else { return };
        self.add_kind(kind, string.split_at(string_end(string)).0);
    }

    /// Adds the strings inside each object that stands under `key` in `json`.
    pub(super) fn add(&mut self, key: &Finder<'_>, json: &[u8]) {
        let mut rest = json;
        while let Some(at) = key.find(rest) {
            rest = rest.get(at + key.needle().len()..).unwrap_or_default();
            if let Some(object) = opened(rest) {
                rest = self.add_object(object);
            }
        }
    }

    /// Adds the strings of an object whose brace is already open; answers what follows it.
    fn add_object<'a>(&mut self, json: &'a [u8]) -> &'a [u8] {
        let (mut rest, mut depth, mut key, mut audio) = (json, 1_usize, &b""[..], false);
        while let Some(at) = memchr3(b'"', b'{', b'}', rest) {
            let (mark, after) = (rest.get(at), rest.get(at + 1..).unwrap_or_default());
            rest = after;
            match mark {
                Some(b'{') => depth += 1,
                Some(b'}') => depth -= 1,
                _ => {
                    let (string, after) = after.split_at(string_end(after));
                    rest = after.get(1..).unwrap_or_default();
                    if is_key(rest) {
                        key = string;
                        audio |= key == b"audio";
                    } else if key == b"type" && string.ends_with(b"_result") {
                        // What a server tool found is input, not output.
                        return rest;
                    } else if audio && key == b"data" {
                        let weight = (string.len() as u64).div_ceil(AUDIO_BYTES_PER_BYTE);
                        self.delivered.text_bytes += weight;
                    } else {
                        self.add_string(key, string);
                    }
                }
            }
            if depth == 0 {
                break;
            }
        }
        rest
    }

    /// A key that is not known counts as text: too much rather than too little.
    fn add_string(&mut self, key: &[u8], string: &[u8]) {
        let kind = match key {
            b"role" | b"type" | b"id" | b"signature" | b"cited_text" | b"encrypted_index"
            | b"thoughtSignature" | b"status" | b"call_id" => return,
            // `data` is thinking that Anthropic redacted.
            b"reasoning_content" | b"reasoning" | b"thinking" | b"encrypted_content" | b"data" => {
                Kind::Thinking
            }
            b"arguments" | b"partial_json" | b"name" => Kind::Tool,
            _ => Kind::Text,
        };
        self.add_kind(kind, string);
    }

    fn add_kind(&mut self, kind: Kind, string: &[u8]) {
        let sum = match kind {
            Kind::Text => &mut self.delivered.text_bytes,
            Kind::Thinking => &mut self.delivered.thinking_bytes,
            Kind::Tool => &mut self.delivered.tool_bytes,
        };
        *sum = sum.saturating_add(string.len() as u64);
        if kind != Kind::Thinking {
            self.keep(string);
        }
    }
}

/// What follows `: {`.
fn opened(json: &[u8]) -> Option<&[u8]> {
    json.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"{")
}

fn is_key(after: &[u8]) -> bool {
    after.trim_ascii_start().first() == Some(&b':')
}

/// Where the string ends whose quotation mark is already open.
fn string_end(json: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = json.get(at..)
        && let Some(found) = memchr2(b'"', b'\\', rest)
    {
        at += found;
        if json.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, text: u64, thinking: u64, tool: u64) {
        let mut seen = Seen::default();
        seen.add(&Finder::new(b"\"delta\""), json.as_bytes());
        let delivered = seen.delivered;
        let expected = Delivered { text_bytes: text, thinking_bytes: thinking, tool_bytes: tool };
        assert_eq!(delivered, expected, "{json}");
    }

    #[test]
    fn every_string_of_a_delta_counts_by_its_key() {
        check(r#"{"delta":{"role":"assistant","content":"abc"}}"#, 3, 0, 0);
        check(r#"{"delta" : { "content" : "a\"}{b" } , "x":"yyyy"}"#, 6, 0, 0);
        check(r#"{"delta":{"reasoning_content":"ab","content":null}}"#, 0, 2, 0);
        check(
            r#"{"delta":{"tool_calls":[{"id":"x","function":{"name":"ab","arguments":"{\"a\":1}"}}]}}"#,
            0,
            0,
            11,
        );
        check(r#"[{"delta":{"content":"a"}},{"delta":{"content":"bc"}}]"#, 3, 0, 0);
        check(r#"{"delta":{"type":"thinking_delta","thinking":"abcd"}}"#, 0, 4, 0);
        check(r#"{"delta":{"type":"signature_delta","signature":"abcd"}}"#, 0, 0, 0);
        check(r#"{"delta":{"of_tomorrow":["ab","c"]}}"#, 3, 0, 0);
        check(r#"{"delta":{"audio":{"id":"x","data":"abcd","transcript":"ab"}}}"#, 3, 0, 0);
        check(r#"{"delta":{"type":"redacted_thinking","data":"abcd"}}"#, 0, 4, 0);
        check(r#"{"delta":{"type":"web_search_tool_result","content":[{"title":"a"}]}}"#, 0, 0, 0);
        check(r#"{"delta":{},"logprobs":{"content":[{"token":"abc"}]}}"#, 0, 0, 0);
    }

    #[test]
    fn broken_json_counts_and_ends() {
        for json in [r#"{"delta":{"content":"ab"#, r#"{"delta":{"content":"ab\"#, r#""delta":{"a"#]
        {
            let mut seen = Seen::default();
            seen.add(&Finder::new(b"\"delta\""), json.as_bytes());
            assert!(seen.delivered.total() >= 1, "{json}");
        }
    }
}

//! Most events of a stream differ from the one before in one text only: those need no parser.

use memchr::memchr2;

/// What stood around the text of the last event that was parsed and told one text only.
///
/// An event with the same bytes before its text and the same bytes behind it, up to where the
/// decoder has read all that it wants, says the same but for the text.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    before: Vec<u8>,
    behind: Vec<u8>,
}

/// The longest event that is remembered.
const EVENT_MAX: usize = 4 << 10;

impl Repeats {
    /// Remembers a parsed event: its only text, as borrowed from the data, and the sign behind which
    /// the decoder reads nothing, which may occur so many times.
    pub(crate) fn learn(&mut self, data: &[u8], text: &str, end: &[u8], times: usize) {
        self.before.clear();
        self.behind.clear();
        let Some(at) = text.as_ptr().addr().checked_sub(data.as_ptr().addr()) else { return };
        let Some(rest) = data.get(at.saturating_add(text.len())..) else { return };
        let Some(length) = nth_end(rest, end, times) else { return };
        if let (Some(before), Some(behind)) = (data.get(..at), rest.get(..length))
            && data.len() <= EVENT_MAX
        {
            self.before.extend_from_slice(before);
            self.behind.extend_from_slice(behind);
        }
    }

    /// The text of an event that repeats the last one.
    pub(crate) fn text<'d>(&self, data: &'d [u8]) -> Option<&'d str> {
        if self.before.is_empty() {
            return None;
        }
        let rest = data.strip_prefix(&*self.before)?;
        let end = memchr2(b'"', b'\\', rest)?;
        let (text, rest) = rest.split_at_checked(end)?;
        // With an escape it is left to the parser; so are signs that no JSON text holds.
        let plain = rest.starts_with(&self.behind) && text.iter().all(|byte| *byte >= b' ');
        if plain { std::str::from_utf8(text).ok() } else { None }
    }

    /// Forgets what was learnt.
    pub(crate) fn forget(&mut self) {
        self.before.clear();
    }
}

/// Where a sign ends that occurs for this time.
fn nth_end(rest: &[u8], end: &[u8], times: usize) -> Option<usize> {
    let found = memchr::memmem::find_iter(rest, end).nth(times.checked_sub(1)?)?;
    Some(found.saturating_add(end.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_may_differ() {
        let first = r#"{"a":1,"delta":{"content":"ab"},"finish":null}],"x":"q"}"#;
        let mut repeats = Repeats::default();
        assert_eq!(repeats.text(first.as_bytes()), None);
        let text = first.matches("ab").next().unwrap();
        repeats.learn(first.as_bytes(), text, b"}]", 1);
        let same = r#"{"a":1,"delta":{"content":"źle"},"finish":null}],"x":"other"}"#;
        assert_eq!(repeats.text(same.as_bytes()), Some("źle"));
        for other in [
            r#"{"a":2,"delta":{"content":"c"},"finish":null}],"x":"q"}"#,
            r#"{"a":1,"delta":{"content":"c"},"finish":"stop"}],"x":"q"}"#,
            r#"{"a":1,"delta":{"content":"c\n"},"finish":null}],"x":"q"}"#,
            r#"{"a":1,"delta":{"content":"c","b":2},"finish":null}],"x":"q"}"#,
            "{\"a\":1,\"delta\":{\"content\":\"c\n\"},\"finish\":null}],\"x\":\"q\"}",
            r#"{"a":1,"delta":{"content":"c"#,
        ] {
            assert_eq!(repeats.text(other.as_bytes()), None, "{other}");
        }
        repeats.forget();
        assert_eq!(repeats.text(same.as_bytes()), None);
    }
}

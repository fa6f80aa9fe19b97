//! Counts the tokens of a JSON body's text.

use std::ops::Range;

/// How much text is counted at a time, in bytes, so that a large body is never copied whole.
const PIECE: usize = 256 * 1024;

/// The o200k tokens of valid JSON, its escapes undone and these parts left out (in order).
/// The JSON's own signs count along: they stand for the provider's marks between messages.
pub(super) fn count<'a>(json: &str, cuts: impl Iterator<Item = &'a Range<usize>>) -> u64 {
    let tokenizer = bpe_openai::o200k_base();
    let mut tokens = 0_u64;
    let mut from = 0;
    for cut in cuts {
        tokens = tokens.saturating_add(count_part(tokenizer, json.get(from..cut.start)));
        from = cut.end;
    }
    tokens.saturating_add(count_part(tokenizer, json.get(from..)))
}

/// The o200k tokens of a plain text. About a millisecond for 20 kB; the first call loads the
/// tokenizer (65 ms, 66 MB).
#[must_use]
pub fn count_tokens(text: &str) -> u64 {
    u64::try_from(bpe_openai::o200k_base().count(text)).unwrap_or(u64::MAX)
}

/// The same of a JSON string's inside, its escapes undone.
pub(crate) fn count_escaped(json: &str) -> u64 {
    count_part(bpe_openai::o200k_base(), Some(json))
}

fn count_part(tokenizer: &bpe_openai::Tokenizer, json: Option<&str>) -> u64 {
    let mut rest = json.unwrap_or_default();
    let mut tokens = 0_u64;
    let mut text = String::new();
    while !rest.is_empty() {
        let (piece, left) = split(rest);
        text.clear();
        unescape(piece, &mut text);
        let count = u64::try_from(tokenizer.count(text.as_str())).unwrap_or(u64::MAX);
        tokens = tokens.saturating_add(count);
        rest = left;
    }
    tokens
}

/// A piece of bounded size; a cut through an escape or a word makes the count a little larger.
fn split(text: &str) -> (&str, &str) {
    let mut at = PIECE.min(text.len());
    while !text.is_char_boundary(at) {
        at = at.saturating_sub(1);
    }
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// Undoes JSON's escapes. Outside of strings there are none.
fn unescape(json: &str, text: &mut String) {
    let mut rest = json;
    let mut high: Option<u32> = None;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        if !plain.is_empty() {
            high = None;
        }
        text.push_str(plain);
        let mut chars = escaped.chars();
        let sign = chars.next();
        rest = chars.as_str();
        match sign {
            Some('u') => {
                let code = rest.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let Some(code) = code else { continue };
                rest = rest.get(4..).unwrap_or_default();
                high = push_code(text, high, code);
            }
            Some('n' | 'r') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('b' | 'f') => text.push(' '),
            Some(other) => text.push(other),
            None => {}
        }
    }
    text.push_str(rest);
}

/// Writes a UTF-16 unit; the first half of a pair waits for the second.
fn push_code(text: &mut String, high: Option<u32>, code: u32) -> Option<u32> {
    let low = (0xDC00..0xE000).contains(&code);
    if (0xD800..0xDC00).contains(&code) {
        return Some(code);
    }
    let code = match high {
        Some(high) if low => 0x1_0000 + ((high - 0xD800) << 10) + (code - 0xDC00),
        Some(_) | None => code,
    };
    text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    None
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_before_counting() {
        for (json, plain) in [
            (r#"a\nb\t\"\\\/"#, "a\nb\t\"\\/"),
            (r"\u4e2d\u6587", "中文"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\ud83d!", "!"),
            (r"\u00e", "e"),
        ] {
            let mut text = String::new();
            unescape(json, &mut text);
            if json == r"\u00e" {
                // Cut off at the end of a piece: nothing is lost but the escape itself.
                assert!(text.len() <= 3);
                continue;
            }
            assert_eq!(text, plain, "{json}");
        }
    }

    #[test]
    fn cut_parts_are_not_counted() {
        let json = r#"{"a":"hello hello hello"}"#;
        let start = json.find("hello").unwrap();
        let cut = start..start + 17;
        assert!(count(json, std::iter::once(&cut)) < count(json, std::iter::empty()));
    }
}

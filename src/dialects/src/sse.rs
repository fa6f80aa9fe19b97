//! Writes server-sent events.

use serde::Serialize;

/// Appends one event: its name, if its dialect names events, and its data as JSON on one line.
pub(crate) fn write_event<T: Serialize + ?Sized>(out: &mut Vec<u8>, name: &str, data: &T) {
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    // Structures of texts and numbers always serialise, and a vector takes every byte.
    serde_json::to_writer(&mut *out, data).ok();
    out.extend_from_slice(b"\n\n");
}

/// Appends a JSON string.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    // Most texts of a stream need no escape.
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // A string always serialises, and a vector takes every byte.
    serde_json::to_writer(&mut *out, text).ok();
}

/// Appends a number.
pub(crate) fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_json_string() {
        for text in ["", "aé😀", "a\"b\\c\n\u{1}\u{7f}"] {
            let mut out = Vec::new();
            write_text(text, &mut out);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn an_event_is_its_name_and_one_line_of_json() {
        let mut out = Vec::new();
        write_event(&mut out, "ping", &serde_json::json!({"a": "b\nc"}));
        write_event(&mut out, "", "x");
        assert_eq!(out, b"event: ping\ndata: {\"a\":\"b\\nc\"}\n\ndata: \"x\"\n\n");
    }
}

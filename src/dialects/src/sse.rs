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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_name_and_one_line_of_json() {
        let mut out = Vec::new();
        write_event(&mut out, "ping", &serde_json::json!({"a": "b\nc"}));
        write_event(&mut out, "", "x");
        assert_eq!(out, b"event: ping\ndata: {\"a\":\"b\\nc\"}\n\ndata: \"x\"\n\n");
    }
}

//! Bytes that the gateway itself puts into an answer: errors, signs of life, the cost.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Dialect;

/// The error event that ends a stream which can't be finished. No `[DONE]` and no `message_stop`
/// follow it: clients take a clean end for success.
#[must_use]
pub fn error_event(dialect: Dialect, kind: &str, message: &str, code: &str) -> Bytes {
    #[derive(Serialize)]
    struct Chat<'a> {
        error: ChatError<'a>,
    }
    #[derive(Serialize)]
    struct ChatError<'a> {
        message: &'a str,
        r#type: &'a str,
        param: Option<&'a str>,
        code: &'a str,
    }
    #[derive(Serialize)]
    struct Flat<'a> {
        r#type: &'a str,
        code: &'a str,
        message: &'a str,
        param: Option<&'a str>,
        sequence_number: u64,
    }
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'a str,
        error: MessageError<'a>,
    }
    #[derive(Serialize)]
    struct MessageError<'a> {
        r#type: &'a str,
        message: &'a str,
    }
    // Structures of texts always serialise.
    let (event, data) = match dialect {
        Dialect::Responses => {
            // Flat here. Clients do not look at the number of an error.
            let error = Flat { r#type: "error", code, message, param: None, sequence_number: 0 };
            ("event: error\n", serde_json::to_string(&error))
        }
        Dialect::ChatCompletions | Dialect::GenerateContent => {
            let error = ChatError { message, r#type: kind, param: None, code };
            ("", serde_json::to_string(&Chat { error }))
        }
        Dialect::Messages => {
            let error = MessageError { r#type: kind, message };
            ("event: error\n", serde_json::to_string(&Message { r#type: "error", error }))
        }
    };
    format!("{event}data: {}\n\n", data.unwrap_or_default()).into()
}

/// A sign of life for a quiet stream, which every client ignores.
#[must_use]
pub const fn keep_alive(dialect: Dialect) -> Bytes {
    Bytes::from_static(match dialect {
        Dialect::ChatCompletions | Dialect::Responses | Dialect::GenerateContent => {
            b": keep-alive\n\n"
        }
        Dialect::Messages => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
    })
}

/// Puts `"cost":<cost>` at the end of the last top-level `usage` object: of a whole JSON body, or
/// of the events that a [`crate::Meter`] withheld. `cost` is a JSON number. Bytes without such an
/// object come back as they are.
#[must_use]
pub fn add_cost(bytes: Bytes, cost: &str) -> Bytes {
    let usage = if bytes.trim_ascii_start().starts_with(b"{") {
        usage_in(&bytes, &bytes)
    } else {
        bytes
            .split(|byte| *byte == b'\n')
            .rev()
            .find_map(|line| usage_in(&bytes, line.strip_prefix(b"data:")?))
    };
    let Some((before, is_empty)) = usage else { return bytes };
    let Some((head, tail)) = bytes.split_at_checked(before) else { return bytes };
    let comma = if is_empty { "" } else { "," };
    [head, comma.as_bytes(), b"\"cost\":", cost.as_bytes(), tail].concat().into()
}

/// Where in `all` the usage object of this piece of it closes, and whether it is empty.
fn usage_in(all: &[u8], json: &[u8]) -> Option<(usize, bool)> {
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
        /// The last event of a response holds all of it.
        #[serde(borrow)]
        response: Option<Inner<'a>>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
    }
    let told: Told<'_> = serde_json::from_slice(json).ok()?;
    let usage = told.usage.or_else(|| told.response?.usage)?.get();
    let inside = usage.strip_prefix('{')?.strip_suffix('}')?;
    let end = inside.as_ptr().addr() + inside.len();
    Some((end.checked_sub(all.as_ptr().addr())?, inside.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_event_has_the_dialects_shape() {
        let chat = error_event(Dialect::ChatCompletions, "upstream_error", "a \"b\"\nc", "502");
        assert_eq!(
            chat,
            "data: {\"error\":{\"message\":\"a \\\"b\\\"\\nc\",\"type\":\"upstream_error\",\
             \"param\":null,\"code\":\"502\"}}\n\n"
        );
        let response = error_event(Dialect::Responses, "upstream_error", "no", "502");
        assert_eq!(
            response,
            "event: error\ndata: {\"type\":\"error\",\"code\":\"502\",\"message\":\"no\",\
             \"param\":null,\"sequence_number\":0}\n\n"
        );
        let message = error_event(Dialect::Messages, "upstream_error", "no", "502");
        assert_eq!(
            message,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"upstream_error\",\
             \"message\":\"no\"}}\n\n"
        );
    }

    #[test]
    fn cost_goes_into_the_last_top_level_usage() {
        let check = |bytes: &'static str, expected: &str| {
            assert_eq!(add_cost(Bytes::from_static(bytes.as_bytes()), "1.5"), expected);
        };
        check(r#"{"usage":{"a":1}}"#, r#"{"usage":{"a":1,"cost":1.5}}"#);
        check(
            " {\"x\":{\"usage\":{}},\n \"usage\" : { } } ",
            " {\"x\":{\"usage\":{}},\n \"usage\" : { \"cost\":1.5} } ",
        );
        check(
            "event: response.completed\ndata: {\"response\":{\"usage\":{\"a\":1}}}\n\n",
            "event: response.completed\ndata: {\"response\":{\"usage\":{\"a\":1,\"cost\":1.5}}}\n\n",
        );
        check(r#"{"usage":null}"#, r#"{"usage":null}"#);
        check(r#"{"x":{"usage":{}}}"#, r#"{"x":{"usage":{}}}"#);
        check("[1]", "[1]");
        check("", "");
        check(
            "data: {\"usage\":{\"a\":1}}\n\ndata: {\"usage\":{\"a\":2}}\r\n\r\ndata: [DONE]\n\n",
            "data: {\"usage\":{\"a\":1}}\n\ndata: {\"usage\":{\"a\":2,\"cost\":1.5}}\r\n\r\ndata: [DONE]\n\n",
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            assert_eq!(add_cost(Bytes::from(bytes.clone()), "1"), bytes);
        }
    }
}

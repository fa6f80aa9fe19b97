//! Ids of tool calls: with Gemini's signature packed in for clients, and cut to what a provider
//! takes.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use opencredits_schema::Provider;
use sha2::{Digest as _, Sha256};

use crate::Signature;

/// Between an id and a signature that is standard base64: only its alphabet is changed.
const PACKED: &str = "__ts_";
/// The same for a signature that is any other text: its bytes are encoded.
const PACKED_TEXT: &str = "__tx_";
/// The longest packed signature, in characters; recorded ones are below 6,000. Typed SDKs drop
/// unknown fields, so the id is the one place that comes back through every client.
const PACKED_MAX: usize = 16 << 10;

/// The id that a client gets. A signature that is too long is left out.
pub(crate) fn packed<'a>(id: &'a str, signature: Option<&Signature>) -> Cow<'a, str> {
    let Some(data) = signature.and_then(|signature| signature.of(Provider::Google)) else {
        return Cow::Borrowed(id);
    };
    let canonical = STANDARD.decode(data).ok().filter(|bytes| STANDARD.encode(bytes) == data);
    let (mark, bytes) = match canonical {
        Some(bytes) => (PACKED, bytes),
        None => (PACKED_TEXT, data.as_bytes().to_vec()),
    };
    let packed = URL_SAFE_NO_PAD.encode(bytes);
    if packed.len() > PACKED_MAX {
        return Cow::Borrowed(id);
    }
    let packed = format!("{id}{mark}{packed}");
    // An id that looks as if it were packed itself can't carry anything.
    if unpacked(&packed).0 == id { Cow::Owned(packed) } else { Cow::Borrowed(id) }
}

/// The id and the signature of what a client sends back.
pub(crate) fn unpacked(id: &str) -> (&str, Option<Signature>) {
    let read = |mark: &str| {
        let (bare, packed) = id.split_once(mark)?;
        let bytes = URL_SAFE_NO_PAD.decode(packed).ok()?;
        let data =
            if mark == PACKED { STANDARD.encode(bytes) } else { String::from_utf8(bytes).ok()? };
        Some((bare, Some(Signature::new(Provider::Google, data))))
    };
    read(PACKED).or_else(|| read(PACKED_TEXT)).unwrap_or((id, None))
}

/// The longest id that OpenAI's chat takes.
const CHAT_MAX: usize = 40;
/// The longest id that all others take.
const ID_MAX: usize = 64;

/// The id that a provider takes: letters, digits, `_` and `-`, at most 64 of them. Another id
/// becomes one that is made of its hash, so a call and its result stay together.
pub(crate) fn fitted(id: &str) -> Cow<'_, str> {
    within(id, ID_MAX)
}

/// The same for OpenAI's chat, which takes shorter ones only.
pub(crate) fn fitted_for_chat(id: &str) -> Cow<'_, str> {
    within(id, CHAT_MAX)
}

fn within(id: &str, max: usize) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !id.is_empty() && id.len() <= max && id.bytes().all(plain) {
        return Cow::Borrowed(id);
    }
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(id));
    let hash = hash.get(..32).unwrap_or(&hash);
    Cow::Owned(format!("call_{hash}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_signature_comes_back_with_its_id(
            id in "[a-z]{1,12}",
            text in ".{1,40}",
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 1..60),
        ) {
            for data in [text, STANDARD.encode(bytes)] {
                let signature = Signature::new(Provider::Google, data);
                let sent = packed(&id, Some(&signature)).into_owned();
                let (bare, read) = unpacked(&sent);
                prop_assert_eq!(bare, &*id);
                prop_assert_eq!(read, Some(signature));
            }
        }

        #[test]
        fn any_id_fits(id in ".{0,80}") {
            let fit = fitted_for_chat(&id);
            prop_assert!(fit.len() <= CHAT_MAX && !fit.is_empty());
            prop_assert!(fit.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
            let twice = fitted_for_chat(&id);
            prop_assert_eq!(&fit, &twice);
        }
    }

    #[test]
    fn an_id_that_looks_packed_stays() {
        let signature = Signature::new(Provider::Google, "c2VhbA==");
        assert_eq!(packed("__ts", Some(&signature)), "__ts");
        assert_eq!(packed("a__ts_b", Some(&signature)), "a__ts_b");
    }

    #[test]
    fn an_id_without_a_signature_stays() {
        assert_eq!(packed("call_1", None), "call_1");
        assert_eq!(packed("call_1", Some(&Signature::new(Provider::Anthropic, "x"))), "call_1");
        assert_eq!(unpacked("call_1__ts_!"), ("call_1__ts_!", None));
        assert_eq!(fitted("toolu_01A-b"), "toolu_01A-b");
        assert_ne!(fitted("a:b"), fitted("a.b"));
    }
}

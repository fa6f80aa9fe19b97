//! The signature of a webhook, checked over the bytes as they came.
//!
//! `Stripe-Signature: t=<unix s>,v1=<hex>[,v1=…]`, where v1 is HMAC-SHA256 under the endpoint's secret
//! of `t`, a dot and the body. Two v1 stand there while a secret is rolled.
//! Source: <https://docs.stripe.com/webhooks#verify-manually>.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Seconds by which a signature's time may differ from ours.
pub const TOLERANCE_S: i64 = 300;

/// Signatures of one header that are looked at.
const SIGNATURES_MAX: usize = 8;

/// Why a webhook is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// There is no secret, so nothing can be believed.
    #[error("no signing secret is configured")]
    NoSecret,
    /// The header has no time or no signature that can be read.
    #[error("the signature header cannot be read")]
    Malformed,
    /// The time is too far from ours.
    #[error("the signature's time is more than {TOLERANCE_S} s from ours")]
    Stale,
    /// No signature fits the body.
    #[error("no signature fits the body")]
    Mismatch,
}

/// Checks that a body was signed with the secret not long before or after `now` (unix seconds).
///
/// # Errors
/// [`BadSignature`].
pub fn verify(body: &[u8], header: &str, secret: &str, now: i64) -> Result<(), BadSignature> {
    if secret.is_empty() {
        return Err(BadSignature::NoSecret);
    }
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let time = parts().find(|(name, _)| *name == "t").map(|(_, value)| value);
    let time = time.ok_or(BadSignature::Malformed)?;
    let signed_at: i64 = time.parse().map_err(|_| BadSignature::Malformed)?;
    let signatures: Vec<Vec<u8>> = parts()
        .filter(|(name, _)| *name == "v1")
        .take(SIGNATURES_MAX)
        .filter_map(|(_, value)| from_hex(value))
        .collect();
    if signatures.is_empty() {
        return Err(BadSignature::Malformed);
    }
    if now.abs_diff(signed_at) > TOLERANCE_S.unsigned_abs() {
        return Err(BadSignature::Stale);
    }
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return Err(BadSignature::NoSecret);
    };
    // The time as it was written, not as it was read: `+5` and `05` were signed as such.
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    // Compares in constant time.
    let fits = signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok());
    if fits { Ok(()) } else { Err(BadSignature::Mismatch) }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    let pairs = digits.chunks_exact(2);
    Some(pairs.filter_map(|pair| Some(pair.first()? << 4 | pair.last()?)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_test";
    const BODY: &[u8] = b"{\"id\":\"evt_1\"}";

    fn sign(body: &[u8], secret: &str, at: i64) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{at}.").as_bytes());
        mac.update(body);
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_signature_holds_for_its_body_its_secret_and_its_time() {
        let header = format!("t=1000,v1={}", sign(BODY, SECRET, 1000));
        for now in [700, 1000, 1300] {
            assert_eq!(verify(BODY, &header, SECRET, now), Ok(()));
        }
        for now in [699, 1301, i64::MIN, i64::MAX] {
            assert_eq!(verify(BODY, &header, SECRET, now), Err(BadSignature::Stale));
        }
        let mismatch = Err(BadSignature::Mismatch);
        assert_eq!(verify(b"{}", &header, SECRET, 1000), mismatch);
        assert_eq!(verify(BODY, &header, "whsec_other", 1000), mismatch);
        assert_eq!(verify(BODY, &header.replace("t=1000", "t=1001"), SECRET, 1000), mismatch);
        assert_eq!(verify(BODY, &header, "", 1000), Err(BadSignature::NoSecret));
    }

    #[test]
    fn either_of_two_signatures_is_enough_while_a_secret_is_rolled() {
        let (old, new) = (sign(BODY, "whsec_old", 5), sign(BODY, SECRET, 5));
        let header = format!("t=5,v1={old},v1={new},v0=00");
        assert_eq!(verify(BODY, &header, SECRET, 5), Ok(()));
        assert_eq!(verify(BODY, &header, "whsec_old", 5), Ok(()));
    }

    #[test]
    fn a_header_that_cannot_be_read_is_named() {
        let good = sign(BODY, SECRET, 5);
        for header in
            ["", "t=5", "v1=00", "t=5,v1=zz", "t=x,v1=00", &format!("t=5,v0={good}"), "t=5,v1=ä"]
        {
            let found = verify(BODY, header, SECRET, 5);
            assert_eq!(found, Err(BadSignature::Malformed), "{header}");
        }
    }
}

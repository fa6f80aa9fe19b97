//! The formats of keys: what they look like, how one is made, and how it is known without being
//! kept.

use sha2::{Digest, Sha256};

use crate::config::Secret;
use crate::random;

/// What a user key begins with; its bearer spends an account's credits.
pub const USER_KEY: &str = "oc_sk_";

/// What a partner's publishable key begins with; it is no secret.
pub const PUBLISHABLE_KEY: &str = "oc_pk_";

/// What a partner's secret key begins with; its bearer reads what the partner earned.
pub const PARTNER_SECRET: &str = "oc_rk_";

/// Hex digits of the random part, and of the checksum behind it.
const RANDOM_DIGITS: usize = 64;
const CHECKSUM_DIGITS: usize = 8;

/// A new key: the prefix, 256 random bits and a checksum over both.
///
/// # Errors
/// The system has no randomness to give.
pub fn generate(prefix: &str) -> Result<Secret, getrandom::Error> {
    let body = format!("{prefix}{}", hex(&random::bytes::<32>()?));
    let checksum = checksum(&body);
    Ok(Secret::new(body + &checksum))
}

/// Whether a text is as long as a key with this prefix, and begins with it.
#[must_use]
pub fn may_be_key(prefix: &str, text: &str) -> bool {
    text.len() == prefix.len() + RANDOM_DIGITS + CHECKSUM_DIGITS && text.starts_with(prefix)
}

/// Whether a text has the form of a key with this prefix, checksum included. What is not as long
/// as a key is refused unread.
#[must_use]
pub fn is_well_formed(prefix: &str, text: &str) -> bool {
    let parts = text.split_at_checked(prefix.len() + RANDOM_DIGITS);
    may_be_key(prefix, text) && parts.is_some_and(|(body, sum)| checksum(body) == sum)
}

/// The hash under which a key is kept.
#[must_use]
pub fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// What tells keys apart for people and helps nobody to guess one: the beginning of the hash.
#[must_use]
pub fn fingerprint(hash: &[u8; 32]) -> String {
    const SHOWN: usize = 12;
    hex(hash).chars().take(SHOWN).collect()
}

/// Bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn checksum(body: &str) -> String {
    hex(&hash(body)).chars().take(CHECKSUM_DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_well_formed_and_no_other_kind_of_key() {
        let key = generate(USER_KEY).unwrap();
        let key = key.expose();
        assert_eq!(key.len(), 78);
        assert!(is_well_formed(USER_KEY, key));
        assert!(!is_well_formed(PARTNER_SECRET, key));
        let renamed = key.replacen(USER_KEY, PARTNER_SECRET, 1);
        assert!(!is_well_formed(PARTNER_SECRET, &renamed));
        assert_ne!(key, generate(USER_KEY).unwrap().expose());
    }

    #[test]
    fn a_key_with_a_typing_error_is_refused_by_its_form() {
        let key = generate(USER_KEY).unwrap().expose().to_owned();
        let last = if key.ends_with('0') { "1" } else { "0" };
        let (cut, _) = key.split_at(key.len() - 1);
        let mut bad =
            vec![String::new(), cut.to_owned(), format!("{cut}{last}"), key.clone() + "0"];
        bad.extend([key.to_uppercase(), format!("{USER_KEY}{}", "ä".repeat(36))]);
        bad.push(format!("{USER_KEY}{}", "0".repeat(10_000)));
        for text in bad {
            assert!(!is_well_formed(USER_KEY, &text), "{text}");
        }
    }

    #[test]
    fn a_new_key_is_shown_to_nobody_by_debug() {
        let key = generate(PARTNER_SECRET).unwrap();
        assert!(!format!("{key:?}").contains("oc_rk_"));
        assert!(!key.expose().contains(&fingerprint(&hash(key.expose()))));
    }
}

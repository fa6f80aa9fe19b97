//! What a field of the operator's requests must be.

use http::uri::Scheme;
use opencredits_schema::{
    AccountId, Credits, KeyId, PartnerId, PriceBook, ReferralRate, Timestamp,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::config::{Origin, RateLimit};
use crate::dates;
use crate::error::ApiError;

/// Longest name, reason or reference, in characters.
const TEXT_MAX: usize = 500;

/// Longest list of models or origins.
const LIST_MAX: usize = 1000;

/// A number that is written as a JSON string or a JSON number; read from its digits, so that no
/// float comes near it.
#[derive(Clone, Debug)]
pub(super) struct Decimal(String);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let text = if text.starts_with('"') {
            serde_json::from_str(text).map_err(serde::de::Error::custom)?
        } else {
            text.to_owned()
        };
        Ok(Self(text))
    }
}

/// Reads a field that may be null, so that null and absent differ.
pub(super) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// 400 that names a field.
pub(super) fn bad(name: &'static str, what: &str) -> ApiError {
    ApiError::invalid_request(format!("`{name}` {what}.")).with_param(name)
}

pub(super) fn credits(name: &'static str, field: &Decimal) -> Result<Credits, ApiError> {
    let parsed = Credits::parse(&field.0);
    parsed.map_err(|_| bad(name, "is not an amount of credits with at most six decimals"))
}

pub(super) fn positive_credits(name: &'static str, field: &Decimal) -> Result<Credits, ApiError> {
    let amount = credits(name, field)?;
    if amount.is_positive() { Ok(amount) } else { Err(bad(name, "is not above zero")) }
}

pub(super) fn referral_rate(field: &Decimal) -> Result<ReferralRate, ApiError> {
    let rate = ReferralRate::parse(&field.0);
    rate.ok_or_else(|| bad("referral_rate", "is not a rate from 0 to 0.5 with four decimals"))
}

pub(super) fn rate_limit(name: &'static str, text: String) -> Result<String, ApiError> {
    let rate: RateLimit = text.parse().map_err(|error| bad(name, &format!("{error}")))?;
    Ok(rate.to_string())
}

/// A text for people that says something.
pub(super) fn text(name: &'static str, text: String) -> Result<String, ApiError> {
    let length = text.chars().count();
    if text.trim().is_empty() || length > TEXT_MAX || text.contains(char::is_control) {
        return Err(bad(name, "is not a line of 1 to 500 characters"));
    }
    Ok(text)
}

/// A mail address, in the one form under which its owner is known.
pub(super) fn email(text: &str) -> Result<String, ApiError> {
    const LENGTH_MAX: usize = 254;
    let text = text.trim().to_lowercase();
    let odd = |c: char| c.is_control() || c.is_whitespace();
    let parts = text.split_once('@').filter(|(user, host)| !user.is_empty() && !host.is_empty());
    if parts.is_none() || text.len() > LENGTH_MAX || text.contains(odd) {
        return Err(bad("email", "is not a mail address"));
    }
    Ok(text)
}

pub(super) fn moment(name: &'static str, field: &Decimal) -> Result<Timestamp, ApiError> {
    let what = "is neither seconds since 1970 nor a moment such as 2026-11-23T09:30:00Z";
    dates::parse(&field.0).ok_or_else(|| bad(name, what))
}

/// Patterns of models: `*`, `provider/…*`, or a model by one of its names, kept as its id.
pub(super) fn allowed_models(
    patterns: Vec<String>,
    book: &PriceBook,
) -> Result<Vec<String>, ApiError> {
    const NAME: &str = "allowed_models";
    if patterns.len() > LIST_MAX {
        return Err(bad(NAME, "has more than 1000 entries"));
    }
    let one = |pattern: String| match pattern.strip_suffix('*') {
        Some(prefix) => {
            let known = prefix.is_empty() || book.models().any(|m| m.id.starts_with(prefix));
            let is_prefix = prefix.is_empty() || prefix.contains('/');
            if known && is_prefix { Ok(pattern) } else { Err(pattern) }
        }
        None => book.model(&pattern).map(|model| model.id.to_string()).ok_or(pattern),
    };
    let all: Result<_, _> = patterns.into_iter().map(one).collect();
    all.map_err(|pattern| {
        let shown: String = pattern.chars().take(100).collect();
        bad(NAME, &format!("names no model: {shown:?}"))
    })
}

/// Origins as browsers send them: `scheme://host[:port]`, where `:*` stands for any port.
pub(super) fn allowed_origins(origins: &[String]) -> Result<Vec<String>, ApiError> {
    const NAME: &str = "allowed_origins";
    if origins.len() > LIST_MAX {
        return Err(bad(NAME, "has more than 1000 entries"));
    }
    let all: Option<_> = origins.iter().map(|text| origin(text)).collect();
    all.ok_or_else(|| bad(NAME, "holds what is no origin such as https://app.example"))
}

fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (exact, any_port) = match text.strip_suffix(":*") {
        Some(rest) => (rest, true),
        None => (text.as_str(), false),
    };
    let origin: Origin = exact.parse().ok().filter(|_| !exact.contains('*'))?;
    if any_port {
        let has_port = origin.authority().port().is_some();
        return (!has_port).then(|| format!("{origin}:*"));
    }
    // A browser leaves out the port that its scheme has anyway.
    let usual = if *origin.scheme() == Scheme::HTTPS { ":443" } else { ":80" };
    let shown = origin.to_string();
    Some(shown.strip_suffix(usual).map_or_else(|| shown.clone(), str::to_owned))
}

/// The partner that a path names.
pub(super) fn partner_id(text: &str) -> Result<PartnerId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found())
}

/// The account that a path names.
pub(super) fn account_id(text: &str) -> Result<AccountId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found())
}

/// The key that a path names.
pub(super) fn key_id(text: &str) -> Result<KeyId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_send_it() {
        for (given, kept) in [
            ("https://app.example", Some("https://app.example")),
            ("https://App.Example/", Some("https://app.example")),
            ("https://app.example:443", Some("https://app.example")),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("http://localhost:*", Some("http://localhost:*")),
            ("http://[::1]:*", Some("http://[::1]:*")),
            ("*", None),
            ("https://*", None),
            ("https://*.example", None),
            ("https://app.example:1:*", None),
            ("https://app.example/shop", None),
            ("app.example", None),
            ("null", None),
        ] {
            assert_eq!(origin(given).as_deref(), kept, "{given}");
        }
    }

    #[test]
    fn a_pattern_names_models_that_exist() {
        let book = PriceBook::built_in().unwrap();
        for (given, kept) in [
            ("*", Some("*")),
            ("openai/*", Some("openai/*")),
            ("anthropic/claude-opus*", Some("anthropic/claude-opus*")),
            ("anthropic/claude-opus-4.6", Some("anthropic/claude-opus-4-6")),
            ("gpt-4o", Some("openai/gpt-4o")),
            ("gpt-4o*", None),
            ("open*", None),
            ("opneai/*", None),
            ("openai/none", None),
            ("", None),
        ] {
            let result = allowed_models(vec![given.to_owned()], &book).ok();
            assert_eq!(result, kept.map(|kept| vec![kept.to_owned()]), "{given}");
        }
        let many = vec!["*".to_owned(); LIST_MAX + 1];
        assert!(allowed_models(many.clone(), &book).is_err());
        assert!(allowed_origins(&many).is_err());
    }

    #[test]
    fn an_amount_is_a_string_or_a_number_and_never_a_float() {
        for (json, micro) in [
            ("\"12.5\"", Some(12_500_000)),
            ("0.1", Some(100_000)),
            ("9007199254740.993", Some(9_007_199_254_740_993_000)),
            ("1e3", None),
            ("\"\"", None),
            ("null", None),
            ("[1]", None),
        ] {
            let field: Decimal = serde_json::from_str(json).unwrap();
            let micro = micro.filter(|micro| *micro <= Credits::MAX.micro());
            assert_eq!(credits("credits", &field).ok().map(Credits::micro), micro, "{json}");
        }
    }

    #[test]
    fn a_mail_address_has_one_form() {
        assert_eq!(email(" Ann@Example.com ").ok().as_deref(), Some("ann@example.com"));
        for bad in ["", "ann", "@b", "a@", "a b@c", &format!("{}@b", "a".repeat(300))] {
            assert!(email(bad).is_err(), "{bad}");
        }
    }
}

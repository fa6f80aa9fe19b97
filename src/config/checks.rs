//! What a single value must be, beyond its kind.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;

use http::Uri;
use http::uri::Scheme;
use ipnet::IpNet;
use opencredits_schema::Credits;

use super::values::{BadValue, Origin, Secret, size};

pub(super) fn address(text: &str) -> Result<SocketAddr, BadValue> {
    text.parse().map_err(|_| BadValue("is not an address such as 127.0.0.1:8080"))
}

pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, BadValue> {
    let one = |text: &str| {
        let text = text.trim();
        text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
    };
    let all: Result<Vec<_>, _> = text.split(',').map(one).collect();
    all.map_err(|_| BadValue("is not a list of networks such as 10.0.0.0/8,192.168.1.7"))
}

pub(super) fn secret(text: &str) -> Result<Secret, BadValue> {
    Ok(Secret::new(text))
}

pub(super) fn token(text: &str) -> Result<Secret, BadValue> {
    if text.len() < 32 { Err(BadValue("is shorter than 32 bytes")) } else { Ok(Secret::new(text)) }
}

/// A provider key goes into a header; what cannot stand there is refused at the start.
pub(super) fn provider_key(text: &str) -> Result<Secret, BadValue> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(text))
    } else {
        Err(BadValue("holds a space or a character that no key has"))
    }
}

pub(super) fn provider_origin(text: &str) -> Result<Origin, BadValue> {
    let origin: Origin = text.parse()?;
    if *origin.scheme() == Scheme::HTTP && !origin.is_loopback() {
        return Err(BadValue("sends the provider key over plain http to another machine"));
    }
    Ok(origin)
}

pub(super) fn stripe_secret_key(text: &str) -> Result<Secret, BadValue> {
    let known = ["sk_test_", "sk_live_", "rk_test_", "rk_live_"];
    if known.iter().any(|prefix| text.starts_with(prefix)) {
        provider_key(text)
    } else {
        Err(BadValue("is not a Stripe secret key (sk_test_… or sk_live_…)"))
    }
}

pub(super) fn stripe_publishable_key(text: &str) -> Result<String, BadValue> {
    if text.starts_with("pk_test_") || text.starts_with("pk_live_") {
        Ok(text.to_owned())
    } else {
        Err(BadValue("is not a Stripe publishable key (pk_test_… or pk_live_…)"))
    }
}

pub(super) fn web_address(text: &str) -> Result<String, BadValue> {
    let uri: Option<Uri> = text.parse().ok();
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    if matches!(scheme, Some("http" | "https")) {
        Ok(text.to_owned())
    } else {
        Err(BadValue("is not an http address"))
    }
}

pub(super) fn smtp_address(text: &str) -> Result<Secret, BadValue> {
    let host = text.strip_prefix("smtp://").or_else(|| text.strip_prefix("smtps://"));
    if host.is_some_and(|host| !host.is_empty()) {
        Ok(Secret::new(text))
    } else {
        Err(BadValue("is neither smtp://HOST nor smtps://HOST"))
    }
}

pub(super) fn mailbox(text: &str) -> Result<String, BadValue> {
    if text.contains('@') && !text.contains(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(BadValue("is not a mail address"))
    }
}

pub(super) fn switch(text: &str) -> Result<bool, BadValue> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(BadValue("is neither 1 nor 0")),
    }
}

pub(super) fn exchange_rate(text: &str) -> Result<Credits, BadValue> {
    const BAD: BadValue = BadValue("is not a number of credits above zero, such as 1.08");
    Credits::parse(text).ok().filter(|rate| rate.is_positive()).ok_or(BAD)
}

/// Dollars or euros, with at most two decimals, as cents.
pub(super) fn order_cents(text: &str) -> Result<u32, BadValue> {
    const BAD: BadValue = BadValue("is not an amount above zero, such as 5 or 0.50");
    let (whole, cents) = text.split_once('.').unwrap_or((text, "00"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(cents) || cents.len() != 2 {
        return Err(BAD);
    }
    format!("{whole}{cents}").parse().ok().filter(|cents| *cents != 0).ok_or(BAD)
}

pub(super) fn count(text: &str) -> Result<usize, BadValue> {
    text.parse().map_err(|_| BadValue("is not a whole number"))
}

pub(super) fn positive(text: &str) -> Result<usize, BadValue> {
    // Half of what a semaphore can count, so that no limit can make one panic.
    const MOST: usize = usize::MAX >> 4;
    let number: Result<NonZeroUsize, _> = text.parse();
    let number = number.map_err(|_| BadValue("is not a whole number above zero"))?.get();
    if number > MOST { Err(BadValue("is too large")) } else { Ok(number) }
}

pub(super) fn workers(text: &str) -> Result<NonZeroUsize, BadValue> {
    const MOST: usize = 1024;
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= MOST);
    number.ok_or(BadValue("is not a whole number from 1 to 1024"))
}

/// As many workers as the machine, or the container, has cores.
pub(super) fn one_a_core() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

pub(super) fn positive_size(text: &str) -> Result<usize, BadValue> {
    let bytes = size(text)?;
    if bytes == 0 { Err(BadValue("is zero")) } else { Ok(bytes) }
}

pub(super) fn log_filter(text: &str) -> Result<String, BadValue> {
    let filter = tracing_subscriber::EnvFilter::try_new(text);
    filter.map(|_| text.to_owned()).map_err(|_| BadValue("is not a tracing filter"))
}

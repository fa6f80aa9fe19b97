//! The kinds of values that settings hold, each with its one text form.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// What is wrong with a text; reads after the setting's name and value: `is not a duration…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(pub &'static str);

/// A text that is shown to nobody: neither `Debug` nor an error tells it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// So many things in so much time: `600/min`, `5/s`, `20/h`, `3/10min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// How many.
    pub count: NonZeroU32,
    /// In how long.
    pub per: Duration,
}

impl RateLimit {
    /// How many may come at once: a tenth of the count, at least 1.
    #[must_use]
    pub fn burst(self) -> NonZeroU32 {
        NonZeroU32::new(self.count.get() / 10).unwrap_or(NonZeroU32::MIN)
    }
}

impl FromStr for RateLimit {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const BAD: BadValue = BadValue("is not a rate such as 600/min, 5/s or 3/10min");
        let (count, per) = text.split_once('/').ok_or(BAD)?;
        let count = count.parse().map_err(|_| BAD)?;
        let starts_with_digit = per.starts_with(|first: char| first.is_ascii_digit());
        let per = if starts_with_digit { duration(per) } else { duration(&format!("1{per}")) };
        let per = per.map_err(|_| BAD)?;
        // More than one in a nanosecond has no meaning to the limiter.
        let interval = per.checked_div(NonZeroU32::get(count)).unwrap_or_default();
        if interval.is_zero() { Err(BAD) } else { Ok(Self { count, per }) }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = show_duration(self.per);
        let one =
            per.strip_prefix('1').filter(|unit| unit.starts_with(|c: char| c.is_alphabetic()));
        write!(f, "{}/{}", self.count, one.unwrap_or(&per))
    }
}

/// Scheme, host and port of a server, without any path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
}

impl Origin {
    /// `http` or `https`.
    #[must_use]
    pub const fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Host and, where given, port.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Its root.
    #[must_use]
    pub fn uri(&self) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        // What was parsed as one is one.
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// Whether the host is this very machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

impl FromStr for Origin {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const BAD: BadValue = BadValue("is not an origin such as https://api.example.com");
        let uri: Uri = text.parse().map_err(|_| BAD)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(BadValue("has a path: only scheme, host and port are wanted"));
        }
        let parts = uri.into_parts();
        let scheme = parts.scheme.ok_or(BAD)?;
        let authority = parts.authority.ok_or(BAD)?;
        let is_web = scheme == Scheme::HTTP || scheme == Scheme::HTTPS;
        let is_plain = !authority.as_str().contains('@') && !authority.host().is_empty();
        if is_web && is_plain { Ok(Self { scheme, authority }) } else { Err(BAD) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// Where the ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// One file, embedded.
    Sqlite(PathBuf),
    /// A ScyllaDB or Cassandra cluster.
    Scylla {
        /// `HOST:PORT` of the nodes to ask first.
        nodes: Vec<String>,
        /// The keyspace that holds the tables.
        keyspace: String,
    },
}

impl FromStr for StoreConfig {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const BAD: BadValue =
            BadValue("is neither sqlite:PATH nor scylla:HOST:PORT[,HOST:PORT…]/KEYSPACE");
        if let Some(path) = text.strip_prefix("sqlite:") {
            return if path.is_empty() { Err(BAD) } else { Ok(Self::Sqlite(path.into())) };
        }
        let rest = text.strip_prefix("scylla:").ok_or(BAD)?;
        let (nodes, keyspace) = rest.split_once('/').ok_or(BAD)?;
        let nodes: Result<Vec<_>, _> = nodes.split(',').map(host_and_port).collect();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if keyspace.is_empty() || !keyspace.chars().all(is_name) {
            return Err(BAD);
        }
        Ok(Self::Scylla { nodes: nodes.map_err(|_| BAD)?, keyspace: keyspace.to_owned() })
    }
}

/// What to do upstream when the client goes away before its answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnClientGone {
    /// Cancel where the usage is known or can be counted, drain where it cannot.
    Auto,
    /// Always cancel.
    Cancel,
    /// Always read the answer to its end, within bounds.
    Drain,
}

impl FromStr for OnClientGone {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "auto" => Ok(Self::Auto),
            "cancel" => Ok(Self::Cancel),
            "drain" => Ok(Self::Drain),
            _ => Err(BadValue("is none of auto, cancel, drain")),
        }
    }
}

/// Reads a span of time: a whole number and `ms`, `s`, `min`, `h` or `d`.
///
/// # Errors
/// A text of another form, or a span that does not fit.
pub fn duration(text: &str) -> Result<Duration, BadValue> {
    const BAD: BadValue = BadValue("is not a duration such as 75s, 10min or 500ms");
    let (number, unit) = number_and_unit(text).ok_or(BAD)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return Err(BAD),
    };
    // A hundred years: far enough for all, near enough for every timer.
    let longest = 100 * 365 * 24 * 3_600_000;
    let millis = number.checked_mul(factor).filter(|millis| *millis <= longest).ok_or(BAD)?;
    Ok(Duration::from_millis(millis))
}

/// Reads a span of time that is not zero.
///
/// # Errors
/// As [`duration`], and zero.
pub fn positive_duration(text: &str) -> Result<Duration, BadValue> {
    let span = duration(text)?;
    if span.is_zero() { Err(BadValue("is zero")) } else { Ok(span) }
}

/// Reads a number of bytes: a whole number and, unless it counts bytes, `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// A text of another form, or a size that does not fit.
pub fn size(text: &str) -> Result<usize, BadValue> {
    const BAD: BadValue = BadValue("is not a size such as 32MiB or 64KiB");
    let (number, unit) = number_and_unit(text).ok_or(BAD)?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(BAD),
    };
    let bytes = number.checked_mul(1 << shift).ok_or(BAD)?;
    usize::try_from(bytes).map_err(|_| BAD)
}

/// Reads `HOST:PORT`.
///
/// # Errors
/// A text without host or without a port from 1 to 65535.
pub fn host_and_port(text: &str) -> Result<String, BadValue> {
    const BAD: BadValue = BadValue("is not HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or(BAD)?;
    let port: u16 = port.parse().map_err(|_| BAD)?;
    let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
    if is_host && port != 0 { Ok(text.to_owned()) } else { Err(BAD) }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

/// The shortest text that [`duration`] reads back.
fn show_duration(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [(3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let whole = units.iter().find(|(factor, _)| millis != 0 && millis.is_multiple_of(*factor));
    whole.map_or_else(
        || format!("{millis}ms"),
        |(factor, unit)| format!("{}{unit}", millis / factor),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        assert_eq!(duration("75s"), Ok(Duration::from_secs(75)));
        assert_eq!(duration("10min"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "75", "s", "-1s", "1.5s", "1 s", "99999999999999999999s", "9999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn a_size_is_a_whole_number_and_a_binary_unit() {
        assert_eq!(size("32MiB"), Ok(32 << 20));
        assert_eq!(size("64KiB"), Ok(64 << 10));
        assert_eq!(size("0"), Ok(0));
        for bad in ["", "MiB", "32MB", "32 MiB", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_reads_what_it_shows() {
        for text in ["600/min", "5/s", "20/h", "3/10min", "1/500ms"] {
            assert_eq!(text.parse::<RateLimit>().map(|rate| rate.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "600", "0/min", "/min", "5/", "5/0s", "5/day", "-5/s", "4000000000/s"] {
            assert!(bad.parse::<RateLimit>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_burst_is_a_tenth_and_at_least_one() {
        let burst = |text: &str| text.parse().map(|rate: RateLimit| rate.burst().get());
        assert_eq!(burst("600/min"), Ok(60));
        assert_eq!(burst("5/s"), Ok(1));
    }

    #[test]
    fn an_origin_has_no_path() {
        let origin: Origin = "https://api.openai.com/".parse().unwrap();
        assert_eq!(origin.to_string(), "https://api.openai.com");
        for bad in ["api.openai.com", "https://a/v1", "ftp://a", "https://u:p@a", "", "https://a?x"]
        {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
        for (text, loopback) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn a_store_is_a_file_or_a_cluster() {
        assert_eq!("sqlite:a.db".parse(), Ok(StoreConfig::Sqlite("a.db".into())));
        let nodes = vec!["a:9042".to_owned(), "b:9042".to_owned()];
        let cluster = StoreConfig::Scylla { nodes, keyspace: "credits".to_owned() };
        assert_eq!("scylla:a:9042,b:9042/credits".parse(), Ok(cluster));
        for bad in ["", "sqlite:", "postgres:x", "scylla:a:9042", "scylla:a/b", "scylla:a:1/b;c"] {
            assert!(bad.parse::<StoreConfig>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_shown_to_nobody() {
        assert!(!format!("{:?}", Secret::new("swordfish")).contains("swordfish"));
    }
}

//! Where requests go, and with which keys.

use std::net::{SocketAddr, ToSocketAddrs};

use serde::{Deserialize, Serialize};

/// A server by its plain HTTP address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Host and port, as in the `host` header.
    pub host: String,
    /// What comes before `/v1/…` in a path; mostly nothing.
    pub prefix: String,
    /// The address that the host has.
    pub address: SocketAddr,
}

/// Who sends: a key and, where it is known, its account at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The account's id; empty where only the key is known.
    pub account: String,
    /// The key.
    pub key: String,
}

/// An address that cannot be a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not `http://HOST…`.
    #[error(
        "{0} is not http://HOST[:PORT][/PREFIX]; put a proxy without TLS before a server with it"
    )]
    NotHttp(String),
    /// The host has no address.
    #[error("{0} has no address: {1}")]
    Unresolved(String, std::io::Error),
}

impl Target {
    /// Reads `http://HOST[:PORT][/PREFIX]`, with or without `/v1` at its end.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let rest = url.strip_prefix("http://").filter(|rest| !rest.is_empty());
        let rest = rest.ok_or_else(|| TargetError::NotHttp(url.to_owned()))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix("v1").map_or(path, |path| path.trim_end_matches('/'));
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let named = if has_port { host.to_owned() } else { format!("{host}:80") };
        let unresolved = |error| TargetError::Unresolved(host.to_owned(), error);
        let mut found = named.to_socket_addrs().map_err(unresolved)?;
        let none = || unresolved(std::io::Error::other("the name has no address"));
        let address = found.next().ok_or_else(none)?;
        Ok(Self { host: host.to_owned(), prefix, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_as_people_write_base_urls() {
        let of = |url| {
            let target = Target::parse(url).unwrap();
            (target.address.to_string(), target.prefix)
        };
        let at = |prefix: &str| ("127.0.0.1:81".to_owned(), prefix.to_owned());
        assert_eq!(of("http://127.0.0.1:81"), at(""));
        assert_eq!(of("http://127.0.0.1:81/"), at(""));
        assert_eq!(of("http://127.0.0.1:81/v1"), at(""));
        assert_eq!(of("http://127.0.0.1:81/openai/v1/"), at("/openai"));
        assert_eq!(of("http://127.0.0.1").0, "127.0.0.1:80");
        for bad in ["https://127.0.0.1", "127.0.0.1:80", "http://"] {
            let told = Target::parse(bad).unwrap_err().to_string();
            assert!(told.contains("is not http://"), "{told}");
        }
    }
}

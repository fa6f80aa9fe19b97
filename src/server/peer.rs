//! Who sent a request: the connection's other end, or whom a trusted proxy names.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The address that a request comes from, as an extension of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub IpAddr);

/// Walks from the connection's other end to the left as long as trusted proxies vouch; what stands
/// further left was written by whoever liked to.
pub(super) fn resolve(connected: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let trusted = |address: &IpAddr| proxies.iter().any(|network| network.contains(address));
    let mut peer = connected;
    if !trusted(&peer) {
        return peer;
    }
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        let Ok(text) = value.to_str() else { return peer };
        for hop in text.rsplit(',') {
            let Some(address) = parse(hop.trim()) else { return peer };
            peer = address;
            if !trusted(&peer) {
                return peer;
            }
        }
    }
    peer
}

/// An address, with or without the port that some proxies add.
fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok().or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(connected: &str, forwarded: &[&str], expected: &str) {
        let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let peer = resolve(connected.parse().unwrap(), &headers, &proxies);
        assert_eq!(peer.to_string(), expected, "{connected} {forwarded:?}");
    }

    #[test]
    fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
        check("9.9.9.9", &["1.1.1.1"], "9.9.9.9");
        check("10.0.0.1", &["1.1.1.1"], "1.1.1.1");
        check("::1", &["1.1.1.1:4711"], "1.1.1.1");
        check("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1");
        check("10.0.0.1", &[], "10.0.0.1");
    }

    #[test]
    fn the_rightmost_untrusted_address_counts() {
        check("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1");
        check("10.0.0.1", &["6.6.6.6", "1.1.1.1", "10.0.0.2"], "1.1.1.1");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.1", &["6.6.6.6, nonsense, 10.0.0.2"], "10.0.0.2");
    }
}

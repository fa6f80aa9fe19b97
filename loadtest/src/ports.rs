//! Addresses for servers that are told before they listen, or that listen again after an end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports below those that Linux gives to outgoing connections (32768 and up), so that none of these
/// takes the address while nobody listens there.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// How far the next search begins from this process's own first port.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address of this machine at which nobody listens. A process is given each but once.
///
/// # Errors
/// When a hundred in a row are taken.
pub fn free_address() -> io::Result<SocketAddr> {
    let mut last = None;
    for _ in 0..100 {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, next_port())) {
            Ok(listener) => return listener.local_addr(),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// Processes begin far from each other: their numbers follow each other.
fn next_port() -> u16 {
    let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let at = std::process::id().wrapping_mul(211).wrapping_add(step) % u32::from(COUNT);
    FIRST.saturating_add(u16::try_from(at).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn whoever_has_not_bound_it_yet_keeps_an_address() {
        let given: BTreeSet<_> = (0..200).map(|_| free_address().unwrap()).collect();
        assert_eq!(given.len(), 200);
        assert!(given.iter().all(|address| (FIRST..FIRST + COUNT).contains(&address.port())));
    }
}

//! Addresses that somebody is to listen on later, or again.
//!
//! Owns the choice. A port of 127.0.0.1 that is free now may be anybody's a moment later: whoever
//! connects from there is given one. So each process has an address of 127.0.0.0/8 for itself, from
//! which nobody connects.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// An address on loopback that is free, and that nobody else is given.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_address() -> SocketAddr {
    // Numbers of processes have 22 bits.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 0x80 | high, middle, low);
    let bound = TcpListener::bind((host, 0)).and_then(|listener| listener.local_addr());
    bound.expect("a free port")
}

//! Addresses that somebody is to listen on later, or again.
//!
//! Owns the choice. A port of 127.0.0.1 that is free now may be anybody's a moment later: whoever
//! connects from there is given one. So each process has an address of 127.0.0.0/8 for itself, from
//! which nobody connects.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
};

/// An address on loopback that is free, and that nobody else is given.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_address() -> SocketAddr {
    // Numbers of processes have 22 bits.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 0x80 | high, middle, low);
    let free = || TcpListener::bind((host, 0)).and_then(|listener| listener.local_addr());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let address = free().expect("a free port");
        if given.insert(address.port()) {
            return address;
        }
    }
}

/// Ports that somebody was given, who may not listen yet.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

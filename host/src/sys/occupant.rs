//! Who has an address that this process wants.
//!
//! Owns the reading of the kernel's tables of sockets. Knows nothing of listeners of ours. What it
//! cannot see (another account's process, no `/proc`) it does not guess. Source: proc_net(5),
//! proc_pid_fd(5), unix(7).
#![expect(
    unsafe_code,
    reason = "a peer outside of this PID namespace has a number that rustix forbids"
)]

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd as _},
};

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Its number.
    pub pid: u32,
    /// What the kernel calls it; empty where that is not known.
    pub name: String,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.name {
            "" => write!(f, "the process {}", self.pid),
            name => write!(f, "`{name}` (pid {})", self.pid),
        }
    }
}

impl Occupant {
    /// The process with that number.
    #[must_use]
    pub fn named(pid: u32) -> Self {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // Whatever it calls itself moves no terminal's cursor.
        let name = name.chars().filter(|it| !it.is_control()).collect();
        Self { pid, name }
    }
}

/// Who keeps others from listening on a TCP address.
#[must_use]
pub fn of_tcp(wanted: SocketAddr) -> Option<Occupant> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let entries: Vec<_> =
        tables.iter().flatten().flat_map(|table| table.lines()).filter_map(Entry::read).collect();
    let of =
        |listens: bool| entries.iter().find(|it| it.listens == listens && it.clashes_with(wanted));
    holder(of(true).or_else(|| of(false))?.inode)
}

/// Who listens at the other end of a connected Unix socket.
#[must_use]
pub fn of_peer(socket: impl AsFd) -> Option<Occupant> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = libc::socklen_t::try_from(size_of_val(&peer)).ok()?;
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: room for the answer, and its size.
    let rc = unsafe {
        libc::getsockopt(
            number,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut size,
        )
    };
    // 0 is a process outside of this PID namespace.
    let pid = u32::try_from(peer.pid).ok().filter(|pid| rc == 0 && *pid != 0)?;
    Some(Occupant::named(pid))
}

/// A line of a table.
#[derive(Debug)]
struct Entry {
    address: SocketAddr,
    listens: bool,
    inode: u64,
}

/// Source: `include/net/tcp_states.h`.
const TCP_LISTEN: &str = "0A";

impl Entry {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let address = address_of(words.nth(1)?)?;
        let state = words.nth(1)?;
        let inode = words.nth(5)?.parse().ok()?;
        Some(Self { address, listens: state == TCP_LISTEN, inode })
    }

    fn clashes_with(&self, wanted: SocketAddr) -> bool {
        let (one, other) = (self.address.ip().to_canonical(), wanted.ip().to_canonical());
        let everywhere = one.is_unspecified() || other.is_unspecified();
        // A listener of `[::]` has the addresses of IPv4 as well, unless it has said otherwise.
        let spans = one.is_unspecified() && one.is_ipv6();
        let alike = one == other || everywhere && (one.is_ipv4() == other.is_ipv4() || spans);
        // An inode of 0 is a connection that no process has any more.
        self.address.port() == wanted.port() && self.inode != 0 && alike
    }
}

/// `0100007F:1F90`: words of 32 bits in the order of this machine, then the port.
fn address_of(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = address.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The process with the lowest number that has the socket open: of a server and its workers, the
/// server.
fn holder(inode: u64) -> Option<Occupant> {
    let wanted = format!("socket:[{inode}]");
    let numbers = fs::read_dir("/proc").ok()?.flatten();
    let mut pids: Vec<u32> =
        numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    let has_it = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| target.as_os_str() == wanted.as_str())
    };
    pids.into_iter().find(has_it).map(Occupant::named)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_found_by_its_address_and_by_a_wider_one() {
        for bound in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(bound).unwrap();
            let port = listener.local_addr().unwrap().port();
            for wanted in ["127.0.0.1", "0.0.0.0"] {
                let found = of_tcp(format!("{wanted}:{port}").parse().unwrap());
                assert_eq!(found.map(|it| it.pid), Some(std::process::id()), "{bound} {wanted}");
            }
            drop(listener);
            assert_eq!(of_tcp(format!("127.0.0.1:{port}").parse().unwrap()), None);
        }
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        if cfg!(target_endian = "little") {
            assert_eq!(address_of("0100007F:1F90"), "127.0.0.1:8080".parse().ok());
            let six = "00000000000000000000000001000000:0050";
            assert_eq!(address_of(six), "[::1]:80".parse().ok());
        }
        assert_eq!(address_of("local_address"), None);
    }
}

//! Keeps a listening socket from beginning new connections, without closing it.
//!
//! Owns one classic BPF program, and another way where the kernel takes none (a sandbox, no memory left
//! to compile it in). Why it is needed: closing a listener resets the connections that
//! wait in its queue with their handshake done; a client takes that for a failed request. With the
//! first packets of new handshakes dropped, the queue can be emptied before the close; a dropped
//! packet is sent again about a second later, and is then refused, which every client may retry.
#![expect(unsafe_code, reason = "SO_ATTACH_FILTER has no safe wrapper")]

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd as _},
};

/// Where the flags are in a TCP header, at which the filter of a TCP socket begins to read, over
/// IPv4 as over IPv6. Source: RFC 9293, 3.1; `tcp_filter` in the kernel's `tcp_ipv4.c`.
const FLAGS_AT: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// Instructions are not written by `libc`'s names, which are of C's widths. Source: socket filter
/// documentation of the kernel (`networking/filter.rst`).
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const fn step(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

/// Drops what is SYN and not ACK; lets everything else pass whole.
static PROGRAM: [libc::sock_filter; 5] = [
    step(LOAD_BYTE, FLAGS_AT),
    step(AND, SYN | ACK),
    libc::sock_filter { code: JUMP_EQUAL, jt: 0, jf: 1, k: SYN },
    step(RETURN, 0),
    step(RETURN, u32::MAX),
];

/// From now on `listener`, a listening TCP socket, begins no new handshake; those under way end
/// well, and what is in its queue can be accepted. Holds for every copy of the socket, for good.
///
/// # Errors
/// The system's own; then nothing has changed.
pub fn refuse_new(listener: impl AsFd) -> io::Result<()> {
    drop_new(&listener).or_else(|error| turn_away(&listener).map_err(|_| error))
}

/// By a filter: whoever comes is not answered.
fn drop_new(listener: impl AsFd) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(PROGRAM.len()).expect("it is short"),
        filter: PROGRAM.as_ptr().cast_mut(),
    };
    let len = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).expect("it is small");
    // SAFETY: the descriptor is open for the length of the borrow; `program` and what it points to
    // outlive the call, which copies both and writes neither.
    let done = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            len,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// By a place where no packet comes from: whoever comes is refused at once. What has begun keeps the
/// place that it came to. An account without rights cannot undo it. Source: `sock_bindtoindex_locked`
/// and `compute_score` in the kernel, which asks for no such interface; since Linux 5.1.
pub(crate) fn turn_away(listener: impl AsFd) -> io::Result<()> {
    set_interface(listener, NOWHERE)
}

/// The number of an interface that no machine has.
const NOWHERE: libc::c_int = libc::c_int::MAX;

/// Source: `asm-generic/socket.h`.
const SO_BINDTOIFINDEX: libc::c_int = 62;

fn set_interface(listener: impl AsFd, index: libc::c_int) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("it is small");
    // SAFETY: the descriptor is open for the length of the borrow; the option's value is only read.
    let done = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_BINDTOIFINDEX,
            (&raw const index).cast(),
            len,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// 0: any.
fn interface(listener: impl AsFd) -> libc::c_int {
    let mut index: libc::c_int = 0;
    let mut len = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("it is small");
    // SAFETY: the descriptor is open for the length of the borrow; at most `len` bytes are written.
    let done = unsafe {
        libc::getsockopt(
            listener.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_BINDTOIFINDEX,
            (&raw mut index).cast(),
            &raw mut len,
        )
    };
    if done == 0 { index } else { 0 }
}

/// Undoes [`refuse_new`]; without a filter nothing is done.
///
/// # Errors
/// The system's own.
pub fn accept_new(listener: impl AsFd) -> io::Result<()> {
    if interface(&listener) == NOWHERE {
        set_interface(&listener, 0)?;
    }
    let unused: libc::c_int = 0;
    let len = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("it is small");
    // SAFETY: the descriptor is open for the length of the borrow; the option's value is only read.
    let done = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DETACH_FILTER,
            (&raw const unused).cast(),
            len,
        )
    };
    match io::Error::last_os_error() {
        _ if done == 0 => Ok(()),
        // There is none.
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpListener, TcpStream},
        time::Duration,
    };

    use super::*;

    type Way = fn(&TcpListener) -> io::Result<()>;
    const DROPS: (Way, io::ErrorKind) = (|it| drop_new(it), io::ErrorKind::TimedOut);
    const REFUSES: (Way, io::ErrorKind) = (|it| turn_away(it), io::ErrorKind::ConnectionRefused);

    /// What was connected before can be accepted and used; what comes after is not.
    #[track_caller]
    fn check(address: &str, (refuse, refused): (Way, io::ErrorKind)) {
        let Ok(listener) = TcpListener::bind(address) else {
            // A machine without IPv6.
            assert!(address.starts_with('['));
            return;
        };
        let address: SocketAddr = listener.local_addr().unwrap();
        let mut before = TcpStream::connect(address).unwrap();
        refuse(&listener).unwrap();
        // Bounds a wait for nothing: the kernel sends the first packet again after a second.
        let after = TcpStream::connect_timeout(&address, Duration::from_millis(200));
        assert_eq!(after.unwrap_err().kind(), refused);
        let (mut accepted, _) = listener.accept().unwrap();
        drop(listener);
        before.write_all(b"ping").unwrap();
        let mut ping = [0; 4];
        accepted.read_exact(&mut ping).unwrap();
        accepted.write_all(&ping).unwrap();
        before.read_exact(&mut ping).unwrap();
        assert_eq!(&ping, b"ping");
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn handshakes_that_are_done_stay_good() {
        check("127.0.0.1:0", DROPS);
        check("127.0.0.1:0", REFUSES);
    }

    #[test]
    fn so_they_do_over_ipv6() {
        check("[::1]:0", DROPS);
        check("[::1]:0", REFUSES);
    }

    #[test]
    fn a_listener_is_opened_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        turn_away(&listener).unwrap();
        TcpStream::connect(address).unwrap_err();
        // Takes a right that not every account has.
        if accept_new(&listener).is_ok() {
            TcpStream::connect(address).unwrap();
        }
    }
}

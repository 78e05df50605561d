//! Connections on their way to and from other processes, without a byte lost and unseen by their
//! clients.
//!
//! Owns the form of a datagram: one connection each, with its socket as the descriptor. Knows
//! nothing of when a connection may go (see `connection`).
//!
//! # Shape
//! One byte [`FORM`], one byte length of the peer's name, that name, and then what was read from
//! the connection and belongs to a request that was not begun. The two ends may be of different
//! versions: another form gets another first byte.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use bytes::Bytes;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, sockopt},
};
use tokio::io::unix::AsyncFd;

use super::{
    conn::Conn,
    socket::{Accepted, Unregistered},
};
use crate::sys;

/// The first byte of the only form there is.
const FORM: u8 = 1;

/// Units: bytes of a datagram, at most. Above the largest usual head; well below what a socket's
/// buffer takes (`net.core.wmem_default` is 212,992).
pub(super) const DATAGRAM_BYTES_MAX: usize = 128 << 10;

/// How long the other process may take no connection at all before we keep ours.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two tries when too many descriptors are on their way for this user.
const PAUSE: Duration = Duration::from_millis(5);

/// The way to the process that takes this one's connections over.
#[derive(Debug)]
pub(super) struct Successor(AsyncFd<OwnedFd>);

impl Successor {
    /// Call it on the thread that is to use it.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self(sys::readiness::writable(socket)?))
    }

    async fn send(&self, parts: &[IoSlice<'_>], descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let mut tries = PATIENCE.as_millis() / PAUSE.as_millis();
        loop {
            let ready = tokio::time::timeout(PATIENCE, self.0.writable()).await;
            let mut ready = ready.map_err(|_| io::ErrorKind::TimedOut)??;
            match sys::passing::send(self.0.get_ref(), parts, descriptor) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM) if tries > 0 => {
                    tries -= 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Hands a connection over, with what was `read` from it. False: it stays here.
pub(super) async fn pass_on(
    successor: &Successor,
    conn: &Conn,
    socket: BorrowedFd<'_>,
    read: &Bytes,
) -> bool {
    let peer = conn.peer.as_str().as_bytes();
    let Ok(peer_len) = u8::try_from(peer.len()) else { return false };
    if 2 + peer.len() + read.len() > DATAGRAM_BYTES_MAX {
        return false;
    }
    let head = [FORM, peer_len];
    let parts = [IoSlice::new(&head), IoSlice::new(peer), IoSlice::new(read)];
    match successor.send(&parts, socket).await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, peer = conn.peer.as_str(), "a connection could not be handed over");
            false
        }
    }
}

/// Hands over a connection that nobody has served yet, at once or not at all.
///
/// # Errors
/// As of the system; it is still here.
pub(super) fn send(successor: &OwnedFd, accepted: &Accepted) -> io::Result<()> {
    let Accepted { socket, peer, prefix } = accepted;
    let peer_len = u8::try_from(peer.len()).map_err(io::Error::other)?;
    let head = [FORM, peer_len];
    let parts = [IoSlice::new(&head), IoSlice::new(peer.as_bytes()), IoSlice::new(prefix)];
    let (Unregistered::Tcp(socket) | Unregistered::Unix(socket)) = socket;
    Ok(sys::passing::send(successor, &parts, socket.as_fd())?)
}

/// The connection in a datagram, if it is one.
pub(super) fn restore(socket: OwnedFd, datagram: &[u8]) -> Option<Accepted> {
    let [FORM, len, rest @ ..] = datagram else { return None };
    let (peer, read) = rest.split_at_checked(usize::from(*len))?;
    let peer = std::str::from_utf8(peer).ok()?;
    adopt(socket, peer, Bytes::copy_from_slice(read)).ok()
}

/// A connected stream socket from elsewhere, as if it had been accepted here.
///
/// # Errors
/// It is something else.
pub(super) fn adopt(socket: OwnedFd, peer: &str, prefix: Bytes) -> io::Result<Accepted> {
    if sockopt::socket_type(&socket)? != SocketType::STREAM || sockopt::socket_acceptconn(&socket)?
    {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no stream socket"));
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    let socket = match sockopt::socket_domain(socket.as_fd())? {
        AddressFamily::INET | AddressFamily::INET6 => Unregistered::Tcp(socket),
        AddressFamily::UNIX => Unregistered::Unix(socket),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither TCP nor Unix")),
    };
    Ok(Accepted { socket, peer: peer.to_owned(), prefix })
}

//! Listening sockets, and what is accepted from them.
//!
//! One socket is bound once and shared by all cores. Never `SO_REUSEPORT`: its queues are per socket,
//! and closing one resets what waits there.

use std::{
    io,
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use super::io::Stream;
use crate::{config::Listen, status::Address, sys::keep::beyond_streams};
use anyhow::Context as _;
use bytes::Bytes;
use rustix::{
    io::Errno,
    net::{SocketFlags, accept_with, acceptfrom_with, sockopt},
};

/// Connections that the kernel completes before we accept them. Source: the kernel's own bound,
/// `net.core.somaxconn`, has been 4096 since Linux 5.4.
const BACKLOG: i32 = 4096;

/// A bound listening socket. `try_clone` shares the socket, not only the address.
#[derive(Debug)]
pub enum Socket {
    /// TCP, v4 or v6.
    Tcp(TcpListener),
    /// A Unix socket; its file is removed by whoever bound it.
    Unix(UnixListener, PathBuf),
    /// A Unix socket with a name instead of a file.
    Abstract(UnixListener, String),
}

/// Binds `listen`, without blocking mode, so that every runtime can wait for it.
///
/// # Errors
/// The address is taken or not ours; the text says which and what to do.
pub fn bind(listen: &Listen) -> anyhow::Result<Socket> {
    let socket = match listen {
        Listen::Tcp(address) => {
            let listener = bind_tcp(*address).with_context(|| {
                format!("cannot listen on {address}; is another host running there?")
            })?;
            Socket::Tcp(listener)
        }
        Listen::Unix(path) => {
            remove_stale(path)?;
            let listener = UnixListener::bind(path)
                .with_context(|| format!("cannot listen on unix:{}", path.display()))?;
            Socket::Unix(listener, path.clone())
        }
        Listen::Abstract(name) => {
            let listener = UnixAddr::from_abstract_name(name)
                .and_then(|address| UnixListener::bind_addr(&address))
                .with_context(|| format!("cannot listen on {listen}"))?;
            Socket::Abstract(listener, name.clone())
        }
    };
    socket.set_nonblocking().context("set a listener to non-blocking")?;
    Ok(socket)
}

fn bind_tcp(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket_with};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses; whoever wants both lists both.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Accepted sockets inherit both: an answer goes out at once, and a peer that has vanished from
    // an idle upgraded connection is found out.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Removes a socket file that nobody listens on any more.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    anyhow::ensure!(
        metadata.file_type().is_socket(),
        "`{}` exists and is no socket; remove it or listen elsewhere",
        path.display()
    );
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket_with};
    let address = SocketAddrUnix::new(path).context("the path of a socket is too long")?;
    // One that waits for room in the backlog would wait for ever.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).context("remove a stale socket file"),
        // A full backlog or a mode that keeps us out: somebody listens all the same.
        Ok(()) | Err(_) => anyhow::bail!("another process listens on unix:{}", path.display()),
    }
}

impl Socket {
    /// Whether it is TCP.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener, _) | Self::Abstract(listener, _) => listener.set_nonblocking(true),
        }
    }

    /// The socket that a descriptor is; `listen` says where it was bound.
    ///
    /// # Errors
    /// It cannot be set to non-blocking.
    pub fn adopt(descriptor: OwnedFd, listen: &Listen) -> io::Result<Self> {
        let socket = match listen {
            Listen::Tcp(_) => Self::Tcp(descriptor.into()),
            Listen::Unix(path) => Self::Unix(descriptor.into(), path.clone()),
            Listen::Abstract(name) => Self::Abstract(descriptor.into(), name.clone()),
        };
        socket.set_nonblocking()?;
        Ok(socket)
    }

    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener, path) => Self::Unix(listener.try_clone()?, path.clone()),
            Self::Abstract(listener, name) => Self::Abstract(listener.try_clone()?, name.clone()),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The descriptor is no listening socket any more.
    pub fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Self::Tcp(listener) => Address::Tcp(listener.local_addr()?),
            Self::Unix(_, path) => Address::Unix(path.clone()),
            Self::Abstract(_, name) => Address::Abstract(name.clone()),
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) | Self::Abstract(listener, _) => listener.as_fd(),
        }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        match socket {
            Socket::Tcp(listener) => listener.into(),
            Socket::Unix(listener, _) | Socket::Abstract(listener, _) => listener.into(),
        }
    }
}

/// Takes a connection from a listener that does not block.
pub(super) fn accept_one(listener: impl AsFd, tcp: bool) -> Result<Accepted, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let prefix = Bytes::new();
    if !tcp {
        let socket = Unregistered::Unix(beyond_streams(accept_with(listener, flags)?)?);
        return Ok(Accepted { socket, peer: "unix".to_owned(), prefix });
    }
    let (socket, peer) = acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| std::net::SocketAddr::try_from(peer).ok());
    let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    let socket = Unregistered::Tcp(beyond_streams(socket)?);
    Ok(Accepted { socket, peer, prefix })
}

/// Whether accepting may go well a moment later, when something is free again.
pub(super) fn is_shortage(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

/// An accepted connection on its way to its core.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) socket: Unregistered,
    pub(super) peer: String,
    /// What was read from it before.
    pub(super) prefix: Bytes,
}

/// A connected socket that no runtime knows yet.
#[derive(Debug)]
pub(super) enum Unregistered {
    Tcp(OwnedFd),
    Unix(OwnedFd),
}

impl Unregistered {
    /// Registers the socket with the runtime of the calling thread.
    pub(super) fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(socket) => {
                Stream::Tcp(tokio::net::TcpStream::from_std(TcpStream::from(socket))?)
            }
            Self::Unix(socket) => {
                Stream::Unix(tokio::net::UnixStream::from_std(UnixStream::from(socket))?)
            }
        })
    }
}

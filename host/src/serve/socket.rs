//! Listening sockets, and what is accepted from them.
//!
//! One socket is bound once and shared by all cores. Never `SO_REUSEPORT`: its queues are per socket,
//! and closing one resets what waits there.

use std::{
    io,
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::{
    fs::{Mode, chmod, fchmod, unlink},
    io::Errno,
    net::{
        self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, acceptfrom_with,
        socket_with, sockopt,
    },
};

use super::{
    bind_error::{BindError, Plane, Problem},
    io::Stream,
};
use crate::{
    config::Listen,
    status::Address,
    sys::{
        keep::beyond_streams,
        occupant::{self, Occupant},
        start::start,
    },
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

/// Binds `listen`, without blocking mode, so that every runtime can wait for it. A Unix socket of the
/// control plane is for this account alone, from its first moment on.
///
/// # Errors
/// The address is taken or not ours; the hint says what to do.
pub fn bind(listen: &Listen, plane: Plane) -> Result<Socket, BindError> {
    let bound = match listen {
        Listen::Tcp(address) => bind_tcp(*address).map(Socket::Tcp),
        Listen::Unix(path) => {
            bind_unix(path, plane == Plane::Control).map(|it| Socket::Unix(it, path.clone()))
        }
        Listen::Abstract(name) => bind_abstract(name).map(|it| Socket::Abstract(it, name.clone())),
    };
    bound.map_err(|problem| BindError { listen: listen.clone(), plane, problem })
}

fn bind_tcp(address: std::net::SocketAddr) -> Result<TcpListener, Problem> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, FLAGS, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses; whoever wants both lists both.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Accepted sockets inherit both: an answer goes out at once, and a peer that has vanished from
    // an idle upgraded connection is found out.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    let bound = net::bind(&socket, &address).and_then(|()| net::listen(&socket, BACKLOG));
    bound.map_err(|errno| match errno {
        Errno::ADDRINUSE => Problem::InUse(occupant::of_tcp(address)),
        errno => Problem::Failed(errno),
    })?;
    Ok(socket.into())
}

fn bind_unix(path: &Path, private: bool) -> Result<UnixListener, Problem> {
    remove_stale(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    if private {
        // What the file gets as it is made, before anybody can connect. Source: `unix_bind_bsd`.
        fchmod(&socket, PRIVATE)?;
    }
    net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    if private {
        // Said again for file systems that go their own way, and for what the umask has taken.
        chmod(path, PRIVATE)?;
    } else {
        // Others as the umask wants them; this account may connect whatever it has taken.
        chmod(path, PRIVATE | Mode::from_raw_mode(0o777 & !start().umask()))?;
    }
    net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn bind_abstract(name: &str) -> Result<UnixListener, Problem> {
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    let bound = net::bind(&socket, &address).and_then(|()| net::listen(&socket, BACKLOG));
    bound.map_err(|errno| match errno {
        Errno::ADDRINUSE => Problem::InUse(listener_at(&address).unwrap_or_default()),
        errno => Problem::Failed(errno),
    })?;
    Ok(socket.into())
}

/// Every socket of ours: none is a child's, and none blocks.
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Of a Unix socket that only this account may connect to.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

impl From<Errno> for Problem {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

/// Removes a socket file that nobody listens on any more.
fn remove_stale(path: &Path) -> Result<(), Problem> {
    use std::os::unix::fs::FileTypeExt as _;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(Problem::NoSocket);
    }
    match listener_at(&SocketAddrUnix::new(path)?) {
        Ok(by) => Err(Problem::InUse(by)),
        Err(Errno::CONNREFUSED) => Ok(unlink(path)?),
        // A mode that keeps us out: somebody listens all the same.
        Err(_) => Err(Problem::InUse(None)),
    }
}

/// Who listens there, as far as that can be told.
fn listener_at(address: &SocketAddrUnix) -> rustix::io::Result<Option<Occupant>> {
    // One that waits for room in the backlog would wait for ever.
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    match net::connect(&socket, address) {
        Ok(()) => Ok(occupant::of_peer(&socket)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
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

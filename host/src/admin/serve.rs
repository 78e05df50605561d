//! Listeners and connections of the control plane.
//!
//! Owns accepting, the bounds on connections and on their silence, and the end of both. Knows no
//! route.
//! Invariants: nothing that happens to one connection, and no lack of descriptors, ends the
//! accepting; it ends when the [`Door`] says so. A peer that neither sends nor takes anything holds
//! its place for a bounded time.

use std::{io, time::Duration};

use axum::{Extension, Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};
use tower_service::Service;

use self::impatient::Impatient;
use crate::{
    ids::Peer,
    status::Address,
    sys::keep::{beyond_streams, is_stream},
};

mod impatient;

/// Open connections of one listener besides its event streams: twice the default queue, because each
/// client that waits for its order holds one. More of them wait in the kernel's backlog. A flood of
/// one listener leaves the others alone.
const CONNECTION_COUNT: usize = 256;
/// From a connection's begin, or the answer before, to the end of a request's head: hyper's clock
/// runs while nothing comes, too.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// For a peer that takes nothing of its answer while it has no room for more.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// A request's head. Units: bytes.
const HEAD_BYTES: usize = 64 << 10;
/// Before the next attempt when the process is out of descriptors. Short, because this is the
/// plane on which the operator comes to look.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// For answers that are on their way when everything ends.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// Loopback, for the control plane.
    Tcp(TcpListener),
    /// Its file's permissions say who may connect.
    Unix(UnixListener),
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// To this local port.
    Tcp {
        /// The listener's.
        port: u16,
    },
    /// To a Unix socket.
    Unix,
}

/// Who may come in and who may stay. It only ever moves down this list from `Left` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// New connections are accepted.
    Open,
    /// New ones wait in the kernel's backlog; those that are here are answered.
    Shut,
    /// The listeners are let go: somebody else accepts. Event streams end, so that their clients
    /// come to whoever that is; the other connections are answered.
    Left,
    /// Every connection ends after the answer that is on its way.
    Closed,
}

/// What a request's extensions say of its connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// How it came.
    pub transport: Transport,
    /// Where another one like it would be made.
    pub back: Option<Address>,
    /// Who has made it, where the kernel says so: over a Unix socket.
    pub peer: Option<Peer>,
    pub(super) door: watch::Receiver<Door>,
}

impl Connection {
    /// Ends when streams without an end are to end.
    pub(super) async fn leaving(&mut self) {
        reaches(&mut self.door, Door::Left).await;
    }

    /// Ends when the listener's side wants to close.
    async fn closing(&mut self) {
        reaches(&mut self.door, Door::Closed).await;
    }
}

async fn reaches(door: &mut watch::Receiver<Door>, wanted: Door) {
    // A sender that is gone has closed.
    let _ = door.wait_for(|door| *door >= wanted).await;
}

/// Answers `listeners` with `router` as `door` says, until it is closed; answers on their way get a
/// few seconds then. Each listener has `streams` places more than it needs for other requests.
///
/// # Threads
/// Spawns onto the runtime that it is called in.
pub async fn serve(
    listeners: Vec<Listener>,
    router: Router,
    door: watch::Receiver<Door>,
    streams: usize,
) {
    let places = CONNECTION_COUNT + streams;
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(accept_all(listener, router.clone(), door.clone(), places));
    }
    while acceptors.join_next().await.is_some() {}
}

async fn accept_all(
    listener: Listener,
    router: Router,
    door: watch::Receiver<Door>,
    places: usize,
) {
    let mut news = door.clone();
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        let now = *news.borrow_and_update();
        if now >= Door::Left {
            break;
        }
        let free = now == Door::Open && connections.len() < places;
        let accepted = tokio::select! {
            changed = news.changed() => match changed {
                Ok(()) => continue,
                Err(_) => break,
            },
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener), if free => accepted,
        };
        match accepted {
            Ok((socket, transport, back)) => {
                let peer = socket.peer();
                failing = false;
                let connection = Connection { transport, back, peer, door: door.clone() };
                let router = router.clone();
                connections.spawn(async move {
                    match socket {
                        Socket::Tcp(stream) => converse(stream, router, connection).await,
                        Socket::Unix(stream) => converse(stream, router, connection).await,
                    }
                });
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "the control plane cannot accept, and tries again");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    reaches(&mut news, Door::Closed).await;
    // Whoever is not done by then is cut when the set is dropped.
    let done = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(CLOSE_TIME, done).await;
}

enum Socket {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Socket {
    /// Source: SO_PEERCRED, unix(7).
    fn peer(&self) -> Option<Peer> {
        let Self::Unix(stream) = self else { return None };
        let peer = stream.peer_cred().ok()?;
        // A process of another PID namespace has no number here.
        let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok())?;
        Some(Peer { pid, uid: peer.uid() })
    }
}

/// Who asks, as far as the kernel says.
pub(super) fn peer_of(connection: Option<Extension<Connection>>) -> Option<Peer> {
    connection?.0.peer
}

async fn accept(listener: &Listener) -> io::Result<(Socket, Transport, Option<Address>)> {
    match listener {
        Listener::Tcp(listener) => {
            let (mut stream, _) = listener.accept().await?;
            let local = stream.local_addr()?;
            if is_stream(&stream) {
                let moved = beyond_streams(stream.into_std()?.into())?;
                stream = tokio::net::TcpStream::from_std(moved.into())?;
            }
            // An answer is small and somebody waits for it; without it the connection works too.
            let _ = stream.set_nodelay(true);
            let transport = Transport::Tcp { port: local.port() };
            Ok((Socket::Tcp(stream), transport, Some(Address::Tcp(local))))
        }
        Listener::Unix(listener) => {
            let (mut stream, _) = listener.accept().await?;
            let local = listener.local_addr()?;
            if is_stream(&stream) {
                let moved = beyond_streams(stream.into_std()?.into())?;
                stream = tokio::net::UnixStream::from_std(moved.into())?;
            }
            let back = local.as_pathname().map(|path| Address::Unix(path.to_owned()));
            Ok((Socket::Unix(stream), Transport::Unix, back))
        }
    }
}

/// accept(2) hands out errors of connections that ended while they waited.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::Interrupted
    )
}

async fn converse<S>(stream: S, router: Router, connection: Connection)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut closing = connection.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        let mut router = router.clone();
        async move { router.call(request).await }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEAD_BYTES)
        // `curl` and `nc` may shut their writing side and still want the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(Impatient::new(stream, WRITE_TIME)), service);
    let mut conversation = std::pin::pin!(conversation);
    // How a connection ended (reset, timed out, garbage) is the client's business.
    tokio::select! {
        _ = conversation.as_mut() => return,
        () = closing.closing() => conversation.as_mut().graceful_shutdown(),
    }
    let _ = conversation.await;
}

#[cfg(test)]
mod tests;

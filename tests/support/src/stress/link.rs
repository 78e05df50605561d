//! A client's connection, over HTTP/1 or HTTP/2, and the ways in which it breaks off.

use std::{net::Shutdown, net::SocketAddr, net::TcpStream, time::Duration};

use http::{Request, Response, Version};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::body::Upload;
use crate::patience::{patience, within};

/// How a client goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// As a program that ends in good order.
    Close,
    /// At once, with a reset.
    Reset,
    /// It sends no more, and goes a little later.
    HalfClose,
    /// It reads no more, and goes a little later.
    Stall,
}

pub(super) const CUTS: [Cut; 4] = [Cut::Close, Cut::Reset, Cut::HalfClose, Cut::Stall];

/// How long a client that stalls does so.
const STALL: Duration = Duration::from_millis(60);

/// What requests are given to.
#[derive(Debug)]
pub(super) enum Sender {
    /// One after the other.
    Http1(http1::SendRequest<Upload>),
    /// Side by side.
    Http2(http2::SendRequest<Upload>),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The connection was at its end, and nothing was sent.
    Unsent,
    /// As the library says.
    Failed(String),
}

impl Sender {
    /// One exchange, up to the answer's head.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Upload>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let sent = match self {
            Self::Http1(sender) => {
                if sender.ready().await.is_err() {
                    return Err(NoAnswer::Unsent);
                }
                // Only a target; the authority stands in `Host`.
                let target = request.uri().path_and_query().cloned();
                *request.uri_mut() = target.map(Into::into).unwrap_or_default();
                sender.try_send_request(request).await
            }
            Self::Http2(sender) => {
                *request.version_mut() = Version::HTTP_2;
                sender.try_send_request(request).await
            }
        };
        sent.map_err(|mut error| match error.take_message() {
            Some(_) => NoAnswer::Unsent,
            None => NoAnswer::Failed(format!("{:?}", error.into_error())),
        })
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) sender: Sender,
    /// The same socket once more: as long as it is there, the connection is.
    socket: TcpStream,
    task: JoinHandle<()>,
}

async fn connected(address: SocketAddr, is_http2: bool) -> std::io::Result<Wire> {
    let stream = tokio::net::TcpStream::connect(address).await?.into_std()?;
    stream.set_nodelay(true)?;
    let socket = stream.try_clone()?;
    let io = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
    let (sender, task) = if is_http2 {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(std::io::Error::other)?;
        // Its end shows in its streams.
        (Sender::Http2(sender), tokio::spawn(async { drop(connection.await) }))
    } else {
        let (sender, connection) = http1::handshake(io).await.map_err(std::io::Error::other)?;
        (Sender::Http1(sender), tokio::spawn(async { drop(connection.await) }))
    };
    Ok(Wire { sender, socket, task })
}

impl Wire {
    /// Connects.
    pub(super) async fn open(address: SocketAddr, is_http2: bool) -> Result<Self, String> {
        match within(connected(address, is_http2)).await {
            Ok(Ok(wire)) => Ok(wire),
            Ok(Err(error)) => Err(format!("connect: {error}")),
            Err(_) => Err(format!("no connection within {:?}", patience())),
        }
    }

    /// Whether the next request needs another one.
    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// The client goes.
    pub(super) async fn cut(self, cut: Cut) {
        let Self { sender, socket, task } = self;
        match cut {
            Cut::Close => {}
            Cut::Reset => {
                // One that is gone already cannot be reset.
                let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
            }
            Cut::HalfClose => {
                let _ = socket.shutdown(Shutdown::Write);
                tokio::time::sleep(STALL).await;
            }
            Cut::Stall => {
                task.abort();
                tokio::time::sleep(STALL).await;
            }
        }
        drop(sender);
        task.abort();
        let _ = task.await;
        drop(socket);
    }
}

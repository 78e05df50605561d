//! Upgrades as hyper's users take them: an `OnUpgrade` among a request's extensions.
//!
//! Owns a connection of hyper's over a pipe, because only such a one makes an `OnUpgrade`: a fixed
//! request goes in, what it is asked for comes out and is given to the author's request. When the
//! service answers 101, so does that connection, and from then on the pipe is joined to the client's
//! bytes. Knows nothing of protocols.
//! Invariant: whoever drops its end of the upgrade ends the client's connection, with all that it wrote
//! before, or without the rest where the client does not take it in time.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{self, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::service_fn,
    upgrade::{OnUpgrade, on},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{
        AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, copy,
        duplex, split,
    },
    sync::oneshot,
};

use crate::{Context, Error, Io, Result};

/// What the pipe holds in each direction. Units: bytes.
const PIPE: usize = 16 << 10;

/// What a client has to take the rest, once the service's end is gone: no more than the pipe holds. One
/// that takes nothing would keep the version until its drain limit.
const REST_TIME: Duration = Duration::from_secs(5);

/// Asks hyper's connection for an upgrade; its protocol is nobody's.
const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: hotseat\r\n\r\n";

/// A head of hyper's connection is no longer. Units: bytes.
const HEAD_MAX: usize = 1 << 10;

/// An upgrade that a service may take.
pub(super) struct Ladder {
    /// Hyper's connection.
    rungs: Pin<Box<dyn Future<Output = hyper::Result<()>>>>,
    /// Tells it that the service answers 101.
    climbs: oneshot::Sender<()>,
    /// The host's end of the pipe.
    near: DuplexStream,
    /// Ends when the service's end is dropped.
    gone: oneshot::Receiver<Infallible>,
    context: Context,
}

impl Ladder {
    /// A ladder, and what belongs into the request's extensions.
    pub(super) async fn raise(context: Context) -> Result<(Self, OnUpgrade)> {
        let (mut near, far) = duplex(PIPE);
        let (here, gone) = oneshot::channel();
        let far = Far { pipe: far, _here: here };
        let (climbs, climbed) = oneshot::channel();
        let place = Arc::<Mutex<Option<OnUpgrade>>>::default();
        let asks = Arc::clone(&place);
        let climbed = Mutex::new(Some(climbed));
        let service = service_fn(move |mut request: Request<Incoming>| {
            *asks.lock().unwrap_or_else(PoisonError::into_inner) = Some(on(&mut request));
            let climbed = climbed.lock().unwrap_or_else(PoisonError::into_inner).take();
            async move {
                match climbed {
                    Some(climbed) => climbed.await.map_err(|_| io::Error::other("not taken"))?,
                    None => return Err(io::Error::other("asked twice")),
                }
                let mut answer = Response::new(String::new());
                *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let fields = answer.headers_mut();
                fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                fields.insert(header::UPGRADE, HeaderValue::from_static("hotseat"));
                Ok(answer)
            }
        });
        near.write_all(REQUEST).await?;
        let connection = http1::Builder::new().serve_connection(TokioIo::new(far), service);
        let mut rungs: Pin<Box<dyn Future<Output = _>>> = Box::pin(connection.with_upgrades());
        let asked = poll_fn(|cx| {
            let ended = rungs.as_mut().poll(cx).is_ready();
            let asked = place.lock().unwrap_or_else(PoisonError::into_inner).take();
            match asked {
                Some(asked) => Poll::Ready(Ok(asked)),
                None if ended => Poll::Ready(Err(Error::new("an upgrade cannot be prepared"))),
                None => Poll::Pending,
            }
        });
        let asked = asked.await?;
        Ok((Self { rungs, climbs, near, gone, context }, asked))
    }

    /// The service has answered 101: joins its end to the client's connection, for as long as both are
    /// there.
    pub(super) async fn climb(self, io: Io) -> Result<()> {
        let Self { rungs, climbs, mut near, gone, context } = self;
        // It waits for this, and for nothing else.
        let _ = climbs.send(());
        rungs.await?;
        skip_head(&mut near).await?;
        join(near, io, gone, context).await;
        Ok(())
    }
}

impl fmt::Debug for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ladder").finish_non_exhaustive()
    }
}

async fn skip_head(near: &mut DuplexStream) -> io::Result<()> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_MAX {
            return Err(io::Error::other("an upgrade has no end of its head"));
        }
        // What follows the head belongs to the conversation.
        head.push(near.read_u8().await?);
    }
    Ok(())
}

/// Copies both ways until neither has more, or the service's end is gone and all that it wrote is on its
/// way, or the client does not take it.
async fn join(near: DuplexStream, io: Io, gone: oneshot::Receiver<Infallible>, context: Context) {
    let (mut from_service, mut to_service) = split(near);
    let (mut from_client, mut to_client) = split(io);
    let down = async {
        copy(&mut from_service, &mut to_client).await?;
        to_client.shutdown().await
    };
    let up = async {
        // Whichever end is broken: the client's is one for the service, the service's own it knows of.
        let _ = copy(&mut from_client, &mut to_service).await;
        let _ = to_service.shutdown().await;
    };
    let (mut down, mut up, mut gone) = (pin!(down), pin!(up), pin!(gone));
    // Begins when it is asked for the first time.
    let mut rest = pin!(async { context.sleep(REST_TIME).await });
    let (mut down_ended, mut up_ended, mut is_gone) = (false, false, false);
    poll_fn(|cx| {
        if !down_ended && let Poll::Ready(ended) = down.as_mut().poll(cx) {
            if ended.is_err() {
                // The client takes nothing any more, which is its own affair.
                return Poll::Ready(());
            }
            down_ended = true;
        }
        up_ended = up_ended || up.as_mut().poll(cx).is_ready();
        is_gone = is_gone || gone.as_mut().poll(cx).is_ready();
        let is_over = down_ended && (up_ended || is_gone);
        if is_over || is_gone && rest.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}

/// The service's end of the pipe, which is missed when it is dropped.
struct Far {
    pipe: DuplexStream,
    _here: oneshot::Sender<Infallible>,
}

impl AsyncRead for Far {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Far {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

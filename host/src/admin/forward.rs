//! Requests that another worker of the host is to answer.
//!
//! While a worker hands over, clients may still have connections to it. What they ask there is
//! passed on to the control plane's own address: whoever accepts next answers, which is the
//! successor, or this worker itself should it go on after all; a refusal would leave it to the
//! client to try again. Owns the relay and the rule which requests stay. Knows nothing of what they
//! mean.
//! Invariant: an order is carried out by one worker or by none, and its client hears which.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::Response,
};
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::{answer::Form, fault::Fault, serve::Connection};
use crate::{deploy::desk::DeskError, error::Coded as _, status::Address};

/// Which requests another worker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// None.
    Nothing,
    /// Those that change something: this worker still shows what is true.
    Changes,
    /// All that can be.
    Everything,
}

/// The switch of the relay. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Relay(Arc<AtomicU8>);

impl Relay {
    /// From now on.
    pub fn set(&self, elsewhere: Elsewhere) {
        let code = match elsewhere {
            Elsewhere::Nothing => 0,
            Elsewhere::Changes => 1,
            Elsewhere::Everything => 2,
        };
        self.0.store(code, Ordering::Release);
    }

    fn get(&self) -> Elsewhere {
        match self.0.load(Ordering::Acquire) {
            0 => Elsewhere::Nothing,
            1 => Elsewhere::Changes,
            _ => Elsewhere::Everything,
        }
    }

    fn takes(&self, method: &Method, path: &str) -> bool {
        // Every worker knows that it lives, ends its own streams, and reaches the same master.
        if matches!(path, "/livez" | "/v1/events" | "/v1/upgrade") {
            return false;
        }
        match self.get() {
            Elsewhere::Nothing => false,
            // Whoever comes next goes on from what was counted when this worker was frozen.
            Elsewhere::Changes => !is_safe(method) || path == "/metrics",
            Elsewhere::Everything => true,
        }
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// An order's body and more. Units: bytes.
const COPY_BYTES: usize = 64 << 10;

/// The layer around the routes, inside the guard.
pub(super) async fn relay(State(relay): State<Relay>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Some(back) = parts.extensions.get::<Connection>().and_then(|it| it.back.clone()) else {
        // It did not come through a listener, so there is no way back.
        return next.run(Request::from_parts(parts, body)).await;
    };
    let form = Form::of(&parts);
    let head = Head {
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        headers: parts.headers.clone(),
    };
    if relay.takes(&head.method, head.uri.path()) {
        return forward(&back, head, body, form).await;
    }
    if relay.get() == Elsewhere::Everything {
        let mut response = next.run(Request::from_parts(parts, body)).await;
        // What this client wants next is another worker's.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    if is_safe(&head.method) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    // It may be that orders are taken here when it comes and are not any more once it was read.
    let copy = Arc::new(Mutex::new(BytesMut::new()));
    let body = Body::new(Copied { body, copy: copy.clone() });
    let response = next.run(Request::from_parts(parts, body)).await;
    let refusal = response.headers().get("hotseat-error");
    if refusal.is_none_or(|code| code != DeskError::Frozen.code()) {
        return response;
    }
    let body = copy.lock().unwrap_or_else(PoisonError::into_inner).split().freeze();
    forward(&back, head, Body::from(body), form).await
}

/// A body that leaves a copy of itself.
struct Copied {
    body: Body,
    copy: Arc<Mutex<BytesMut>>,
}

impl http_body::Body for Copied {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
            // Nothing that long is an order: it is refused where it is read.
            if copy.len() + data.len() <= COPY_BYTES {
                copy.extend_from_slice(data);
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// Fields that concern one connection only. Source: RFC 9110, 7.6.1.
const OF_ONE_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

async fn forward(back: &Address, head: Head, body: Body, form: Form) -> Response {
    match exchange(back, head, body).await {
        Ok(response) => response,
        Err(error) => {
            let message = format!("another worker was to answer, and did not: {error}");
            let hint = "`hotseat status` shows what serves; then send it again";
            Fault::new(StatusCode::BAD_GATEWAY, "handed_over", message, hint).answer(form)
        }
    }
}

async fn exchange(back: &Address, head: Head, body: Body) -> anyhow::Result<Response> {
    let Head { method, uri, mut headers } = head;
    OF_ONE_HOP.iter().for_each(|field| drop(headers.remove(field)));
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::builder().method(method).uri(target).body(body)?;
    *request.headers_mut() = headers;
    let response = match back {
        Address::Tcp(address) => send(TcpStream::connect(address).await?, request).await?,
        Address::Abstract(name) => {
            send(UnixStream::connect(format!("\0{name}")).await?, request).await?
        }
        Address::Unix(path) => send(UnixStream::connect(path).await?, request).await?,
    };
    let (mut parts, body) = response.into_parts();
    OF_ONE_HOP.iter().for_each(|field| drop(parts.headers.remove(field)));
    // The next request of this client is for whoever has answered this one.
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// Waits as long as it takes: whoever accepts next may still be starting.
async fn send<S>(
    stream: S,
    request: Request,
) -> Result<hyper::Response<hyper::body::Incoming>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the exchange: the sender is dropped after the head, the body holds it to its end.
    tokio::spawn(connection);
    sender.send_request(request).await
}

#[cfg(test)]
mod tests;

//! One request over a connection of its own, and its whole answer, as a proper client has it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// An answer with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Status, version and header fields.
    pub head: response::Parts,
    /// Its bytes.
    pub body: Bytes,
    /// What follows the body.
    pub trailers: Option<HeaderMap>,
}

/// Sends `request`, whose target has scheme and authority, and waits for the answer's end.
///
/// # Errors
/// In words, where there is no whole answer within patience.
///
/// # Panics
/// When there is no runtime.
pub fn ask_whole(address: SocketAddr, request: Request<Bytes>) -> Result<Whole, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime for the client");
    let exchange = async {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let greeted = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = greeted.map_err(|error| format!("{error:?}"))?;
        // Its end shows in the answer.
        drop(tokio::spawn(connection));
        let answer = sender.send_request(request.map(Full::new)).await;
        let (head, body) = answer.map_err(|error| format!("{error:?}"))?.into_parts();
        let whole = body.collect().await.map_err(|error| format!("body: {error:?}"))?;
        let trailers = whole.trailers().cloned();
        Ok::<_, String>(Whole { head, body: whole.to_bytes(), trailers })
    };
    let answer = runtime.block_on(crate::patience::within(exchange));
    answer.unwrap_or_else(|_| Err("no answer within patience".to_owned()))
}

//! The HTTP/2 client of a soak: eight streams at a time on one kept connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::load::Shared;

/// Its name in the tally.
pub(crate) const KIND: &str = "http2";
const STREAMS: usize = 8;

type Sender = SendRequest<Empty<Bytes>>;

async fn connect(address: SocketAddr) -> anyhow::Result<Sender> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    let io = TokioIo::new(stream);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.context("greet")?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(mut sender: Sender) -> anyhow::Result<(u16, Bytes)> {
    let request = Request::get("http://localhost/").body(Empty::new()).context("build")?;
    let answer = sender.send_request(request).await.context("ask")?;
    let status = answer.status().as_u16();
    Ok((status, answer.into_body().collect().await.context("read the body")?.to_bytes()))
}

async fn burst(shared: &Arc<Shared>, sender: &Sender) {
    let tasks: Vec<_> = (0..STREAMS).map(|_| tokio::spawn(ask(sender.clone()))).collect();
    for task in tasks {
        match task.await.context("join").and_then(|it| it) {
            Ok((status, body)) => shared.judge(KIND, status, &body),
            Err(error) => shared.fail(KIND, &format!("{error:#}"), sender.is_closed()),
        }
    }
}

/// Runs until the load is over. `go_on` waits out a pause; it may block this thread, because no
/// stream is open then.
pub(crate) fn client(shared: &Arc<Shared>, address: SocketAddr, go_on: impl Fn(&Shared) -> bool) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return shared.fail(KIND, &error, false),
    };
    let mut kept: Option<Sender> = None;
    while go_on(shared) {
        runtime.block_on(async {
            if kept.as_ref().is_none_or(Sender::is_closed) {
                kept = connect(address)
                    .await
                    .inspect_err(|error| shared.fail(KIND, &format!("{error:#}"), false))
                    .ok();
            }
            if let Some(sender) = &kept {
                burst(shared, sender).await;
            }
            // The pace of the load; nothing is waited for.
            tokio::time::sleep(Duration::from_millis(16)).await;
        });
    }
}

//! One request to a host's control plane.
//!
//! Owns the connection, its bounds, and what it means when there is no answer. Knows no route.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::whom::Whom;
use crate::{
    config::Listen,
    error::{Coded, Kind},
};

/// On this machine a connection is made at once or never.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// A page comes at once; an order may wait for a full queue, an upgrade for its test of time, and
/// neither has a limit here.
const PAGE_TIME: Duration = Duration::from_secs(10);
/// Between two looks at a page that is to change.
const LOOK: Duration = Duration::from_millis(20);
/// Far above any page. Units: bytes.
const ANSWER_BYTES: usize = 64 << 20;

/// There was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("cannot connect to the host at {at}: {source}")]
    Connect { at: String, clue: Option<String>, source: io::Error },
    #[error("the host at {at} did not answer to the end: {why}")]
    Broken { at: String, why: String },
    #[error("this process has no runtime: {0}")]
    Runtime(io::Error),
}

impl Coded for ClientError {
    fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "no_host",
            Self::Broken { .. } => "no_answer",
            Self::Runtime(_) => "no_runtime",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Host
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Connect { clue, .. } => {
                let clue = clue.as_ref().map_or_else(String::new, |clue| format!("; {clue}"));
                return Some(format!(
                    "is the host running? start it with `hotseat serve`, or say where it is with \
                     `--control`{clue}"
                ));
            }
            Self::Broken { .. } => {
                "its worker may have died of what was ordered: the log says of what, and `hotseat \
                 status` what serves; an order that only waited is carried out all the same"
            }
            Self::Runtime(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: String,
    /// JSON, or nothing.
    pub(super) body: String,
    /// Wants JSON back.
    pub(super) json: bool,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// The stable code of a refusal.
    pub(super) code: Option<String>,
    pub(super) body: String,
}

/// Asks a host.
pub(super) fn ask(whom: &Whom, question: Question) -> Result<Reply, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(ClientError::Runtime)?.block_on(exchange(whom, question))
}

/// Asks again and again until an answer is `done`. False: none was, for as long as a page may take.
pub(super) fn until(
    whom: &Whom,
    page: &str,
    done: impl Fn(&Reply) -> bool,
) -> Result<bool, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ClientError::Runtime)?;
    let asked = async {
        loop {
            let (method, path, body) = (Method::GET, page.to_owned(), String::new());
            let reply = exchange(whom, Question { method, path, body, json: true }).await?;
            if done(&reply) {
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    runtime.block_on(async { timeout(PAGE_TIME, asked).await.unwrap_or(Ok(false)) })
}

async fn exchange(Whom { at, clue }: &Whom, question: Question) -> Result<Reply, ClientError> {
    let connect = |source| ClientError::Connect { at: at.to_string(), clue: clue.clone(), source };
    let late = || connect(io::ErrorKind::TimedOut.into());
    let replied = match at {
        Listen::Tcp(address) => {
            let stream = timeout(CONNECT_TIME, TcpStream::connect(address));
            converse(stream.await.map_err(|_| late())?.map_err(connect)?, question).await
        }
        Listen::Abstract(name) => {
            // The kernel's own way to write such a name begins with NUL.
            let stream = timeout(CONNECT_TIME, UnixStream::connect(format!("\0{name}")));
            converse(stream.await.map_err(|_| late())?.map_err(connect)?, question).await
        }
        Listen::Unix(path) => {
            let stream = timeout(CONNECT_TIME, UnixStream::connect(path));
            converse(stream.await.map_err(|_| late())?.map_err(connect)?, question).await
        }
    };
    replied.map_err(|why| ClientError::Broken { at: at.to_string(), why })
}

async fn converse<S>(stream: S, question: Question) -> Result<Reply, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Question { method, path, body, json } = question;
    let is_page = method == Method::GET;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, if json { "application/json" } else { "text/plain" })
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // How it ends is seen by the request; the task ends with the runtime.
    tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let code = response.headers().get("hotseat-error");
        let code = code.and_then(|code| code.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), ANSWER_BYTES);
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Reply { status, code, body: String::from_utf8_lossy(&body).into_owned() })
    };
    if is_page {
        let late = |_| format!("nothing came for {} s", PAGE_TIME.as_secs());
        return timeout(PAGE_TIME, answer).await.map_err(late)?;
    }
    answer.await
}

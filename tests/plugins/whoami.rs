//! Says which process and which version answer, in headers and as JSON, in as many ways as a
//! connection can be long: slow answers, large bodies both ways, endless events, WebSockets.
//!
//! - `?sleep=SECONDS` waits before it answers (fractions are fine), `?status=CODE` answers that.
//! - `?bytes=COUNT` sends COUNT bytes of the pattern below in chunks; a body that comes is hashed.
//! - `?events=1` sends events until the drain notice, then `bye`; `?every=SECONDS` sets the pace.
//! - `/ws` speaks WebSocket: echoes, answers `who` and closes on `close CODE`. It is closed with
//!   1012 near the drain limit, with `?drain=now` at the drain notice.
//! - The variable `WHOAMI_STATUS` sets the status of every plain answer: a host gone bad.

use std::{fmt::Write as _, time::Duration};

use hotseat_plugin_api::{
    Context, Handler, Message, Request, Response, Result, WebSocket, export_handler,
};
use sha2::{Digest as _, Sha256};

/// The pattern comes in blocks that begin with their number, so that a block that is lost, doubled
/// or out of place changes the sum. Clients that check it make the same.
const BLOCK: usize = 64 << 10;

fn block(number: u64) -> Vec<u8> {
    let mut block = vec![b'p'; BLOCK];
    block[..8].copy_from_slice(&number.to_le_bytes());
    block
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn seconds(request: &Request<'_>, name: &str) -> Option<Duration> {
    let typed = request.query_value(name)?.parse().ok()?;
    Duration::try_from_secs_f64(typed).ok()
}

struct Whoami {
    context: Context,
    status: u16,
}

impl Handler for Whoami {
    fn new(context: &Context) -> Result<Self> {
        let status = std::env::var("WHOAMI_STATUS").ok().and_then(|text| text.parse().ok());
        Ok(Self { context: context.clone(), status: status.unwrap_or(200) })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if request.path() == "/ws" {
            let at_once = request.query_value("drain").is_some_and(|it| it == "now");
            let me = self.me("ws", 0, "");
            return Response::websocket(&request, move |ws| messages(ws, me, at_once));
        }
        if let Some(time) = seconds(&request, "sleep") {
            self.context.sleep(time).await;
        }
        let response = if request.query_value("events").is_some() {
            self.events(seconds(&request, "every"))
        } else if let Some(count) = request.query_value("bytes") {
            download(count.parse()?)
        } else {
            self.plain(&request).await?
        };
        Ok(response
            .with_header("x-pid", std::process::id().to_string())
            .with_header("x-label", self.context.label())
            .with_header("x-generation", self.context.generation().to_string()))
    }
}

impl Whoami {
    fn me(&self, method: &str, length: u64, sum: &str) -> String {
        format!(
            "{{\"pid\":{},\"label\":\"{}\",\"generation\":{},\"method\":\"{method}\",\
             \"length\":{length},\"sum\":\"{sum}\"}}\n",
            std::process::id(),
            self.context.label(),
            self.context.generation(),
        )
    }

    async fn plain(&self, request: &Request<'_>) -> Result<Response> {
        let status = request.query_value("status").and_then(|text| text.parse().ok());
        let (mut length, mut hash) = (0, Sha256::new());
        let mut body = request.body();
        while let Some(piece) = body.next().await? {
            length += u64::try_from(piece.len())?;
            hash.update(&piece);
        }
        let sum = hex(&hash.finalize());
        let response = Response::text(self.me(request.method().as_str(), length, &sum))
            .with_status(status.unwrap_or(self.status))
            .with_header("content-type", "application/json")
            .with_header("x-length", length.to_string())
            .with_header("x-sum", sum);
        Ok(response)
    }

    fn events(&self, every: Option<Duration>) -> Response {
        let every = every.unwrap_or(Duration::from_millis(100));
        let (context, me) = (self.context.clone(), self.me("events", 0, ""));
        Response::streaming(move |mut out| async move {
            out.send(format!("event: hello\ndata: {me}\n")).await;
            let mut count = 0_u64;
            while context.until_drain(context.sleep(every)).await.is_some() {
                count += 1;
                out.send(format!("event: tick\ndata: {count}\n\n")).await;
            }
            out.send("event: bye\ndata: another one takes over\n\n").await;
            Ok(())
        })
        .with_header("content-type", "text/event-stream")
    }
}

fn download(count: u64) -> Response {
    Response::streaming(move |mut out| async move {
        let (mut left, mut number) = (count, 0);
        while left > 0 {
            let mut piece = block(number);
            piece.truncate(usize::try_from(left).unwrap_or(BLOCK).min(BLOCK));
            left -= u64::try_from(piece.len())?;
            number += 1;
            out.send(piece).await;
        }
        Ok(())
    })
}

async fn messages(mut ws: WebSocket, me: String, at_once: bool) -> Result<()> {
    if at_once {
        ws.end_on_drain();
    }
    while let Some(message) = ws.recv().await? {
        match message {
            Message::Text(text) if text == "who" => ws.send(me.as_str()).await?,
            Message::Text(text) if text.starts_with("close ") => {
                return ws.close(text["close ".len()..].parse()?, "as was asked for").await;
            }
            other => ws.send(other).await?,
        }
    }
    Ok(())
}

export_handler!(Whoami);

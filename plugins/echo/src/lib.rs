//! Sends back what it gets: a body while it arrives, and WebSocket messages. Also tells the time
//! in ticks, to whoever listens.

use std::time::Duration;

use hotseat_plugin_api::{
    Context, Handler, Method, Request, Response, Result, WebSocket, export_handler,
};

const HELP: &str = "\
POST / sends the body back while it arrives
GET /ws speaks WebSocket and sends each message back
GET /events ticks once a second
";

struct Echo;

impl Handler for Echo {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        match (request.method(), request.path()) {
            (Method::GET | Method::HEAD, "/") => Ok(Response::text(HELP)),
            (Method::POST, "/") => Ok(body(&request)),
            (Method::GET, "/ws") => Response::websocket(&request, messages),
            (Method::GET, "/events") => Ok(ticks(request.context().clone())),
            (_, "/" | "/ws" | "/events") => {
                Ok(Response::text("try GET, or POST to /\n").with_status(405))
            }
            _ => Ok(Response::text("no such page; GET / tells which there are\n").with_status(404)),
        }
    }
}

/// A body is a stream and can be answered as one: pieces and trailers go back as they come, and
/// no faster than the client takes them.
fn body(request: &Request<'_>) -> Response {
    let kind = request.header("content-type").unwrap_or("application/octet-stream");
    Response::stream(request.body()).with_header("content-type", kind)
}

async fn messages(mut ws: WebSocket) -> Result<()> {
    // A newer version has the seat: clients that see 1012 connect again, to that one.
    ws.end_on_drain();
    while let Some(message) = ws.recv().await? {
        ws.send(message).await?;
    }
    Ok(())
}

fn ticks(context: Context) -> Response {
    Response::streaming(move |mut out| async move {
        let second = Duration::from_secs(1);
        let mut count = 0_u64;
        while context.until_drain(context.sleep(second)).await.is_some() {
            count += 1;
            out.send(format!("event: tick\ndata: {count}\n\n")).await;
        }
        out.send("event: bye\ndata: another version takes over\n\n").await;
        Ok(())
    })
    .with_header("content-type", "text/event-stream")
    .with_header("cache-control", "no-cache")
}

export_handler!(Echo);

#[cfg(test)]
mod tests {
    use hotseat_plugin_api::{
        Message, Result,
        testing::{Host, Upload},
    };

    use super::Echo;

    #[test]
    fn body_comes_back_while_it_arrives() -> Result<()> {
        let kit = Host::<Echo>::new().start()?;
        let upload = Upload::new();
        let mut reply = kit.post("/", "").header("content-type", "a/b").upload(&upload).send();
        assert_eq!(reply.header("content-type"), Some("a/b"));
        upload.send("one");
        assert_eq!(reply.piece()?.as_deref(), Some(&b"one"[..]));
        assert!(reply.try_piece().is_pending());
        upload.trailers([("x-sum", "1")]);
        assert_eq!(reply.piece()?, None);
        assert_eq!(reply.trailers().map(|it| it["x-sum"].clone()), Some("1".parse()?));
        Ok(())
    }

    #[test]
    fn messages_come_back_until_the_drain() -> Result<()> {
        let kit = Host::<Echo>::new().start()?;
        let mut socket = kit.get("/ws").websocket();
        socket.send("hello")?;
        assert_eq!(socket.recv()?, Some(Message::Text("hello".to_owned())));
        kit.drain();
        assert_eq!(socket.recv()?, None);
        assert_eq!(socket.closed(), Some((1012, "service restart")));
        Ok(())
    }

    #[test]
    fn ticks_say_so_long() -> Result<()> {
        let kit = Host::<Echo>::new().start()?;
        let mut events = kit.get("/events").send();
        let first = events.piece()?;
        assert_eq!(first.as_deref(), Some(&b"event: tick\ndata: 1\n\n"[..]));
        assert_eq!(kit.now().as_secs(), 1);
        kit.drain();
        assert!(events.text().starts_with("event: bye\n"));
        Ok(())
    }

    #[test]
    fn other_pages_are_refused() -> Result<()> {
        let kit = Host::<Echo>::new().start()?;
        assert_eq!(kit.post("/ws", "").send().status(), 405);
        assert_eq!(kit.get("/ws").send().status(), 426);
        assert_eq!(kit.get("/none").send().status(), 404);
        Ok(())
    }
}

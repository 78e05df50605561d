//! Conversations of several steps: WebSockets, topics, and HTTP/1 byte by byte.
//!
//! Owns what each of them must hear. Those that block do so on the client's own thread.

use std::{
    fmt::Write as _,
    io,
    net::{Shutdown, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rand::{Rng as _, rngs::StdRng};
use tungstenite::{Error, Message, WebSocket};

use super::{
    ask::{Ask, digest},
    body::made,
    client::{Client, tell},
    link::{Cut, NoAnswer, Wire},
    truth::{End, Mark, expect_status},
};
use crate::{
    client::Connection,
    patience::{patience, within},
};

/// What is under way in one WebSocket at a time, at most: so that nobody waits for the other's room.
const UNDER_WAY: usize = 96 << 10;

// ---- WebSockets

fn message(random: &mut StdRng) -> Message {
    let length = match random.random_range(0..4) {
        0 => random.random_range(0..20),
        1 => random.random_range(0..2000),
        _ => random.random_range(0..40_000),
    };
    let bytes = made(random.random(), length);
    match random.random() {
        true => Message::binary(bytes),
        false => {
            let text: String = bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
            Message::text(text)
        }
    }
}

/// The next message, or the count in the server's close frame.
fn hear(socket: &mut WebSocket<TcpStream>) -> Result<Result<Message, u64>, String> {
    loop {
        match socket.read() {
            Ok(Message::Close(Some(frame))) if u16::from(frame.code) == 1012 => {
                let count = frame.reason.parse().map_err(|_| format!("{frame:?}"))?;
                // Answers it, and waits for the end.
                return match std::iter::repeat_with(|| socket.read()).find_map(Result::err) {
                    Some(Error::ConnectionClosed) => Ok(Err(count)),
                    other => Err(format!("behind the close frame: {other:?}")),
                };
            }
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => return Ok(Ok(message)),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            other => return Err(format!("{other:?}")),
        }
    }
}

/// Some batches of messages, all of which come back in order, up to the end of the version.
fn converse(client: &mut Client, socket: &mut WebSocket<TcpStream>) -> Result<End, String> {
    let mut heard = 0_u64;
    let closes = |heard: u64, count: u64| match heard == count {
        true => Ok(End::Good),
        false => Err(format!("{heard} messages came back, and {count} were sent back")),
    };
    for _ in 0..client.random.random_range(0..8) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < UNDER_WAY && batch.len() < 12 && !client.random.random_ratio(1, 4) {
            let message = message(&mut client.random);
            bytes += message.len();
            batch.push(message);
        }
        if client.random.random_ratio(1, 4) {
            batch.push(Message::Ping(Bytes::from_static(b"there?")));
        }
        for message in &batch {
            if socket.write(message.clone()).is_err() {
                break;
            }
        }
        // What cannot be sent shows in what is heard.
        let _ = socket.flush();
        for message in batch.iter().filter(|it| !matches!(it, Message::Ping(_))) {
            match hear(socket)? {
                Ok(back) if back == *message => heard += 1,
                Ok(back) => {
                    return Err(format!(
                        "message {heard} of {} bytes came back with {}",
                        message.len(),
                        back.len()
                    ));
                }
                Err(count) => return closes(heard, count),
            }
        }
    }
    leave(client, socket)
}

/// The client's end of it: in good order, without a close frame, or with a reset.
fn leave(client: &mut Client, socket: &mut WebSocket<TcpStream>) -> Result<End, String> {
    match client.random.random_range(0..4) {
        0 => {
            // Without a close frame.
            let _ = socket.get_ref().shutdown(Shutdown::Both);
            Ok(End::Aborted)
        }
        1 => {
            let at_once = Some(Duration::ZERO);
            let _ = rustix::net::sockopt::set_socket_linger(socket.get_ref(), at_once);
            // With something under way.
            let _ = socket.send(Message::text("x".repeat(5000)));
            Ok(End::Aborted)
        }
        _ => {
            let _ = socket.close(None);
            loop {
                match socket.read() {
                    Err(Error::ConnectionClosed) => return Ok(End::Good),
                    // It may have crossed the server's.
                    Ok(Message::Close(_) | Message::Pong(_)) => {}
                    other => return Err(format!("behind our close frame: {other:?}")),
                }
            }
        }
    }
}

/// A WebSocket from its handshake to its end.
pub(super) fn socket(client: &mut Client) {
    let nonce = client.next_nonce().to_string();
    let floor = client.truth.floor();
    let opened = || -> Result<(WebSocket<TcpStream>, Mark), String> {
        let told = |error: io::Error| error.to_string();
        let stream = TcpStream::connect_timeout(&client.address, patience()).map_err(told)?;
        stream.set_read_timeout(Some(patience())).map_err(told)?;
        stream.set_write_timeout(Some(patience())).map_err(told)?;
        stream.set_nodelay(true).map_err(told)?;
        let request =
            tungstenite::ClientRequestBuilder::new(http::Uri::from_static("ws://localhost/socket"));
        let request = request.with_header("x-nonce", nonce.as_str());
        let (socket, head) =
            tungstenite::client(request, stream).map_err(|error| format!("handshake: {error}"))?;
        let mark = Mark::of("stress", head.headers(), &nonce)?;
        Ok((socket, mark))
    };
    let came = opened().and_then(|(mut socket, mark)| {
        client.truth.meets(&floor, &mark)?;
        converse(client, &mut socket).map_err(|text| format!("{text}, from {mark:?}"))
    });
    let truth = client.truth.clone();
    tell(&truth, "WebSocket", came);
}

// ---- HTTP/1 byte by byte

fn check_raw(answer: &crate::Answer, must: &[u8]) -> Result<End, String> {
    match answer.status == 200 && answer.body == must {
        true => Ok(End::Good),
        false => Err(format!("{} and {} bytes", answer.status, answer.body.len())),
    }
}

/// A client that ends its side behind a whole request still gets its answer.
fn half_closed(client: &mut Client) -> Result<End, String> {
    let told = |error: io::Error| error.to_string();
    let (seed, length) = (client.random.random::<u64>(), client.random.random_range(0..300_000));
    let mut connection = Connection::open(client.address).map_err(told)?;
    if client.random.random() {
        let target = format!("/stream?seed={seed}&bytes={length}");
        connection.send_request("GET", &target, "").map_err(told)?;
        connection.half_close().map_err(told)?;
        return check_raw(&connection.read_answer().map_err(told)?, &made(seed, length));
    }
    let body = made(seed, length);
    let extra = format!("Content-Length: {length}\r\n");
    connection.send_request("POST", "/digest/task", &extra).map_err(told)?;
    connection.send(&body).map_err(told)?;
    connection.half_close().map_err(told)?;
    check_raw(&connection.read_answer().map_err(told)?, digest(&body).as_bytes())
}

/// Several requests at once: answers come in their order.
fn pipelined(client: &mut Client) -> Result<End, String> {
    let told = |error: io::Error| error.to_string();
    let mut connection = Connection::open(client.address).map_err(told)?;
    let asked: Vec<(u64, usize)> = (0..client.random.random_range(2..6))
        .map(|_| (client.random.random(), client.random.random_range(0..30_000)))
        .collect();
    let mut text = String::new();
    for (seed, length) in &asked {
        // Writing to a text does not fail.
        let _ = write!(
            text,
            "GET /stream/task?seed={seed}&bytes={length} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
    }
    connection.send(text).map_err(told)?;
    for (seed, length) in asked {
        let answer = connection.read_answer().map_err(told)?;
        check_raw(&answer, &made(seed, length))?;
        if answer.header("connection").is_some_and(|it| it.contains("close")) {
            // Those behind it were not looked at.
            return Ok(End::Unsent);
        }
    }
    Ok(End::Good)
}

/// A body or a head that is not whole, and a client that ends its side, or is gone.
fn torn(client: &mut Client) -> Result<End, String> {
    let told = |error: io::Error| error.to_string();
    let mut connection = Connection::open(client.address).map_err(told)?;
    let length = client.random.random_range(1..100_000);
    let head = format!(
        "POST /digest/{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n",
        ["handler", "task", "thread", "pool"][client.random.random_range(0..4)]
    );
    let whole = [head.as_bytes(), &made(client.random.random(), length)].concat();
    let cut = client.random.random_range(1..whole.len());
    connection.send(&whole[..cut]).map_err(told)?;
    match client.random.random() {
        true => connection.reset().map_err(told)?,
        false => {
            connection.half_close().map_err(told)?;
            // Whatever it says, it must end.
            connection.wait_closed().map_err(told)?;
        }
    }
    Ok(End::Aborted)
}

/// One of those.
pub(super) fn raw(client: &mut Client) {
    let truth = client.truth.clone();
    match client.random.random_range(0..3) {
        0 => tell(&truth, "half close", half_closed(client)),
        1 => tell(&truth, "pipeline", pipelined(client)),
        _ => tell(&truth, "torn body", torn(client)),
    };
}

// ---- topics

/// A stream of events.
struct Events {
    body: Incoming,
    text: String,
}

/// One of them.
#[derive(Debug, Default)]
struct Event {
    name: String,
    missed: u64,
    data: String,
}

impl Events {
    /// The next one; `None` at the stream's proper end.
    async fn next(&mut self) -> Result<Option<Event>, String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (mut event, is_comment) = (Event::default(), block.starts_with(':'));
                // A comment keeps the connection alive, and is no event.
                for line in block.lines().filter(|_| !is_comment) {
                    match line.split_once(": ") {
                        Some(("event", name)) => name.clone_into(&mut event.name),
                        Some(("id", id)) => event.missed = id.parse().unwrap_or(u64::MAX),
                        Some(("data", data)) => data.clone_into(&mut event.data),
                        _ => return Err(format!("`{line}`")),
                    }
                }
                self.text = rest.to_owned();
                if is_comment {
                    continue;
                }
                return Ok(Some(event));
            }
            match self.body.frame().await {
                None if self.text.is_empty() => return Ok(None),
                None => return Err(format!("the stream ends within `{}`", self.text)),
                Some(Err(error)) => return Err(format!("{error:?}")),
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    self.text += &String::from_utf8_lossy(&data);
                }
            }
        }
    }
}

/// Asks for the topic; who answers.
async fn listen(
    client: &Client,
    wire: &mut Wire,
    target: String,
    nonce: String,
) -> Result<(Events, Mark), NoAnswer> {
    let ask = Ask::part(Method::GET, target, nonce);
    let floor = client.truth.floor();
    let answer = wire.sender.send(ask.whole()).await?;
    let (head, body) = answer.into_parts();
    let judged = || -> Result<Mark, String> {
        expect_status(head.status, b"no stream")?;
        let mark = Mark::of("stress", &head.headers, &ask.nonce)?;
        client.truth.meets(&floor, &mark)?;
        Ok(mark)
    };
    let mark = judged().map_err(NoAnswer::Failed)?;
    let mut events = Events { body, text: String::new() };
    let first = events.next().await.map_err(NoAnswer::Failed)?;
    match first {
        Some(event) if event.name == "ready" => Ok((events, mark)),
        other => Err(NoAnswer::Failed(format!("the first event is {other:?}"))),
    }
}

/// One request of the other connection; `None`: unsent.
async fn publish(
    client: &Client,
    wire: &mut Wire,
    target: String,
    nonce: String,
) -> Result<Option<(String, Mark)>, String> {
    let ask = Ask::part(Method::POST, target, nonce);
    let floor = client.truth.floor();
    let answer = match wire.sender.send(ask.whole()).await {
        Ok(answer) => answer,
        Err(NoAnswer::Unsent) => return Ok(None),
        Err(NoAnswer::Failed(text)) => return Err(format!("publish: {text}")),
    };
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| format!("publish: {error:?}"))?.to_bytes();
    if head.status != StatusCode::OK {
        return Err(format!("publish: {} {}", head.status, String::from_utf8_lossy(&body)));
    }
    let mark = Mark::of("stress", &head.headers, &ask.nonce)?;
    client.truth.meets(&floor, &mark)?;
    Ok(Some((String::from_utf8_lossy(&body).into_owned(), mark)))
}

/// What was published for one listener, and how far it has heard it.
#[derive(Default)]
struct Heard {
    published: Vec<String>,
    at: usize,
}

impl Heard {
    /// The next message; whether it is the last.
    fn take(&mut self, event: &Event) -> Result<bool, String> {
        let missed = usize::try_from(event.missed).unwrap_or(usize::MAX);
        let at = self.at.saturating_add(missed);
        if event.name != "message" || self.published.get(at) != Some(&event.data) {
            let next = self.published.get(self.at);
            return Err(format!("{event:?}, where {next:?} was next"));
        }
        self.at = at + 1;
        Ok(event.data == "stop")
    }
}

/// A topic of one's own: what is published in the listener's process is heard once and in order, or
/// counted as missed.
pub(super) async fn topic(client: &mut Client) {
    let came = within(own_topic(client)).await;
    let came = came.unwrap_or_else(|_| Err(format!("no end within {:?}", patience())));
    let truth = client.truth.clone();
    tell(&truth, "topic", came);
}

async fn own_topic(client: &mut Client) -> Result<End, String> {
    let is_http2 = client.random.random();
    let mut listening = Wire::open(client.address, is_http2).await?;
    let came = own_topic_on(client, &mut listening).await;
    listening.cut(Cut::Close).await;
    came
}

/// The next event, which must come; who has published how much to whom is told if it does not.
async fn next_of(
    events: &mut Events,
    heard: &Heard,
    listener: &Mark,
    publishers: &[(u32, u64, u64, u64, String)],
) -> Result<Event, String> {
    let told = |text: &str| {
        format!(
            "{text} behind {} of {} for {listener:?}, published by {publishers:?}",
            heard.at,
            heard.published.len()
        )
    };
    match tokio::time::timeout(Duration::from_secs(8), events.next()).await {
        Err(_) => Err(told("nothing comes")),
        Ok(Ok(Some(event))) => Ok(event),
        Ok(Ok(None)) => Err(told("the stream has ended")),
        Ok(Err(text)) => Err(told(&text)),
    }
}

async fn own_topic_on(client: &mut Client, listening: &mut Wire) -> Result<End, String> {
    let number = client.next_nonce();
    let capacity = [1, 3, 16, 200][client.random.random_range(0..4)];
    let target = format!("/events?topic=own-{number}&capacity={capacity}&stays=true");
    let (mut events, listener) = match listen(client, listening, target, number.to_string()).await {
        Ok(listens) => listens,
        Err(NoAnswer::Unsent) => return Ok(End::Unsent),
        Err(NoAnswer::Failed(text)) => return Err(text),
    };
    let (mut heard, mut from) = (Heard::default(), 0_u64);
    let (mut publishers, mut is_over) = (Vec::new(), false);
    let bursts = client.random.random_range(1..6);
    for burst in 1..=bursts {
        let (count, stop) = (client.random.random_range(1..60_u64), burst == bursts);
        let target = format!("/publish?topic=own-{number}&from={from}&count={count}&stop={stop}");
        let nonce = client.next_nonce().to_string();
        let Some(mut wire) = client.wire().await else { return Err("no connection".to_owned()) };
        let published = publish(client, &mut wire, target, nonce).await;
        match &published {
            Ok(Some(_)) => client.keep(wire),
            _ => wire.cut(Cut::Close).await,
        }
        let Some((text, mark)) = published? else { return Ok(End::Unsent) };
        // Another process has a topic of its own.
        let (must, is_here) = ("1 1", mark.pid == listener.pid);
        if is_here && text != must {
            return Err(format!("`{text}` have heard it, not `{must}`: {mark:?} {listener:?}"));
        }
        if is_here {
            heard.published.extend((from..from + count).map(|it| it.to_string()));
            heard.published.extend(stop.then(|| "stop".to_owned()));
        }
        publishers.push((mark.pid, mark.generation, mark.id, count, text));
        from += count;
        if client.random.random() && heard.at < heard.published.len() {
            let event = next_of(&mut events, &heard, &listener, &publishers).await?;
            is_over = heard.take(&event)?;
        }
    }
    if heard.published.last().is_none_or(|last| last != "stop") {
        // Nobody in its process can tell it any more.
        return Ok(End::Aborted);
    }
    while !is_over {
        let event = next_of(&mut events, &heard, &listener, &publishers).await?;
        is_over = heard.take(&event).map_err(|text| format!("{text}, from {listener:?}"))?;
    }
    let last = events.next().await?;
    match (last, heard.at == heard.published.len()) {
        (None, true) => Ok(End::Good),
        other => Err(format!("behind the last message: {other:?}")),
    }
}

/// The topic that all tasks and all ticks are told in: those of one version are in order.
pub(super) async fn news(client: &mut Client) {
    let came = within(some_news(client)).await;
    let came = came.unwrap_or_else(|_| Err(format!("no news within {:?}", patience())));
    let truth = client.truth.clone();
    tell(&truth, "news", came);
}

async fn some_news(client: &mut Client) -> Result<End, String> {
    let is_http2 = client.random.random();
    let mut wire = Wire::open(client.address, is_http2).await?;
    let (number, count) = (client.next_nonce().to_string(), client.random.random_range(1..12));
    let target = "/events?topic=news&capacity=64&stays=false".to_owned();
    let (mut events, listener) = match listen(client, &mut wire, target, number).await {
        Ok(listens) => listens,
        Err(NoAnswer::Unsent) => return Ok(End::Unsent),
        Err(NoAnswer::Failed(text)) => return Err(text),
    };
    let cut = super::link::CUTS[client.random.random_range(0..4)];
    let mut last = std::collections::BTreeMap::<u64, u64>::new();
    for _ in 0..count {
        let event = events.next().await?.ok_or("the stream has ended")?;
        if event.name == "drain" {
            return match events.next().await? {
                None => Ok(End::Good),
                other => Err(format!("behind the last event: {other:?}")),
            };
        }
        let words: Vec<_> = event.data.split(' ').collect();
        match words.as_slice() {
            ["task", _, _] => {}
            ["tick", pid, generation, number] if *pid == listener.pid.to_string() => {
                let read = |it: &str| it.parse::<u64>().map_err(|_| format!("{event:?}"));
                let (generation, number) = (read(generation)?, read(number)?);
                let before = last.insert(generation, number);
                if before.is_some_and(|before| before >= number) {
                    return Err(format!("{event:?} behind {before:?}, from {listener:?}"));
                }
            }
            _ => return Err(format!("{event:?} is told to {listener:?}")),
        }
    }
    wire.cut(cut).await;
    Ok(End::Good)
}

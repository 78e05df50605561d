//! A cell over HTTP/1.1 or HTTP/1.0, by a client that never retries.

use std::{fmt::Write as _, io, net::SocketAddr};

use hotseat_test_support::{Answer, Connection, patience::pass};

use super::{
    STOP_TIME,
    cell::{self, Cell, Client, Content, Protocol, Sent},
    judge,
};
use crate::edge::ALIVE;

/// From here on a body is sent beside reading. Units: bytes.
const BESIDE: usize = 64 << 10;
/// Units: bytes.
const CHUNK: usize = 16 << 10;

fn told(what: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

fn head(cell: &Cell) -> String {
    let version = if cell.protocol == Protocol::Http10 { "1.0" } else { "1.1" };
    let mut head = format!("POST {} HTTP/{version}\r\nHost: localhost\r\n", cell.target());
    let upgrades = cell.answer == cell::Answer::Upgrade;
    match (upgrades, cell.protocol) {
        (true, _) => head.push_str("Connection: upgrade\r\nUpgrade: echo\r\n"),
        (false, Protocol::Http10) => head.push_str("Connection: keep-alive\r\n"),
        (false, _) => {}
    }
    // Without the word nobody is sent trailers.
    head.push_str("TE: trailers\r\n");
    if cell.answer == cell::Answer::BadExpect {
        head.push_str("Expect: the-unexpected\r\n");
    }
    let _ = match cell.sent {
        Sent::Nothing => Ok(()),
        Sent::Sized(size) => write!(head, "Content-Length: {size}\r\n"),
        Sent::Chunked(_) => write!(head, "Transfer-Encoding: chunked\r\n"),
    };
    head + "\r\n"
}

/// The request's bytes.
fn request(cell: &Cell) -> Vec<u8> {
    let mut bytes = head(cell).into_bytes();
    let body = judge::body(cell.sent);
    if matches!(cell.sent, Sent::Chunked(_)) {
        for piece in body.chunks(CHUNK) {
            bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            bytes.extend(piece);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\nx-sum: 1\r\n\r\n");
    } else {
        bytes.extend(body);
    }
    bytes
}

/// The next answer, with the number of its trailers.
fn read(connection: &mut Connection) -> io::Result<(Answer, usize)> {
    let mut answer = connection.read_head()?;
    answer.body = connection.read_body(&answer)?;
    let chunked = answer.header("transfer-encoding").is_some();
    let trailers = if chunked { connection.trailers().len() } else { 0 };
    Ok((answer, trailers))
}

/// Sends and reads one cell's exchange.
pub(super) fn run(cell: &Cell, address: SocketAddr) -> Result<(), String> {
    let mut connection = Connection::open(address).map_err(told("connect"))?;
    let bytes = request(cell);
    let half = bytes.len() - cell.sent.len() / 2;
    match cell.client {
        Client::Vanishes | Client::Resets => {
            // It may have been refused, and closed, already.
            let _ = connection.send(&bytes[..half]);
            connection.reset().map_err(told("reset"))
        }
        Client::EndsEarly => {
            let _ = connection.send(&bytes[..half]);
            let _ = connection.half_close();
            ends_early(cell, &mut connection)
        }
        Client::StopsReading => {
            // Nothing tells a client that does not read that it was cut: what it has not taken lies
            // before the end.
            let stop = |_: &mut Connection| pass(STOP_TIME);
            let sent = connection.send_beside([&bytes[..]], stop);
            // A body that goes back is not taken any more when its answer is not.
            let (_sent, ()) = sent.map_err(told("a second handle"))?;
            match read(&mut connection) {
                // Without a length, an answer that is cut ends as a whole one does.
                Ok((answer, _)) if answer.body.len() < cell::LONG => Ok(()),
                Ok(_) => Err("a client that did not read still gets all".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Err("a client that did not read is not cut".to_owned())
                }
                Err(_) => Ok(()),
            }
        }
        Client::Waits | Client::HalfCloses => {
            let (sent, came) = if bytes.len() > BESIDE {
                let both = connection.send_beside([&bytes[..]], read);
                both.map_err(told("a second handle"))?
            } else {
                (connection.send(&bytes), read(&mut connection))
            };
            let half_closed = cell.client == Client::HalfCloses;
            if half_closed {
                let _ = connection.half_close();
            }
            let (answer, trailers) = came.map_err(|error| format!("read: {error} ({sent:?})"))?;
            judge::answer(cell, &answer, trailers)?;
            goes_on(cell, &mut connection, &answer, half_closed, sent)
        }
    }
}

/// What comes to half a request is never the answer to a whole one, and the connection ends.
fn ends_early(cell: &Cell, connection: &mut Connection) -> Result<(), String> {
    match read(connection) {
        Ok((answer, _)) => {
            judge::cut(cell, &answer)?;
            connection.wait_closed().map_err(told("the end after half a body"))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err("half a body keeps the connection for ever".to_owned())
        }
        Err(_) => Ok(()),
    }
}

/// The next request on the connection is answered, or the answer has said that there is none.
fn goes_on(
    cell: &Cell,
    connection: &mut Connection,
    answer: &Answer,
    half_closed: bool,
    sent: io::Result<()>,
) -> Result<(), String> {
    let named = answer.header("connection").unwrap_or_default().to_ascii_lowercase();
    if cell.wanted().body == Content::Echo {
        return converse(connection, half_closed);
    }
    if cell.protocol == Protocol::Http10 && answer.header("transfer-encoding").is_some() {
        return Err("HTTP/1.0 has no chunks".to_owned());
    }
    let sized = answer.header("content-length").is_some();
    let keeps = match cell.protocol {
        Protocol::Http10 => named == "keep-alive",
        _ => named != "close",
    };
    let must_keep = cell.answer != cell::Answer::BadExpect
        && !half_closed
        && (sized || cell.protocol != Protocol::Http10)
        && !(cell.answer == cell::Answer::Upgrade && cell.protocol == Protocol::Http10);
    if must_keep && !keeps {
        return Err(format!("the connection is closed after {} {named:?}", answer.status));
    }
    if half_closed || !keeps {
        return connection.wait_end().map_err(told("the end of the connection"));
    }
    sent.map_err(told("send"))?;
    let next = connection.get(ALIVE).map_err(told("the next request"))?;
    judge::equal("the next answer", &(next.status, next.header("x-id")), &(200, Some("alive")))
}

/// What is said after a 101 comes back.
fn converse(connection: &mut Connection, half_closed: bool) -> Result<(), String> {
    if half_closed {
        return connection.wait_end().map_err(told("the end of the conversation"));
    }
    connection.send("are you there?").map_err(told("say"))?;
    let back = connection.read_exact(14).map_err(told("hear"))?;
    judge::equal("echo", &back.as_slice(), &b"are you there?".as_slice())?;
    connection.half_close().map_err(told("end"))?;
    connection.wait_end().map_err(told("the end of the conversation"))
}

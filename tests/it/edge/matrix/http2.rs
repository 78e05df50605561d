//! A cell over HTTP/2, frame by frame.

use std::{io, net::SocketAddr};

use hotseat_test_support::http2::{
    RawHttp2,
    raw::{INITIAL_WINDOW_SIZE, Stream, code},
};

use super::{
    cell::{self, Cell, Client, Sent},
    judge,
};
use crate::edge::ALIVE;

fn told(what: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// Begins the cell's request; sends all of its body, or half.
fn send(cell: &Cell, client: &mut RawHttp2, whole: bool) -> io::Result<u32> {
    let body = judge::body(cell.sent);
    let length = body.len().to_string();
    let mut extra = Vec::new();
    if let Sent::Sized(_) = cell.sent {
        extra.push(("content-length", length.as_str()));
    }
    if cell.answer == cell::Answer::BadExpect {
        extra.push(("expect", "the-unexpected"));
    }
    let ends = cell.sent == Sent::Nothing;
    let stream = client.begin("POST", &cell.target(), &extra, ends)?;
    if ends {
        return Ok(stream);
    }
    if !whole {
        client.body(stream, &body[..body.len() / 2], false)?;
        return Ok(stream);
    }
    match cell.sent {
        Sent::Chunked(_) => {
            if client.body(stream, body, false)? {
                client.trailers(stream, &[("x-sum", "1")])?;
            }
        }
        _ => {
            client.body(stream, body, true)?;
        }
    }
    Ok(stream)
}

/// Sends and reads one cell's exchange.
pub(super) fn run(cell: &Cell, address: SocketAddr) -> Result<(), String> {
    let stops = cell.client == Client::StopsReading;
    let settings: &[(u16, u32)] = if stops { &[(INITIAL_WINDOW_SIZE, 0)] } else { &[] };
    let mut client = RawHttp2::open(address, settings).map_err(told("connect"))?;
    client.grants = !stops;
    match cell.client {
        Client::Vanishes => {
            let _ = send(cell, &mut client, false);
            client.into_connection().reset().map_err(told("reset"))
        }
        Client::EndsEarly | Client::HalfCloses => {
            let _ = send(cell, &mut client, cell.client == Client::HalfCloses);
            let _ = client.connection().half_close();
            client.wait_closed().map_err(told("the end after the client's"))
        }
        Client::Resets => {
            let stream = send(cell, &mut client, false).map_err(told("send"))?;
            client.reset(stream, code::CANCEL).map_err(told("reset"))?;
            goes_on(&mut client)
        }
        Client::StopsReading => {
            let stream = send(cell, &mut client, true).map_err(told("send"))?;
            let over = client.finish(stream).map_err(told("a client that opens no window"))?;
            judge::equal("a whole answer without a window", &over.ended, &false)?;
            goes_on(&mut client)
        }
        Client::Waits => {
            let stream = send(cell, &mut client, true).map_err(told("send"))?;
            let over = client.finish(stream).map_err(told("read"))?;
            whole(cell, &over)?;
            goes_on(&mut client)?;
            whole(cell, client.at(stream))
        }
    }
}

/// One whole answer; behind it at most the word that the rest of the body is not wanted.
fn whole(cell: &Cell, over: &Stream) -> Result<(), String> {
    let told = || format!("reset {:?}, ended {}", over.reset, over.ended);
    let answer = over.answer.as_ref().ok_or_else(told)?;
    judge::answer(cell, answer, over.trailers.len())?;
    judge::equal("ended", &over.ended, &true).map_err(|it| format!("{it}, {}", told()))?;
    judge::equal("answers", &over.heads, &1)?;
    if over.reset.is_some_and(|reset| reset != code::NO_ERROR) {
        return Err(told());
    }
    Ok(())
}

/// The connection has not ended, and another stream is answered.
fn goes_on(client: &mut RawHttp2) -> Result<(), String> {
    let next = client.get(ALIVE).map_err(told("the next request"))?;
    judge::equal("GOAWAY", &client.goaway, &None)?;
    let answer = next.answer.ok_or_else(|| format!("the next request: {:?}", next.reset))?;
    judge::equal("the next answer", &(answer.status, answer.header("x-id")), &(200, Some("alive")))
}

//! Playing a case against a host.
//!
//! Owns what "exactly one answer" means. A write that fails is no failure by itself: what must have
//! been answered is missed by its own step.

use std::{collections::BTreeSet, io, net::SocketAddr};

use super::{Case, NEVER, Protocol, Step};
use crate::{
    client::{Answer, Connection},
    http2::RawHttp2,
};

/// Another request on the same connection.
const ALIVE: &str = "/edge?read=all&id=alive";

fn told(what: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

impl Case {
    /// Plays it.
    ///
    /// # Errors
    /// What did not come as it must, in words.
    pub fn play(&self, address: SocketAddr) -> Result<(), String> {
        match self.protocol {
            Protocol::Http1 => self.play_http1(address),
            Protocol::Http2 => self.play_http2(address),
        }
    }

    fn play_http1(&self, address: SocketAddr) -> Result<(), String> {
        let mut connection = Connection::open(address).map_err(told("connect"))?;
        for step in &self.steps {
            match step {
                Step::Send(bytes) => {
                    let _ = connection.send(bytes);
                }
                Step::Answer(id) | Step::Own(_, id) => {
                    let what = format!("the answer to request {id}");
                    let answer = connection.read_answer().map_err(told(&what))?;
                    is_answer(step, &answer)?;
                }
                Step::Head(id) => {
                    let what = format!("the answer to request {id}");
                    connection.read_head().map_err(told(&what))?;
                }
                Step::Maybe(_) => {}
                Step::HalfClose => {
                    let _ = connection.half_close();
                }
                Step::Reset => return connection.reset().map_err(told("reset")),
                Step::GoesOn => {
                    let answer = connection.get(ALIVE).map_err(told("the next request"))?;
                    is_alive(&answer)?;
                }
                Step::Ends => return ends_http1(&mut connection),
                Step::Anyhow => return connection.wait_closed().map_err(told("the end")),
            }
        }
        Ok(())
    }

    /// Over HTTP/2 the order of answers is nobody's business.
    fn play_http2(&self, address: SocketAddr) -> Result<(), String> {
        let mut client = RawHttp2::open(address, &[]).map_err(told("connect"))?;
        let named = self.steps.iter().filter_map(|step| match step {
            Step::Answer(id) | Step::Head(id) | Step::Own(_, id) | Step::Maybe(id) => Some(*id),
            _ => None,
        });
        let named: BTreeSet<u32> = named.collect();
        let last = named.last().copied().unwrap_or(0);
        // Those that may never be answered are watched too.
        while client.stream() < last + 24 {}
        for step in &self.steps {
            match step {
                Step::Send(bytes) => {
                    let _ = client.send_bytes(bytes);
                }
                Step::Answer(id) | Step::Head(id) | Step::Own(_, id) => {
                    let what = format!("the answer on stream {id}");
                    let finished = client.finish(*id);
                    let over =
                        finished.map_err(|it| format!("{what}: {it}, {:?}", client.goaway))?;
                    let answer = over.answer.as_ref().filter(|_| over.ended);
                    let answer = answer.ok_or_else(|| format!("{what}: reset {:?}", over.reset))?;
                    is_answer(step, answer)?;
                }
                Step::Maybe(_) => {}
                Step::HalfClose => {
                    let _ = client.connection().half_close();
                }
                Step::Reset => return client.into_connection().reset().map_err(told("reset")),
                Step::GoesOn => {
                    let next = client.get(ALIVE);
                    let over =
                        next.map_err(|it| format!("the next request: {it}, {:?}", client.goaway))?;
                    is_alive(&over.answer.ok_or("the next request was reset")?)?;
                }
                Step::Ends => {
                    client.wait_closed().map_err(told("the end"))?;
                    let strays = (last + 2..last + 24).step_by(2).map(|id| client.at(id));
                    let answered = |it: &crate::http2::raw::Stream| {
                        it.answer.as_ref().is_some_and(|it| it.header("x-id") == Some(NEVER))
                    };
                    if strays.into_iter().any(answered) {
                        return Err("a stream behind the end was answered".to_owned());
                    }
                }
                Step::Anyhow => return client.wait_closed().map_err(told("the end")),
            }
        }
        let twice = named.iter().find(|id| client.at(**id).heads > 1);
        twice.map_or(Ok(()), |id| Err(format!("two answers on stream {id}")))
    }
}

/// The answer is that of its request.
fn is_answer(step: &Step, answer: &Answer) -> Result<(), String> {
    let told = || format!("{} {:?} to {step:?}", answer.status, answer.headers);
    let good = match step {
        Step::Answer(id) => {
            answer.status == 200 && answer.header("x-id") == Some(id.to_string().as_str())
        }
        Step::Own(status, _) => answer.status == *status && answer.error_code().is_some(),
        _ => true,
    };
    if good { Ok(()) } else { Err(told()) }
}

fn is_alive(answer: &Answer) -> Result<(), String> {
    match (answer.status, answer.header("x-id")) {
        (200, Some("alive")) => Ok(()),
        _ => Err(format!("{} {:?} to the next request", answer.status, answer.headers)),
    }
}

/// At most one answer to the malformed request, at most one of the host's own, the end.
fn ends_http1(connection: &mut Connection) -> Result<(), String> {
    let ended = connection.read_to_end();
    if let Err(error) = &ended
        && error.kind() != io::ErrorKind::ConnectionReset
    {
        return Err(format!("the end: {error}"));
    }
    let rest = ended.unwrap_or_else(|_| connection.buffered().to_vec());
    let text = String::from_utf8_lossy(&rest);
    let (all, own) = (text.matches("HTTP/1.1 ").count(), text.matches("hotseat-error").count());
    if text.contains(&format!("x-id: {NEVER}")) || all > own + 1 || own > 1 {
        return Err(format!("behind a malformed part: {text}"));
    }
    Ok(())
}

//! One client of a load.
//!
//! Owns what a client does with its connection. Invariant: each request is sent once.

use std::{io, sync::Arc, time::Duration, time::Instant};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    Idle, Shared,
    report::{Failure, Lost, Mark, Trail},
};
use crate::{
    client::{Answer, Connection},
    transfer::hex_sum,
};

/// A thought is cut into pieces of this length, so that a stop is noticed.
const PIECE: Duration = Duration::from_millis(50);

pub(super) struct Client {
    shared: Arc<Shared>,
    number: usize,
    keeps: bool,
    random: StdRng,
    connection: Option<Connection>,
    connects: u64,
    trail: Trail,
}

struct Ask {
    post: bool,
    body: Vec<u8>,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, number: usize, keeps: bool) -> Self {
        let own = u64::try_from(number).unwrap_or(0);
        let random = StdRng::seed_from_u64(shared.plan.seed.wrapping_mul(1 << 20) ^ own);
        Self {
            shared,
            number,
            keeps,
            random,
            connection: None,
            connects: 0,
            trail: Trail::default(),
        }
    }

    pub(super) fn run(mut self) {
        loop {
            self.think();
            if self.shared.ended() {
                break;
            }
            self.request();
        }
        self.leave();
    }

    /// The connection is over; its trail is kept.
    fn leave(&mut self) {
        self.connection = None;
        let trail = std::mem::take(&mut self.trail);
        if trail.requests > 0 {
            self.shared.edit(|report| report.trails.push(trail));
        }
    }

    fn think(&mut self) {
        let shared = Arc::clone(&self.shared);
        let end = Instant::now() + self.random.random_range(shared.plan.think.clone());
        while let Some(rest) = end.checked_duration_since(Instant::now()) {
            if shared.ended() {
                return;
            }
            match &self.connection {
                Some(connection) if shared.plan.idle == Idle::Watched => {
                    // Whatever comes unasked ends the connection.
                    if connection.wait_readable(rest.min(PIECE)).unwrap_or(true) {
                        shared.edit(|report| report.closed_unannounced += 1);
                        self.leave();
                    }
                }
                _ => crate::patience::breathe(rest.min(PIECE)),
            }
        }
    }

    /// The last moment at which a close costs no request.
    fn look(&mut self, shared: &Shared) {
        let closed =
            |connection: &Connection| connection.wait_readable(Duration::ZERO).unwrap_or(true);
        if shared.plan.idle == Idle::Watched && self.connection.as_ref().is_some_and(closed) {
            shared.edit(|report| report.closed_unannounced += 1);
            self.leave();
        }
    }

    fn choose(&mut self) -> Ask {
        let plan = &self.shared.plan;
        if !self.random.random_ratio(plan.post_percent.min(100), 100) {
            return Ask { post: false, body: Vec::new() };
        }
        let mut body = vec![0; self.random.random_range(plan.body.clone())];
        self.random.fill(&mut body[..]);
        Ask { post: true, body }
    }

    fn request(&mut self) {
        let shared = Arc::clone(&self.shared);
        let ask = self.choose();
        self.look(&shared);
        let begun = Instant::now();
        shared.edit(|report| report.requests += 1);
        let mut connection = match self.connection.take().map_or_else(|| self.connect(), Ok) {
            Ok(connection) => connection,
            Err(error) => {
                let failure = match Failure::of(&error) {
                    known @ (Failure::Refused | Failure::Reset | Failure::Timeout) => known,
                    _ => Failure::Connect,
                };
                return self.fail(failure, &ask, begun, &error);
            }
        };
        let served = self.trail.requests;
        let result = Self::exchange(&mut connection, &shared, &ask)
            .and_then(|answer| Self::judge(answer, &ask));
        match result {
            Ok(answer) => {
                self.note(&answer, begun);
                let closes = answer.header("connection").is_some_and(|it| it.contains("close"));
                if closes && self.keeps {
                    shared.edit(|report| report.closed_announced += 1);
                }
                self.connection = (self.keeps && !closes).then_some(connection);
                if self.connection.is_none() {
                    self.leave();
                }
            }
            Err((failure, text)) => {
                let broken = matches!(failure, Failure::Reset | Failure::Closed | Failure::Short);
                if self.keeps && broken && served > 0 {
                    shared.edit(|report| report.closed_unannounced += 1);
                }
                self.fail(failure, &ask, begun, &text);
                self.leave();
            }
        }
    }

    fn connect(&mut self) -> io::Result<Connection> {
        let connection = Connection::open(self.shared.address)?;
        self.connects += 1;
        let again = u64::from(self.keeps && self.connects > 1);
        self.shared.edit(|report| {
            report.connects += 1;
            report.reconnects += again;
        });
        self.trail = Trail { client: self.number, ..Trail::default() };
        Ok(connection)
    }

    fn exchange(
        connection: &mut Connection,
        shared: &Shared,
        ask: &Ask,
    ) -> Result<Answer, (Failure, String)> {
        let told = |error: io::Error| (Failure::of(&error), error.to_string());
        let head = match ask.post {
            true => format!(
                "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                shared.plan.post,
                ask.body.len()
            ),
            false => format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", shared.plan.get),
        };
        let bytes = [head.as_bytes(), &ask.body].concat();
        let before = connection.received();
        connection.send(bytes).map_err(told)?;
        let mut answer = connection.read_head().map_err(|error| match Failure::of(&error) {
            Failure::Timeout => told(error),
            _ if connection.received() > before => {
                (Failure::Short, format!("{error} within the head"))
            }
            _ => told(error),
        })?;
        answer.body = connection.read_body(&answer).map_err(|error| {
            let of = Failure::of(&error);
            let failure = if of == Failure::Timeout { of } else { Failure::Short };
            (failure, format!("{error} within the body"))
        })?;
        Ok(answer)
    }

    fn judge(answer: Answer, ask: &Ask) -> Result<Answer, (Failure, String)> {
        if !(200..300).contains(&answer.status) {
            return Err((Failure::Status, format!("{} {}", answer.status, answer.text())));
        }
        let length = answer.header("x-length").is_none_or(|it| it == ask.body.len().to_string());
        let sum = answer.header("x-sum").is_none_or(|it| it == hex_sum(&ask.body));
        if length && sum {
            return Ok(answer);
        }
        Err((Failure::Wrong, format!("{} bytes came as {:?}", ask.body.len(), answer.headers)))
    }

    fn note(&mut self, answer: &Answer, begun: Instant) {
        let took = begun.elapsed();
        self.shared.edit(|report| {
            report.answered += 1;
            report.slowest = report.slowest.max(took);
        });
        let mark = Mark::of(answer);
        self.trail.requests += 1;
        if self.trail.marks.last() != Some(&mark) {
            self.trail.marks.push(mark);
        }
    }

    fn fail(&self, failure: Failure, ask: &Ask, begun: Instant, text: &dyn std::fmt::Display) {
        let (method, keeps) = (if ask.post { "POST" } else { "GET" }, self.keeps);
        let place = if keeps { "kept" } else { "new" };
        let (served, since) = (self.trail.requests, self.shared.begun.elapsed());
        let text =
            format!("{method} after {served} on a {place} connection, at {since:.1?}: {text}");
        let pid = self.trail.marks.last().and_then(|mark| mark.pid);
        self.shared.edit(|report| {
            report.fail(Lost { failure, pid, begun, at: Instant::now(), text });
        });
    }
}

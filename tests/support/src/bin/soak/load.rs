//! The clients of a soak: each kind that has been failed by a swap somewhere.
//!
//! Owns the rates and the tally. Rates are bounded, so that the figures tell of swaps and not of
//! a saturated machine.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use hotseat_test_support::{Answer, Connection, eventually, patience::breathe, traffic::pipeline};

use crate::http2;

/// What the clients met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Answers by kind of client.
    pub(crate) requests: BTreeMap<&'static str, u64>,
    /// Requests without a good answer.
    pub(crate) failed: u64,
    /// Kept connections that were closed although nobody had said so.
    pub(crate) closed: u64,
    /// Bodies that are not of one version from end to end.
    pub(crate) wrong: u64,
    /// The first few failures, in words.
    pub(crate) examples: Vec<String>,
}

/// Shared by all clients.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    ended: AtomicBool,
    paused: AtomicBool,
    resting: AtomicUsize,
    tally: Mutex<Tally>,
}

impl Shared {
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(SeqCst)
    }

    /// Waits out a pause; `false` once the load is over.
    fn go_on(&self) -> bool {
        if self.paused.load(SeqCst) {
            self.resting.fetch_add(1, SeqCst);
            while self.paused.load(SeqCst) && !self.ended() {
                breathe(Duration::from_millis(5));
            }
            self.resting.fetch_sub(1, SeqCst);
        }
        !self.ended()
    }

    /// Counts one good or bad answer.
    pub(crate) fn judge(&self, kind: &'static str, status: u16, body: &[u8]) {
        self.edit(|tally| {
            *tally.requests.entry(kind).or_default() += 1;
            if status != 200 {
                tally.failed += 1;
                tally.examples.push(format!("{kind}: {status} {}", String::from_utf8_lossy(body)));
            } else if !of_one_version(body) {
                tally.wrong += 1;
                tally.examples.push(format!("{kind}: {}", String::from_utf8_lossy(body)));
            }
            tally.examples.truncate(5);
        });
    }

    pub(crate) fn fail(&self, kind: &'static str, error: &dyn std::fmt::Display, kept: bool) {
        self.edit(|tally| {
            tally.failed += 1;
            tally.closed += u64::from(kept);
            tally.examples.push(format!("{kind}: {error}"));
            tally.examples.truncate(5);
        });
    }
}

/// A body is one short text, `v1;` or `v2;`, many times over.
fn of_one_version(body: &[u8]) -> bool {
    let Some(end) = body.iter().position(|byte| *byte == b';') else { return false };
    let unit = &body[..=end];
    matches!(unit, b"v1;" | b"v2;")
        && body.len() == 64 * unit.len()
        && body.chunks(unit.len()).all(|it| it == unit)
}

/// What one kind of client does on its connection; it answers with what it got.
type Act = fn(&mut Connection) -> io::Result<Vec<Answer>>;

fn get(connection: &mut Connection) -> io::Result<Vec<Answer>> {
    Ok(vec![connection.get("/")?])
}

fn pipelined(connection: &mut Connection) -> io::Result<Vec<Answer>> {
    pipeline(connection, "/", 8)
}

fn slow_body(connection: &mut Connection) -> io::Result<Vec<Answer>> {
    connection.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 48\r\n\r\n")?;
    for _ in 0..6 {
        breathe(Duration::from_millis(5));
        connection.send(b"a piece.")?;
    }
    Ok(vec![connection.read_answer()?])
}

fn half_head(connection: &mut Connection) -> io::Result<Vec<Answer>> {
    for piece in ["GE", "T / HTTP/1.1\r\nHo", "st: localhost\r\n", "\r\n"] {
        connection.send(piece)?;
        breathe(Duration::from_millis(5));
    }
    Ok(vec![connection.read_answer()?])
}

/// Name, how many, keeps its connection, pause between two acts, act.
const KINDS: [(&str, usize, bool, u64, Act); 5] = [
    ("keep-alive", 8, true, 8, get),
    ("new-connection", 4, false, 8, get),
    ("pipelined", 2, true, 16, pipelined),
    ("slow-body", 2, true, 5, slow_body),
    ("half-sent-head", 2, true, 5, half_head),
];

fn client(
    shared: &Shared,
    address: SocketAddr,
    kind: &'static str,
    keeps: bool,
    pause: u64,
    act: Act,
) {
    let mut kept: Option<Connection> = None;
    while shared.go_on() {
        let old = kept.is_some();
        let opened = kept.take().map_or_else(|| Connection::open(address), Ok);
        let acted = opened.and_then(|mut connection| Ok((act(&mut connection)?, connection)));
        match acted {
            Ok((answers, connection)) => {
                let closes = answers.iter().any(|it| it.header("connection") == Some("close"));
                kept = (keeps && !closes).then_some(connection);
                for answer in answers {
                    shared.judge(kind, answer.status, &answer.body);
                }
            }
            Err(error) => shared.fail(kind, &error, old),
        }
        breathe(Duration::from_millis(pause));
    }
}

/// All clients of one soak.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for (kind, count, keeps, pause, act) in KINDS {
            shared.edit(|tally| {
                tally.requests.insert(kind, 0);
            });
            for _ in 0..count {
                let shared = shared.clone();
                threads.push(std::thread::spawn(move || {
                    client(&shared, address, kind, keeps, pause, act);
                }));
            }
        }
        shared.edit(|tally| {
            tally.requests.insert(http2::KIND, 0);
        });
        let for_http2 = shared.clone();
        threads.push(std::thread::spawn(move || http2::client(&for_http2, address, Shared::go_on)));
        Self { shared, threads }
    }

    /// Every kind of client has had an answer.
    pub(crate) fn warm_up(&self) {
        eventually!(
            {
                let mut good = false;
                self.shared.edit(|tally| good = tally.requests.values().all(|count| *count > 20));
                good
            },
            "answers for every kind of client"
        );
    }

    /// No request is under way when it returns; kept connections stay open.
    pub(crate) fn pause(&self) {
        self.shared.paused.store(true, SeqCst);
        eventually!(self.shared.resting.load(SeqCst) == self.threads.len(), "all clients resting");
    }

    pub(crate) fn resume(&self) {
        self.shared.paused.store(false, SeqCst);
    }

    pub(crate) fn finish(self) -> Tally {
        self.shared.ended.store(true, SeqCst);
        for thread in self.threads {
            if thread.join().is_err() {
                self.shared.edit(|tally| tally.failed += 1);
            }
        }
        let mut all = Tally::default();
        self.shared.edit(|tally| all = tally.clone());
        all
    }
}

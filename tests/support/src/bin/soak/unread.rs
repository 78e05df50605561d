//! Clients whose bodies nobody reads, as they once stopped a host for good.
//!
//! Owns how many there are of each and what they count. Like all clients of a soak they never ask
//! twice: a request without its answer is a failure, whatever the reason.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hotseat_test_support::{
    Builder, Connection, Host, fault,
    host::holders,
    http2::{RawHttp2, raw::Stream},
};

/// Clients of one kind at a time.
const CLIENTS: u64 = 8;
/// POSTs on one kept connection of HTTP/2: more than its window holds.
const STREAMS: u64 = 25;
/// The body of each. Units: bytes.
const PIECE: usize = 16 << 10;
/// Bodies over HTTP/1 and for how many POSTs over HTTP/2 there is one. Units: bytes.
const BODIES: [(&str, usize, u64); 4] = [
    ("1 KB", 1 << 10, 2),
    ("200 KB", 200 << 10, 20),
    ("8 MB", 8 << 20, 200),
    ("40 MB", 40 << 20, 1000),
];
/// What becomes of a body.
const READS: [&str; 4] = ["ignored", "dropped", "piece", "held&keep=owner"];
/// What every data thread is asked for in the end.
const ALIVE: &str = "/edge?read=all";

/// One kind of client.
struct Line {
    kind: String,
    posts: u64,
    failed: u64,
    took: Duration,
}

/// What they met.
pub(crate) struct Outcome {
    lines: Vec<Line>,
    turn: Result<(), String>,
    held: u64,
}

/// Divides `posts` between the clients; each is told the number of its first POST and how many are
/// its own, and tells how many failed.
fn divide(kind: &str, posts: u64, client: impl Fn(u64, u64) -> u64 + Send + Sync) -> Line {
    let (begun, failed) = (Instant::now(), AtomicU64::new(0));
    let share = posts.div_ceil(CLIENTS);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (client, failed) = (&client, &failed);
            let first = number * share;
            let own = share.min(posts.saturating_sub(first));
            scope.spawn(move || failed.fetch_add(client(first, own), Relaxed));
        }
    });
    let failed = failed.into_inner();
    Line { kind: kind.to_owned(), posts, failed, took: begun.elapsed() }
}

fn target(number: u64) -> String {
    let at = usize::try_from(number).unwrap_or(0) % READS.len();
    format!("/edge?read={}", READS[at])
}

fn is_good(over: &Stream) -> bool {
    over.ended && over.heads == 1 && over.answer.as_ref().is_some_and(|it| it.status == 200)
}

/// As curl does it: a connection for each, a body of a byte.
fn fresh_http2(address: SocketAddr, number: u64) -> io::Result<bool> {
    let mut client = RawHttp2::open(address, &[])?;
    let stream = client.post(&target(number), b"x", true)?;
    Ok(is_good(&client.finish(stream)?))
}

/// Several on one connection; one of them does not even end.
fn kept_http2(address: SocketAddr, first: u64, count: u64) -> u64 {
    let attempt = || -> io::Result<u64> {
        let mut client = RawHttp2::open(address, &[])?;
        let body = [b'x'; PIECE];
        let mut good = 0;
        for number in first..first + count {
            let stream = client.post(&target(number), &body, number % STREAMS != 3)?;
            good += u64::from(is_good(&client.finish(stream)?));
        }
        Ok(good)
    };
    count - attempt().unwrap_or(0)
}

/// On one kept connection, as long as it is one.
fn kept_http1(address: SocketAddr, first: u64, count: u64, body: &[u8]) -> u64 {
    let mut kept: Option<Connection> = None;
    let mut failed = 0;
    for number in first..first + count {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            target(number),
            body.len()
        );
        let asked = kept.take().map_or_else(|| Connection::open(address), Ok).and_then(|mut it| {
            let (sent, answer) =
                it.send_beside([head.as_bytes(), body], Connection::read_answer)?;
            sent?;
            Ok((answer?, it))
        });
        match asked {
            // A connection that is closed is a failure too: these bodies are read away.
            Ok((answer, it)) if answer.status == 200 && answer.header("connection").is_none() => {
                kept = Some(it);
            }
            _ => failed += 1,
        }
    }
    failed
}

/// All clients, one kind after the other.
pub(crate) fn run(binary: &Path, posts: u64) -> anyhow::Result<Outcome> {
    let binary = binary.canonicalize().context("find the host's binary")?;
    let builder = Builder::new(binary).env("HOTSEAT_LOG", "warn");
    let host: Host = builder.with(fault("edge"), "libedge_v1.so").start();
    let address = host.data();
    let failures = |count: u64, ask: &dyn Fn(u64) -> io::Result<bool>, first: u64| {
        (first..first + count).filter(|number| !ask(*number).unwrap_or(false)).count() as u64
    };
    let mut lines = vec![
        divide("HTTP/2, a connection each", posts, |first, count| {
            failures(count, &|number| fresh_http2(address, number), first)
        }),
        divide("HTTP/2, 16 KB, kept", posts, |first, count| {
            let steps = (first..first + count).step_by(usize::try_from(STREAMS).unwrap_or(1));
            let left = |at: u64| STREAMS.min(first + count - at);
            steps.map(|at| kept_http2(address, at, left(at))).sum()
        }),
    ];
    let body = vec![b'x'; BODIES[BODIES.len() - 1].1];
    for (name, size, part) in BODIES {
        let kind = format!("HTTP/1, {name}, kept");
        lines.push(divide(&kind, (posts / part).max(CLIENTS), |first, count| {
            kept_http1(address, first, count, &body[..size])
        }));
    }
    let turn = host.ask_threads(ALIVE).and_then(|()| host.nobody_held());
    Ok(Outcome { lines, turn, held: holders(&host.status()) })
}

impl Outcome {
    pub(crate) fn print(&self) {
        println!("POSTs whose bodies nobody reads            posts  failed  seconds");
        for Line { kind, posts, failed, took } in &self.lines {
            println!("  {kind:<38} {posts:>7}  {failed:>6}  {:>7.1}", took.as_secs_f64());
        }
        let turn = self.turn.as_ref().map_or_else(String::as_str, |()| "all turn");
        println!("threads   {turn}");
        println!("holders   {}", self.held);
    }

    /// What must not be.
    pub(crate) fn missed(&self) -> Vec<String> {
        let failed = self.lines.iter().filter(|line| line.failed > 0);
        let mut missed: Vec<_> =
            failed.map(|line| format!("{} POSTs failed: {}", line.failed, line.kind)).collect();
        missed.extend(self.turn.as_ref().err().cloned());
        if self.held > 0 {
            missed.push(format!("{} requests are held", self.held));
        }
        missed
    }
}

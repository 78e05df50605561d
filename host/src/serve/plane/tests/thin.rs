//! The same bytes to the same plugin, past hyper where that may be and by hyper alone: what comes back is
//! the same, and so is the end.
//!
//! `HOTSEAT_THIN_CASES` has it go on for longer, from `HOTSEAT_THIN_SEED` on.

use std::{
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
};

use bytes::Bytes;
use futures_util::future::join;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::yield_now,
    time::timeout,
};

use super::*;
use crate::serve::{
    connection,
    socket::{Accepted, Unregistered},
};

/// How often the server has its turn before it is taken not to read any more.
const TURNS: usize = 100;
/// No connection stays open for so long.
const LONG: Duration = Duration::from_secs(20);

/// What came back, without what differs by nature.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    text: String,
    end: &'static str,
}

/// Both ways to one plugin.
struct Ways {
    listener: TcpListener,
    routes: Arc<Routes>,
    configs: [Config; 2],
    thin_count: u64,
}

impl Ways {
    fn open() -> Self {
        static LOADED: OnceLock<(Arc<Loaded>, Mutex<Reaper>)> = OnceLock::new();
        let config = |thin| {
            let limits = Limits { unread_time: Duration::from_millis(50), ..Limits::default() };
            Config { thin, limits, health_path: Some("/health".to_owned()), ..Config::default() }
        };
        Self {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            routes: routes_to(LOADED.get_or_init(|| load_fault("varied")).0.clone()),
            configs: [true, false].map(config),
            thin_count: 0,
        }
    }

    /// Sends `segments`, each when the one before it was read, and the end. By either way.
    fn talk(&mut self, segments: &[Vec<u8>]) -> [Heard; 2] {
        [0, 1].map(|way| {
            let runtime =
                Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let core = alone(&self.configs[way], &self.routes, &Tally::default());
            let heard = runtime.unwrap().block_on(converse(&core, &self.listener, segments));
            self.thin_count += core.thin_count.get();
            heard
        })
    }

    #[track_caller]
    fn check(&mut self, segments: &[Vec<u8>], what: &str) {
        let [mut thin, hyper] = self.talk(segments);
        // hyper, which looks at a head that comes in pieces only once its end has come, says nothing of a
        // bad one that has none.
        let more = thin.text.strip_prefix(&hyper.text).unwrap_or_default();
        if segments.len() > 1 && more.starts_with("HTTP/1.1 400 ") && hyper.end == "closed" {
            thin.text.clone_from(&hyper.text);
        }
        let texts = segments.iter().map(|it| String::from_utf8_lossy(it).into_owned());
        assert_eq!(thin, hyper, "{what}: {:#?}", texts.collect::<Vec<_>>());
    }
}

async fn converse(core: &Rc<Core>, listener: &TcpListener, segments: &[Vec<u8>]) -> Heard {
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true).unwrap();
        socket.set_nodelay(true).unwrap();
    }
    let looked_at = theirs.try_clone().unwrap();
    let socket = Unregistered::Tcp(OwnedFd::from(theirs));
    connection::open(core, Accepted { socket, peer: "peer".to_owned(), prefix: Bytes::new() });
    let (mut reading, mut writing) = tokio::net::TcpStream::from_std(ours).unwrap().into_split();
    let hear = async move {
        let mut all = Vec::new();
        let end = match timeout(LONG, reading.read_to_end(&mut all)).await {
            Ok(Ok(_)) => "closed",
            Ok(Err(_)) => "reset",
            Err(_) => "open",
        };
        (all, end)
    };
    let say = async move {
        for segment in segments {
            // It may be over already.
            let _ = timeout(LONG, writing.write_all(segment)).await;
            for _ in 0..TURNS {
                yield_now().await;
                if rustix::io::ioctl_fionread(&looked_at).is_ok_and(|left| left == 0) {
                    break;
                }
            }
            yield_now().await;
        }
        drop(looked_at);
        let _ = writing.shutdown().await;
    };
    let ((all, end), ()) = join(hear, say).await;
    Heard { text: masked(&all), end }
}

/// The time of day goes, and fields of one name stand together.
fn masked(all: &[u8]) -> String {
    let text: String = all.iter().map(|byte| char::from(*byte)).collect();
    let mut heads = text.split("HTTP/1.1 ");
    let mut masked = heads.next().unwrap_or_default().to_owned();
    for answer in heads {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let mut lines: Vec<_> = head.split("\r\n").collect();
        for line in &mut lines {
            if line.starts_with("date: ") && !line.contains("1970") {
                *line = "date: now";
            }
        }
        lines[1..].sort_by_key(|line| line.split(':').next());
        masked += &format!("HTTP/1.1 {}\r\n\r\n{body}", lines.join("\r\n"));
    }
    masked
}

fn request(head: &str, body: &str) -> Vec<u8> {
    format!("{head}\r\n\r\n{body}").into_bytes()
}

const TARGETS: [&str; 29] = [
    "/",
    "/?a=b&c",
    "/empty",
    "/many?n=20",
    "/many?n=500",
    "/many?n=3000",
    "/stream?n=5",
    "/stream?n=0",
    "/large?n=7",
    "/broken?n=2",
    "/broken?n=0",
    "/status?n=204",
    "/status?n=205",
    "/status?n=304",
    "/status?n=404",
    "/status?n=503",
    "/status?n=299",
    "/described",
    "/wrong",
    "/close",
    "/nominated",
    "/fields",
    "/upgrade",
    "/required",
    "/error",
    "/panic",
    "/health/readyz",
    "/unread",
    "/a%20b/c;d=e?x=%3F?y",
];

/// The fields of a request.
const FIELDS: [&str; 20] = [
    "Host: a\r\nX-Asked: 1\r\nx-asked: 2",
    "Host: a\r\nConnection: keep-alive",
    "Host: a\r\nConnection: close",
    "Host: a\r\nConnection: Keep-Alive, x",
    "Host: a\r\nUpgrade: x\r\nConnection: upgrade",
    "Host: a\r\nExpect: 100-continue",
    "Host: a\r\nTE: trailers",
    "Host: a\r\nhost: b",
    "X: 1",
    "Host: a b",
    "Host: [::1]:8080",
    "Host: a.",
    "Host:",
    "Host: a\r\nContent-Length: 0",
    "Host: a\r\nContent-Length: +1",
    "Host: a\r\nContent-Length: 1\r\nContent-Length: 1",
    "Host: a\r\nX-Obs: \u{e9}",
    "Host: a\r\n folded",
    "Host: a\r\nX : y",
    "Host: a\nX-Bare: 1",
];

/// Its first line.
const LINES: [&str; 14] = [
    "OPTIONS * HTTP/1.1",
    "OPTIONS / HTTP/1.1",
    "TRACE / HTTP/1.1",
    "CONNECT a:1 HTTP/1.1",
    "GET http://a/ HTTP/1.1",
    "GET / HTTP/1.0",
    "GET /# HTTP/1.1",
    "GET /\u{e9} HTTP/1.1",
    "GET a HTTP/1.1",
    "get / HTTP/1.1",
    "GET  / HTTP/1.1",
    "PURGE / HTTP/1.1",
    "GET /a\"b HTTP/1.1",
    "GET //a HTTP/1.1",
];

/// Requests of every kind, plain and not.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for target in TARGETS {
        for method in ["GET", "HEAD"] {
            seeds.push(request(&format!("{method} {target} HTTP/1.1\r\nHost: a:80"), ""));
        }
    }
    for (target, body) in
        [("/body", "hello"), ("/unread", "hello"), ("/known", "hello"), ("/", "x"), ("/error", "x")]
    {
        for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
            let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: ");
            seeds.push(request(&format!("{head}{}", body.len()), body));
        }
        let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked");
        seeds.push(request(&head, &chunked));
    }
    for fields in FIELDS {
        seeds.push(request(&format!("GET /fields HTTP/1.1\r\n{fields}"), ""));
    }
    for line in LINES {
        seeds.push(request(&format!("{line}\r\nHost: a"), ""));
    }
    seeds
}

/// Another one like it.
fn mutated(random: &mut StdRng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..6) {
        0 => bytes[at] = random.random(),
        1 => drop(bytes.remove(at)),
        2 => bytes.insert(at, *b" \t\r\n:,;\0\x7f\xffa0".choose(random).unwrap_or(&0)),
        3 => bytes.truncate(at),
        4 => {
            // A line twice, or one less.
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let mut lines: Vec<_> = text.split("\r\n").collect();
            let line = random.random_range(0..lines.len());
            match random.random() {
                true => lines.insert(line, lines[line]),
                false => drop(lines.remove(line)),
            }
            bytes = lines.join("\r\n").into_bytes();
        }
        _ => {
            let more =
                ["\r\nConnection: close", "\r\nTE: x", "\r\nX-Long: ", "\r\nContent-Length: 3"];
            let end = seed.windows(4).position(|it| it == b"\r\n\r\n").unwrap_or(at);
            let mut more = more.choose(random).copied().unwrap_or_default().to_owned();
            if more.ends_with(": ") {
                more += &"y".repeat(random.random_range(0..10_000));
            }
            bytes.splice(end..end, more.bytes());
        }
    }
    bytes
}

/// Cuts it into pieces.
fn split(random: &mut StdRng, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut segments = Vec::new();
    while rest.len() > 1 && random.random_ratio(2, 3) {
        let (piece, behind) = rest.split_at(random.random_range(1..rest.len()));
        segments.push(piece.to_vec());
        rest = behind;
    }
    segments.push(rest.to_vec());
    segments
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Every seed alone, before and behind a plain one, and cut at every byte.
#[test]
fn both_ways_say_the_same() {
    let mut ways = Ways::open();
    let plain = request("GET /many?n=2 HTTP/1.1\r\nHost: a", "");
    for seed in seeds() {
        let what = String::from_utf8_lossy(&seed).lines().next().unwrap_or_default().to_owned();
        ways.check(std::slice::from_ref(&seed), &what);
        ways.check(&[[&plain[..], &seed, &plain, &plain].concat()], &what);
        ways.check(&[seed.clone(), plain.clone(), plain.clone(), plain.clone()], &what);
        for at in (1..seed.len()).step_by(seed.len() / 7 + 1) {
            ways.check(&[seed[..at].to_vec(), seed[at..].to_vec()], &what);
        }
    }
    let count = ways.thin_count;
    assert!(count > 500, "only {count} requests went past hyper");
}

/// Whatever else comes.
#[test]
fn both_ways_say_the_same_to_anything() {
    let mut ways = Ways::open();
    let (seeds, seed) = (seeds(), variable("HOTSEAT_THIN_SEED", 1));
    for case in seed..seed + variable("HOTSEAT_THIN_CASES", 1500) {
        let mut random = StdRng::seed_from_u64(case);
        let count = random.random_range(1..4);
        let mut all = Vec::new();
        for _ in 0..count {
            let seed = seeds.choose(&mut random).expect("there are some");
            match random.random_ratio(2, 3) {
                true => all.extend(mutated(&mut random, seed)),
                false => all.extend_from_slice(seed),
            }
        }
        let segments = match random.random_ratio(1, 4) {
            true => split(&mut random, &all),
            false => vec![all],
        };
        ways.check(&segments, &format!("HOTSEAT_THIN_SEED={case}"));
    }
}

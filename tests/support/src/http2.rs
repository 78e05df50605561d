//! HTTP/2 load: streams side by side on kept connections, and what a GOAWAY costs.
//!
//! Owns a thread with a runtime. A request that hyper hands back unsent (it met a GOAWAY before
//! its first byte) is asked again on a new connection and counted as such; no request is sent
//! twice.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};

pub mod frame;
pub mod hpack;
pub mod raw;
mod whole;

pub use raw::RawHttp2;
pub use whole::{Whole, ask_whole};

/// How many failures are told in words.
const EXAMPLES_MAX: usize = 12;

type Sender = SendRequest<Empty<Bytes>>;

/// Who asks for what.
#[derive(Clone, Debug)]
pub struct Http2Plan {
    /// Connections.
    pub connections: usize,
    /// Streams at a time on each.
    pub streams: usize,
    /// Path and query.
    pub target: String,
    /// Between two bursts of one connection.
    pub think: Duration,
}

impl Default for Http2Plan {
    fn default() -> Self {
        Self {
            connections: 4,
            streams: 10,
            target: "/".to_owned(),
            think: Duration::from_millis(5),
        }
    }
}

/// What was met.
#[derive(Clone, Debug, Default)]
pub struct Http2Report {
    /// Good answers.
    pub answered: u64,
    /// Streams without one.
    pub failed: u64,
    /// The first few of them, in words.
    pub examples: Vec<String>,
    /// Requests that a connection on its end gave back unsent.
    pub unsent: u64,
    /// Connections that were made.
    pub connects: u64,
    /// Connections that the server ended in good order: GOAWAY, the streams' ends, then the close.
    pub goaways: u64,
    /// Who answered, by `x-pid`.
    pub pids: BTreeSet<u32>,
}

impl Http2Report {
    fn fail(&mut self, text: String) {
        self.failed += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text);
        }
    }

    /// # Panics
    /// When a stream failed or none was answered.
    #[track_caller]
    pub fn assert_clean(&self) -> &Self {
        assert!(self.answered > 0 && self.failed == 0, "{self:#?}");
        self
    }
}

#[derive(Debug)]
struct Shared {
    plan: Http2Plan,
    address: SocketAddr,
    ended: AtomicBool,
    report: Mutex<Http2Report>,
}

impl Shared {
    fn edit<T>(&self, change: impl FnOnce(&mut Http2Report) -> T) -> T {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Clients that ask until they are told to stop.
#[derive(Debug)]
pub struct Http2Load {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Http2Load {
    /// Starts all of them.
    ///
    /// # Panics
    /// When there is no runtime.
    #[must_use]
    pub fn start(address: SocketAddr, plan: Http2Plan) -> Self {
        let (ended, report) = (AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { plan, address, ended, report });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime for the clients");
        let inner = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let mut clients = JoinSet::new();
                for _ in 0..inner.plan.connections {
                    clients.spawn(client(Arc::clone(&inner)));
                }
                clients.join_all().await;
            });
        });
        Self { shared, thread }
    }

    /// What was met so far.
    #[must_use]
    pub fn so_far(&self) -> Http2Report {
        self.shared.edit(|report| report.clone())
    }

    /// Waits until `more` further requests had good answers.
    ///
    /// # Panics
    /// When they have none within patience.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        let goal = self.so_far().answered + more;
        crate::eventually!(
            self.so_far().answered >= goal,
            "{more} more answers over HTTP/2: {:#?}",
            self.so_far()
        );
    }

    /// Ends the open streams properly, and tells what was met.
    ///
    /// # Panics
    /// When a client panicked.
    #[must_use]
    #[track_caller]
    pub fn stop(self) -> Http2Report {
        self.shared.ended.store(true, SeqCst);
        self.thread.join().expect("an HTTP/2 client panicked");
        self.shared.edit(std::mem::take)
    }
}

async fn client(shared: Arc<Shared>) {
    let mut kept: Option<Sender> = None;
    while !shared.ended.load(SeqCst) {
        if kept.as_ref().is_none_or(Sender::is_closed) {
            kept = connect(&shared).await;
        }
        if let Some(sender) = &kept {
            let mut streams = JoinSet::new();
            for _ in 0..shared.plan.streams {
                streams.spawn(ask(Arc::clone(&shared), sender.clone()));
            }
            if streams.join_all().await.contains(&true) {
                kept = None;
                continue;
            }
        }
        // As a client thinks, which the plan asks for; nothing is waited for.
        tokio::time::sleep(shared.plan.think).await;
    }
}

async fn connect(shared: &Arc<Shared>) -> Option<Sender> {
    let greeted = async {
        let stream = TcpStream::connect(shared.address).await?;
        handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(std::io::Error::other)
    };
    match crate::patience::within(greeted).await {
        Ok(Ok((sender, connection))) => {
            shared.edit(|report| report.connects += 1);
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                // An end in bad order shows in its streams.
                if connection.await.is_ok() && !shared.ended.load(SeqCst) {
                    shared.edit(|report| report.goaways += 1);
                }
            });
            Some(sender)
        }
        Ok(Err(error)) => {
            shared.edit(|report| report.fail(format!("connect: {error}")));
            None
        }
        Err(_) => {
            shared.edit(|report| report.fail("connect: no patience left".to_owned()));
            None
        }
    }
}

/// One stream; whether it came back unsent.
async fn ask(shared: Arc<Shared>, mut sender: Sender) -> bool {
    let uri = format!("http://localhost{}", shared.plan.target);
    let request = Request::get(uri).version(Version::HTTP_2).body(Empty::new());
    let request = request.expect("a path and a query");
    let exchange = async {
        match sender.try_send_request(request).await {
            Err(mut error) => match error.take_message() {
                Some(_) => Ok(None),
                None => Err(format!("{:?}", error.into_error())),
            },
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                let body = body.collect().await.map_err(|error| format!("body: {error:?}"))?;
                Ok(Some((head, body.to_bytes())))
            }
        }
    };
    let outcome = crate::patience::within(exchange).await;
    let unsent = matches!(outcome, Ok(Ok(None)));
    shared.edit(|report| match outcome {
        Ok(Ok(None)) => report.unsent += 1,
        Ok(Ok(Some((head, body)))) if !head.status.is_success() => {
            report.fail(format!("{} {}", head.status, String::from_utf8_lossy(&body)));
        }
        Ok(Ok(Some((head, _)))) => {
            report.answered += 1;
            let pid = head.headers.get("x-pid").and_then(|pid| pid.to_str().ok());
            report.pids.extend(pid.and_then(|pid| pid.parse::<u32>().ok()));
        }
        Ok(Err(text)) => report.fail(text),
        Err(_) => report.fail("no answer within patience".to_owned()),
    });
    unsent
}

/// What `h2load` counted.
#[derive(Clone, Debug)]
pub struct H2load {
    /// Good answers.
    pub succeeded: u64,
    /// Streams that failed, errored or timed out.
    pub failed: u64,
    /// All that it said.
    pub text: String,
}

/// Runs `h2load` to its end.
///
/// # Panics
/// When it cannot be started or says nothing that can be read.
#[must_use]
#[track_caller]
pub fn h2load(program: &Path, url: &str, requests: u32, clients: u32, streams: u32) -> H2load {
    let mut command = Command::new(program);
    let numbers = [requests, clients, streams].map(|number| number.to_string());
    for (flag, number) in ["-n", "-c", "-m"].iter().zip(&numbers) {
        command.args([flag, number.as_str()]);
    }
    let output = command.arg(url).output().expect("start h2load");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("requests:")).unwrap_or_default();
    // `requests: 100 total, 100 started, 100 done, 100 succeeded, 0 failed, 0 errored, 0 timeout`
    let number = |word: &str| -> u64 {
        let part = line.split([',', ':']).find(|part| part.trim_end().ends_with(word));
        let digits = part.and_then(|part| part.split_whitespace().next()?.parse().ok());
        digits.unwrap_or_else(|| panic!("h2load does not say `{word}`: {output:?}"))
    };
    let failed = number("failed") + number("errored") + number("timeout");
    H2load { succeeded: number("succeeded"), failed, text }
}

//! What a call through the ABI costs: nanoseconds of thread CPU time a request, over an IO
//! without system calls. Minimum of interleaved rounds, because everything else is noise.
//!
//! `make bench` runs it. Three services answer the same greeting: hyper with a closure, the data
//! plane without a plugin, the data plane with the same literal from a library.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    path::PathBuf,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hotseat::{
    artifact,
    config::{Config, Limits},
    event::Events,
    ids::{Generation, PluginName, Version},
    plugin::{
        blocking::BlockingPool,
        library::LoadRequest,
        load::load,
        reaper::{GRACE, Reaper, ReaperRules},
        services::{MetricSink, Services},
    },
    route::{Loaded, Roster, Routes, Table},
    serve::in_process,
    status::Beside,
    sys::private::PrivateFile,
};
use http::{Response, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 15;
const REQUESTS: usize = 40_000;
const GREETING: &str = "v1";

const TINY: &str = "GET / HTTP/1.1\r\nhost: localhost:8080\r\n\r\n";
const TEN_MORE: &str = "GET / HTTP/1.1\r\nhost: localhost:8080\r\n\
    user-agent: Mozilla/5.0 (X11; Linux x86_64)\r\naccept: text/html,application/xhtml+xml\r\n\
    accept-language: en-GB,en;q=0.5\r\naccept-encoding: gzip, deflate, br\r\n\
    cache-control: no-cache\r\ncookie: session=0123456789abcdef\r\nx-request-id: 4f2a9c\r\n\
    x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: https\r\nreferer: https://example.org/\r\n\r\n";

/// Gives the same request over and over, then the end; counts what is written.
struct Tape {
    request: &'static [u8],
    left: usize,
    written: usize,
}

impl hyper::rt::Read for Tape {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left > 0 {
            self.left -= 1;
            buf.put_slice(self.request);
        }
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Tape {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written += buf.len();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = bufs.iter().map(|buf| buf.len()).sum();
        self.written += count;
        Poll::Ready(Ok(count))
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Runs a connection to its end; it never waits for anything but its own wake-ups.
fn spin(connection: impl Future<Output = ()>) {
    let mut connection = pin!(connection);
    let mut cx = Context::from_waker(Waker::noop());
    while connection.as_mut().poll(&mut cx).is_pending() {}
}

/// Units: nanoseconds of this thread's CPU time a request.
fn measure(request: &'static str, serve: impl FnOnce(Tape)) -> f64 {
    let tape = Tape { request: request.as_bytes(), left: REQUESTS, written: 0 };
    let before = cpu_time();
    serve(tape);
    let spent = cpu_time().saturating_sub(before);
    spent.as_secs_f64() * 1e9 / f64::from(u32::try_from(REQUESTS).unwrap_or(u32::MAX))
}

struct Nowhere;

impl MetricSink for Nowhere {
    fn record(&self, _: &PluginName, _: u32, _: &str, _: &[(&str, &str)], _: f64) {}

    fn beside(&self, _: &PluginName) -> Arc<Beside> {
        Arc::default()
    }
}

/// A handler that answers a literal, built beside this bench by `make bench`.
fn library() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found =
        own.ancestors().map(|dir| dir.join("examples/libplain_v1.so")).find(|path| path.exists());
    found.ok_or_else(|| anyhow::anyhow!("examples/libplain_v1.so is not built; run `make bench`"))
}

fn main() -> anyhow::Result<()> {
    let config = Config { limits: Limits::default(), ..Config::default() };
    let timer = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let services = Services::new(
        Arc::new(Nowhere),
        timer.handle().clone(),
        Arc::new(BlockingPool::start(1, 1)?),
    );
    let path = library()?;
    let digest = artifact::digest(&std::fs::read(&path)?);
    let version = Version { generation: Generation(1), label: "1".parse()?, digest };
    let plugin: PluginName = "handler".parse()?;
    let request = LoadRequest {
        path,
        plugin: plugin.clone(),
        label: version.label.clone(),
        generation: version.generation,
        settings: hotseat::config::plugin::PluginSettings::default(),
        services,
        tried: Vec::new(),
        load_time: config.limits.load_time,
    };
    let instance = load(request, Arc::new(drop))?;
    let rules = ReaperRules {
        never: Some("the bench ends with its process".to_owned()),
        stop_time: Duration::from_secs(1),
        purge_time: Duration::from_secs(1),
        grace: GRACE,
    };
    let reaper = Reaper::start(rules, |_| ())?;
    let hands = (reaper.handle(), Roster::new(1, Events::new(1)));
    // The reaper would remove the file that it is told: none.
    let file = PrivateFile::on_disk(PathBuf::new());
    let parts = (instance, file);
    let loaded = Loaded::new(plugin.clone(), version, parts, Default::default(), hands);
    let routes = Arc::new(Routes::default());
    routes.store(Table::build(&[], &BTreeMap::from([(plugin, Some(Arc::new(loaded)))])));

    println!("ns of CPU a request, minimum of {ROUNDS} interleaved rounds of {REQUESTS}");
    println!("{:<18}{:>10}{:>14}{:>10}{:>16}", "", "hyper", "no plugin", "plugin", "plugin costs");
    for (name, request) in [("tiny GET", TINY), ("+10 headers", TEN_MORE)] {
        let [bare, fixed, plugin] = rounds(request, &config, &routes);
        println!("{name:<18}{bare:>10.0}{fixed:>14.0}{plugin:>10.0}{:>+16.0}", plugin - fixed);
    }
    drop(routes);
    let _ = reaper.shut_down(Instant::now() + Duration::from_secs(1));
    Ok(())
}

fn rounds(request: &'static str, config: &Config, routes: &Arc<Routes>) -> [f64; 3] {
    let mut best = [f64::MAX; 3];
    for _ in 0..ROUNDS {
        let spent = [
            measure(request, |tape| spin(bare(tape))),
            measure(request, |tape| spin(in_process::fixed(config, routes, tape, GREETING))),
            measure(request, |tape| spin(in_process::plugin(config, routes, tape))),
        ];
        for (best, spent) in best.iter_mut().zip(spent) {
            *best = best.min(spent);
        }
    }
    best
}

async fn bare(tape: Tape) {
    let service = service_fn(|_| async {
        let mut response = Response::new(Full::new(Bytes::from_static(GREETING.as_bytes())));
        let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok::<_, Infallible>(response)
    });
    let _ = http1::Builder::new().half_close(true).serve_connection(tape, service).await;
}

//! The greeting without a plugin: axum, hyper with one runtime per core, nginx.
//!
//! Owns the peers' processes. Each is what its documentation shows first; none is slowed down.

use std::{
    convert::Infallible,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, ensure};
use axum::{Router, routing::get};
use bytes::Bytes;
use clap::ValueEnum;
use http::{Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::mpsc, task::LocalSet};

use crate::GREETING;

const TEXT: &str = "text/plain; charset=utf-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Axum,
    Hyper,
}

/// Serves until stdin ends, so that a bench that dies leaves nothing behind.
pub(crate) fn serve(kind: Kind) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("bind")?;
    println!("{}", listener.local_addr().context("read the address")?);
    listener.set_nonblocking(true).context("make the listener non-blocking")?;
    std::thread::spawn(move || match kind {
        Kind::Axum => axum(listener),
        Kind::Hyper => hyper(listener),
    });
    std::io::stdin().read_to_end(&mut Vec::new()).context("wait for the end")?;
    Ok(())
}

fn axum(listener: TcpListener) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).context("adopt the listener")?;
        let router = Router::new().route("/", get(|| async { GREETING }));
        axum::serve(listener, router).await.context("serve")
    })
}

fn greet() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(GREETING.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(TEXT));
    response
}

async fn connection(stream: std::net::TcpStream) {
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let service = service_fn(|_| async { Ok::<_, Infallible>(greet()) });
    // A client that goes away is no news here.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// One thread a core, each with a runtime of its own; the first one accepts and deals in turn.
fn hyper(listener: TcpListener) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut seats = Vec::new();
    for _ in 0..cores {
        let (sender, mut receiver) = mpsc::channel::<std::net::TcpStream>(1024);
        seats.push(sender);
        std::thread::spawn(move || {
            current_thread(async move {
                while let Some(stream) = receiver.recv().await {
                    #[expect(clippy::disallowed_methods, reason = "a peer is no data thread")]
                    tokio::task::spawn_local(connection(stream));
                }
            })
        });
    }
    current_thread(async move {
        let listener = tokio::net::TcpListener::from_std(listener).context("adopt the listener")?;
        for seat in seats.iter().cycle() {
            let (stream, _) = listener.accept().await.context("accept")?;
            stream.set_nodelay(true).context("set nodelay")?;
            seat.send(stream.into_std().context("pass on")?).await.context("pass on")?;
        }
        anyhow::Ok(())
    })?
}

fn current_thread<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(LocalSet::new().block_on(&runtime.context("start a runtime")?, work))
}

/// A peer that runs; ended by its process id.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    _home: TempDir,
    pub(crate) address: SocketAddr,
}

impl Peer {
    pub(crate) fn start(kind: Kind) -> anyhow::Result<Self> {
        let name = kind.to_possible_value().context("name the peer")?;
        let program = std::env::current_exe().context("find this program")?;
        Self::start_command(Command::new(program).args(["peer", name.get_name()]))
    }

    /// A program that serves as it is told, and prints its address.
    pub(crate) fn start_program(program: &Path, how: &str) -> anyhow::Result<Self> {
        Self::start_command(Command::new(program).arg(how))
    }

    fn start_command(command: &mut Command) -> anyhow::Result<Self> {
        let home = tempfile::tempdir().context("make a folder")?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the peer")?;
        let output = child.stdout.take().context("its stdout is a pipe")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("read its address")?;
        let address = line.trim().parse().context("read its address")?;
        Ok(Self { child, _home: home, address })
    }

    /// nginx with `return 200`, one worker a core.
    pub(crate) fn start_nginx() -> anyhow::Result<Self> {
        let home = tempfile::tempdir().context("make a folder")?;
        let address = hotseat_test_support::address::free_address();
        let folder = home.path().display();
        let config = home.path().join("nginx.conf");
        let text = format!(
            "daemon off; worker_processes auto; pid {folder}/pid; error_log stderr error;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; default_type '{TEXT}';\n\
             client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n\
             fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
             server {{ listen {address}; location / {{ return 200 '{GREETING}'; }} }} }}\n"
        );
        fs::write(&config, text).context("write nginx.conf")?;
        let child = Command::new("nginx").arg("-c").arg(&config).stdin(Stdio::null()).spawn();
        let peer = Self { child: child.context("start nginx")?, _home: home, address };
        hotseat_test_support::eventually!(
            std::net::TcpStream::connect(address).is_ok(),
            "nginx listening on {address}"
        );
        Ok(peer)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It answers the greeting and nothing else.
    pub(crate) fn check(address: SocketAddr) -> anyhow::Result<()> {
        let answer = hotseat_test_support::Connection::open(address)?.get("/")?;
        ensure!(answer.status == 200 && answer.text() == GREETING, "{answer:?}");
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        // nginx ends its workers only when it is asked to end, not when it is killed.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if pid.is_none_or(|pid| kill_process(pid, Signal::TERM).is_err()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

//! What authors of services look for, a route each: see `tests/it/service/rows.rs`.

use std::{
    convert::Infallible, future::poll_fn, io::Read as _, os::unix::net, panic, task::Poll,
    time::Duration,
};

use axum::{
    Router,
    extract::{Extension, Query},
    http::StatusCode,
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
    routing::get,
};
use futures_util::{StreamExt as _, stream};
use hotseat_plugin_api::{Context, RequestInfo, Result, RuntimeOptions, export_axum};
use serde::Deserialize;
use tokio::{
    io::AsyncReadExt as _,
    net::UnixStream,
    process::Command,
    runtime::Handle,
    sync::mpsc::{Receiver, channel},
    task::{block_in_place, spawn_local},
};

/// More than tokio lets a task take at once.
const READY: usize = 1_000;

/// Where a test waits for the request, and lets it go on.
#[derive(Deserialize)]
struct Gate {
    gate: String,
}

/// Blocks the thread until the test says so.
fn wait(gate: &Gate) -> std::io::Result<&'static str> {
    net::UnixStream::connect(&gate.gate)?.read_exact(&mut [0])?;
    Ok("on")
}

/// The same without blocking.
async fn held(Query(gate): Query<Gate>) -> Result<&'static str, StatusCode> {
    let broken = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let mut stream = UnixStream::connect(&gate.gate).await.map_err(broken)?;
    stream.read_exact(&mut [0]).await.map_err(broken)?;
    Ok("on")
}

async fn in_place(Query(gate): Query<Gate>) -> String {
    format!("{:?}", block_in_place(|| wait(&gate)))
}

async fn block_on(Query(gate): Query<Gate>) -> String {
    format!("{:?}", Handle::current().block_on(held(Query(gate))))
}

/// In a task of the runtime, whose one thread goes on meanwhile: with the task that this one has begun, and
/// waits for first.
async fn spawned(Query(gate): Query<Gate>) -> String {
    let waits = tokio::spawn(async move {
        let (sender, beside) = std::sync::mpsc::channel();
        let begun = tokio::spawn(async move { sender.send(()) });
        let waited = block_in_place(|| beside.recv().is_ok() && wait(&gate).is_ok());
        (waited, begun.await.is_ok())
    });
    format!("{:?}", waits.await)
}

/// How many of the messages that are there one poll takes.
async fn taken(mut messages: Receiver<()>) -> usize {
    let mut count = 0;
    poll_fn(|cx| {
        while messages.poll_recv(cx).is_ready() {
            count += 1;
        }
        Poll::Ready(count)
    })
    .await
}

async fn budget() -> String {
    let (sender, messages) = channel(READY);
    let (other, of_task) = channel(READY);
    for _ in 0..READY {
        // There is room for all of them.
        let _ = (sender.try_send(()), other.try_send(()));
    }
    let of_task = tokio::spawn(taken(of_task)).await;
    format!("{} {}", taken(messages).await, of_task.is_ok_and(|count| count < READY))
}

#[expect(clippy::disallowed_methods, reason = "what becomes of it is what is tried")]
async fn local() -> &'static str {
    drop(spawn_local(async {}));
    "spawned"
}

/// Panics behind a hook of its own.
async fn own_hook() {
    panic::set_hook(Box::new(|_| println!("a hook of its own")));
    panic!("behind a hook of its own");
}

/// Panics behind one that goes on to the one before it.
async fn chained_hook() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| before(info)));
    panic!("behind a hook that goes on");
}

async fn deadline(Extension(info): Extension<RequestInfo>) -> String {
    let (left, ends) = (info.time_left(), info.deadline());
    let near = ends.and_then(|ends| ends.checked_duration_since(std::time::Instant::now()));
    let is_near = near.zip(left).is_some_and(|(near, left)| left.abs_diff(near) < left / 2);
    format!("{is_near} {}", left.is_some_and(|left| left <= Duration::from_secs(40)))
}

/// An event now, and one when the version is at its end.
async fn feed(Extension(info): Extension<RequestInfo>) -> impl IntoResponse {
    let draining = info.context().draining();
    let begun = stream::once(async { Event::default().data("begun") });
    let over = stream::once(async move {
        draining.await;
        Event::default().data("over")
    });
    Sse::new(begun.chain(over).map(Ok::<_, Infallible>)).keep_alive(KeepAlive::default())
}

async fn child() -> String {
    let output = Command::new("sh").args(["-c", "echo a child; exit 3"]).output().await;
    let told = |it: std::process::Output| {
        format!("{} {:?}", String::from_utf8_lossy(&it.stdout).trim_end(), it.status.code())
    };
    output.map_or_else(|error| error.to_string(), told)
}

async fn metrics(Extension(info): Extension<RequestInfo>) -> &'static str {
    let context = info.context();
    context.counter("rows_asked", 2.0, &[("how", "twice")]);
    context.gauge("rows_open", 7.0, &[]);
    context.gauge("rows_open", 5.0, &[]);
    context.histogram("rows_seconds", 0.25, &[]);
    "measured"
}

async fn cell(Extension(info): Extension<RequestInfo>) -> Result<String, String> {
    let cell = info.context().cell("asked");
    let now = cell.update_as(|before: Option<u64>| before.unwrap_or(0) + 1);
    now.map(|it| it.value.to_string()).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    room: String,
}

/// Says in the log that it is dropped.
struct Told(Context);

impl Drop for Told {
    fn drop(&mut self) {
        if !self.0.is_preflight() {
            self.0.info("an endless task is dropped", &[]);
        }
    }
}

fn app(context: &Context) -> Result<Router> {
    let settings: Settings = context.config_as()?;
    let told = Told(context.clone());
    tokio::spawn(async move {
        let _told = told;
        std::future::pending::<()>().await;
    });
    let room = settings.room;
    Ok(Router::new()
        .route("/held", get(held))
        .route("/in_place", get(in_place))
        .route("/block_on", get(block_on))
        .route("/spawned", get(spawned))
        .route("/budget", get(budget))
        .route("/local", get(local))
        .route("/own_hook", get(own_hook))
        .route("/chained_hook", get(chained_hook))
        .route("/deadline", get(deadline))
        .route("/feed", get(feed))
        .route("/child", get(child))
        .route("/metrics", get(metrics))
        .route("/cell", get(cell))
        .route("/room", get(move || async move { room })))
}

const ONE_THREAD: RuntimeOptions = RuntimeOptions { threads: 1, ..RuntimeOptions::DEFAULT };

export_axum!(app, runtime = ONE_THREAD);

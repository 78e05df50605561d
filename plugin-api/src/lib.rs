//! Write an HTTP handler that a running hotseat host loads, swaps and really unloads.
//!
//! ```
//! use hotseat_plugin_api::{export_handler, Context, Handler, Request, Response, Result};
//!
//! struct Hello;
//!
//! impl Handler for Hello {
//!     fn new(_: &Context) -> Result<Self> { Ok(Hello) }
//!     async fn call(&self, request: Request<'_>) -> Result<Response> { Ok(Response::text("hello")) }
//! }
//!
//! export_handler!(Hello);
//! # fn main() {}
//! ```
//!
//! That is a whole plugin. Its `Cargo.toml` names the kind of library, the library (name and version of
//! the plugin), and this crate as its one dependency, by its path in a copy of hotseat's source:
//!
//! ```toml
//! [lib]
//! name = "hello_v1"
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! hotseat-plugin-api = { path = "../hotseat/plugin-api" }
//! ```
//!
//! `docs/plugin.md` in hotseat's source goes the whole way with a larger one, files to paste: an axum
//! application with a database, settings, logs, a WebSocket and tests, deployed, changed and rolled back.
//!
//! # What a handler meets
//! - [`Handler::new`] makes the one instance of a generation. It runs in a short-lived child process
//!   first ([`Context::is_preflight`]), there once more where the first load has left something behind,
//!   and then, for the same bytes, in each process of the host that is to serve.
//! - [`Handler::call`] is asynchronous and must not block: [`Context::sleep`] waits and
//!   [`Context::blocking`] runs blocking code on the host's own pool.
//! - An `Err` or a panic answers 500 and is reported; it harms no other request. An error type of
//!   one's own that says what is answered for it is an [`IntoResponse`].
//! - When another version takes the seat, requests begun here end here. [`Handler::drain`] and
//!   [`Context::draining`] tell, so that endless streams can end. At the limit (`generation_drain`, or
//!   that of a stop or an upgrade) what still runs is cut: events (`text/event-stream`) end properly, any
//!   other body breaks off, because its client must not take a part for the whole. Then
//!   [`Handler::stop`] is called and the handler dropped: a runtime or a pool in a field ends its threads
//!   there.
//! - [`Handler::signal`] hears of the signals that the host gets, before and after it acts on them.
//!
//! # Beside requests
//!
//! | what | how |
//! |---|---|
//! | work that belongs to no request | [`Context::spawn`]: a task on the host's data threads, from when the version serves until after its last request |
//! | work that comes again and again | [`Context::every`], once at a time; it ends when another version takes the seat |
//! | to end one, to await its end | [`Task::abort`], `task.await`; a [`Task`] that is dropped goes on |
//! | `tokio::spawn`, with a runtime | on the runtime's threads; the host neither bounds nor sees it, and it ends with the runtime, behind `stop` |
//! | an error, a panic of a task | ends it alone, is logged and counted; [`TaskError`] tells who awaits it |
//! | to tell other requests, tasks, cores and versions something | [`Context::topic`], [`Topic::publish`], [`Topic::subscribe`]; in one process, and nothing is kept |
//! | a reader that does not keep up | loses the oldest messages, and [`TopicMessage::missed`] says how many |
//! | one piece of code that blocks | [`Context::blocking`]; [`BlockingError::Full`] is best answered with 503 |
//! | a plugin whose code blocks | [`BlockingHandler`], exported as [`Blocking<T>`](Blocking); a full pool is 503 with `Retry-After` |
//! | too many of anything | an error: [`SpawnError`], [`TopicError`]; the host's settings bound them |
//!
//! On a host of binary interface 1.3 or before tasks and topics are [`SpawnError::Unsupported`] and
//! [`TopicError::Unsupported`]. While the host itself is upgraded two workers are there for a moment
//! (`soak_time`), each with the tasks and the topics of its own. Connections of the first (WebSockets,
//! event streams) get their drain notice only behind that, and meanwhile hear nothing that is published
//! in the second: what all have to hear goes into a cell, too, and is looked for there now and then.
//! `plugins/chat` in hotseat's source does so.
//!
//! # What is to outlive a version
//! A new version begins with an empty instance, and so does each worker of the host. What is to go
//! on (a counter, a session, where a job stands) is kept by the host in *cells*, by the plugin's name
//! and a key: [`Context::cell`]. All versions that run, in all processes of the host, see the same
//! values at the same time, and change them without losing anybody's change
//! ([`Cell::update`], [`Cell::set_if`]). They outlive swaps, upgrades, crashes and `kill -9` of a
//! worker; where the operator says so (`cells_on_disk`) the end of the host, too. What exactly is
//! promised stands at [`Cell`]. The next version has to read what this one writes: add fields, and
//! keep their meaning.
//!
//! # Rules for code that can be unloaded
//! A thread that outlives the handler's drop keeps the library in memory. So does an address of it
//! that another library keeps (a callback): take it back in `stop`. Capture no backtraces.
//! `docs/dependencies.md` in hotseat's source tells of some fifty real crates and C libraries how
//! each unloads, and what is to be done for it.
//! `docs/databases.md` is about databases: versions that overlap, each with a copy of SQLite of its own,
//! damage its file unless they take turns; and about pools, migrations and rollbacks.
//!
//! What is left on the heap goes with the library, in statics too: [`export_handler!`] makes an
//! allocator for it, whose memory the host lends, counts for each generation and takes back. So a
//! block must not be given to somebody who keeps it for ever or frees it by other means (C's
//! `free`). Under a host of before there was this, and in `cargo test`, the memory is the system's,
//! and nothing of it comes back at an unload. A crate with an allocator of its own says
//! `allocator = none`; what that one holds is its own affair.
//!
//! # A larger example
//! ```
//! use hotseat_plugin_api::{export_handler, Context, Handler, Method, Request, Response, Result};
//! use std::time::Duration;
//!
//! struct Feed {
//!     context: Context,
//! }
//!
//! impl Handler for Feed {
//!     fn new(context: &Context) -> Result<Self> {
//!         context.info("made", &[("generation", &context.generation())]);
//!         Ok(Self { context: context.clone() })
//!     }
//!
//!     async fn call(&self, request: Request<'_>) -> Result<Response> {
//!         match (request.method(), request.path()) {
//!             (Method::GET, "/ticks") => Ok(self.ticks()),
//!             (Method::POST, "/length") => {
//!                 let text = request.body().text(64 * 1024).await?;
//!                 Ok(Response::text(format!("{} characters\n", text.chars().count())))
//!             }
//!             _ => Ok(Response::text("no such page\n").with_status(404)),
//!         }
//!     }
//! }
//!
//! impl Feed {
//!     /// A line each second, until another version takes over.
//!     fn ticks(&self) -> Response {
//!         let context = self.context.clone();
//!         Response::streaming(move |mut out| async move {
//!             let second = Duration::from_secs(1);
//!             while context.until_drain(context.sleep(second)).await.is_some() {
//!                 out.send("tick\n").await;
//!             }
//!             out.send("so long\n").await;
//!             Ok(())
//!         })
//!     }
//! }
//!
//! export_handler!(Feed, name = "feed", version = "1.2.0");
//! # fn main() {}
//! ```
//!
//! # Settings
//! The table `[plugin.NAME]` of the host's configuration is the plugin's own.
//! `Context::config_as` makes a type of it (the feature `config`, which is on by default; the crate
//! needs `serde` itself):
//!
//! ```
//! # #[cfg(feature = "config")]
//! # mod plugin {
//! use hotseat_plugin_api::{Context, Handler, Request, Response, Result};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     room: String,
//!     #[serde(default)]
//!     pool: Vec<u8>,
//! }
//!
//! struct Shop(Settings);
//!
//! impl Handler for Shop {
//!     fn new(context: &Context) -> Result<Self> { Ok(Self(context.config_as()?)) }
//!     async fn call(&self, _: Request<'_>) -> Result<Response> {
//!         Ok(Response::text(self.0.room.clone()))
//!     }
//! }
//! # }
//! # fn main() {}
//! ```
//!
//! What does not fit refuses the deploy and names the line of the file
//! (``/etc/hotseat.toml:14: [plugin.shop] pool[1]: invalid value: integer `300`, expected u8``); what
//! served before serves on. The operator may write `file:/path` or `env:NAME` for any text, and the
//! plugin gets the value: do not print it. Settings of an instance never change: when the operator
//! changes them (`hotseat reload-config`), a new instance of the same library takes the seat.
//!
//! A time as the host writes its own (`"2s"`, `"500ms"`) is a `Duration` by the crate humantime-serde; by
//! itself serde wants a table of `secs` and `nanos`:
//!
//! ```ignore
//! #[serde(with = "humantime_serde")]
//! busy_time: Duration,
//! ```
//!
//! # Axum, tower and tokio
//! With the feature `axum` an axum application is a plugin by one line, and so is any
//! `tower::Service` with the feature `service`:
//!
//! ```
//! # #[cfg(feature = "axum")]
//! # mod plugin {
//! use axum::{Router, extract::ConnectInfo, routing::get};
//! use hotseat_plugin_api::{Context, Result, export_axum};
//! use std::net::SocketAddr;
//!
//! fn app(_: &Context) -> Result<Router> {
//!     let who = |ConnectInfo(client): ConnectInfo<SocketAddr>| async move { client.to_string() };
//!     Ok(Router::new().route("/who", get(who)))
//! }
//!
//! export_axum!(app);
//! # }
//! # fn main() {}
//! ```
//!
//! The crate needs `axum` itself besides this one, which does not depend on it. Services run within a
//! tokio runtime of the plugin's own, made before the application and ended behind it; a [`Handler`]
//! gets one by the feature `runtime` and `export_handler!(Hello, runtime = "tokio")`. It is entered
//! around every piece of the plugin's code that the host polls, so there is nothing to be done. Its
//! size and end are `RuntimeOptions`.
//!
//! | what | how |
//! |---|---|
//! | extractors, state, nested routers, `MatchedPath`, `ConnectInfo`, `Form`, `Json`, `Multipart` | as in a program of its own |
//! | `Uri`, `OriginalUri` | as in a program of its own, with scheme and authority where the client has sent them; a mount takes its prefix off the first |
//! | HTTP/2 | as in a program of its own, by prior knowledge |
//! | layers of tower-http | as in a program of its own; what `TraceLayer` tells is in the host's log |
//! | WebSockets (`WebSocketUpgrade`), `hyper::upgrade::on` | as in a program of its own, over HTTP/1; over HTTP/2 they are not offered |
//! | gRPC | what it is made of is there (HTTP/2, trailers): `tonic`'s routes are a service like others, which no test of hotseat has |
//! | bodies in both directions, trailers, SSE, `Body::from_stream` | as in a program of its own; a request's body can be read in a task of another thread, each piece is brought there |
//! | `tokio::time`, `net`, `process`, `spawn`, `spawn_blocking` | within a service, or a handler with `runtime = "tokio"` |
//! | `block_in_place` | in a task that `tokio::spawn` has begun; in a call it blocks the host's thread |
//! | `Handle::block_on`, clients that block | never in a call: they block the host's thread; `spawn_blocking` |
//! | `spawn_local` | panics: there is no `LocalSet` around a call |
//! | tokio's budget, by which a task makes room for others | in tasks; a call that never has to wait makes room by `yield_now` |
//! | the request's number, the client, [`Context`] | the extension `RequestInfo` |
//! | the time that is left for an answer | `RequestInfo::time_left`, `deadline`; in a [`Handler`] those of [`Request`] |
//! | a client that goes | its call is dropped; one that only closes its side goes on being served: [`Request::client_gone`] tells a [`Handler`], and with `half_close = false` the host drops the call |
//! | the drain | `RequestInfo::context`, then [`Context::draining`]; end event streams there, and WebSockets with 1012: a version is not unloaded before its last connection has ended |
//! | a client that takes nothing | its socket's task waits in `send`: put a limit around it. Once the socket is dropped, it has 5 s to take what was written |
//! | a pool for a database, a client (`reqwest`, hyper's), a task that runs on | in the application's state; it is dropped within the runtime at the end of its version, and what was spawned ends with the runtime |
//! | blocking code at the end of a version | has `RuntimeOptions::stop_time`; what takes longer keeps its thread, and that keeps the version in memory |
//! | an error of the service, a panic | 500, and a line in the log; `axum` makes a response of its handlers' errors, as ever |
//! | settings, secrets, cells, metrics, topics | by [`Context`]: that of the function that makes the application, or `RequestInfo::context` |
//! | [`Handler::stop`], `self_test`, `signal` | a service has none: what it holds is dropped; what can be tried is tried where it is made, in the preflight, too; of signals it hears nothing |
//! | `tracing`, `log` | events, spans and records of the plugin and all that it depends on are in the host's log, with the number of their request |
//! | a subscriber or logger of one's own | set in the function that makes the application, it takes the place of the host's |
//! | `println!`, `eprintln!` | in the host's log, with plugin and generation |
//! | `std::thread::sleep`, a lock that is held for long | never: `spawn_blocking` or [`Context::blocking`], whose pool the host bounds |
//! | a runtime in a static | never: its threads outlive the version, which stays in memory |
//! | an `EnterGuard` of a runtime that is held over an `.await` | never: the thread polls other requests meanwhile, and they would run in your runtime |
//!
//! A WebSocket needs axum's feature `ws`. It ends at the drain with 1012, which says "come back", and
//! subscribes to a topic before the `101` goes out: whoever has that answer then misses nothing.
//!
//! ```
//! # #[cfg(feature = "axum")]
//! # mod plugin {
//! use axum::{
//!     extract::{State, WebSocketUpgrade, ws::{CloseFrame, Message, WebSocket, close_code}},
//!     response::Response,
//! };
//! use hotseat_plugin_api::{Context, Subscription};
//!
//! async fn watch(State(context): State<Context>, upgrade: WebSocketUpgrade) -> Response {
//!     let news = context.topic("news").and_then(|it| it.subscribe()).expect("there is room");
//!     upgrade.on_upgrade(move |socket| converse(context, news, socket))
//! }
//!
//! async fn converse(context: Context, mut news: Subscription, mut socket: WebSocket) {
//!     loop {
//!         let sent = tokio::select! {
//!             () = context.draining() => break,
//!             Some(item) = news.next() => socket.send(Message::binary(item.into_bytes())).await,
//!             came = socket.recv() => came.unwrap_or_else(|| Err(axum::Error::new("gone"))).map(drop),
//!         };
//!         if sent.is_err() {
//!             return;
//!         }
//!     }
//!     let frame = CloseFrame { code: close_code::RESTART, reason: "another version serves".into() };
//!     let _ = socket.send(Message::Close(Some(frame))).await;
//! }
//! # }
//! # fn main() {}
//! ```
//!
//! `docs/plugin.md` has it with limits for a client that takes nothing, and a test.
//!
//! Logs come with the feature `tracing`, which is part of `axum`. The operator sets their levels
//! (`[plugin.NAME] log = "warn,sqlx=debug"`). A span takes its request along, also into a task that is
//! `instrument`ed with it; a line of a bare task has none. What `log`'s macros say while the application
//! is made is lost, because a logger is set behind it: an author's own comes first. Events and spans of
//! the function that makes the application are the host's in any case; with a subscriber of one's own, do
//! not keep a span from there as the parent of others. A subscriber that
//! writes by a thread (`tracing-appender`) has a guard: it belongs into the application's state, so that
//! the thread ends with the version.
//! `[plugin.NAME] log` has no hold on what is one's own: `env_logger::init()` lets nothing below `error`
//! through unless `RUST_LOG` is among the host's variables, and `tracing_subscriber::fmt()` writes its
//! colours into the host's log without `.with_ansi(false)`.
//!
//! A crate that forbids unsafe code cannot export a plugin: [`export_handler!`] says why, and the ways out.
//!
//! What differs from a program of its own that hyper serves:
//!
//! | what | as a plugin |
//! |---|---|
//! | `CONNECT`, `TRACE`, `OPTIONS *` | are the host's to answer: 405, 405, 204 |
//! | a request without `Host`, or with several | 400 |
//! | a target like `foo` or `a:80`, or `*` without `OPTIONS`; one with a user's name in it | 400 |
//! | an `Expect` that is not `100-continue` | 417 |
//! | a `Transfer-Encoding` that is not one `chunked` | 501 |
//! | a status from 600 to 999 | 500, and a line in the log |
//! | the body of a 205 | is left out, as such an answer has none |
//! | `hyper::ext::ReasonPhrase` | is left out: the phrase is the usual one of the status |
//! | the fields `keep-alive`, and `upgrade` where the answer is neither 101 nor 426 | are left out: the connection is the host's |
//! | `ConnectInfo<SocketAddr>` of a client on a Unix socket | there is none: axum answers 500, "Missing request extension"; `Option<Extension<ConnectInfo<SocketAddr>>>` and `RequestInfo::peer` are `None` |
//!
//! A panic is a 500 instead of a closed connection, and fields
//! of an answer's head may come in another order. The field `host` names whom the target names: also over
//! HTTP/2, where a program of its own has none; there pieces of a cookie come joined, and an answer
//! without a body has no `content-length`. A client that only closes
//! its side goes on being served unless the host is told otherwise (`half_close`). On a host of binary
//! interface 1.3 or before a request's body cannot be read on another thread, and says so, and a `Uri` is
//! path and query alone; below 1.3 (hotseat 0.1) a runtime's threads keep each version in memory.
//!
//! # What belongs to the process
//! A plugin shares its process with the host and with all others:
//!
//! | what | how |
//! |---|---|
//! | `exit`, `abort`, a segmentation fault, a stack overflow | ends the process with all that it serves; the next one is there at once, and a version that does so again and again (`crash_count`) is withdrawn |
//! | threads | end them in `stop`, or by the drop of what holds them: one that is left keeps its version in memory |
//! | thread-locals | each version has its own; their destructors run before it goes, also on threads of the host |
//! | statics | each version has its own, and begins anew |
//! | `rayon`, other pools of threads | one of your own in the handler or the state; threads of a global pool never end |
//! | the allocator | that of [`export_handler!`], whose memory goes with the version; one of your own by `allocator = none` |
//! | child processes | as in a program of its own; those that a preflight leaves refuse the deploy |
//! | `tokio::signal`, `signal-hook` | hear what is sent to the serving process, and go with their version; what the host handles it goes on handling. [`Handler::signal`] hears of what is sent to the host |
//! | working directory, umask, limits, environment | change for all plugins; the host itself goes by those of its start |
//! | a panic hook | one of your own takes the place of the one that tells the host: the answer is 500 all the same, and the log has the panic without its place. One that calls the hook before it (`panic::take_hook`) costs nothing |
//! | TLS in C | OpenSSL keeps addresses of whoever has used it, and that keeps the version in memory: `rustls` |
//!
//! # Testing a plugin
//! With the feature `testing` the crate has a host in miniature: `testing::Host` runs a handler within
//! its own tests, by the same binary interface and with all services of a host. Ask for it where only
//! tests have it:
//!
//! ```toml
//! [dev-dependencies]
//! hotseat-plugin-api = { path = "../hotseat/plugin-api", features = ["testing"] }
//! ```
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # fn main() -> hotseat_plugin_api::Result<()> {
//! use hotseat_plugin_api::{Context, Handler, Request, Response, Result, testing::Host};
//! use std::time::Duration;
//!
//! struct Shop {
//!     greeting: String,
//! }
//!
//! impl Handler for Shop {
//!     fn new(context: &Context) -> Result<Self> {
//!         Ok(Self { greeting: context.config().ok_or("no greeting")?.to_owned() })
//!     }
//!
//!     async fn call(&self, request: Request<'_>) -> Result<Response> {
//!         let context = request.context();
//!         context.sleep(Duration::from_secs(3600)).await;
//!         context.info("greeted", &[("whom", &request.peer())]);
//!         Ok(Response::text(self.greeting.clone()))
//!     }
//! }
//!
//! // In a `#[test]`:
//! let kit = Host::<Shop>::new().config(r#"{"greeting": "hello"}"#).start()?;
//! let mut reply = kit.get("/").send();
//! assert_eq!(reply.status(), 200);
//! assert_eq!(reply.text(), r#"{"greeting": "hello"}"#);
//! assert_eq!(kit.now(), Duration::from_secs(3600)); // which took no time
//! assert_eq!(kit.logs()[0].message, "greeted");
//!
//! let error = Host::<Shop>::new().start().unwrap_err();
//! assert_eq!(error.to_string(), "no greeting");
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```
//!
//! | what | how |
//! |---|---|
//! | an axum application, another service | `axum_host!(app)`, `testing::Host::service(app)`; `app` may be a closure with a double in it. For a handler that is `Host::made` |
//! | requests | `get`, `post`, `request`, then `header`, `body`, `json`, `pieces`, `peer`, `mount`, `deadline`, and `send` |
//! | several at one time | `begin` instead of `send`, and later `answer`; `abort` is a client that goes away |
//! | a body that comes when the test says so | `upload`; an `Upload` that is dropped before its end is a client that breaks off |
//! | answers | `status`, `header`, `text`, `json`, `piece` by piece, `trailers`; `error` where there is none |
//! | WebSockets, other upgrades | `kit.get("/ws").websocket()`, `reply.upgraded()` |
//! | time | [`Context::sleep`] and [`Context::now`] jump where nothing else can go on; `kit.advance` lets time pass. `real_time` has it real |
//! | the end of a version | `drain`, `last_call`, `signal`, `stop` |
//! | what the plugin has done | `logs`, `metrics`, `panics`, `cells`, `published` |
//!
//! What plugin code panics with is a 500 here too, is in `panics`, and is printed as by any test; an
//! assertion of the test fails as always. A test that is stuck ends after ten seconds (`patience`) and
//! says what is pending. Tests may run beside each other: what a thread says, also one that the plugin has
//! made, goes to the kit that it belongs to. A subscriber of `tracing` or a logger that the test sets
//! takes the place of the host's, as a plugin's own does. In a `#[tokio::test]` a kit works as in a
//! `#[test]`; it waits without an `await`, so that of the test's own tasks only those of the flavour
//! `multi_thread` go on meanwhile.
//!
//! The time of tokio and of threads is real, also in a plugin with a runtime of its own. Where such a
//! thread could wake something, the time of the host jumps once nothing has happened for 20 ms: what
//! takes longer on another thread has its limit better from `tokio::time`, or the test from `real_time`.
//! A kit speaks no HTTP: what a connection does (`content-length`, limits, timeouts, `HEAD`) is the
//! host's. That, loading, swaps and unloading show in a real host: the crate `hotseat-testing` runs the
//! built library in one, `Host::new().cdylib().start()`.
//!
//! Without a runtime and threads of its own a handler's tests also run under Miri.
//!
//! # Under the hood
//! What crosses between host and plugin is plain `repr(C)` data (the hidden module `abi`); this
//! crate is the safe layer above it. Every entry catches panics, destructors included.

#[doc(hidden)]
pub mod abi;
mod blocking_handler;
mod body;
mod context;
mod error;
#[doc(hidden)]
pub mod export;
mod guard;
mod handler;
#[doc(hidden)]
pub mod heap;
mod host_future;
mod logging;
#[doc(hidden)]
pub mod manifest;
mod owned;
mod request;
mod response;
#[cfg(feature = "runtime")]
#[doc(hidden)]
pub mod runtime;
#[cfg(feature = "service")]
#[doc(hidden)]
pub mod service;
mod shim;
mod signal;
mod task;
mod upgrade;
mod waker;
#[cfg(feature = "websocket")]
mod websocket;
#[cfg(any(feature = "runtime", feature = "tracing"))]
mod within;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

pub use blocking_handler::{Blocking, BlockingHandler, OwnedRequest};
pub use body::{Body, BodyError};
#[cfg(feature = "config")]
pub use context::ConfigError;
pub use context::{
    BlockingError, Cell, CellError, Context, Draining, Level, Outcome, Period, SpawnError,
    Subscription, Task, TaskError, Topic, TopicError, TopicMessage, Versioned,
};
pub use error::{Error, Result};
pub use handler::Handler;
pub use request::{ClientGone, HeaderIter, Request};
pub use response::{BodyWriter, Content, IntoResponse, Response, ResultExt};
#[cfg(feature = "runtime")]
pub use runtime::RuntimeOptions;
#[cfg(feature = "service")]
pub use service::{RequestInfo, ServiceBody};
pub use signal::{Phase, Signal};
pub use upgrade::Io;
#[cfg(feature = "websocket")]
pub use websocket::{Message, WebSocket};

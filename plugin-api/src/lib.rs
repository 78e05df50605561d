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
//! That is a whole plugin. Its `Cargo.toml` needs `crate-type = ["cdylib"]`, a library name such as
//! `hello_v1` (name and version of the plugin), and this crate as its one dependency.
//!
//! # What a handler meets
//! - [`Handler::new`] makes the one instance of a generation. It runs once in a short-lived child
//!   process first ([`Context::is_preflight`]) and then, for the same bytes, in the host.
//! - [`Handler::call`] is asynchronous and must not block: [`Context::sleep`] waits and
//!   [`Context::blocking`] runs blocking code on the host's own pool.
//! - An `Err` or a panic answers 500 and is reported; it harms no other request.
//! - When another version takes the seat, requests begun here end here. [`Handler::drain`] and
//!   [`Context::draining`] tell, so that endless streams can end. Then [`Handler::stop`] is called and
//!   the handler dropped: a runtime or a pool in a field ends its threads there.
//! - [`Handler::signal`] hears of the signals that the host gets, before and after it acts on them.
//!
//! # Rules for code that can be unloaded
//! A thread that outlives the handler's drop keeps the library in memory. So does an address of it
//! that another library keeps (a callback): take it back in `stop`. Capture no backtraces.
//! `docs/dependencies.md` in hotseat's source tells of some fifty real crates and C libraries how
//! each unloads, and what is to be done for it.
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
//! # Under the hood
//! What crosses between host and plugin is plain `repr(C)` data (the hidden module `abi`); this
//! crate is the safe layer above it. Every entry catches panics, destructors included.

#[doc(hidden)]
pub mod abi;
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
#[doc(hidden)]
pub mod manifest;
mod owned;
mod request;
mod response;
mod shim;
mod signal;
mod task;
mod upgrade;
mod waker;
#[cfg(feature = "websocket")]
mod websocket;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

pub use body::{Body, BodyError};
pub use context::{Context, Draining, Level};
pub use error::{Error, Result};
pub use handler::Handler;
pub use request::{HeaderIter, Request};
pub use response::{BodyWriter, Content, Response};
pub use signal::{Phase, Signal};
pub use upgrade::Io;
#[cfg(feature = "websocket")]
pub use websocket::{Message, WebSocket};

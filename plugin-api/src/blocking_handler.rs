//! Handlers of code that blocks.
//!
//! Owns the trait, the request that it gets and the adapter to a [`Handler`]. Knows nothing of the pool.
//! Invariant: `stop` is called when no `call` runs any more, though one may outlive its request.

use std::{
    fmt,
    future::{Future, ready},
    net::SocketAddr,
    ops::Deref,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::StatusCode;

use crate::{
    BlockingError, BodyError, Context, Error, Handler, Phase, Request, Response, Result, Signal,
    request::query_value, response::Whole,
};

/// A plugin whose code blocks: a client of a database, files, a computation. [`Blocking`] makes a
/// [`Handler`] of it, whose calls run on the host's bounded pool, beside the data threads.
///
/// ```
/// use hotseat_plugin_api::{
///     export_handler, Blocking, BlockingHandler, Context, OwnedRequest, Response, Result,
/// };
///
/// struct Files;
///
/// impl BlockingHandler for Files {
///     fn new(_: &Context) -> Result<Self> { Ok(Files) }
///     fn call(&self, request: OwnedRequest) -> Result<Response> {
///         let text = std::fs::read_to_string("/etc/hostname")?;
///         Ok(Response::text(text))
///     }
/// }
///
/// export_handler!(Blocking<Files>);
/// # fn main() {}
/// ```
///
/// # Threads
/// It is shared by the pool's threads, as many as the host's `blocking_threads`; so many calls run at one
/// time, and `blocking_queue_count` more wait. Beyond that the answer is 503 with `Retry-After: 1`.
///
/// # Cancellation
/// A call that waits for its thread is dropped when its client goes away. One that runs does so to its
/// end, and [`stop`](Self::stop) waits for it.
pub trait BlockingHandler: Sized + Send + Sync + 'static {
    /// The longest body of a request, which is read before the call; what is longer is answered with
    /// 413. Units: bytes.
    const BODY_LIMIT: usize = 1 << 20;

    /// As [`Handler::new`].
    ///
    /// # Errors
    /// As there.
    fn new(context: &Context) -> Result<Self>;

    /// Answers one request. May block. The answer's body must be whole: a stream would be produced on a
    /// data thread, where nothing may block.
    ///
    /// # Errors
    /// As [`Handler::call`]. An answer that streams is one.
    fn call(&self, request: OwnedRequest) -> Result<Response>;

    /// As [`Handler::self_test`]. May block.
    ///
    /// # Errors
    /// As there.
    fn self_test(&self) -> Result<()> {
        Ok(())
    }

    /// As [`Handler::drain`]: it must return at once.
    fn drain(&self) {}

    /// As [`Handler::signal`].
    fn signal(&self, signal: Signal, phase: Phase) {
        let _ = (signal, phase);
    }

    /// As [`Handler::stop`]. No call runs any more.
    fn stop(&self) {}
}

/// A request with its whole body: one of the `http` crate, and what the host knows beyond HTTP.
#[derive(Debug)]
pub struct OwnedRequest {
    request: http::Request<Bytes>,
    id: u64,
    peer: String,
    peer_addr: Option<SocketAddr>,
    original_path: String,
    context: Context,
}

impl OwnedRequest {
    /// The path, undecoded, without the prefix of the plugin's mount; begins with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// The path as the client sent it.
    #[must_use]
    pub fn original_path(&self) -> &str {
        &self.original_path
    }

    /// What stands behind the `?`, undecoded.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.request.uri().query()
    }

    /// The first value of `name` in the query, decoded.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        query_value(self.query()?, name)
    }

    /// The first value of the header `name` (in any case); `None` too if it is not UTF-8.
    #[must_use]
    pub fn header(&self, name: impl AsRef<str>) -> Option<&str> {
        std::str::from_utf8(self.request.headers().get(name.as_ref())?.as_bytes()).ok()
    }

    /// The client's address, `127.0.0.1:4711`, or `unix`.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The client's address as numbers. `None` where it has none: it came over a Unix socket.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer_addr
    }

    /// The request's number, also in the host's status.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The surroundings of the instance that answers.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The request as the `http` crate has it.
    #[must_use]
    pub fn into_http(self) -> http::Request<Bytes> {
        self.request
    }
}

/// Method, header fields, version and body.
impl Deref for OwnedRequest {
    type Target = http::Request<Bytes>;

    fn deref(&self) -> &http::Request<Bytes> {
        &self.request
    }
}

/// `H` as a [`Handler`]: `export_handler!(Blocking<H>)`, with all of its options.
pub struct Blocking<H> {
    handler: Arc<H>,
    calls: Arc<Calls>,
    context: Context,
}

/// How many calls have been handed to the pool and have not ended.
#[derive(Default)]
struct Calls {
    count: Mutex<usize>,
    idle: Condvar,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_the_last(&self) {
        let mut count = self.lock();
        while *count > 0 {
            count = self.idle.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One call, from its way to the pool to its end.
struct Call<H> {
    /// Let go of before the end is told, so that the handler is not dropped here.
    handler: Option<Arc<H>>,
    calls: Arc<Calls>,
}

impl<H> Drop for Call<H> {
    fn drop(&mut self) {
        drop(self.handler.take());
        let mut count = self.calls.lock();
        *count -= 1;
        if *count == 0 {
            self.calls.idle.notify_all();
        }
    }
}

impl<H: BlockingHandler> Call<H> {
    fn run(self, request: OwnedRequest) -> Result<Whole> {
        let handler = self.handler.as_ref().ok_or("the call has ended")?;
        let answer = handler.call(request)?;
        answer.into_whole().ok_or_else(|| {
            Error::new(
                "a `BlockingHandler` answers with a whole body; to stream, write a `Handler` that \
                 uses `Context::blocking`",
            )
        })
    }
}

impl<H: BlockingHandler> Blocking<H> {
    fn begin(&self) -> Call<H> {
        *self.calls.lock() += 1;
        Call { handler: Some(self.handler.clone()), calls: self.calls.clone() }
    }

    /// The request with its body, or what is answered where that cannot be had.
    async fn read(&self, request: Request<'_>) -> Result<Result<OwnedRequest, Response>> {
        let (id, peer_addr) = (request.id(), request.peer_addr());
        let (peer, original_path) = (request.peer().to_owned(), request.original_path().to_owned());
        let (parts, body) = request.into_http()?.into_parts();
        let body = match body.bytes(H::BODY_LIMIT).await {
            Ok(body) => body,
            Err(BodyError::TooLarge { .. }) => {
                let text = format!("the body is longer than {} bytes\n", H::BODY_LIMIT);
                return Ok(Err(Response::text(text).with_status(StatusCode::PAYLOAD_TOO_LARGE)));
            }
            Err(error) => return Err(error.into()),
        };
        let request = http::Request::from_parts(parts, body);
        let context = self.context.clone();
        Ok(Ok(OwnedRequest { request, id, peer, peer_addr, original_path, context }))
    }
}

impl<H: BlockingHandler> Handler for Blocking<H> {
    fn new(context: &Context) -> Result<Self> {
        let handler = Arc::new(H::new(context)?);
        Ok(Self { handler, calls: Arc::default(), context: context.clone() })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let request = match self.read(request).await? {
            Ok(request) => request,
            Err(answer) => return Ok(answer),
        };
        let call = self.begin();
        match self.context.blocking_call(move || call.run(request)).await {
            Ok(answer) => answer.map(Response::from),
            Err(BlockingError::Full) => Ok(Response::text("too many requests wait already\n")
                .with_status(StatusCode::SERVICE_UNAVAILABLE)
                .with_header("retry-after", "1")),
            Err(error @ BlockingError::Panicked) => Err(error.into()),
        }
    }

    fn self_test(&self) -> impl Future<Output = Result<()>> {
        ready(self.handler.self_test())
    }

    fn drain(&self) {
        self.handler.drain();
    }

    fn signal(&self, signal: Signal, phase: Phase) {
        self.handler.signal(signal, phase);
    }

    fn stop(&self) {
        self.calls.wait_for_the_last();
        self.handler.stop();
    }
}

impl<H> fmt::Debug for Blocking<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}

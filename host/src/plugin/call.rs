//! One call of a plugin: the request it borrows, its future, its answer.
//!
//! Owns the host's side of [`abi::RequestHead`] and [`abi::Answer`]. Knows nothing of connections,
//! routes or time limits.
//!
//! # Invariants
//! - What the head borrows lives in the [`Exchange`], on the heap and unchanged, and the plugin's
//!   future holds the exchange: the future can never outlive what it reads.
//! - Every value that the plugin made holds the exchange, and the exchange holds the lease.
#![expect(unsafe_code, reason = "crosses the ABI")]

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    fmt,
    mem::MaybeUninit,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hotseat_plugin_api::abi;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, request::Parts};
use http_body::Body;

use super::{
    header::{self, Framing},
    hooks::{self, LibraryId},
    instance::Instance,
    lease::{Holding, LibraryLease},
    services::PanicReport,
    shield::shield,
    stream::{HostBody, PluginBytes, ReplyBody},
    upgrade::PluginUpgrade,
    waker::HostWaker,
};

/// Keeps an instance alive: whoever holds the value may call it.
///
/// # Invariant
/// `instance` returns the same instance for the life of `self`.
pub trait Lease: 'static {
    /// The instance that is kept alive.
    fn instance(&self) -> &Instance;
}

/// The body of a request as the host reads it.
pub trait RequestBody: Body<Data = Bytes, Error = String> + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error = String> + Unpin + 'static> RequestBody for B {}

/// The parts of a path that the mount table knows: where the prefix ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prefix {
    /// Units: bytes of the path that belong to the mount.
    pub len: usize,
}

/// A request from its head to the last byte of its answer.
///
/// Dropped when the last value that the plugin made for it is gone; dropping the lease with it.
pub struct Exchange<L, B> {
    head: UnsafeCell<MaybeUninit<abi::RequestHead>>,
    id: u64,
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    prefix: Prefix,
    host: Option<HostName>,
    peer: Rc<str>,
    body: RefCell<Option<B>>,
    body_len: Cell<u64>,
    cut: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
    lease: L,
}

impl<L, B> fmt::Debug for Exchange<L, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The host name in a `Host` field: a shared value and how much of it is the name.
#[derive(Clone, Debug)]
pub struct HostName {
    /// The field's value as it came; visible ASCII.
    pub value: HeaderValue,
    /// Units: bytes before the port.
    pub len: usize,
}

impl HostName {
    fn as_str(&self) -> Option<&str> {
        self.value.to_str().ok()?.get(..self.len)
    }
}

/// What an exchange is made of besides the request itself.
#[derive(Debug)]
pub struct Origin {
    /// Counts up within the host.
    pub id: u64,
    /// Where the mount's prefix ends.
    pub prefix: Prefix,
    /// The `Host` field; `None` where the target names the host itself.
    pub host: Option<HostName>,
    /// The client's address as text.
    pub peer: Rc<str>,
}

impl<L: Lease, B: RequestBody> Exchange<L, B> {
    /// Takes a request apart. `body` is `None` where the request has none.
    #[must_use]
    #[inline]
    pub fn new(parts: Parts, body: Option<B>, origin: Origin, lease: L) -> Rc<Self> {
        let Parts { method, uri, version, headers, .. } = parts;
        let body_len = match &body {
            None => 0,
            Some(body) => body.size_hint().exact().unwrap_or(abi::UNKNOWN_LEN),
        };
        // Written in place: it is half a kilobyte, and made for every request.
        let mut place = Rc::new_uninit();
        let exchange = Self {
            head: UnsafeCell::new(MaybeUninit::uninit()),
            id: origin.id,
            method,
            uri,
            version,
            headers,
            prefix: origin.prefix,
            host: origin.host,
            peer: origin.peer,
            body: RefCell::new(body),
            body_len: Cell::new(body_len),
            cut: Cell::new(false),
            waiting: RefCell::new(None),
            lease,
        };
        Rc::get_mut(&mut place).expect("just made, so nobody else has it").write(exchange);
        // SAFETY: written on the line before.
        unsafe { place.assume_init() }
    }

    /// What keeps the instance alive.
    pub fn lease(&self) -> &L {
        &self.lease
    }

    /// The request's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The request's method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path as the client sent it.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// A header field of the request.
    pub fn header(&self, name: HeaderName) -> Option<&HeaderValue> {
        self.headers.get(name)
    }

    /// The client's address.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Asks for the end of whatever the plugin does for this request; takes effect when its task
    /// is polled next, which this call causes.
    pub fn cut(&self) {
        self.cut.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// Whether [`cut`](Self::cut) was called.
    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// Remembers whom [`cut`](Self::cut) must wake.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        match &mut *waiting {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waiting = Some(cx.waker().clone()),
        }
    }

    /// Enters the plugin's code on this thread.
    pub(super) fn enter(&self) -> hooks::Entered {
        hooks::enter(self.library())
    }

    pub(super) fn library(&self) -> LibraryId {
        self.lease.instance().library()
    }

    /// Keeps the library loaded for a waker of the plugin that the host stores.
    pub(super) fn waker_lease(&self) -> LibraryLease {
        self.lease.instance().lease(Holding::Waker)
    }

    /// What the plugin's panic hook reported last on this thread.
    pub(super) fn take_panic(&self) -> Option<PanicReport> {
        self.lease.instance().take_panic()
    }

    fn mounted_path(&self) -> &str {
        match self.uri.path().get(self.prefix.len..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => "/",
        }
    }

    /// Writes the head into its place and returns its address.
    fn fill_head(this: &Rc<Self>) -> abi::Growing<abi::RequestHead> {
        let text = |text: &str| abi::Str::new(text.as_bytes());
        let host = this.host.as_ref().and_then(HostName::as_str).or_else(|| this.uri.host());
        let head = abi::RequestHead {
            size: abi::size_of_u32::<abi::RequestHead>(),
            version: match this.version {
                Version::HTTP_10 => 10,
                Version::HTTP_2 => 20,
                _ => 11,
            },
            id: this.id,
            method: text(this.method.as_str()),
            path: text(this.mounted_path()),
            query: this.uri.query().map_or(abi::Str::NONE, text),
            original_path: text(this.uri.path()),
            host: host.map_or(abi::Str::NONE, text),
            peer: text(&this.peer),
            headers: header::borrowed(&this.headers),
            data: Rc::as_ptr(this).cast(),
            vt: Self::REQUEST_VT,
        };
        let place = this.head.get();
        // SAFETY: nothing reads the head before this call, which happens once, in `Call::start`.
        unsafe { (*place).write(head) };
        abi::Growing { ptr: place.cast() }
    }

    const REQUEST_VT: &'static abi::RequestVt = &abi::RequestVt {
        size: abi::size_of_u32::<abi::RequestVt>(),
        take_body: Self::take_body,
        body_len: Self::body_len,
    };

    unsafe extern "C" fn take_body(data: *const (), out: *mut abi::Stream) -> u8 {
        // SAFETY: `data` is `Rc::as_ptr` of the exchange that the calling future holds, so the
        // count is at least one and stays so while a second handle is made.
        let this = unsafe {
            Rc::increment_strong_count(data.cast::<Self>());
            Rc::from_raw(data.cast::<Self>())
        };
        // A request without a body has nothing to take, and needs no stream for it.
        let taken = shield(|| {
            let body = this.body.take()?;
            this.body_len.set(0);
            Some(HostBody::into_abi(body, this))
        });
        let Some(stream) = taken.flatten() else { return 0 };
        // SAFETY: the caller gave a place for one stream.
        unsafe { out.write(stream) };
        1
    }

    unsafe extern "C" fn body_len(data: *const ()) -> u64 {
        // SAFETY: as in `take_body`; only borrowed here.
        let this = unsafe { &*data.cast::<Self>() };
        this.body_len.get()
    }
}

/// What a call ended with.
pub struct Reply<L: Lease, B: RequestBody> {
    /// 200 to 999, or 101 with an upgrade.
    pub status: StatusCode,
    /// Holds the exchange until its last byte.
    pub body: ReplyBody<L, B>,
    /// What to do with the connection after a 101.
    pub upgrade: Option<PluginUpgrade<L, B>>,
}

impl<L: Lease, B: RequestBody> fmt::Debug for Reply<L, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why there is no reply. Owned text only.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The handler returned an error.
    #[error("{0}")]
    Failed(String),
    /// The handler panicked.
    #[error("panicked{}", .0.as_ref().map_or_else(String::new, |it| format!(" at {}: {}", it.location, it.message)))]
    Panicked(Option<PanicReport>),
    /// The handler answered something that is no HTTP.
    #[error("answered {0}")]
    Invalid(String),
    /// The call was cut at a drain limit.
    #[error("was cut at the drain limit")]
    Cut,
}

/// A call that is under way.
pub struct Call<L: Lease, B: RequestBody> {
    future: PluginFuture<abi::Answer, L, B>,
}

impl<L: Lease, B: RequestBody> fmt::Debug for Call<L, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

impl<L: Lease, B: RequestBody> Call<L, B> {
    /// Makes the plugin's future; it has not run yet.
    #[must_use]
    pub fn start(exchange: Rc<Exchange<L, B>>) -> Self {
        let head = Exchange::fill_head(&exchange);
        let (call, instance) = exchange.lease.instance().call_entry();
        let entered = exchange.enter();
        // SAFETY: `call` and `instance` belong to the instance that the exchange's lease keeps
        // alive; the head lives in the exchange, which the future holds from here on.
        let future = unsafe { call(instance, head) };
        drop(entered);
        Self { future: PluginFuture { future, exchange } }
    }

    /// The request.
    pub fn exchange(&self) -> &Rc<Exchange<L, B>> {
        &self.future.exchange
    }

    /// Runs the handler until it waits or answers; its header fields are copied into `headers`.
    #[inline]
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        headers: &mut HeaderMap,
    ) -> Poll<Result<Reply<L, B>, CallError>> {
        if self.exchange().is_cut() {
            return Poll::Ready(Err(CallError::Cut));
        }
        let mut answer = MaybeUninit::<abi::Answer>::uninit();
        let code = self.future.poll(cx, &mut answer);
        let answer = answer.as_ptr();
        Poll::Ready(match code {
            abi::poll::PENDING => {
                self.exchange().wait(cx);
                return Poll::Pending;
            }
            abi::poll::READY => {
                // SAFETY: on `READY` the plugin has filled the answer; members that `body` does
                // not name are not touched by `reply`.
                unsafe { self.reply(answer, headers) }
            }
            abi::poll::FAILED => {
                // SAFETY: on `FAILED` the `bytes` member is valid and ours.
                let bytes = unsafe { (&raw const (*answer).bytes).read() };
                let text = PluginBytes::new(bytes, self.exchange().clone()).to_text();
                Err(CallError::Failed(text))
            }
            _ => Err(CallError::Panicked(self.exchange().take_panic())),
        })
    }

    /// Takes over what the plugin answered.
    ///
    /// # Safety
    /// `answer` must have been filled by a poll that was `READY`, and is read once.
    #[inline]
    unsafe fn reply(
        &self,
        answer: *const abi::Answer,
        headers: &mut HeaderMap,
    ) -> Result<Reply<L, B>, CallError> {
        let exchange = self.exchange();
        // SAFETY: these members are always valid on `READY`.
        let (status, kind, fields) =
            unsafe { ((*answer).status, (*answer).body, (*answer).headers) };
        // The body first: it is ours and must be freed whatever the rest says.
        let (body, upgrade) = match kind {
            abi::body::BYTES => {
                // SAFETY: named by `body`.
                let bytes = unsafe { (&raw const (*answer).bytes).read() };
                (ReplyBody::bytes(PluginBytes::new(bytes, exchange.clone())), None)
            }
            abi::body::STREAM => {
                // SAFETY: named by `body`.
                let stream = unsafe { (&raw const (*answer).stream).read() };
                (ReplyBody::stream(stream, exchange.clone()), None)
            }
            abi::body::UPGRADE => {
                // SAFETY: named by `body`.
                let upgrade = unsafe { (&raw const (*answer).upgrade).read() };
                (
                    ReplyBody::empty(exchange.clone()),
                    Some(PluginUpgrade::new(upgrade, exchange.clone())),
                )
            }
            _ => (ReplyBody::empty(exchange.clone()), None),
        };
        let framing = if body.size_hint().exact().is_some() && upgrade.is_none() {
            Framing::Known
        } else {
            Framing::Open
        };
        let entered = exchange.enter();
        // SAFETY: valid until the future is dropped, which is after this call.
        let copied = unsafe { header::take(fields, framing, headers) };
        drop(entered);
        copied.map_err(CallError::Invalid)?;
        let status = StatusCode::from_u16(status)
            .ok()
            .filter(|status| upgrade.is_some() == (*status == StatusCode::SWITCHING_PROTOCOLS))
            .filter(|status| !status.is_informational() || upgrade.is_some())
            .ok_or_else(|| CallError::Invalid(format!("the status {status}")))?;
        Ok(Reply { status, body, upgrade })
    }
}

/// A future of the plugin that is dropped in the plugin's code, before its exchange.
pub(super) struct PluginFuture<T, L: Lease, B: RequestBody> {
    pub(super) future: abi::Future<T>,
    pub(super) exchange: Rc<Exchange<L, B>>,
}

impl<T, L: Lease, B: RequestBody> PluginFuture<T, L, B> {
    /// Polls once; returns the code, with `out` filled as the code says.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, out: &mut MaybeUninit<T>) -> u32 {
        let waker = HostWaker::new(cx.waker());
        let _entered = self.exchange.enter();
        // SAFETY: the future came from the plugin that the exchange keeps loaded, has not been
        // dropped, and is not polled after it has ended (the callers drop it then).
        unsafe { (self.future.poll)(self.future.data, waker.as_ptr(), out.as_mut_ptr()) }
    }
}

impl<T, L: Lease, B: RequestBody> Drop for PluginFuture<T, L, B> {
    fn drop(&mut self) {
        let _entered = self.exchange.enter();
        // SAFETY: dropped once, here.
        unsafe { (self.future.drop)(self.future.data) }
    }
}

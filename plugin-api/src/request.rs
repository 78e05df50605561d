//! A request, read in place where the host keeps it.
//!
//! Owns the author's view of the head. Knows nothing of how the host came by it.
//! Invariant: `'a` ends no later than the call's future, until which the host keeps head and
//! body where they are.
#![expect(unsafe_code, reason = "reads the host's request head in place")]

mod fields;
mod query;

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    marker::PhantomData,
    mem::MaybeUninit,
    net::{SocketAddr, SocketAddrV6},
    pin::Pin,
    task::{self, Poll},
    time::{Duration, Instant},
};

use http::{
    Method, Uri, Version,
    uri::{Authority, Parts, PathAndQuery, Scheme},
};

use crate::{
    Body, Context, Result,
    abi::{Address, NO_DEADLINE, RequestHead, Str, target},
    entry,
    host_future::HostFuture,
    owned::OwnedStream,
};

pub use fields::HeaderIter;
pub(crate) use fields::to_map;
pub(crate) use query::value as query_value;

/// Reads one field of the host's head. Fields are read one by one: a reference to the whole would
/// claim bytes that an older host does not have.
macro_rules! head {
    ($request:expr, $field:ident) => {
        // SAFETY: the head lives for `'a`, and the fields of ABI 1.0 are in every version.
        unsafe { (*$request.head).$field }
    };
}

/// One request, borrowed from the host for as long as the call's future lives.
///
/// # Ownership
/// What it lends lives as long as `'a`. To keep something longer (in a stream that is answered,
/// in a thread) make it owned, with [`into_http`](Self::into_http) for all of it.
/// [`body`](Self::body) is owned.
///
/// # Threads
/// Stays on the thread of its call.
pub struct Request<'a> {
    head: *const RequestHead,
    context: &'a Context,
    lent: PhantomData<&'a RequestHead>,
}

impl<'a> Request<'a> {
    /// # Safety
    /// `head` and what it borrows live unchanged for `'a`.
    pub(crate) unsafe fn new(head: *const RequestHead, context: &'a Context) -> Self {
        Self { head, context, lent: PhantomData }
    }

    /// The method.
    ///
    /// # Panics
    /// Never: the host has checked it.
    #[must_use]
    pub fn method(&self) -> Method {
        let method = head!(self, method);
        // SAFETY: lives for `'a`.
        let bytes = unsafe { method.bytes() };
        Method::from_bytes(bytes).expect("the host parsed the method")
    }

    /// The path, undecoded, without the prefix of the plugin's mount; begins with `/`.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.text(head!(self, path))
    }

    /// The path as the client sent it.
    #[must_use]
    pub fn original_path(&self) -> &'a str {
        self.text(head!(self, original_path))
    }

    /// What stands behind the `?`, undecoded.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.optional(head!(self, query))
    }

    /// The first value of `name` in the query, decoded: `2` for `b` in `?a=1&b=2`.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<Cow<'a, str>> {
        query::value(self.query()?, name)
    }

    /// The host name that the client asked for, without port.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        self.optional(head!(self, host))
    }

    /// Whom the client asked for, as it said it: the host name, and the port if it named one.
    /// `None` where it did not say, and on a host of ABI 1.1 or before.
    #[must_use]
    pub fn authority(&self) -> Option<&'a str> {
        self.optional(entry!(self.head => RequestHead.authority)?)
    }

    /// `http`, or `https` where the target says so (behind a proxy that speaks HTTP/2).
    #[must_use]
    pub fn scheme(&self) -> &'a str {
        let scheme = entry!(self.head => RequestHead.scheme);
        scheme.and_then(|scheme| self.optional(scheme)).unwrap_or("http")
    }

    /// The client's address, `127.0.0.1:4711`, or `unix`.
    #[must_use]
    pub fn peer(&self) -> &'a str {
        self.text(head!(self, peer))
    }

    /// The client's address as numbers. `None` where it has none: it came over a Unix socket.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        let Some(address) = entry!(self.head => RequestHead.peer_address) else {
            return self.peer().parse().ok();
        };
        let Address { version, port, scope, bytes } = address;
        match version {
            4 => {
                let [a, b, c, d, ..] = bytes;
                Some(SocketAddr::from(([a, b, c, d], port)))
            }
            6 => Some(SocketAddr::V6(SocketAddrV6::new(bytes.into(), port, 0, scope))),
            _ => None,
        }
    }

    /// The request's number, also in the host's status.
    #[must_use]
    pub fn id(&self) -> u64 {
        head!(self, id)
    }

    /// What is left of the time to the head of the answer; nothing is cut before it is up. It stands
    /// still while the handler waits for its client's body. `None`: there is no limit, or a host of ABI
    /// 1.3 or before does not tell.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline_on_clock()?.time_left()
    }

    pub(crate) fn deadline_on_clock(&self) -> Option<Deadline> {
        Deadline::of(self.head)
    }

    /// Asks for it later, when the request itself was taken apart.
    #[cfg(feature = "service")]
    pub(crate) fn deadline_later(&self) -> impl Fn() -> Option<Deadline> + use<'a> {
        let Self { head, context: _, lent } = *self;
        move || {
            // The head lives as long as this does.
            let _: PhantomData<&'a RequestHead> = lent;
            Deadline::of(head)
        }
    }

    /// When that time is up, as far as it is known now.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.context.now() + self.time_left()?)
    }

    /// Ends when the client has gone, or has closed its side; over HTTP/2 never.
    ///
    /// A client whose connection breaks off has its call dropped, whatever it waits for. One that only
    /// closes its side may still wait for the answer (`half_close`), and most that do so have gone: a
    /// handler that works for long may give up then. Under a host of ABI 1.3 or before it never ends.
    #[must_use = "a future does nothing until it is awaited"]
    pub fn client_gone(&self) -> ClientGone {
        let (data, vt) = (head!(self, data), head!(self, vt));
        let Some(Some(gone)) = entry!(vt => RequestVt.client_gone) else {
            return ClientGone { future: None, here: PhantomData };
        };
        // SAFETY: `data` belongs to the table.
        let future = unsafe { gone(data) };
        // SAFETY: the future is new and ours.
        ClientGone { future: Some(unsafe { HostFuture::new(future) }), here: PhantomData }
    }

    /// The HTTP version.
    #[must_use]
    pub fn version(&self) -> Version {
        match head!(self, version) {
            10 => Version::HTTP_10,
            20 => Version::HTTP_2,
            _ => Version::HTTP_11,
        }
    }

    /// The first value of the header `name` (in any case); `None` too if it is not UTF-8.
    #[must_use]
    pub fn header(&self, name: impl AsRef<str>) -> Option<&'a str> {
        std::str::from_utf8(self.header_bytes(name)?).ok()
    }

    /// The first value of the header `name` (in any case), as it came.
    #[must_use]
    pub fn header_bytes(&self, name: impl AsRef<str>) -> Option<&'a [u8]> {
        fields::get(head!(self, headers), name.as_ref())
    }

    /// All header fields in order, a repeated name each time. Names are lower case.
    #[must_use]
    pub fn headers(&self) -> HeaderIter<'a> {
        HeaderIter::new(head!(self, headers))
    }

    /// Takes the body. A second time it is empty.
    #[must_use]
    pub fn body(&self) -> Body {
        let (data, vt) = (head!(self, data), head!(self, vt));
        // SAFETY: the table lives for `'a`.
        let take = unsafe { (*vt).take_body };
        let mut out = MaybeUninit::uninit();
        // SAFETY: `data` belongs to the table; `out` has room.
        let taken = unsafe { take(data, out.as_mut_ptr()) };
        if taken == 0 {
            return Body::empty();
        }
        // SAFETY: filled when it was taken, and ours from now on.
        Body::from_host(OwnedStream(unsafe { out.assume_init() }))
    }

    /// The surroundings of the instance that answers.
    #[must_use]
    pub fn context(&self) -> &'a Context {
        self.context
    }

    /// An owned copy as a request of the `http` crate, with the body. Costs some allocations.
    ///
    /// Its `Uri` is what servers make of the target: [`path`](Self::path) and query, and behind scheme and
    /// authority where the client has sent them, as it does over HTTP/2 and to a proxy. Under a host of ABI
    /// 1.3 or before it is path and query alone.
    ///
    /// # Errors
    /// When the host has accepted something that the `http` crate refuses.
    pub fn into_http(self) -> Result<http::Request<Body>> {
        let uri = self.uri_of(self.path())?;
        let mut request = http::Request::new(self.body());
        *request.method_mut() = self.method();
        *request.version_mut() = self.version();
        *request.uri_mut() = uri;
        *request.headers_mut() = fields::to_map(self.headers())?;
        Ok(request)
    }

    /// The target, with `path` in the place of its own.
    pub(crate) fn uri_of(&self, path: &str) -> Result<Uri> {
        let path_and_query = match self.query() {
            Some(query) => PathAndQuery::try_from(format!("{path}?{query}"))?,
            None => PathAndQuery::try_from(path)?,
        };
        let is_absolute = entry!(self.head => RequestHead.target) == Some(target::ABSOLUTE);
        let Some(authority) = self.authority().filter(|_| is_absolute) else {
            return Ok(path_and_query.into());
        };
        // In parts, because `*` has no border to what stands before it.
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::try_from(self.scheme())?);
        parts.authority = Some(Authority::try_from(authority)?);
        parts.path_and_query = Some(path_and_query);
        Ok(Uri::from_parts(parts)?)
    }

    fn optional(&self, text: Str) -> Option<&'a str> {
        (!text.ptr.is_null()).then(|| self.text(text))
    }

    #[expect(clippy::unused_self, reason = "ties the text's lifetime to the head's")]
    fn text(&self, text: Str) -> &'a str {
        // SAFETY: lives for `'a`.
        let bytes = unsafe { text.bytes() };
        // SAFETY: the ABI says that the texts of a head are UTF-8.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }
}

/// See [`Request::client_gone`].
pub struct ClientGone {
    future: Option<HostFuture>,
    // Of the request's thread.
    here: PhantomData<*const ()>,
}

impl Future for ClientGone {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        match &mut self.future {
            // An error means that nobody looks any more.
            Some(future) => Pin::new(future).poll(cx).map(|_| ()),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for ClientGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientGone")
    }
}

/// When a request's time is up, on the system's own clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    nanos: u64,
}

impl Deadline {
    fn of(head: *const RequestHead) -> Option<Self> {
        // SAFETY: the head lives for the call, and these fields are in every version.
        let (data, vt) = unsafe { ((*head).data, (*head).vt) };
        let deadline = entry!(vt => RequestVt.deadline)??;
        // SAFETY: `data` belongs to the table.
        let nanos = unsafe { deadline(data) };
        (nanos != NO_DEADLINE).then_some(Self { nanos })
    }

    #[cfg(feature = "service")]
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    #[cfg(feature = "service")]
    pub(crate) fn nanos(self) -> u64 {
        self.nanos
    }

    pub(crate) fn time_left(self) -> Option<Duration> {
        let ends = Duration::from_nanos(self.nanos);
        #[cfg(any(test, feature = "testing"))]
        if let Some(now) = crate::testing::monotonic() {
            return Some(ends.saturating_sub(now));
        }
        Some(ends.saturating_sub(monotonic()?))
    }
}

/// The time of the deadline's clock.
pub(crate) fn monotonic() -> Option<Duration> {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: writes one time, or fails.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) };
    if rc != 0 {
        return None;
    }
    // SAFETY: it was written.
    let now = unsafe { now.assume_init() };
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Some(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default()))
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("id", &self.id())
            .field("method", &self.method())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

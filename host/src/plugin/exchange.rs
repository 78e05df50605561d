//! One request, from its head to the last byte of its answer.
//!
//! Owns the host's side of [`abi::RequestHead`], and what a plugin was lent of the request: its body
//! and, after a 101, the connection. Knows nothing of futures, answers, connections or routes.
//!
//! It lies on the heap, because hyper lets go of a connection (`poll_without_shutdown`) only where
//! the service's future is `Unpin`, and that needs an allocation anyway. One `Rc` then serves the
//! head that the plugin borrows, the list of requests in flight, and the lease.
//!
//! # Invariants
//! - What the head borrows lives on the heap and unchanged; a plugin's future holds the exchange, so
//!   it can never outlive what it reads.
//! - Every value that the plugin made holds the exchange, and the exchange holds the lease. The last
//!   handle never ends it where it falls, but through [`release`].
//! - What was lent can be taken back ([`State::sever`]): a shell that a plugin keeps holds nothing
//!   of the host's for ever.
#![expect(unsafe_code, reason = "crosses the ABI")]

mod head;
mod lines;

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    fmt,
    mem::{ManuallyDrop, MaybeUninit},
    net::SocketAddr,
    ops::Deref,
    rc::{Rc, Weak},
    task::{Context, Waker},
};

use hotseat_plugin_api::abi;
use http::Method;

pub use self::{
    head::{Head, HostName},
    lines::{Lines, Parts as LineParts},
};
pub use super::body::RequestBody;
use hotseat_unload::{Entered, Holding, LibraryId, LibraryLease, enter};

use super::{
    body::HostBody,
    header,
    instance::Instance,
    lent::{Lent, Owner},
    release::{self, Keep, Keeper, Leaving},
    services::PanicReport,
    shield::shield,
};

/// Keeps an instance alive: whoever holds the value may call it.
///
/// # Invariant
/// `instance` returns the same instance for the life of `self`.
pub trait Lease: 'static {
    /// The instance that is kept alive.
    fn instance(&self) -> &Instance;

    /// When the time is up that the answer's head may take. Units: nanoseconds of `CLOCK_MONOTONIC`.
    fn deadline(&self) -> Option<u64>;

    /// Ends when the client has gone, or has closed its side. Keeps nothing of the request.
    fn client_gone(&self) -> impl Future<Output = ()> + Unpin + 'static;
}

/// The parts of a path that the mount table knows: where the prefix ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prefix {
    /// Units: bytes of the path that belong to the mount.
    pub len: usize,
}

/// What an exchange is made of besides the request itself.
#[derive(Debug)]
pub struct Origin {
    /// Counts up within the host.
    pub id: u64,
    /// Where the mount's prefix ends.
    pub prefix: Prefix,
    /// The client.
    pub peer: Client,
}

/// A client's address, as the requests of its connection share it.
#[derive(Clone, Debug)]
pub struct Client {
    text: Rc<str>,
    address: abi::Address,
}

impl Client {
    /// By its text: `127.0.0.1:4711`, or what stands for a client that has no such address.
    #[must_use]
    pub fn new(text: Rc<str>) -> Self {
        let address = text.parse().map_or_else(|_| abi::Address::default(), numbers);
        Self { text, address }
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn numbers(address: SocketAddr) -> abi::Address {
    let port = address.port();
    let mut bytes = [0; 16];
    match address {
        SocketAddr::V4(it) => {
            bytes[..4].copy_from_slice(&it.ip().octets());
            abi::Address { version: 4, port, scope: 0, bytes }
        }
        SocketAddr::V6(it) => {
            abi::Address { version: 6, port, scope: it.scope_id(), bytes: it.ip().octets() }
        }
    }
}

/// A handle of a request. Plain counting, on one thread; the last one goes by way of [`release`].
pub struct Exchange<L: Lease, B: RequestBody>(ManuallyDrop<Rc<State<L, B>>>);

/// What an [`Exchange`] is a handle of.
pub struct State<L, B> {
    head: UnsafeCell<MaybeUninit<abi::RequestHead>>,
    id: u64,
    request: Head,
    prefix: Prefix,
    peer: Client,
    /// Until the plugin takes it.
    body: RefCell<Option<B>>,
    body_len: Cell<u64>,
    /// The body in the plugin's hands, and the connection.
    lent: RefCell<[Option<Weak<dyn Lent>>; 2]>,
    cut: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
    lease: L,
}

/// A handle that keeps nothing.
pub struct WeakExchange<L, B>(Weak<State<L, B>>);

impl<L: Lease, B: RequestBody> Clone for Exchange<L, B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L: Lease, B: RequestBody> Drop for Exchange<L, B> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken once, here; `self` is not used again.
        let state = unsafe { ManuallyDrop::take(&mut self.0) };
        // Everything of a request is on one thread, so nobody else can be dropping the other one.
        if Rc::strong_count(&state) == 1 {
            release::let_go(Leaving::Keeper(state));
        }
    }
}

impl<L: Lease, B: RequestBody> Deref for Exchange<L, B> {
    type Target = State<L, B>;

    fn deref(&self) -> &State<L, B> {
        &self.0
    }
}

impl<L: Lease, B: RequestBody> fmt::Debug for Exchange<L, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<L, B> fmt::Debug for State<L, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<L, B> fmt::Debug for WeakExchange<L, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakExchange")
    }
}

impl<L: Lease, B: RequestBody> WeakExchange<L, B> {
    /// The request, while anybody has it.
    #[must_use]
    pub fn get(&self) -> Option<Exchange<L, B>> {
        self.0.upgrade().map(|state| Exchange(ManuallyDrop::new(state)))
    }
}

impl<L: Lease, B: RequestBody> Keep for State<L, B> {
    fn library(&self) -> LibraryId {
        self.lease.instance().library()
    }
}

impl<L: Lease, B: RequestBody> Owner for Exchange<L, B> {
    fn lend(&self, lent: Weak<dyn Lent>) {
        let mut places = self.lent.borrow_mut();
        let free = places.iter_mut().find(|it| it.as_ref().is_none_or(|it| it.strong_count() == 0));
        // Never more than the body and the connection.
        if let Some(free) = free {
            *free = Some(lent);
        }
    }

    fn waker_lease(&self) -> LibraryLease {
        self.lease.instance().lease(Holding::Waker)
    }

    fn library(&self) -> LibraryId {
        self.lease.instance().library()
    }
}

impl<L: Lease, B: RequestBody> Exchange<L, B> {
    /// Takes a request apart. `body` is `None` where the request has none.
    #[must_use]
    #[inline]
    pub fn new(request: Head, body: Option<B>, origin: Origin, lease: L) -> Self {
        let body_len = match &body {
            None => 0,
            Some(body) => body.size_hint().exact().unwrap_or(abi::UNKNOWN_LEN),
        };
        // Written in place: it is half a kilobyte, and made for every request.
        let mut place = Rc::new_uninit();
        let state = State {
            head: UnsafeCell::new(MaybeUninit::uninit()),
            id: origin.id,
            request,
            prefix: origin.prefix,
            peer: origin.peer,
            body: RefCell::new(body),
            body_len: Cell::new(body_len),
            lent: RefCell::new([None, None]),
            cut: Cell::new(false),
            waiting: RefCell::new(None),
            lease,
        };
        Rc::get_mut(&mut place).expect("just made, so nobody else has it").write(state);
        // SAFETY: written on the line before.
        Self(ManuallyDrop::new(unsafe { place.assume_init() }))
    }

    /// A handle that keeps nothing.
    #[must_use]
    pub fn downgrade(&self) -> WeakExchange<L, B> {
        WeakExchange(Rc::downgrade(&self.0))
    }

    /// For a value of the plugin that must go before the request does.
    pub(super) fn keeper(&self) -> Keeper {
        Rc::clone(&self.0) as Keeper
    }

    /// Writes the head into its place and returns its address.
    pub(super) fn fill_head(&self) -> abi::Growing<abi::RequestHead> {
        let text = |text: &str| abi::Str::new(text.as_bytes());
        let request = &self.request;
        let (authority, host) = request.authority().unzip();
        let head = abi::RequestHead {
            size: abi::size_of_u32::<abi::RequestHead>(),
            version: request.version(),
            id: self.id,
            method: text(request.method().as_str()),
            path: text(self.mounted_path()),
            query: request.query().map_or(abi::Str::NONE, text),
            original_path: text(request.path()),
            host: host.map_or(abi::Str::NONE, text),
            peer: text(&self.peer.text),
            headers: request.headers(),
            data: Rc::as_ptr(&self.0).cast(),
            vt: Self::REQUEST_VT,
            authority: authority.map_or(abi::Str::NONE, text),
            scheme: text(request.scheme()),
            peer_address: self.peer.address,
            target: request.target(),
        };
        let place = self.head.get();
        // SAFETY: nothing reads the head before this call, which happens once, in `Call::start`.
        unsafe { (*place).write(head) };
        abi::Growing { ptr: place.cast() }
    }

    const REQUEST_VT: &'static abi::RequestVt = &abi::RequestVt {
        size: abi::size_of_u32::<abi::RequestVt>(),
        take_body: Self::take_body,
        body_len: Self::body_len,
        deadline: Some(Self::deadline),
        client_gone: Some(Self::client_gone),
    };

    unsafe extern "C" fn take_body(data: *const (), out: *mut abi::Stream) -> u8 {
        // SAFETY: `data` is `Rc::as_ptr` of the state that the calling future holds, so the count
        // is at least one and stays so while a second handle is made.
        let this = unsafe {
            Rc::increment_strong_count(data.cast::<State<L, B>>());
            Self(ManuallyDrop::new(Rc::from_raw(data.cast::<State<L, B>>())))
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

    unsafe extern "C" fn deadline(data: *const ()) -> u64 {
        // SAFETY: as in `take_body`; only borrowed here.
        let this = unsafe { &*data.cast::<State<L, B>>() };
        shield(|| this.lease.deadline()).flatten().unwrap_or(abi::NO_DEADLINE)
    }

    unsafe extern "C" fn client_gone(data: *const ()) -> abi::Future<abi::Done> {
        // SAFETY: as in `deadline`.
        let this = unsafe { &*data.cast::<State<L, B>>() };
        this.lease.instance().lend_future(|| this.lease.client_gone())
    }

    unsafe extern "C" fn body_len(data: *const ()) -> u64 {
        // SAFETY: as in `take_body`; only borrowed here.
        let this = unsafe { &*data.cast::<State<L, B>>() };
        this.body_len.get()
    }
}

impl<L: Lease, B: RequestBody> State<L, B> {
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
        self.request.method()
    }

    /// The path as the client sent it.
    pub fn path(&self) -> &str {
        self.request.path()
    }

    /// The request's head.
    pub fn request(&self) -> &Head {
        &self.request
    }

    /// The client's address.
    pub fn peer(&self) -> &str {
        self.peer.as_str()
    }

    /// The body that the plugin has not asked for, once; after the call nobody can any more.
    pub fn take_body_left(&self) -> Option<B> {
        self.body_len.set(0);
        self.body.take()
    }

    /// Whether the plugin has something that it was lent: the body, or the connection.
    pub fn is_lent(&self) -> bool {
        self.lent.borrow().iter().flatten().any(|it| it.strong_count() > 0)
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

    /// Takes back what the plugin was lent, wherever it keeps it: what it has left are shells that
    /// answer with errors and hold neither the request nor its generation.
    pub fn sever(&self) {
        let lent: Vec<_> = self.lent.borrow().iter().flatten().filter_map(Weak::upgrade).collect();
        for lent in lent {
            lent.sever();
        }
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
    pub(super) fn enter(&self) -> Entered {
        enter(self.library())
    }

    /// What the plugin's panic hook reported last on this thread.
    pub(super) fn take_panic(&self) -> Option<PanicReport> {
        self.lease.instance().take_panic()
    }

    fn mounted_path(&self) -> &str {
        match self.path().get(self.prefix.len..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => "/",
        }
    }
}

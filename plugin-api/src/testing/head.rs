//! The head of a request in flight, and what the plugin may ask of it.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ptr,
    sync::{Arc, Mutex},
};

use super::{
    clock::Timer,
    fields::{self, List},
    future,
    upload::Source,
    waker::Kept,
    world::{World, lock},
};
use crate::abi::{self, Address, Done, Headers, NO_DEADLINE, RequestHead, RequestVt, Str, Stream};

/// What a request says, owned.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) version: u32,
    pub(super) id: u64,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) original_path: String,
    pub(super) host: Option<String>,
    pub(super) authority: Option<String>,
    pub(super) scheme: String,
    pub(super) is_absolute: bool,
    pub(super) peer: Option<SocketAddr>,
    pub(super) fields: List,
    pub(super) body: Option<Source>,
    pub(super) deadline: Option<Timer>,
}

/// Whether the client is still there, and who waits for its end.
#[derive(Debug, Default)]
pub(super) struct Client(Mutex<Gone>);

#[derive(Debug, Default)]
struct Gone {
    is_gone: bool,
    last: u64,
    waiting: BTreeMap<u64, Kept>,
}

impl Client {
    /// It has gone, or closed its side.
    pub(super) fn leave(&self) {
        let waiting = {
            let mut gone = lock(&self.0);
            gone.is_gone = true;
            std::mem::take(&mut gone.waiting)
        };
        waiting.into_values().for_each(Kept::wake);
    }
}

/// See the module. A box in raw form: the head holds its address, which a box that moves would outdate.
#[derive(Debug)]
pub(super) struct Head {
    inner: *mut Inner,
}

#[derive(Debug)]
struct Inner {
    head: RequestHead,
    world: &'static World,
    said: Said,
    /// What the head lends.
    #[expect(dead_code, reason = "kept for the head")]
    peer: String,
    client: Arc<Client>,
}

fn text(text: &str) -> Str {
    Str::new(text.as_bytes())
}

fn optional(it: Option<&String>) -> Str {
    it.map_or(Str::NONE, |it| text(it))
}

fn address(peer: SocketAddr) -> Address {
    match peer {
        SocketAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.ip().octets());
            Address { version: 4, port: v4.port(), scope: 0, bytes }
        }
        SocketAddr::V6(v6) => {
            let bytes = v6.ip().octets();
            Address { version: 6, port: v6.port(), scope: v6.scope_id(), bytes }
        }
    }
}

impl Head {
    pub(super) fn new(world: &'static World, said: Said) -> Self {
        let peer = said.peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string());
        let client = Arc::default();
        let head = RequestHead {
            size: abi::size_of_u32::<RequestHead>(),
            version: said.version,
            id: said.id,
            method: text(&said.method),
            path: text(&said.path),
            query: optional(said.query.as_ref()),
            original_path: text(&said.original_path),
            host: optional(said.host.as_ref()),
            peer: text(&peer),
            headers: Headers::NONE,
            data: ptr::null(),
            vt: &VT,
            authority: optional(said.authority.as_ref()),
            scheme: text(&said.scheme),
            peer_address: said.peer.map(address).unwrap_or_default(),
            target: match said.is_absolute {
                true => abi::target::ABSOLUTE,
                false => abi::target::ORIGIN,
            },
        };
        let inner = Box::into_raw(Box::new(Inner { head, world, said, peer, client }));
        // SAFETY: the box made on the line before, which nobody else knows.
        let fields = unsafe { &raw const (*inner).said.fields };
        // SAFETY: as above.
        unsafe { (*inner).head.headers = fields::lend(fields) };
        // SAFETY: as above.
        unsafe { (*inner).head.data = inner.cast_const().cast() };
        Self { inner }
    }

    /// Valid until this is dropped.
    pub(super) fn raw(&self) -> *const RequestHead {
        // SAFETY: the box of `new`, freed with `self`.
        unsafe { &raw const (*self.inner).head }
    }

    pub(super) fn client(&self) -> &Arc<Client> {
        // SAFETY: the box of `new`, freed with `self`; nobody writes to it any more.
        unsafe { &(*self.inner).client }
    }

    pub(super) fn deadline(&self) -> Option<&Timer> {
        // SAFETY: as above.
        unsafe { (*self.inner).said.deadline.as_ref() }
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        // SAFETY: the box of `new`, once; no future that reads it is left.
        drop(unsafe { Box::from_raw(self.inner) });
    }
}

static VT: RequestVt = RequestVt {
    size: abi::size_of_u32::<RequestVt>(),
    take_body,
    body_len,
    deadline: Some(deadline),
    client_gone: Some(client_gone),
};

/// # Safety
/// `data` is of a head that lives for `'a`.
unsafe fn inner<'a>(data: *const ()) -> &'a Inner {
    // SAFETY: the caller's promise.
    unsafe { &*data.cast::<Inner>() }
}

unsafe extern "C" fn take_body(data: *const (), out: *mut Stream) -> u8 {
    // SAFETY: our own data.
    let inner = unsafe { inner(data) };
    let Some(body) = inner.said.body.as_ref().and_then(|body| body.take(inner.world)) else {
        return 0;
    };
    // SAFETY: room for a stream.
    unsafe { out.write(body) };
    1
}

unsafe extern "C" fn body_len(data: *const ()) -> u64 {
    // SAFETY: our own data.
    unsafe { inner(data) }.said.body.as_ref().map_or(0, Source::len)
}

unsafe extern "C" fn deadline(data: *const ()) -> u64 {
    // SAFETY: our own data.
    let inner = unsafe { inner(data) };
    let end = |timer: &Timer| {
        let end = inner.world.clock.monotonic() + timer.left();
        u64::try_from(end.as_nanos()).unwrap_or(NO_DEADLINE)
    };
    inner.said.deadline.as_ref().map_or(NO_DEADLINE, end)
}

/// Waits for a client's end.
struct Waits {
    client: Arc<Client>,
    number: u64,
}

impl Drop for Waits {
    fn drop(&mut self) {
        let removed = lock(&self.client.0).waiting.remove(&self.number);
        drop(removed);
    }
}

unsafe extern "C" fn client_gone(data: *const ()) -> abi::Future<Done> {
    // SAFETY: our own data.
    let Inner { world, client, .. } = unsafe { inner(data) };
    let number = {
        let mut gone = lock(&client.0);
        gone.last += 1;
        gone.last
    };
    let (world, waits) = (*world, Waits { client: Arc::clone(client), number });
    future::of(move |waker| {
        // SAFETY: the waker of a poll is valid for it.
        let kept = unsafe { Kept::of(world, waker) };
        let mut gone = lock(&waits.client.0);
        if gone.is_gone {
            drop(gone);
            return Some(Ok(()));
        }
        let before = gone.waiting.insert(waits.number, kept);
        drop(gone);
        drop(before);
        None
    })
}

//! A request as a host keeps it, and what comes back.
//!
//! Owns a head whose texts and fields live in it, and a body of prepared steps.
//! Invariants: every piece of a body counts while it is alive; whatever looks at a request goes by
//! the one pointer that its head was made with, which no owner's reference ever outdates.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{
    cell::RefCell,
    collections::VecDeque,
    mem::MaybeUninit,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{FakeWaker, take};
use crate::{
    abi::{
        self, Answer, Bytes, Frame, Header, Headers, HeadersVt, RequestHead, RequestVt, Str,
        Stream, StreamVt, UNKNOWN_LEN, Waker, poll,
    },
    owned::{OwnedBytes, OwnedHeaders, OwnedStream},
};

type Pairs = Vec<(&'static str, &'static str)>;

/// What a body does at one poll.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Data(&'static str),
    Pending,
    Trailers(Pairs),
    Fail(&'static str),
}

#[derive(Debug)]
pub(crate) struct FakeRequest {
    /// A box in raw form: the head holds its address, which a box that moves would outdate.
    inner: *mut Inner,
}

#[derive(Debug)]
struct Inner {
    head: RequestHead,
    headers: Pairs,
    body: RefCell<Option<VecDeque<Step>>>,
    alive: Arc<AtomicUsize>,
}

impl FakeRequest {
    pub(crate) fn new(method: &'static str, path: &'static str, headers: Pairs) -> Self {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Str::new(query.as_bytes())),
            None => (path, Str::NONE),
        };
        let head = RequestHead {
            size: crate::abi::size_of_u32::<RequestHead>(),
            version: 11,
            id: 99,
            method: Str::new(method.as_bytes()),
            path: Str::new(path.as_bytes()),
            query,
            original_path: Str::new(b"/mount/x"),
            host: Str::NONE,
            peer: Str::new(b"127.0.0.1:4711"),
            headers: Headers::NONE,
            data: ptr::null(),
            vt: &REQUEST,
            authority: Str::NONE,
            scheme: Str::NONE,
            peer_address: abi::Address::default(),
        };
        let inner = Inner { head, headers, body: RefCell::default(), alive: Arc::default() };
        let inner = Box::into_raw(Box::new(inner));
        // SAFETY: the box made on the line before, which nobody else knows.
        let data = unsafe { &raw mut (*inner).headers }.cast();
        // SAFETY: as above.
        unsafe { (*inner).head.headers = Headers { data, vt: &PAIRS } };
        // SAFETY: as above.
        unsafe { (*inner).head.data = inner.cast_const().cast() };
        Self { inner }
    }

    pub(crate) fn get(path: &'static str) -> Self {
        Self::new("GET", path, Vec::new())
    }

    pub(crate) fn with_body(self, steps: &[Step]) -> Self {
        // SAFETY: the box of `new`, freed with `self`; the cell alone is borrowed.
        let body = unsafe { &(*self.inner).body };
        body.replace(Some(steps.iter().cloned().collect()));
        self
    }

    pub(crate) fn with_version(self, version: u32) -> Self {
        // SAFETY: the box of `new`; no plugin has the head before `self` is lent.
        unsafe { (*self.inner).head.version = version };
        self
    }

    pub(crate) fn head(&self) -> *const RequestHead {
        // SAFETY: the box of `new`, freed with `self`.
        unsafe { &raw const (*self.inner).head }
    }

    /// Pieces of the body that plugin code has not freed yet.
    pub(crate) fn alive(&self) -> usize {
        // SAFETY: the box of `new`, freed with `self`; only shared references are made of it.
        let alive = unsafe { &(*self.inner).alive };
        alive.load(Ordering::Relaxed)
    }
}

impl Drop for FakeRequest {
    fn drop(&mut self) {
        // SAFETY: the box of `new`, once; no future that reads it is left.
        drop(unsafe { Box::from_raw(self.inner) });
    }
}

unsafe extern "C" fn take_body(data: *const (), out: *mut Stream) -> u8 {
    // SAFETY: our own data.
    let inner = unsafe { &*data.cast::<Inner>() };
    let Some(steps) = inner.body.take() else { return 0 };
    let body = Box::new((steps, Arc::clone(&inner.alive)));
    // SAFETY: room for a stream.
    unsafe { out.write(Stream { data: Box::into_raw(body).cast(), vt: &BODY }) };
    1
}

unsafe extern "C" fn body_len(_: *const ()) -> u64 {
    UNKNOWN_LEN
}

static REQUEST: RequestVt = RequestVt {
    size: crate::abi::size_of_u32::<RequestVt>(),
    take_body,
    body_len,
    deadline: None,
    client_gone: None,
};

type Body = (VecDeque<Step>, Arc<AtomicUsize>);

unsafe extern "C" fn next(data: *mut (), waker: *const Waker, out: *mut Frame) -> u32 {
    // SAFETY: our own data.
    let (steps, alive) = unsafe { &mut *data.cast::<Body>() };
    let (data, trailers, code) = match steps.pop_front() {
        None => return poll::END,
        Some(Step::Pending) => {
            // SAFETY: lent for the call.
            unsafe { ((*(*waker).vt).wake_by_ref)(waker) };
            return poll::PENDING;
        }
        Some(Step::Data(text)) => (counted(text, alive), Headers::NONE, poll::READY),
        Some(Step::Fail(text)) => (counted(text, alive), Headers::NONE, poll::FAILED),
        Some(Step::Trailers(pairs)) => {
            let data = Box::into_raw(Box::new(pairs)).cast();
            (counted("", alive), Headers { data, vt: &OWNED_PAIRS }, poll::READY)
        }
    };
    // SAFETY: room for a frame.
    unsafe { out.write(Frame { data, trailers }) };
    code
}

fn counted(text: &'static str, alive: &Arc<AtomicUsize>) -> Bytes {
    alive.fetch_add(1, Ordering::Relaxed);
    let owner = Arc::into_raw(Arc::clone(alive)).cast_mut().cast();
    Bytes { ptr: text.as_ptr(), len: text.len(), owner, drop: Some(uncount) }
}

unsafe extern "C" fn uncount(owner: *mut (), _: *const u8, _: usize) {
    // SAFETY: the count of `counted`, given back once.
    let alive = unsafe { Arc::from_raw(owner.cast_const().cast::<AtomicUsize>()) };
    alive.fetch_sub(1, Ordering::Relaxed);
}

unsafe extern "C" fn len(_: *const ()) -> u64 {
    UNKNOWN_LEN
}

unsafe extern "C" fn free(data: *mut ()) {
    // SAFETY: our own data, freed once.
    drop(unsafe { Box::from_raw(data.cast::<Body>()) });
}

static BODY: StreamVt =
    StreamVt { size: crate::abi::size_of_u32::<StreamVt>(), poll_next: next, len, drop: free };

unsafe fn pairs<'a>(data: *const ()) -> &'a Pairs {
    // SAFETY: our own data.
    unsafe { &*data.cast::<Pairs>() }
}

unsafe extern "C" fn count(data: *const ()) -> usize {
    // SAFETY: our own data.
    unsafe { pairs(data) }.len()
}

unsafe extern "C" fn get(data: *const (), name: Str) -> Str {
    // SAFETY: our own data.
    let pairs = unsafe { pairs(data) };
    // SAFETY: lent for the call.
    let name = unsafe { name.bytes() };
    let found = pairs.iter().find(|(other, _)| other.as_bytes() == name);
    found.map_or(Str::NONE, |(_, value)| Str::new(value.as_bytes()))
}

unsafe extern "C" fn fill(data: *const (), from: usize, out: *mut Header, cap: usize) -> usize {
    // SAFETY: our own data.
    let pairs = unsafe { pairs(data) };
    let some = pairs.iter().skip(from).take(cap);
    some.enumerate()
        .map(|(at, (name, value))| {
            let (name, value) = (Str::new(name.as_bytes()), Str::new(value.as_bytes()));
            // SAFETY: room for `cap` fields.
            unsafe { out.add(at).write(Header { name, value }) };
        })
        .count()
}

unsafe extern "C" fn free_pairs(data: *mut ()) {
    // SAFETY: our own data, freed once.
    drop(unsafe { Box::from_raw(data.cast::<Pairs>()) });
}

static PAIRS: HeadersVt =
    HeadersVt { size: crate::abi::size_of_u32::<HeadersVt>(), count, get, fill, drop: None };
static OWNED_PAIRS: HeadersVt = HeadersVt {
    size: crate::abi::size_of_u32::<HeadersVt>(),
    count,
    get,
    fill,
    drop: Some(free_pairs),
};

/// The fields of a list, as `name: value` lines.
pub(crate) fn lines(headers: Headers) -> Vec<String> {
    let pairs = crate::request::HeaderIter::new(headers);
    pairs.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect()
}

/// A plugin's answer with a fixed body.
pub(crate) fn fixed(answer: Answer) -> (u16, Vec<String>, String) {
    assert_eq!(answer.body, abi::body::BYTES);
    (answer.status, lines(answer.headers), take(answer.bytes))
}

/// A plugin's stream as its host polls it.
pub(crate) struct Pulled {
    stream: OwnedStream,
    pub(crate) waker: FakeWaker,
}

impl Pulled {
    pub(crate) fn new(answer: Answer) -> Self {
        assert_eq!(answer.body, abi::body::STREAM);
        Self { stream: OwnedStream(answer.stream), waker: FakeWaker::new() }
    }

    /// One poll as text: `data ...`, `trailers ...`, `failed ...` or the code.
    pub(crate) fn next(&mut self) -> String {
        let Stream { data, vt } = self.stream.0;
        let mut out = MaybeUninit::<Frame>::uninit();
        // SAFETY: the stream is alive, and `out` has room.
        let code = unsafe { ((*vt).poll_next)(data, self.waker.raw(), out.as_mut_ptr()) };
        if !matches!(code, poll::READY | poll::FAILED) {
            return code.to_string();
        }
        // SAFETY: filled on these codes.
        let frame = unsafe { out.assume_init() };
        // SAFETY: a frame is the receiver's.
        let text = unsafe { OwnedBytes::from_abi(frame.data) }.to_text();
        let trailers = OwnedHeaders(frame.trailers);
        match code {
            poll::FAILED => format!("failed {text}"),
            _ if trailers.0.vt.is_null() => format!("data {text}"),
            _ => format!("trailers {}", lines(trailers.0).join(", ")),
        }
    }
}

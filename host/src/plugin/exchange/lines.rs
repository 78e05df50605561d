//! The head of an HTTP/1.1 request as it came, without a map of its fields.
//!
//! Owns one copy of the head's bytes, and where its parts lie in it. Knows nothing of what a request
//! may look like: whoever takes a head apart has checked that.
//!
//! # Invariants
//! - The bytes, and the list of fields that points into them, lie on the heap. From the end of
//!   [`Lines::new`] to the drop of the [`Lines`] nobody changes, grows or frees either; the value
//!   itself may move, its buffers do not.
//! - A buffer that is used again shows nothing of the request before: it is as long as what was
//!   written into it this time.
#![expect(unsafe_code, reason = "crosses the ABI")]

use std::{cell::RefCell, fmt, mem::ManuallyDrop};

use hotseat_plugin_api::abi;
use http::Method;

/// Pairs of buffers that a thread keeps. More requests at once are rare, and then cost what an
/// allocation costs.
const SPARE_COUNT: usize = 16;

/// Units: bytes of either buffer; a larger one is given back. Twice the head that is read at once.
const SPARE_BYTES: usize = 16 << 10;

/// Units: bytes; the first request of a pair of buffers should not have to grow it.
const FIRST_BYTES: usize = 1024;

/// As [`FIRST_BYTES`]: what a browser sends.
const FIRST_FIELDS: usize = 24;

thread_local! {
    /// What requests that are over were kept in, the last one first: it is the warmest.
    #[expect(clippy::vec_box, reason = "a word is moved in a fraction of the time of two buffers")]
    static SPARE: RefCell<Vec<Box<Kept>>> = const { RefCell::new(Vec::new()) };
}

/// What a head is kept in.
struct Kept {
    bytes: Vec<u8>,
    /// Each points into `bytes`; the names are in lower case there.
    fields: Vec<abi::Header>,
    method: Method,
    path: Span,
    query: Option<Span>,
    authority: Span,
    host_len: usize,
}

/// Where a text lies in the bytes.
#[derive(Clone, Copy, Default)]
struct Span {
    at: usize,
    len: usize,
}

impl Kept {
    /// One without bytes and fields; the rest is of any request.
    #[inline]
    fn take() -> Box<Self> {
        // Behind the end of the thread's own values there is nothing to take.
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        spare.unwrap_or_else(Self::allocate)
    }

    #[cold]
    fn allocate() -> Box<Self> {
        Box::new(Self {
            bytes: Vec::with_capacity(FIRST_BYTES),
            fields: Vec::with_capacity(FIRST_FIELDS),
            method: Method::GET,
            path: Span::default(),
            query: None,
            authority: Span::default(),
            host_len: 0,
        })
    }

    #[inline]
    fn give_back(mut self: Box<Self>) {
        let fields_bytes = self.fields.capacity() * size_of::<abi::Header>();
        if self.bytes.capacity() > SPARE_BYTES || fields_bytes > SPARE_BYTES {
            return;
        }
        self.bytes.clear();
        self.fields.clear();
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_COUNT {
                spare.push(self);
            }
        });
    }
}

/// The parts of a head: all of them are pieces of its bytes.
#[derive(Debug)]
pub struct Parts<'h, F> {
    /// The request's method. Borrowed, because it is the dearest of the parts to move.
    pub method: &'h Method,
    /// The path as the client sent it.
    pub path: &'h str,
    /// What is behind the first `?`, if there is one.
    pub query: Option<&'h str>,
    /// The value of `Host`.
    pub authority: &'h str,
    /// Units: bytes of `authority` that are the name.
    pub host_len: usize,
    /// The fields in their order, names in any case.
    pub fields: F,
}

/// The head of an HTTP/1.1 request, in memory of its own. A word: it moves for nothing.
pub struct Lines(ManuallyDrop<Box<Kept>>);

impl Lines {
    /// Copies a head.
    ///
    /// # Panics
    /// If a part is no piece of `head`, or `host_len` no length of a piece of the authority.
    #[must_use]
    #[inline]
    pub fn new<'h, F>(head: &'h [u8], parts: Parts<'h, F>) -> Self
    where
        F: Iterator<Item = (&'h str, &'h [u8])> + Clone,
    {
        let Parts { method, path, query, authority, host_len, fields: given } = parts;
        assert!(authority.is_char_boundary(host_len), "the name is a piece of the authority");
        let span = |text: &str| Span { at: place(head, text.as_bytes()), len: text.len() };
        let (path, query, authority) = (span(path), query.map(span), span(authority));
        let mut kept = Kept::take();
        let Kept { bytes, fields, .. } = &mut *kept;
        bytes.extend_from_slice(head);
        for (name, _) in given.clone() {
            let at = place(head, name.as_bytes());
            bytes[at..at + name.len()].make_ascii_lowercase();
        }
        // The bytes stay as they are from here on, so that what points to them stays valid.
        let first = bytes.as_ptr();
        let piece =
            |part: &[u8]| abi::Str { ptr: first.wrapping_add(place(head, part)), len: part.len() };
        fields.extend(given.map(|(name, value)| abi::Header {
            name: piece(name.as_bytes()),
            value: piece(value),
        }));
        kept.method = method.clone();
        (kept.path, kept.query) = (path, query);
        (kept.authority, kept.host_len) = (authority, host_len);
        Self(ManuallyDrop::new(kept))
    }

    /// The request's method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The path as the client sent it.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(self.0.path)
    }

    /// What is behind the path's `?`, which may be nothing; `None` without one.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.0.query.map(|span| self.text(span))
    }

    /// Whom the request is for: the value of `Host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.text(self.0.authority)
    }

    /// The authority without its port.
    #[must_use]
    pub fn host_name(&self) -> &str {
        &self.authority()[..self.0.host_len]
    }

    /// The first value of a field, by its name in any case.
    #[cfg(test)]
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        // SAFETY: it points into `bytes`, which are borrowed together with `self`.
        self.find(name.as_bytes()).map(|value| unsafe { value.bytes() })
    }

    /// The fields in their order, names in lower case.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.0.fields.iter().map(|field| {
            // SAFETY: as in `header`.
            let (name, value) = unsafe { (field.name.bytes(), field.value.bytes()) };
            // SAFETY: `new` has copied it from a `str`; lower case is the same encoding.
            (unsafe { std::str::from_utf8_unchecked(name) }, value)
        })
    }

    /// A list that borrows `self`.
    ///
    /// # Lifetime
    /// It is valid until `self` moves or is dropped; what it has handed out, until `self` is dropped.
    #[must_use]
    pub fn headers(&self) -> abi::Headers {
        if self.0.fields.is_empty() {
            return abi::Headers::NONE;
        }
        abi::Headers { data: std::ptr::from_ref(self).cast_mut().cast(), vt: &BORROWED }
    }

    #[inline]
    fn text(&self, span: Span) -> &str {
        let bytes = &self.0.bytes[span.at..span.at + span.len];
        // SAFETY: `new` has copied them from a `str`. Where a name lay in it too, its ASCII letters
        // have become others.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<abi::Str> {
        let named = |field: &&abi::Header| {
            // SAFETY: as in `header`.
            field.name.len == name.len() && unsafe { field.name.bytes() }.eq_ignore_ascii_case(name)
        };
        self.0.fields.iter().find(named).map(|field| field.value)
    }
}

impl Drop for Lines {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken once, here; `self` is not used again.
        unsafe { ManuallyDrop::take(&mut self.0) }.give_back();
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = f.debug_struct("Lines");
        lines.field("method", &self.0.method).field("path", &self.path()).finish_non_exhaustive()
    }
}

/// Where `part` begins in `head`.
#[inline]
fn place(head: &[u8], part: &[u8]) -> usize {
    let at = part.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
    assert!(at <= head.len() && part.len() <= head.len() - at, "the parts are pieces of the head");
    at
}

static BORROWED: abi::HeadersVt =
    abi::HeadersVt { size: abi::size_of_u32::<abi::HeadersVt>(), count, get, fill, drop: None };

/// # Safety
/// `data` must be live lines, as [`Lines::headers`] gives them out.
unsafe fn lines<'a>(data: *const ()) -> &'a Lines {
    // SAFETY: the caller's promise.
    unsafe { &*data.cast::<Lines>() }
}

unsafe extern "C" fn count(data: *const ()) -> usize {
    // SAFETY: called with the list's own data while it lives.
    unsafe { lines(data) }.0.fields.len()
}

unsafe extern "C" fn get(data: *const (), name: abi::Str) -> abi::Str {
    // SAFETY: called with the list's own data while it lives.
    let lines = unsafe { lines(data) };
    // SAFETY: the caller lends the name for the call.
    let name = unsafe { name.bytes() };
    lines.find(name).unwrap_or(abi::Str::NONE)
}

unsafe extern "C" fn fill(
    data: *const (),
    from: usize,
    out: *mut abi::Header,
    cap: usize,
) -> usize {
    // SAFETY: called with the list's own data while it lives.
    let fields = unsafe { lines(data) }.0.fields.get(from..).unwrap_or_default();
    let count = fields.len().min(cap);
    // SAFETY: the caller gave room for `cap` fields, which is not part of ours.
    unsafe { out.copy_from_nonoverlapping(fields.as_ptr(), count) };
    count
}

#[cfg(test)]
mod tests;

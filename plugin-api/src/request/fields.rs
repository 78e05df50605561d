//! Header fields of the host, read in place.
//!
//! Owns lookup and iteration over an [`abi::Headers`](crate::abi::Headers). Knows nothing of what
//! headers mean.
//! Invariant: `fill` is called for pieces of a fixed array, so that reading allocates nothing.
#![expect(unsafe_code, reason = "reads the host's headers through its table")]

use std::{fmt, marker::PhantomData, mem::MaybeUninit};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    Result,
    abi::{Header, Headers, Str},
};

/// Fields that one crossing brings over: most requests have fewer.
const CHUNK: usize = 16;

/// The first value of `name`.
pub(super) fn get<'a>(headers: Headers, name: &str) -> Option<&'a [u8]> {
    if headers.vt.is_null() {
        return None;
    }
    // SAFETY: the table lives as long as the list.
    let get = unsafe { (*headers.vt).get };
    let lower;
    let name = if name.bytes().any(|c| c.is_ascii_uppercase()) {
        lower = name.to_ascii_lowercase();
        &lower
    } else {
        name
    };
    // SAFETY: the name lives until the call returns.
    let value = unsafe { get(headers.data, Str::new(name.as_bytes())) };
    // SAFETY: a value lives as long as its list.
    (!value.ptr.is_null()).then(|| unsafe { value.bytes() })
}

/// All fields as a map of owned copies.
pub(crate) fn to_map(fields: HeaderIter<'_>) -> Result<HeaderMap> {
    let mut map = HeaderMap::with_capacity(fields.total);
    for (name, value) in fields {
        let value = Bytes::copy_from_slice(value);
        // SAFETY: the host has parsed it as a value of HTTP. To look at each byte once more costs more
        // than the copy.
        let value = unsafe { HeaderValue::from_maybe_shared_unchecked(value) };
        map.append(HeaderName::from_bytes(name.as_bytes())?, value);
    }
    Ok(map)
}

/// Name and value of each header field, in order.
pub struct HeaderIter<'a> {
    headers: Headers,
    total: usize,
    fetched: usize,
    next: usize,
    filled: usize,
    chunk: [MaybeUninit<Header>; CHUNK],
    lent: PhantomData<&'a [u8]>,
}

impl HeaderIter<'_> {
    /// The caller answers for the lifetime of `headers`.
    pub(crate) fn new(headers: Headers) -> Self {
        let total = if headers.vt.is_null() {
            0
        } else {
            // SAFETY: the table lives as long as the list.
            let count = unsafe { (*headers.vt).count };
            // SAFETY: `data` belongs to the table.
            unsafe { count(headers.data) }
        };
        let chunk = [MaybeUninit::uninit(); CHUNK];
        Self { headers, total, fetched: 0, next: 0, filled: 0, chunk, lent: PhantomData }
    }

    fn fetch(&mut self) {
        // SAFETY: there are fields, so there is a table.
        let fill = unsafe { (*self.headers.vt).fill };
        let room = self.chunk.as_mut_ptr().cast();
        // SAFETY: the array has room for `CHUNK` fields.
        let filled = unsafe { fill(self.headers.data, self.fetched, room, CHUNK) };
        self.filled = filled.min(CHUNK);
        self.fetched += self.filled;
        self.next = 0;
    }
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.filled {
            if self.fetched >= self.total {
                return None;
            }
            self.fetch();
            if self.filled == 0 {
                self.total = self.fetched;
                return None;
            }
        }
        // SAFETY: `fill` has written the first `filled` fields.
        let Header { name, value } = unsafe { self.chunk[self.next].assume_init() };
        self.next += 1;
        // SAFETY: names and values live as long as their list.
        let (name, value) = unsafe { (name.bytes(), value.bytes()) };
        // SAFETY: names are lower case ASCII.
        Some((unsafe { std::str::from_utf8_unchecked(name) }, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.total.saturating_sub(self.fetched) + self.filled - self.next))
    }
}

impl fmt::Debug for HeaderIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderIter").field("total", &self.total).finish_non_exhaustive()
    }
}

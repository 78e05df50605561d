//! Header fields as the host has them.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use http::HeaderMap;

use crate::{
    Result,
    abi::{self, Header, Headers, HeadersVt, Str},
    owned::OwnedHeaders,
    request::{HeaderIter, to_map},
};

/// Names in lower case and values, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct List(Vec<(String, Vec<u8>)>);

impl List {
    pub(super) fn of(map: &HeaderMap) -> Self {
        let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), value.as_bytes().to_owned())
        };
        Self(map.iter().map(pair).collect())
    }

    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        self.0.push((name.to_ascii_lowercase(), value.to_owned()));
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_slice())
    }
}

/// Lent for as long as `list` lives where it is.
pub(super) fn lend(list: *const List) -> Headers {
    Headers { data: list.cast_mut().cast(), vt: &LENT }
}

/// Given away.
pub(super) fn give(list: List) -> Headers {
    Headers { data: Box::into_raw(Box::new(list)).cast(), vt: &GIVEN }
}

/// A copy of what the plugin has given, which is freed.
pub(super) fn take(headers: Headers) -> Result<HeaderMap> {
    let headers = OwnedHeaders(headers);
    to_map(HeaderIter::new(headers.0))
}

static LENT: HeadersVt =
    HeadersVt { size: abi::size_of_u32::<HeadersVt>(), count, get, fill, drop: None };
static GIVEN: HeadersVt =
    HeadersVt { size: abi::size_of_u32::<HeadersVt>(), count, get, fill, drop: Some(free) };

/// # Safety
/// `data` is a list that lives for `'a`.
unsafe fn list<'a>(data: *const ()) -> &'a List {
    // SAFETY: the caller's promise.
    unsafe { &*data.cast::<List>() }
}

unsafe extern "C" fn count(data: *const ()) -> usize {
    // SAFETY: our own data.
    unsafe { list(data) }.0.len()
}

unsafe extern "C" fn get(data: *const (), name: Str) -> Str {
    // SAFETY: our own data, and a name that is lent for the call.
    let (list, name) = unsafe { (list(data), name.bytes()) };
    let value = std::str::from_utf8(name).ok().and_then(|name| list.get(name));
    value.map_or(Str::NONE, Str::new)
}

unsafe extern "C" fn fill(data: *const (), from: usize, out: *mut Header, cap: usize) -> usize {
    // SAFETY: our own data.
    let some = unsafe { list(data) }.0.iter().skip(from).take(cap);
    let write = |(at, (name, value)): (usize, &(String, Vec<u8>))| {
        let header = Header { name: Str::new(name.as_bytes()), value: Str::new(value) };
        // SAFETY: room for `cap` fields.
        unsafe { out.add(at).write(header) }
    };
    some.enumerate().map(write).count()
}

unsafe extern "C" fn free(data: *mut ()) {
    // SAFETY: made in `give`, dropped once.
    drop(unsafe { Box::from_raw(data.cast::<List>()) });
}

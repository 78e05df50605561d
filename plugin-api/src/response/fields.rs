//! Header fields that the host reads in place.
//!
//! Owns the list and its [`HeadersVt`]. Knows nothing of responses.
//! Invariants: names are lower case (the `http` crate sees to it); a usual answer, with a content
//! type alone, allocates nothing. The table's functions run no author's code, so they need no
//! panic guard; only the drop of an owned list could.
#![expect(unsafe_code, reason = "functions that the host calls with raw pointers")]

use std::ptr;

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

use crate::{
    abi::{Header, Headers, HeadersVt, Str},
    guard::guard,
};

#[derive(Debug, Default)]
pub(crate) struct Fields {
    content_type: Option<HeaderValue>,
    others: Vec<(HeaderName, HeaderValue)>,
}

/// Lent: valid until the call's future is dropped.
static LENT: HeadersVt =
    HeadersVt { size: crate::abi::size_of_u32::<HeadersVt>(), count, get, fill, drop: None };
/// Given away in a box.
static GIVEN: HeadersVt =
    HeadersVt { size: crate::abi::size_of_u32::<HeadersVt>(), count, get, fill, drop: Some(free) };

impl Fields {
    pub(super) fn of_type(content_type: HeaderValue) -> Self {
        Self { content_type: Some(content_type), others: Vec::new() }
    }

    pub(super) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        if name == CONTENT_TYPE {
            self.content_type = Some(value);
            return;
        }
        self.others.retain(|(other, _)| *other != name);
        self.others.push((name, value));
    }

    pub(super) fn add(&mut self, name: HeaderName, value: HeaderValue) {
        if name == CONTENT_TYPE && self.content_type.is_none() {
            self.content_type = Some(value);
            return;
        }
        self.others.push((name, value));
    }

    pub(super) fn get(&self, name: &str) -> Option<&HeaderValue> {
        self.iter().find_map(|(other, value)| (other.as_str() == name).then_some(value))
    }

    pub(super) fn lend(&self) -> Headers {
        if self.len() == 0 {
            return Headers::NONE;
        }
        Headers { data: ptr::from_ref(self).cast_mut().cast(), vt: &LENT }
    }

    pub(super) fn give(self) -> Headers {
        Headers { data: Box::into_raw(Box::new(self)).cast(), vt: &GIVEN }
    }

    fn len(&self) -> usize {
        usize::from(self.content_type.is_some()) + self.others.len()
    }

    fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let content_type = self.content_type.as_ref().map(|value| (&CONTENT_TYPE, value));
        content_type.into_iter().chain(self.others.iter().map(|(name, value)| (name, value)))
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        let mut fields = Self::default();
        let mut last = None;
        for (name, value) in map {
            // A repeated name is given once.
            last = name.or(last);
            if let Some(name) = &last {
                fields.add(name.clone(), value);
            }
        }
        fields
    }
}

/// # Safety
/// `data` comes from [`Fields::lend`] or [`Fields::give`] and is alive.
unsafe fn fields<'a>(data: *const ()) -> &'a Fields {
    // SAFETY: the caller's promise.
    unsafe { &*data.cast::<Fields>() }
}

unsafe extern "C" fn count(data: *const ()) -> usize {
    // SAFETY: the host passes the list's own data.
    unsafe { fields(data) }.len()
}

unsafe extern "C" fn get(data: *const (), name: Str) -> Str {
    // SAFETY: as in `count`.
    let fields = unsafe { fields(data) };
    // SAFETY: the caller's name lives for the call.
    let name = unsafe { name.bytes() };
    fields
        .iter()
        .find(|(other, _)| other.as_str().as_bytes() == name)
        .map_or(Str::NONE, |(_, value)| Str::new(value.as_bytes()))
}

unsafe extern "C" fn fill(data: *const (), from: usize, out: *mut Header, cap: usize) -> usize {
    // SAFETY: as in `count`.
    let fields = unsafe { fields(data) };
    let mut filled = 0;
    for (name, value) in fields.iter().skip(from).take(cap) {
        let header =
            Header { name: Str::new(name.as_str().as_bytes()), value: Str::new(value.as_bytes()) };
        // SAFETY: the caller gives room for `cap` fields.
        unsafe { out.add(filled).write(header) };
        filled += 1;
    }
    filled
}

unsafe extern "C" fn free(data: *mut ()) {
    // SAFETY: the box made in `give`; the host frees a list once.
    let fields = unsafe { Box::from_raw(data.cast::<Fields>()) };
    guard(|| drop(fields));
}

//! Lists of header fields by hand.
#![expect(unsafe_code, reason = "functions that the host calls with raw pointers")]

use hotseat_plugin_api::abi::{self, Header, Headers, HeadersVt, Str};

/// A list that is a slice of pairs, or so many of one field.
pub(crate) struct Fields {
    pairs: &'static [(&'static str, &'static str)],
    count: usize,
}

impl Fields {
    fn give(pairs: &'static [(&'static str, &'static str)], count: usize) -> Headers {
        let list = Box::into_raw(Box::new(Self { pairs, count }));
        Headers { data: list.cast(), vt: &FIELDS }
    }

    pub(crate) fn pairs(pairs: &'static [(&'static str, &'static str)]) -> Headers {
        Self::give(pairs, pairs.len())
    }

    pub(crate) fn many(count: usize) -> Headers {
        Self::give(&[("x-many", "1")], count)
    }
}

unsafe fn list<'a>(data: *const ()) -> &'a Fields {
    // SAFETY: the box made in `Fields::give`, which the host has not freed.
    unsafe { &*data.cast::<Fields>() }
}

unsafe extern "C" fn count(data: *const ()) -> usize {
    // SAFETY: called with the list's own data.
    unsafe { list(data) }.count
}

unsafe extern "C" fn get(_: *const (), _: Str) -> Str {
    Str::NONE
}

unsafe extern "C" fn fill(data: *const (), from: usize, out: *mut Header, cap: usize) -> usize {
    // SAFETY: called with the list's own data.
    let list = unsafe { list(data) };
    let end = list.count.min(from.saturating_add(cap));
    for number in from..end {
        let (name, value) = list.pairs[number % list.pairs.len()];
        let field = Header { name: Str::new(name.as_bytes()), value: Str::new(value.as_bytes()) };
        // SAFETY: fewer than `cap` fields lie before it.
        unsafe { out.add(number - from).write(field) };
    }
    end.saturating_sub(from)
}

unsafe extern "C" fn free_list(data: *mut ()) {
    // SAFETY: the box made in `Fields::give`; the host frees a list once.
    drop(unsafe { Box::from_raw(data.cast::<Fields>()) });
}

static FIELDS: HeadersVt =
    HeadersVt { size: abi::size_of_u32::<HeadersVt>(), count, get, fill, drop: Some(free_list) };

//! Header lists across the border: the host's read in place, the plugin's copied.
//!
//! Invariant: no `HeaderName` or `HeaderValue` of the host ever points into a plugin; HTTP/2's
//! compression table keeps clones of them for the life of a connection.
#![expect(unsafe_code, reason = "crosses the ABI")]

use std::{cell::RefCell, mem::MaybeUninit};

use hotseat_plugin_api::abi;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Fields that `fill` hands over at once. Most answers have fewer.
const CHUNK: usize = 16;

/// Fields of one answer. More is taken for a mistake of the plugin.
const FIELDS_MAX: usize = 512;

/// Interned pairs a thread: answers repeat the same few.
const INTERNED: usize = 8;

thread_local! {
    /// Pairs seen last; the value is shared by reference count instead of being copied.
    static CACHE: RefCell<Vec<(HeaderName, HeaderValue)>> = const { RefCell::new(Vec::new()) };
}

/// A list that borrows `map`, for a request's head.
pub(super) fn borrowed(map: &HeaderMap) -> abi::Headers {
    if map.is_empty() {
        return abi::Headers::NONE;
    }
    abi::Headers { data: std::ptr::from_ref(map).cast_mut().cast(), vt: &BORROWED }
}

/// A list that owns `map`, for trailers.
pub(super) fn owned(map: HeaderMap) -> abi::Headers {
    abi::Headers { data: Box::into_raw(Box::new(map)).cast(), vt: &OWNED }
}

static BORROWED: abi::HeadersVt =
    abi::HeadersVt { size: abi::size_of_u32::<abi::HeadersVt>(), count, get, fill, drop: None };
static OWNED: abi::HeadersVt = abi::HeadersVt {
    size: abi::size_of_u32::<abi::HeadersVt>(),
    count,
    get,
    fill,
    drop: Some(drop_map),
};

/// # Safety
/// `data` must be a live header map, as `borrowed` and `owned` give it out.
unsafe fn map<'a>(data: *const ()) -> &'a HeaderMap {
    // SAFETY: the caller's promise.
    unsafe { &*data.cast::<HeaderMap>() }
}

unsafe extern "C" fn count(data: *const ()) -> usize {
    // SAFETY: called with the list's own data while it lives.
    unsafe { map(data) }.len()
}

unsafe extern "C" fn get(data: *const (), name: abi::Str) -> abi::Str {
    // SAFETY: called with the list's own data while it lives.
    let map = unsafe { map(data) };
    // SAFETY: the caller lends the name for the call.
    let name = unsafe { name.bytes() };
    let value = std::str::from_utf8(name).ok().and_then(|name| map.get(name));
    value.map_or(abi::Str::NONE, |value| abi::Str::new(value.as_bytes()))
}

unsafe extern "C" fn fill(
    data: *const (),
    from: usize,
    out: *mut abi::Header,
    cap: usize,
) -> usize {
    // SAFETY: called with the list's own data while it lives.
    let fields = unsafe { map(data) }.iter().skip(from).take(cap);
    let mut count = 0;
    for (name, value) in fields {
        let field = abi::Header {
            name: abi::Str::new(name.as_str().as_bytes()),
            value: abi::Str::new(value.as_bytes()),
        };
        // SAFETY: `count < cap`, and the caller gave room for `cap` fields.
        unsafe { out.add(count).write(field) };
        count += 1;
    }
    count
}

unsafe extern "C" fn drop_map(data: *mut ()) {
    // SAFETY: made by `owned`; the receiver calls this once.
    drop(unsafe { Box::from_raw(data.cast::<HeaderMap>()) });
}

/// Whether the host frames the message by itself: fields that say otherwise are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// The body's length is known: no `content-length` of the plugin either.
    Known,
    /// The plugin may promise a length.
    Open,
}

impl Framing {
    /// Framing and the connection are the host's business; a plugin's word on them is dropped.
    #[inline]
    fn drops(self, name: &[u8]) -> bool {
        match name {
            b"connection" | b"transfer-encoding" | b"keep-alive" => true,
            b"content-length" => self == Self::Known,
            _ => false,
        }
    }
}

/// Copies a plugin's list into `headers` and frees it. The error's text says what is wrong with a field.
///
/// # Safety
/// `list` must be valid, its library loaded and entered; it is not used again.
#[inline]
pub(super) unsafe fn take(
    list: abi::Headers,
    framing: Framing,
    headers: &mut HeaderMap,
) -> Result<(), String> {
    if list.vt.is_null() {
        return Ok(());
    }
    // SAFETY: not null; the plugin's functions live as long as its library.
    let vt = unsafe { &*list.vt };
    // SAFETY: the list is valid.
    let copied = unsafe { copy(list.data, vt, framing, headers) };
    if let Some(drop) = vt.drop {
        // SAFETY: we own the list and do not touch it again.
        unsafe { drop(list.data) };
    }
    copied
}

/// # Safety
/// As [`take`].
unsafe fn copy(
    data: *const (),
    vt: &abi::HeadersVt,
    framing: Framing,
    headers: &mut HeaderMap,
) -> Result<(), String> {
    let mut from = 0;
    loop {
        let mut chunk = [const { MaybeUninit::<abi::Header>::uninit() }; CHUNK];
        // SAFETY: the list is valid and the chunk has room for `CHUNK` fields.
        let count = unsafe { (vt.fill)(data, from, chunk.as_mut_ptr().cast(), CHUNK) }.min(CHUNK);
        for field in &chunk[..count] {
            // SAFETY: `fill` has written the first `count`.
            let field = unsafe { field.assume_init_ref() };
            // SAFETY: valid until the list is freed, after this loop.
            let (name, value) = unsafe { (field.name.bytes(), field.value.bytes()) };
            if framing.drops(name) {
                continue;
            }
            let (name, value) = pair(name, value)?;
            headers.append(name, value);
        }
        from += count;
        if count < CHUNK {
            return Ok(());
        }
        if from >= FIELDS_MAX {
            return Err(format!("more than {FIELDS_MAX} header fields"));
        }
    }
}

fn pair(name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue), String> {
    let repeats = name == header::CONTENT_TYPE.as_str().as_bytes()
        || name == header::CACHE_CONTROL.as_str().as_bytes();
    if !repeats {
        return parse(name, value);
    }
    CACHE.with_borrow_mut(|cache| {
        let known = cache.iter().find(|(n, v)| v == value && n.as_str().as_bytes() == name);
        if let Some(pair) = known {
            return Ok(pair.clone());
        }
        let pair = parse(name, value)?;
        if cache.len() == INTERNED {
            cache.remove(0);
        }
        cache.push(pair.clone());
        Ok(pair)
    })
}

fn parse(name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue), String> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let parsed =
        HeaderName::from_bytes(name).map_err(|_| format!("the header name `{}`", lossy(name)))?;
    let value = HeaderValue::from_bytes(value)
        .map_err(|_| format!("a value of `{parsed}` with characters that HTTP forbids"))?;
    Ok((parsed, value))
}

#[cfg(test)]
mod tests {
    use super::Framing;

    #[test]
    fn framing_stays_with_the_host() {
        for name in ["connection", "transfer-encoding", "keep-alive"] {
            assert!(Framing::Known.drops(name.as_bytes()) && Framing::Open.drops(name.as_bytes()));
        }
        assert!(Framing::Known.drops(b"content-length"));
        assert!(!Framing::Open.drops(b"content-length"), "a stream may promise a length");
        assert!(!Framing::Known.drops(b"x-own"));
    }
}

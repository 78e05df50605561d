//! Header lists across the border: the host's read in place, the plugin's copied.
//!
//! Where a plugin's fields are copied to is told by [`Fields`]: into a map, or right into the bytes
//! of an answer.
//!
//! Invariants: no `HeaderName` or `HeaderValue` of the host ever points into a plugin; HTTP/2's
//! compression table keeps clones of them for the life of a connection. Both ways go by `fill`, so
//! that neither side builds an array of views first. Of a plugin's table one entry is read at a
//! time: a reference to the whole would claim what an older build does not have.
#![expect(unsafe_code, reason = "crosses the ABI")]

use std::{cell::RefCell, mem::MaybeUninit};

use hotseat_plugin_api::{abi, entry};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Fields that `fill` hands over at once. Most answers have fewer.
const CHUNK: usize = 16;

/// Fields of one list. More is taken for a mistake of the plugin.
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

/// What a plugin's list is for, and so which of its fields are none of its business. They are left
/// out: framing and the connection are the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The head of an answer, which may promise a length.
    Open,
    /// The head of a 101 or a 426: what it switches, or would switch to is said here.
    Upgrade,
    /// The fields behind a body, which may frame and route nothing. Source: RFC 9110, 6.5.1.
    Trailers,
}

impl Framing {
    /// Whether the field of this name, in lower case, is left out. Source: RFC 9110, 7.6.1, with the
    /// fields that are older than it.
    #[inline]
    pub(crate) fn drops(self, name: impl AsRef<[u8]>) -> bool {
        match name.as_ref() {
            b"keep-alive" | b"proxy-connection" | b"te" | b"transfer-encoding" => true,
            b"upgrade" => self != Self::Upgrade,
            b"content-length" => self != Self::Open,
            b"host" | b"trailer" => self == Self::Trailers,
            _ => false,
        }
    }
}

/// Where the fields of a plugin's answer go.
///
/// # Order
/// `begin`, `append` for each field, at most once `leave_out`, and then the others. After an error
/// what has been taken is of no use.
pub trait Fields {
    /// Told before the first field.
    fn begin(&mut self, status: StatusCode);

    /// Takes a field, unless `framing` leaves it out. The name may be in any case.
    ///
    /// # Errors
    /// Text that says what is wrong with it; what is left out needs no value.
    fn append(&mut self, name: &[u8], value: &[u8], framing: Framing) -> Result<(), String>;

    /// Lets go of the fields of these names.
    fn leave_out(&mut self, names: &[HeaderName]);

    /// Takes the plugin's `content-length` out. Units: bytes.
    ///
    /// # Errors
    /// Text, if it is no number, or there are two that differ.
    fn take_length(&mut self) -> Result<Option<u64>, String>;

    /// Says how long a body is that is not sent. Units: bytes.
    fn describe(&mut self, len: u64);

    /// Whether the first `content-type` is that of server-sent events.
    fn are_events(&self) -> bool;
}

impl Fields for HeaderMap {
    #[inline]
    fn begin(&mut self, _: StatusCode) {}

    #[inline]
    fn append(&mut self, name: &[u8], value: &[u8], framing: Framing) -> Result<(), String> {
        if let Some((name, value)) = pair(name, value, framing)? {
            Self::append(self, name, value);
        }
        Ok(())
    }

    fn leave_out(&mut self, names: &[HeaderName]) {
        for name in names {
            self.remove(name);
        }
    }

    #[inline]
    fn take_length(&mut self) -> Result<Option<u64>, String> {
        let Some(value) = self.get(header::CONTENT_LENGTH) else { return Ok(None) };
        let len = parse_length(value.as_bytes()).ok_or_else(|| wrong_length(value.as_bytes()))?;
        let mut others = self.get_all(header::CONTENT_LENGTH).iter();
        if others.any(|other| other != value) {
            return Err(two_lengths());
        }
        self.remove(header::CONTENT_LENGTH);
        Ok(Some(len))
    }

    #[inline]
    fn describe(&mut self, len: u64) {
        self.insert(header::CONTENT_LENGTH, len.into());
    }

    #[inline]
    fn are_events(&self) -> bool {
        self.get(header::CONTENT_TYPE).is_some_and(|value| is_events(value.as_bytes()))
    }
}

/// A `content-length`, which has digits only. Units: bytes.
#[inline]
pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

/// Whether a media type is that of server-sent events.
#[inline]
pub(crate) fn is_events(value: &[u8]) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let named = value.get(..EVENTS.len()).is_some_and(|it| it.eq_ignore_ascii_case(EVENTS));
    named && matches!(value.get(EVENTS.len()), None | Some(b';' | b' ' | b'\t'))
}

#[cold]
pub(crate) fn wrong_name(name: &[u8]) -> String {
    format!("the header name `{}`", String::from_utf8_lossy(name))
}

#[cold]
pub(crate) fn wrong_value(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    format!("a value of `{name}` with characters that HTTP forbids")
}

#[cold]
pub(crate) fn wrong_length(value: &[u8]) -> String {
    let shown = HeaderValue::from_bytes(value);
    let shown = shown.map_or_else(|wrong| wrong.to_string(), |value| format!("{value:?}"));
    format!("a `content-length` of {shown}")
}

#[cold]
pub(crate) fn two_lengths() -> String {
    "two different `content-length` fields".to_owned()
}

/// What a plugin says of the connection itself.
#[derive(Debug, Default)]
struct OfConnection {
    /// This answer is to be its last.
    closes: bool,
    /// Fields that are for this connection only.
    names: Vec<HeaderName>,
}

impl OfConnection {
    /// How a body is framed is no matter of the connection, and an upgrade is told by [`Framing`].
    /// Source: RFC 9110, 7.6.1.
    #[cold]
    fn hear(&mut self, value: &[u8]) {
        let stays = [header::CONTENT_LENGTH, header::UPGRADE];
        for option in value.split(|c| *c == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else {
                let name = HeaderName::from_bytes(option).ok();
                self.names.extend(name.filter(|name| !stays.contains(name)));
            }
        }
    }
}

/// Copies a plugin's list into `fields` and frees it. True: the connection is to be closed behind this
/// answer. The error's text says what is wrong with the list.
///
/// # Safety
/// `list` must be valid, its library loaded and entered; it is not used again.
#[inline]
pub(super) unsafe fn take(
    list: abi::Headers,
    framing: Framing,
    fields: &mut impl Fields,
) -> Result<bool, String> {
    let abi::Headers { data, vt } = list;
    if vt.is_null() {
        return Ok(false);
    }
    let copied = match entry!(vt => HeadersVt.fill) {
        // SAFETY: the list is valid.
        Some(fill) => unsafe { copy(data, fill, framing, fields) },
        None => Err("header fields without a way to read them".to_owned()),
    };
    if let Some(drop) = entry!(vt => HeadersVt.drop).flatten() {
        // SAFETY: we own the list and do not touch it again.
        unsafe { drop(data) };
    }
    copied
}

/// [`abi::HeadersVt::fill`].
type Fill = unsafe extern "C" fn(*const (), usize, *mut abi::Header, usize) -> usize;

/// # Safety
/// As [`take`]; `fill` must be the list's.
unsafe fn copy(
    data: *const (),
    fill: Fill,
    framing: Framing,
    fields: &mut impl Fields,
) -> Result<bool, String> {
    let mut of_connection = OfConnection::default();
    let mut from = 0;
    loop {
        let mut chunk = [const { MaybeUninit::<abi::Header>::uninit() }; CHUNK];
        // SAFETY: the list is valid and the chunk has room for `CHUNK` fields.
        let count = unsafe { fill(data, from, chunk.as_mut_ptr().cast(), CHUNK) };
        let Some(filled) = chunk.get(..count) else {
            return Err(format!("{count} header fields at once, where {CHUNK} have room"));
        };
        if from + count > FIELDS_MAX {
            return Err(format!("more than {FIELDS_MAX} header fields"));
        }
        for field in filled {
            // SAFETY: `fill` has written the first `count`.
            let field = unsafe { field.assume_init_ref() };
            // SAFETY: valid until the list is freed, after this loop.
            let (name, value) = unsafe { (field.name.bytes(), field.value.bytes()) };
            if name.eq_ignore_ascii_case(b"connection") {
                of_connection.hear(value);
            } else {
                fields.append(name, value, framing)?;
            }
        }
        from += count;
        if count < CHUNK {
            if !of_connection.names.is_empty() {
                fields.leave_out(&of_connection.names);
            }
            return Ok(of_connection.closes);
        }
    }
}

/// A field of ours; `None` where `framing` leaves it out.
#[inline]
fn pair(
    name: &[u8],
    value: &[u8],
    framing: Framing,
) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let repeats = name == header::CONTENT_TYPE.as_str().as_bytes()
        || name == header::CACHE_CONTROL.as_str().as_bytes();
    if repeats {
        return interned(name, value).map(Some);
    }
    if framing == Framing::Trailers && name.first() == Some(&b':') {
        return Ok(None);
    }
    let name = parse_name(name)?;
    if framing.drops(&name) {
        return Ok(None);
    }
    let value = parse_value(&name, value)?;
    Ok(Some((name, value)))
}

fn interned(name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue), String> {
    CACHE.with_borrow_mut(|cache| {
        let known = cache.iter().find(|(n, v)| v == value && n.as_str().as_bytes() == name);
        if let Some(pair) = known {
            return Ok(pair.clone());
        }
        let name = parse_name(name)?;
        let value = parse_value(&name, value)?;
        if cache.len() == INTERNED {
            cache.remove(0);
        }
        cache.push((name.clone(), value.clone()));
        Ok((name, value))
    })
}

fn parse_name(name: &[u8]) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name).map_err(|_| wrong_name(name))
}

fn parse_value(name: &HeaderName, value: &[u8]) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(value).map_err(|_| wrong_value(name.as_ref()))
}

#[cfg(test)]
pub(super) mod tests;

//! Lists as plugins hand them over, good and bad.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const EVERY: [Framing; 3] = [Framing::Open, Framing::Upgrade, Framing::Trailers];

fn dropped(name: &'static str) -> Vec<Framing> {
    let name = HeaderName::from_static(name);
    EVERY.into_iter().filter(|framing| framing.drops(&name)).collect()
}

#[test]
fn framing_and_the_connection_stay_with_the_host() {
    for name in ["keep-alive", "proxy-connection", "te", "transfer-encoding"] {
        assert_eq!(dropped(name), EVERY, "{name}");
    }
    assert_eq!(dropped("upgrade"), [Framing::Open, Framing::Trailers], "a 101 says it");
    assert!(!dropped("content-length").contains(&Framing::Open), "a stream may promise a length");
    for name in ["host", "trailer"] {
        assert_eq!(dropped(name), [Framing::Trailers], "{name}");
    }
    assert_eq!(dropped("x-own"), []);
}

/// Fields as a plugin has them in memory of its own.
struct List {
    fields: Vec<(&'static [u8], &'static [u8])>,
    /// What every `fill` adds to the truth.
    lies: usize,
    frees: AtomicUsize,
}

unsafe extern "C" fn fill(
    data: *const (),
    from: usize,
    out: *mut abi::Header,
    cap: usize,
) -> usize {
    // SAFETY: the list that `taken` lends.
    let list = unsafe { &*data.cast::<List>() };
    let some = list.fields.iter().skip(from).take(cap);
    let count = some.enumerate().map(|(at, (name, value))| {
        let field = abi::Header { name: abi::Str::new(name), value: abi::Str::new(value) };
        // SAFETY: `at` is below `cap`.
        unsafe { out.add(at).write(field) };
    });
    count.count() + list.lies
}

unsafe extern "C" fn count(_: *const ()) -> usize {
    0
}

unsafe extern "C" fn get(_: *const (), _: abi::Str) -> abi::Str {
    abi::Str::NONE
}

unsafe extern "C" fn free(data: *mut ()) {
    // SAFETY: as in `fill`.
    unsafe { &*data.cast_const().cast::<List>() }.frees.fetch_add(1, Ordering::Relaxed);
}

static VT: abi::HeadersVt = abi::HeadersVt {
    size: abi::size_of_u32::<abi::HeadersVt>(),
    count,
    get,
    fill,
    drop: Some(free),
};

fn take_into(list: &List, framing: Framing, fields: &mut impl Fields) -> Result<bool, String> {
    let raw = abi::Headers { data: std::ptr::from_ref(list).cast_mut().cast(), vt: &VT };
    // SAFETY: the list is alive, and its functions are this executable's.
    let taken = unsafe { take(raw, framing, fields) };
    assert_eq!(list.frees.load(Ordering::Relaxed), 1, "freed once, whatever it holds");
    taken
}

fn take_list(list: &List, framing: Framing) -> Result<(HeaderMap, bool), String> {
    let mut map = HeaderMap::new();
    take_into(list, framing, &mut map).map(|closes| (map, closes))
}

/// Takes `pairs` as if a plugin had answered them.
pub(crate) fn take_pairs(
    pairs: &[(&'static [u8], &'static [u8])],
    framing: Framing,
    fields: &mut impl Fields,
) -> Result<bool, String> {
    let list = List { fields: pairs.to_vec(), lies: 0, frees: AtomicUsize::new(0) };
    take_into(&list, framing, fields)
}

fn taken(fields: &[(&'static [u8], &'static [u8])], framing: Framing) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    take_pairs(fields, framing, &mut map).map(|_| map)
}

#[test]
fn every_field_up_to_the_limit_is_taken() {
    let fields = vec![(&b"x-many"[..], &b"1"[..]); FIELDS_MAX + 1];
    for count in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, FIELDS_MAX - 1, FIELDS_MAX] {
        let map = taken(&fields[..count], Framing::Open).unwrap();
        assert_eq!(map.len(), count);
    }
    let error = taken(&fields, Framing::Open).unwrap_err();
    assert_eq!(error, "more than 512 header fields");
}

#[test]
fn a_list_that_claims_more_than_was_asked_for_is_refused() {
    let fields = vec![(&b"x-many"[..], &b"1"[..]); CHUNK];
    let list = List { fields, lies: 1, frees: AtomicUsize::new(0) };
    let error = take_list(&list, Framing::Open).unwrap_err();
    assert_eq!(error, "17 header fields at once, where 16 have room");
}

/// Names are lower case by the ABI, but not every plugin is made with this crate.
#[test]
fn another_case_is_the_same_name() {
    let fields: [(&[u8], &[u8]); 2] = [(b"Transfer-Encoding", b"chunked"), (b"X-Own", b"1")];
    let map = taken(&fields, Framing::Open).unwrap();
    assert_eq!(map.keys().collect::<Vec<_>>(), ["x-own"]);
}

#[test]
fn what_is_left_out_needs_no_value() {
    let fields: [(&[u8], &[u8]); 1] = [(b"connection", b"\r\n")];
    assert!(taken(&fields, Framing::Open).unwrap().is_empty());
}

#[test]
fn pseudo_fields_are_an_error_but_in_trailers() {
    let fields: [(&[u8], &[u8]); 2] = [(b":status", b"204"), (b"grpc-status", b"0")];
    let map = taken(&fields, Framing::Trailers).unwrap();
    assert_eq!(map.keys().collect::<Vec<_>>(), ["grpc-status"]);
    assert_eq!(taken(&fields, Framing::Open).unwrap_err(), "the header name `:status`");
}

#[test]
fn what_is_no_field_is_told() {
    let fields: [(&[u8], &[u8]); 1] = [(b"content-type", b"a\nb")];
    let error = taken(&fields, Framing::Open).unwrap_err();
    assert_eq!(error, "a value of `content-type` with characters that HTTP forbids");
    assert_eq!(taken(&[(b"", b"1")], Framing::Open).unwrap_err(), "the header name ``");
}

#[test]
fn what_answers_repeat_is_shared() {
    let fields: [(&[u8], &[u8]); 1] = [(b"content-type", b"text/plain")];
    let [first, second] = [(); 2].map(|()| taken(&fields, Framing::Open).unwrap());
    let at = |map: &HeaderMap| map[header::CONTENT_TYPE].as_bytes().as_ptr();
    assert_eq!(at(&first), at(&second));
}

#[test]
fn what_is_said_of_the_connection() {
    let said: [(&'static [u8], bool); 5] = [
        (b"close", true),
        (b"X-Hop , CLOSE", true),
        (b"keep-alive, x-hop", false),
        (b"closed", false),
        (b"content-length", false),
    ];
    for (value, closes) in said {
        let fields = [
            (&b"x-hop"[..], &b"1"[..]),
            (b"x-own", b"1"),
            (b"content-length", b"2"),
            (b"Connection", value),
        ];
        let list = List { fields: fields.to_vec(), lies: 0, frees: AtomicUsize::new(0) };
        let (map, asked) = take_list(&list, Framing::Open).unwrap();
        let named = value.windows(5).any(|it| it.eq_ignore_ascii_case(b"x-hop"));
        let value = String::from_utf8_lossy(value);
        assert_eq!(asked, closes, "{value}");
        assert_eq!(map.contains_key("x-hop"), !named, "{value}");
        assert!(map.contains_key("x-own") && map.contains_key("content-length"), "{value}");
        assert!(!map.contains_key("connection"), "{value}");
    }
    let fields: [(&[u8], &[u8]); 2] = [(b"connection", b"Upgrade"), (b"upgrade", b"own")];
    let map = taken(&fields, Framing::Upgrade).unwrap();
    assert_eq!(map.keys().collect::<Vec<_>>(), ["upgrade"], "it is what the answer is about");
    assert!(taken(&fields, Framing::Open).unwrap().is_empty());
}

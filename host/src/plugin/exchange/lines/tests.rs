//! Heads kept, read through the ABI, and buffers used again.

use std::{mem::MaybeUninit, panic::catch_unwind};

use super::*;

type Field<'a> = (&'a str, &'a [u8]);

/// Takes a head apart that is written as it should be.
fn keep(head: &str) -> Lines {
    let (line, fields) = head.split_once("\r\n").unwrap();
    let target = line.split(' ').nth(1).unwrap();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let fields: Vec<Field<'_>> = fields
        .split_terminator("\r\n")
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name, value.as_bytes()))
        .collect();
    let host = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let authority = host.map_or("", |(_, value)| std::str::from_utf8(value).unwrap());
    let authority = if authority.is_empty() { &head[..0] } else { authority };
    let host_len = authority.find(':').unwrap_or(authority.len());
    let method = Method::from_bytes(line.split(' ').next().unwrap().as_bytes()).unwrap();
    let fields = fields.iter().copied();
    Lines::new(head.as_bytes(), Parts { method: &method, path, query, authority, host_len, fields })
}

const HEAD: &str = "POST /A/b?C=?d HTTP/1.1\r\nHOST: Example:80\r\nX-One: First\r\nAccept: \
                    *\r\nx-oNE: Second\r\n\r\n";

const FIELDS: [Field<'_>; 4] =
    [("host", b"Example:80"), ("x-one", b"First"), ("accept", b"*"), ("x-one", b"Second")];

/// The list as a plugin reads it: `chunk` fields at once.
fn filled(list: abi::Headers, chunk: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    // SAFETY: a table of this build.
    let fill = unsafe { (*list.vt).fill };
    let mut all = Vec::new();
    loop {
        let mut out = vec![MaybeUninit::<abi::Header>::uninit(); chunk + 1];
        out[chunk].write(abi::Header::NONE);
        // SAFETY: there is room for `chunk` fields.
        let count = unsafe { fill(list.data, all.len(), out.as_mut_ptr().cast(), chunk) };
        // SAFETY: written above, and behind the room that was given.
        assert!(unsafe { out[chunk].assume_init_ref() }.name.ptr.is_null());
        for field in &out[..count] {
            // SAFETY: `fill` has written that many, and the list is alive.
            let (name, value) = unsafe {
                let field = field.assume_init_ref();
                (field.name.bytes(), field.value.bytes())
            };
            all.push((name.to_vec(), value.to_vec()));
        }
        if count < chunk {
            return all;
        }
    }
}

fn owned(fields: &[Field<'_>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
}

#[test]
fn the_parts_are_what_they_were() {
    let lines = keep(HEAD);
    assert_eq!(lines.method(), Method::POST);
    assert_eq!((lines.path(), lines.query()), ("/A/b", Some("C=?d")));
    assert_eq!((lines.authority(), lines.host_name()), ("Example:80", "Example"));
    assert_eq!(lines.iter().collect::<Vec<_>>(), FIELDS);
    assert_eq!(lines.header("X-One"), Some(&b"First"[..]), "the first, in any case");
    assert_eq!(lines.header("x-on"), None);
    let text = format!("{lines:?}");
    assert_eq!(text, r#"Lines { method: POST, path: "/A/b", .. }"#);
    assert_eq!(keep("GET /? HTTP/1.1\r\n\r\n").query(), Some(""));
    assert_eq!(keep("GET / HTTP/1.1\r\n\r\n").query(), None);
}

#[test]
fn a_plugin_reads_the_same() {
    let lines = keep(HEAD);
    let list = lines.headers();
    for chunk in 1..=5 {
        assert_eq!(filled(list, chunk), owned(&FIELDS), "{chunk} at once");
    }
    // SAFETY: a table of this build, and the list is alive.
    let (count, beyond) = unsafe {
        let mut out = abi::Header::NONE;
        (((*list.vt).count)(list.data), ((*list.vt).fill)(list.data, 5, &raw mut out, 1))
    };
    assert_eq!((count, beyond), (4, 0));
    let get = |name: &[u8]| {
        // SAFETY: as above; what it hands out lives as long as `lines`.
        let value = unsafe { ((*list.vt).get)(list.data, abi::Str::new(name)) };
        // SAFETY: as above.
        (!value.ptr.is_null()).then(|| unsafe { value.bytes() })
    };
    assert_eq!(get(b"x-one"), Some(&b"First"[..]));
    assert_eq!(get(b"ACCEPT"), Some(&b"*"[..]), "as a header map, in any case");
    assert_eq!(get(b"x-two"), None);
    assert_eq!(get(b"\xff-one"), None);
    assert_eq!(get(b""), None);
}

#[test]
fn no_fields_are_no_list() {
    assert!(keep("GET / HTTP/1.1\r\n\r\n").headers().vt.is_null());
    let empty = keep("GET / HTTP/1.1\r\nA: \r\n\r\n");
    assert_eq!(empty.header("a"), Some(&b""[..]), "an empty field is one");
}

/// What was handed out before a move is read behind it.
#[test]
fn lines_may_move() {
    let lines = keep(HEAD);
    // SAFETY: a table of this build, and the list is alive.
    let value = unsafe {
        let list = lines.headers();
        ((*list.vt).get)(list.data, abi::Str::new(b"host"))
    };
    let first = lines.path().as_ptr();
    let moved = Box::new(lines);
    let many: Vec<_> = (0..4).map(|_| keep("GET /other HTTP/1.1\r\nHost: other\r\n\r\n")).collect();
    // SAFETY: the lines are alive, only elsewhere.
    assert_eq!(unsafe { value.bytes() }, b"Example:80");
    assert_eq!(moved.path().as_ptr(), first);
    assert_eq!(filled(moved.headers(), 16), owned(&FIELDS));
    assert_eq!(many.iter().map(Lines::path).collect::<Vec<_>>(), ["/other"; 4]);
}

fn forget_spares() {
    SPARE.with_borrow_mut(Vec::clear);
}

fn spares() -> usize {
    SPARE.with_borrow(Vec::len)
}

#[test]
fn buffers_are_used_again_without_what_was_in_them() {
    forget_spares();
    let long =
        format!("GET /secret HTTP/1.1\r\nHost: a\r\nCookie: {}\r\nX: y\r\n\r\n", "s".repeat(900));
    let lines = keep(&long);
    let (bytes, fields) = (lines.0.bytes.as_ptr(), lines.0.fields.as_ptr());
    assert_eq!(lines.iter().len(), 3);
    drop(lines);
    assert_eq!(spares(), 1);
    let short = "GET / HTTP/1.1\r\nHost: b\r\n\r\n";
    let lines = keep(short);
    assert_eq!(
        (lines.0.bytes.as_ptr(), lines.0.fields.as_ptr()),
        (bytes, fields),
        "the same memory"
    );
    assert_eq!(spares(), 0, "which is nobody else's");
    assert_eq!(lines.0.bytes, short.to_lowercase().replace("get / http", "GET / HTTP").as_bytes());
    assert_eq!(lines.iter().collect::<Vec<_>>(), [("host", &b"b"[..])]);
    assert_eq!(filled(lines.headers(), 16), owned(&[("host", b"b")]));
    assert_eq!((lines.header("cookie"), lines.header("x")), (None, None));
}

#[test]
fn a_thread_keeps_few_buffers_and_no_large_ones() {
    forget_spares();
    let many: Vec<_> = (0..=SPARE_COUNT).map(|_| keep(HEAD)).collect();
    drop(many);
    assert_eq!(spares(), SPARE_COUNT);
    forget_spares();
    let of_len = |len: usize| {
        let head = "GET / HTTP/1.1\r\nA: \r\n\r\n";
        head.replace(": ", &format!(": {}", "a".repeat(len - head.len())))
    };
    drop(keep(&of_len(SPARE_BYTES)));
    assert_eq!(spares(), 1);
    drop(keep(&of_len(SPARE_BYTES + 1)));
    assert_eq!(spares(), 0);
    drop(keep(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(600))));
    assert_eq!(spares(), 0, "as many fields are as large");
}

#[test]
fn parts_of_something_else_are_refused() {
    let head = "GET / HTTP/1.1\r\nHost: ab\r\n\r\n";
    let whole = |path, authority, host_len, name| {
        let fields = std::iter::once((name, &head.as_bytes()[..1]));
        let parts = Parts { method: &Method::GET, path, query: None, authority, host_len, fields };
        drop(Lines::new(&head.as_bytes()[..26], parts));
    };
    let (path, host, name, other) = (&head[4..5], &head[22..24], &head[16..20], "/".to_owned());
    catch_unwind(|| whole(path, host, 2, name)).unwrap();
    catch_unwind(|| whole(&other, host, 2, name)).unwrap_err();
    catch_unwind(|| whole(&head[24..27], host, 2, name)).unwrap_err();
    catch_unwind(|| whole(path, host, 3, name)).unwrap_err();
    catch_unwind(|| whole(path, host, 2, &other)).unwrap_err();
}

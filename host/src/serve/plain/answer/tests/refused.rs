//! What is no field is not written.

use super::*;

/// What is left of an answer with `fields`: its bytes, or what is wrong and how much stays.
fn written(fields: &[Pair], framing: Framing) -> Result<Vec<u8>, String> {
    let mut out = b"before".to_vec();
    let mut written = Written::new(&mut out, false);
    written.begin(StatusCode::NOT_FOUND);
    let head = written.out.len();
    match take_pairs(fields, framing, &mut written) {
        Ok(_) => Ok(out.split_off(head)),
        Err(wrong) => {
            // No part of it is there.
            assert!(out.ends_with(b"\r\n"), "{wrong}");
            Err(wrong)
        }
    }
}

/// The same by a map.
fn mapped(fields: &[Pair], framing: Framing) -> Result<Vec<u8>, String> {
    let mut map = HeaderMap::new();
    take_pairs(fields, framing, &mut map)?;
    let mut out = Vec::new();
    for (name, value) in &map {
        out.extend_from_slice(name.as_ref());
        put_value(&mut out, value.as_bytes());
    }
    Ok(out)
}

#[test]
fn names_are_those_of_a_map() {
    for c in 0..=u8::MAX {
        for name in [vec![c], vec![b'X', c], vec![c, b'-', b'Y'], [&[b'n'; 80][..], &[c]].concat()]
        {
            let name: &'static [u8] = name.leak();
            let fields: [Pair; 2] = [(b"x-first", b"1"), (name, b"1")];
            let (ours, theirs) = (written(&fields, Framing::Open), mapped(&fields, Framing::Open));
            assert_eq!(ours, theirs, "{name:?}");
            let is_token = c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
            assert_eq!(ours.is_ok(), is_token, "{name:?}");
        }
    }
    for len in [0, 1, 63, 64, 65, NAME_MAX - 1, NAME_MAX, NAME_MAX + 1] {
        let name: &'static [u8] = vec![b'N'; len].leak();
        let ours = written(&[(name, b"1")], Framing::Open);
        assert_eq!(ours, mapped(&[(name, b"1")], Framing::Open), "{len} bytes");
        assert_eq!(ours.is_ok(), (1..=NAME_MAX).contains(&len), "{len} bytes");
    }
}

#[test]
fn values_are_those_of_a_map() {
    for c in 0..=u8::MAX {
        for at in [0, 1, 15, 16, 63] {
            let mut value = vec![b'v'; 64];
            value[at] = c;
            let fields: [Pair; 2] = [(b"x-first", b"1"), (b"X-Own", value.leak())];
            let (ours, theirs) = (written(&fields, Framing::Open), mapped(&fields, Framing::Open));
            assert_eq!(ours, theirs, "{c:#x} at {at}");
            assert_eq!(ours.is_ok(), c == b'\t' || c >= b' ' && c != 0x7f, "{c:#x} at {at}");
        }
    }
}

#[test]
fn nothing_is_smuggled_into_an_answer() {
    let hostile: [Pair; 8] = [
        (b"x-own\r\nset-cookie", b"a=1"),
        (b"x-own: 1\r\nx-other", b"1"),
        (b"x-own", b"1\r\nset-cookie: a=1"),
        (b"x-own", b"1\r\n\r\nHTTP/1.1 200 OK\r\n"),
        (b"x-own", b"1\nx-other: 1"),
        (b"content-length", b"5\r\n\r\n"),
        (b"trailer", b"x-sum\r\nx-other: 1"),
        (b"date", b"\0"),
    ];
    for field in hostile {
        let fields = [(&b"x-first"[..], &b"1"[..]), field];
        let wrong = written(&fields, Framing::Open).unwrap_err();
        assert_eq!(Err(wrong), mapped(&fields, Framing::Open));
    }
}

#[test]
fn too_many_are_refused() {
    let fields = vec![(&b"x-many"[..], &b"1"[..]); 513];
    assert!(written(&fields[..512], Framing::Open).is_ok());
    assert_eq!(written(&fields, Framing::Open).unwrap_err(), "more than 512 header fields");
}

#[test]
fn what_is_dropped_is_that_of_a_map() {
    let names: [&[u8]; 12] = [
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"host",
        b"trailer",
        b"x-own",
        b"TE",
        b"Upgrade",
        b"connection",
        b"Transfer-Encoding",
    ];
    for framing in [Framing::Open, Framing::Upgrade] {
        for name in names {
            for value in [&b"1"[..], b"\0"] {
                let fields = [(name, value)];
                assert_eq!(written(&fields, framing), mapped(&fields, framing), "{name:?}");
            }
        }
    }
}

/// A `content-length` is read as from a map, whatever it says.
#[test]
fn lengths_are_those_of_a_map() {
    let values: [&[&'static [u8]]; 14] = [
        &[],
        &[b"5"],
        &[b"5", b"5", b"5"],
        &[b"5", b"6"],
        &[b"5", b"05"],
        &[b"005", b"005"],
        &[b"5", b"five"],
        &[b"five", b"5"],
        &[b"five", b"five"],
        &[b""],
        &[b"+5"],
        &[b" 5"],
        &[b"\xff"],
        &[b"18446744073709551615", b"18446744073709551616"],
    ];
    for values in values {
        let fields: Vec<Pair> = values.iter().map(|it| (&b"Content-Length"[..], *it)).collect();
        let mut map = HeaderMap::new();
        take_pairs(&fields, Framing::Open, &mut map).unwrap();
        let mut out = Vec::new();
        let mut written = Written::new(&mut out, false);
        take_pairs(&fields, Framing::Open, &mut written).unwrap();
        let taken = written.take_length();
        assert_eq!(taken, map.take_length(), "{values:?}");
        assert!(out.is_empty(), "it is not written");
        assert!(taken.is_err() || map.is_empty(), "{values:?}: it is taken out");
    }
}

#[test]
fn events_are_those_of_a_map() {
    let lists: [&[Pair]; 7] = [
        &[],
        &[(b"content-type", b"text/event-stream")],
        &[(b"Content-Type", b"Text/Event-Stream; charset=utf-8")],
        &[(b"content-type", b"text/event-streams")],
        &[(b"content-type", b"text/plain"), (b"content-type", b"text/event-stream")],
        &[(b"content-type", b"text/event-stream"), (b"content-type", b"text/plain")],
        &[(b"content-type", b"text/event-stream"), (b"connection", b"content-type")],
    ];
    for (at, fields) in lists.iter().enumerate() {
        let mut map = HeaderMap::new();
        take_pairs(fields, Framing::Open, &mut map).unwrap();
        let mut out = Vec::new();
        let mut written = Written::new(&mut out, false);
        take_pairs(fields, Framing::Open, &mut written).unwrap();
        assert_eq!(written.are_events(), map.are_events(), "{fields:?}");
        assert_eq!(written.are_events(), [1, 2, 5].contains(&at), "{fields:?}");
    }
}

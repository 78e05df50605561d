//! Whether a request's head is a plain one.
//!
//! Owns the list of what is plain. Knows no routes: who a request is for, and whether the host
//! answers it by itself, is seen later.
//!
//! # Invariants
//! - hyper takes every head that is taken here, and takes it for the same: both have the parser, its
//!   settings and the limits in common, and what hyper decides beyond the parser has one outcome for
//!   a plain head.
//! - A body has a length in digits; nothing else frames one.
//!
//! Source of the limits' meaning: `Server::parse` and `Buffered::parse` of hyper 1.12.

use std::mem::MaybeUninit;

use http::{HeaderName, Method, Version, header, request::Parts};
use httparse::{Header, Request, Status};

use crate::{
    config::Limits,
    plugin::exchange::{LineParts, Lines},
    serve::rules,
};

/// Room for fields; hyper has as much without an allocation. What has more is not plain.
const FIELDS_MAX: usize = 100;

/// Units: bytes. A name of this length is none for hyper, so a head that is shorter has no such.
const HEAD_MAX: usize = u16::MAX as usize;

/// Units: bytes.
const TARGET_MAX: usize = 8 << 10;

/// Digits of a length; seven are 10 MB, more than is ever read at once.
const LENGTH_DIGITS: usize = 7;

/// What a connection's input begins with.
#[derive(Debug)]
pub(in crate::serve) enum Read {
    /// A plain request, with its body behind it.
    Whole {
        /// Its head.
        lines: Lines,
        /// Units: bytes of the input, with the empty lines before the head.
        head_len: usize,
        /// Units: bytes behind the head, which are there.
        body_len: usize,
    },
    /// A head that has not come yet as a whole.
    Partial,
    /// Something for hyper: also a plain head whose body has not come yet as a whole.
    Other,
}

/// Looks at the beginning of `input`.
pub(in crate::serve) fn read(input: &[u8], limits: &Limits) -> Read {
    let head_max = limits.head_bytes.min(HEAD_MAX);
    let mut room = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let room = &mut room[..limits.headers_count.min(FIELDS_MAX)];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(input, room) {
        Ok(Status::Complete(len)) if len <= head_max => plain(input, len, &request, limits),
        // hyper gives up when as much has come as a head may have.
        Ok(Status::Partial) if input.len() < head_max => Read::Partial,
        _ => Read::Other,
    }
}

/// Whether a request without a body, which hyper has taken apart, is a plain one.
pub(in crate::serve) fn is_plain(parts: &Parts) -> bool {
    let has = |name| parts.headers.contains_key(name);
    let target = parts.uri.path_and_query().map_or("", |it| it.as_str());
    let mut connection = parts.headers.get_all(header::CONNECTION).iter();
    parts.version == Version::HTTP_11
        && parts.uri.authority().is_none()
        && known(parts.method.as_str()).is_some()
        && split(target).is_some()
        && connection.all(|value| value.as_bytes().eq_ignore_ascii_case(b"keep-alive"))
        && !has(header::UPGRADE)
        && !has(header::TE)
        && !has(header::EXPECT)
        && !has(header::TRANSFER_ENCODING)
        && !has(HeaderName::from_static("http2-settings"))
}

#[inline]
fn plain(input: &[u8], head_len: usize, request: &Request<'_, '_>, limits: &Limits) -> Read {
    let (Some(method), Some(target), Some(1)) = (request.method, request.path, request.version)
    else {
        return Read::Other;
    };
    let Some((method, sends)) = known(method) else { return Read::Other };
    let Some((path, query)) = split(target) else { return Read::Other };
    let Some((host, body_len)) = look_through(request.headers) else { return Read::Other };
    if body_len > 0 && (!sends || is_beyond(body_len, limits.body_bytes)) {
        return Read::Other;
    }
    let Some(host_len) = rules::host_len(host) else { return Read::Other };
    let Ok(authority) = std::str::from_utf8(host) else { return Read::Other };
    let whole_len = head_len + body_len;
    if input.len() < whole_len {
        return Read::Other;
    }
    let fields = request.headers.iter().map(|field| (field.name, field.value));
    let parts = LineParts { method, path, query, authority, host_len, fields };
    Read::Whole { lines: Lines::new(&input[..head_len], parts), head_len, body_len }
}

/// `limit` of 0: none.
fn is_beyond(body_len: usize, limit: u64) -> bool {
    limit > 0 && body_len as u64 > limit
}

/// A method, and whether its requests may have a body.
type Known = (Method, bool);

static GET: Known = (Method::GET, false);
static HEAD: Known = (Method::HEAD, false);
static OPTIONS: Known = (Method::OPTIONS, false);
static POST: Known = (Method::POST, true);
static PUT: Known = (Method::PUT, true);
static PATCH: Known = (Method::PATCH, true);
static DELETE: Known = (Method::DELETE, true);

#[inline]
fn known(method: &str) -> Option<&'static Known> {
    Some(match method.as_bytes() {
        b"GET" => &GET,
        b"HEAD" => &HEAD,
        b"OPTIONS" => &OPTIONS,
        b"POST" => &POST,
        b"PUT" => &PUT,
        b"PATCH" => &PATCH,
        b"DELETE" => &DELETE,
        _ => return None,
    })
}

/// What a byte may stand for in a target.
mod byte {
    /// In a path and in a query.
    pub(super) const ANYWHERE: u8 = 1;
    /// The first one ends the path.
    pub(super) const QUERY: u8 = 2;
}

/// Source: RFC 3986, 3.3 and 3.4; without what is neither there nor quoted.
static TARGET: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 128_u8 {
        if at.is_ascii_alphanumeric() {
            table[at as usize] = byte::ANYWHERE;
        }
        at += 1;
    }
    let others = b"/-._~!$&'()*+,;=:@%";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = byte::ANYWHERE;
        at += 1;
    }
    table[b'?' as usize] = byte::QUERY;
    table
};

/// Path and query of a target in origin form.
#[inline]
fn split(target: &str) -> Option<(&str, Option<&str>)> {
    let bytes = target.as_bytes();
    if bytes.first() != Some(&b'/') || bytes.len() > TARGET_MAX {
        return None;
    }
    let class = |byte: &u8| TARGET[usize::from(*byte)];
    let Some(end) = bytes.iter().position(|it| class(it) != byte::ANYWHERE) else {
        return Some((target, None));
    };
    let good = bytes[end] == b'?' && bytes[end + 1..].iter().all(|it| class(it) != 0);
    good.then(|| (&target[..end], Some(&target[end + 1..])))
}

/// The value of `Host`, and the length of the body; `None` where a field asks for more than an
/// answer.
#[inline]
fn look_through<'h>(fields: &[Header<'h>]) -> Option<(&'h [u8], usize)> {
    let mut host = None;
    let mut length = None;
    let mut twice = false;
    for Header { name, value } in fields {
        let is = |asked: &str| name.eq_ignore_ascii_case(asked);
        // Most names have a length that none of these has.
        match name.len() {
            4 if is("host") => twice |= host.replace(*value).is_some(),
            14 if is("content-length") => twice |= length.replace(digits(value)?).is_some(),
            // hyper asks only whether `close` is among the tokens, and takes them in any case.
            10 if is("connection") && !value.eq_ignore_ascii_case(b"keep-alive") => return None,
            2 if is("te") => return None,
            6 if is("expect") => return None,
            7 if is("upgrade") => return None,
            14 if is("http2-settings") => return None,
            17 if is("transfer-encoding") => return None,
            _ => {}
        }
    }
    if twice { None } else { Some((host?, length.unwrap_or(0))) }
}

/// A length as hyper reads it: of digits, and nothing else.
#[inline]
fn digits(value: &[u8]) -> Option<usize> {
    if value.is_empty() || value.len() > LENGTH_DIGITS {
        return None;
    }
    value.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + usize::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests;

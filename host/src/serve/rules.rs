//! The rules of HTTP about whom a request is for.
//!
//! Owns the checks of target, `Host` and `:authority`, and what becomes of them: one field `host`
//! that says the same as the target. Knows no mounts. Source: RFC 9112, 3.2 and 3.3; RFC 9113, 8.3.1.

use http::{HeaderMap, HeaderValue, Method, Version, header, request::Parts};

use super::own::{self, Own};
use crate::plugin::exchange::HostName;

/// Whom a request is for, checked; `None` where it does not say, as in HTTP/1.0.
#[inline]
pub(super) fn host_name(parts: &mut Parts) -> Result<Option<HostName>, Own> {
    let h2 = parts.version == Version::HTTP_2;
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(own::BAD_HOST);
    }
    let in_field = field.map(checked).transpose()?;
    if let Some(authority) = parts.uri.authority() {
        if h2 || parts.uri.scheme().is_some() {
            let name = in_target(authority.as_str(), in_field, parts)?;
            parts.headers.insert(header::HOST, name.value.clone());
            return Ok(Some(name));
        }
        // Authority form: for CONNECT alone, and then it says nothing of who is asked.
        if parts.method != Method::CONNECT {
            return Err(own::BAD_TARGET);
        }
    }
    let needed = h2 || parts.version == Version::HTTP_11;
    if in_field.is_none() && needed { Err(own::BAD_HOST) } else { Ok(in_field) }
}

/// The target says whom the request is for: whoever reads the field is to read the same.
fn in_target(authority: &str, in_field: Option<HostName>, parts: &Parts) -> Result<HostName, Own> {
    let value = HeaderValue::from_str(authority).map_err(|_| own::BAD_HOST)?;
    match in_field {
        Some(field)
            if parts.version == Version::HTTP_2
                && !field.value.as_bytes().eq_ignore_ascii_case(value.as_bytes()) =>
        {
            Err(own::BAD_HOST)
        }
        // A target in absolute form does not stand in for the field.
        None if parts.version == Version::HTTP_11 => Err(own::BAD_HOST),
        _ => checked(&value),
    }
}

#[inline]
fn checked(value: &HeaderValue) -> Result<HostName, Own> {
    let len = host_len(value.as_bytes()).ok_or(own::BAD_HOST)?;
    Ok(HostName { value: value.clone(), len })
}

/// Bytes of a host's name. Source: RFC 3986, 3.2.2.
static IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 128_u8 {
        table[at as usize] = at.is_ascii_alphanumeric();
        at += 1;
    }
    let others = b"-._~%!$&'()*+,;=";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// How much of `host[:port]` is the host, without the dot that may end it; `None` when it is neither
/// a name nor an address. Source: RFC 3986, 3.2.2.
pub(super) fn host_len(field: &[u8]) -> Option<usize> {
    let (len, port) = if field.first() == Some(&b'[') {
        let end = field.iter().position(|c| *c == b']')?;
        let inside = &field[1..end];
        inside.iter().all(|c| c.is_ascii_hexdigit() || matches!(c, b':' | b'.')).then_some(())?;
        (end + 1, &field[end + 1..])
    } else {
        let end = field.iter().position(|c| !IN_NAME[usize::from(*c)]).unwrap_or(field.len());
        // A name that says where it is rooted is the same name.
        let dot = usize::from(end > 0 && field[end - 1] == b'.');
        (dot < end || end == 0).then_some((end - dot, &field[end..]))?
    };
    match port {
        [] => Some(len),
        [b':'] => Some(len),
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(digits).ok()?.parse::<u16>().ok().map(|_| len)
        }
        _ => None,
    }
}

/// Whether the coding of a body on HTTP/1 is one that we, and hyper, understand alike.
pub(super) fn is_coded_well(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let known = codings.next().is_none_or(|it| it.as_bytes().eq_ignore_ascii_case(b"chunked"));
    known && codings.next().is_none()
}

/// Joins the pieces in which HTTP/2 may send a cookie. Source: RFC 9113, 8.2.3.
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<_> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Valid values with `; ` between them are one.
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

/// The size of a header list as HTTP/2 counts it. Source: RFC 9113, 6.5.2.
pub(super) fn list_size(parts: &Parts) -> usize {
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    let target = parts.uri.path_and_query().map_or(0, |it| it.as_str().len());
    fields.sum::<usize>() + target + parts.method.as_str().len()
}

/// Whether a list of tokens has `wanted`, in any case.
pub(super) fn has_token(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// The tokens of all fields `name`.
pub(super) fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;

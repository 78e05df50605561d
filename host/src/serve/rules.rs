//! The rules of HTTP about whom a request is for.
//!
//! Owns the checks of target, `Host` and `:authority`, and what becomes of them: one field `host`
//! that says the same as the target. Knows no mounts. Source: RFC 9112, 3.2 and 3.3; RFC 9113, 8.3.1.

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, request::Parts};

use super::own::{self, Own};
use crate::plugin::exchange::HostName;

/// Whom a request is for, checked; `None` where it does not say, as in HTTP/1.0.
pub(super) fn host_name(parts: &mut Parts) -> Result<Option<HostName>, Own> {
    let h2 = parts.version == Version::HTTP_2;
    let field = only_host(&parts.headers)?;
    let in_field = field.as_ref().map(checked).transpose()?;
    let Some(in_target) = authority(&parts.uri, &parts.method, h2)? else {
        let needed = h2 || parts.version == Version::HTTP_11;
        return if in_field.is_none() && needed { Err(own::BAD_HOST) } else { Ok(in_field) };
    };
    match &field {
        Some(field) if h2 && !field.as_bytes().eq_ignore_ascii_case(in_target.value.as_bytes()) => {
            return Err(own::BAD_HOST);
        }
        Some(_) => {}
        // A target in absolute form does not stand in for the field.
        None if parts.version == Version::HTTP_11 => return Err(own::BAD_HOST),
        None => {}
    }
    // The target is what counts: whoever reads the field reads the same.
    parts.headers.insert(header::HOST, in_target.value.clone());
    Ok(Some(in_target))
}

fn only_host(headers: &HeaderMap) -> Result<Option<HeaderValue>, Own> {
    let mut fields = headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(own::BAD_HOST);
    }
    Ok(field.cloned())
}

/// The authority in a target, checked.
fn authority(uri: &Uri, method: &Method, h2: bool) -> Result<Option<HostName>, Own> {
    let Some(authority) = uri.authority() else { return Ok(None) };
    if !h2 && uri.scheme().is_none() {
        // Authority form: for CONNECT alone, and then it says nothing of who is asked.
        return if *method == Method::CONNECT { Ok(None) } else { Err(own::BAD_TARGET) };
    }
    let value = HeaderValue::from_str(authority.as_str()).map_err(|_| own::BAD_HOST)?;
    checked(&value).map(Some)
}

fn checked(value: &HeaderValue) -> Result<HostName, Own> {
    let len = host_len(value.as_bytes()).ok_or(own::BAD_HOST)?;
    Ok(HostName { value: value.clone(), len })
}

/// How much of `host[:port]` is the host, without the dot that may end it; `None` when it is neither
/// a name nor an address. Source: RFC 3986, 3.2.2.
fn host_len(field: &[u8]) -> Option<usize> {
    let (len, port) = if field.first() == Some(&b'[') {
        let end = field.iter().position(|c| *c == b']')?;
        let inside = &field[1..end];
        inside.iter().all(|c| c.is_ascii_hexdigit() || matches!(c, b':' | b'.')).then_some(())?;
        (end + 1, &field[end + 1..])
    } else {
        let end = field.iter().position(|c| *c == b':').unwrap_or(field.len());
        let name = |c: &u8| c.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(c);
        field[..end].iter().all(name).then_some(())?;
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

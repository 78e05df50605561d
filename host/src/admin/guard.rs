//! Who may speak to the control plane at all.
//!
//! Owns the rules about `Host`, `Origin` and `Sec-Fetch-Site`, for every route and method. A web
//! page in the operator's browser can post text to a loopback port, and a name of an attacker can
//! resolve to it (DNS rebinding): both betray themselves in these headers, which a page cannot set.
//! Invariant: no handler runs before this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header},
    middleware::Next,
    response::Response,
};

use super::{
    answer::Form,
    fault::Fault,
    serve::{Connection, Transport},
};

/// The layer around all routes.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let transport = request.extensions().get::<Connection>().map(|it| it.transport);
    let (parts, body) = request.into_parts();
    let form = Form::of(&parts);
    let allowed = match transport {
        // No browser speaks to a Unix socket, and its permissions say who may.
        Some(Transport::Unix) => from_here(&parts.headers, None),
        Some(Transport::Tcp { port }) => {
            by_loopback_name(&parts.headers, &parts.uri, parts.version)
                .and_then(|()| from_here(&parts.headers, Some(port)))
        }
        None => by_loopback_name(&parts.headers, &parts.uri, parts.version)
            .and_then(|()| from_here(&parts.headers, None)),
    };
    let mut response = match allowed {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(fault) => fault.answer(form),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn by_loopback_name(headers: &HeaderMap, uri: &Uri, version: Version) -> Result<(), Fault> {
    let bad = |message: &str| {
        let hint = "send one `Host` header, as in `Host: localhost`";
        Fault::new(StatusCode::BAD_REQUEST, "bad_host", message, hint)
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host.to_str().map_err(|_| bad("`Host` is not readable"))?),
        (Some(_), Some(_)) => return Err(bad("there are two `Host` headers")),
        // HTTP/1.0 knew no `Host`, and no browser has spoken it for decades.
        (None, _) if version < Version::HTTP_11 => None,
        (None, _) => return Err(bad("there is no `Host` header")),
    };
    // A request line with a whole URI names a host as well, and it counts more than the header.
    let in_uri = uri.authority().map(|authority| authority.as_str());
    for host in host.into_iter().chain(in_uri) {
        let name = name_of(host).ok_or_else(|| bad("`Host` is not a host name"))?;
        if !is_loopback(name) {
            return Err(Fault::new(
                StatusCode::MISDIRECTED_REQUEST,
                "foreign_host",
                format!("`{host}` is not this machine's own name for itself"),
                "the control plane answers to `localhost`, `127.0.0.1` and `[::1]` only; through \
                 a tunnel or a proxy, set `Host: localhost`",
            ));
        }
    }
    Ok(())
}

/// `localhost:28000` without its port; `None` when it is no authority.
fn name_of(host: &str) -> Option<&str> {
    let name_end = if host.starts_with('[') {
        host.find(']')? + 1
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let (name, port) = host.split_at(name_end);
    let port = port.strip_prefix(':').unwrap_or(port);
    let letter = |c: u8| c.is_ascii_alphanumeric() || b"-._~[]:%".contains(&c);
    (port.bytes().all(|c| c.is_ascii_digit()) && name.bytes().all(letter)).then_some(name)
}

fn is_loopback(name: &str) -> bool {
    if let Some(inner) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner
            .parse::<Ipv6Addr>()
            .is_ok_and(|ip| IpAddr::V6(ip).to_canonical().is_loopback());
    }
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// `port` is the control plane's own: a page that it served itself may ask it.
fn from_here(headers: &HeaderMap, port: Option<u16>) -> Result<(), Fault> {
    let hint = "a web page has no business here; use `curl` or `hotseat`";
    let foreign = |value: &HeaderValue| {
        value.to_str().ok().and_then(|origin| is_ours(origin, port)) != Some(true)
    };
    if let Some(origin) = headers.get_all(header::ORIGIN).iter().find(|value| foreign(value)) {
        let message = format!("a page of `{}` sent this", origin.as_bytes().escape_ascii());
        return Err(Fault::new(StatusCode::FORBIDDEN, "foreign_origin", message, hint));
    }
    let own = |value: &&HeaderValue| !matches!(value.as_bytes(), b"none" | b"same-origin");
    if let Some(site) = headers.get_all("sec-fetch-site").iter().find(own) {
        let message =
            format!("a page of another site (`{}`) sent this", site.as_bytes().escape_ascii());
        return Err(Fault::new(StatusCode::FORBIDDEN, "foreign_site", message, hint));
    }
    Ok(())
}

fn is_ours(origin: &str, port: Option<u16>) -> Option<bool> {
    let authority = origin.strip_prefix("http://")?;
    let name = name_of(authority)?;
    let its_port = match authority[name.len()..].strip_prefix(':') {
        Some(digits) => digits.parse().ok()?,
        None => 80,
    };
    Some(is_loopback(name) && Some(its_port) == port)
}

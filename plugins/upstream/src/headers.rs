//! What of a head is passed on, and what is added to it.

use axum::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry},
    request::Parts,
};
use hotseat_plugin_api::RequestInfo;

use crate::settings::Token;

/// Fields that belong to one connection, and `expect`, which the host answers.
const OF_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    header::EXPECT,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Takes out what belongs to the connection that it came by.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|it| it.to_str().ok());
    let named = named.flat_map(|it| it.split(',')).filter_map(|it| it.trim().parse().ok());
    let named: Vec<HeaderName> = named.collect();
    for name in OF_CONNECTION.into_iter().chain(named) {
        headers.remove(name);
    }
}

/// The fields of `head` for the upstream.
pub(crate) fn of(head: &Parts, info: &RequestInfo, token: Option<&Token>) -> HeaderMap {
    let mut headers = head.headers.clone();
    strip(&mut headers);
    if head.headers.get_all(header::TE).iter().any(|it| it == "trailers") {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(Token(value)) = token {
        headers.insert(header::AUTHORIZATION, value.clone());
    }
    headers.insert("x-request-id", info.id().into());
    if let Some(Ok(peer)) = info.peer().map(|it| it.ip().to_string().parse()) {
        // One more line is one more in its list.
        headers.append("x-forwarded-for", peer);
    }
    // The client's own is of this host; reqwest writes that of the upstream.
    let host = headers.remove(header::HOST);
    let path = head.uri.path();
    let prefix = info.original_uri().map(|it| it.path().strip_suffix(path).unwrap_or(it.path()));
    for (name, value) in [
        ("x-forwarded-host", host),
        ("x-forwarded-prefix", prefix.and_then(|it| it.parse().ok())),
        ("x-forwarded-proto", Some(HeaderValue::from_static("http"))),
    ] {
        // Who stands in front of this host knows better.
        if let (Entry::Vacant(entry), Some(value)) = (headers.entry(name), value) {
            entry.insert(value);
        }
    }
    headers
}

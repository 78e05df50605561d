//! A request's head, in the forms that it comes in.

use hotseat_plugin_api::abi;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, request::Parts};

use super::{Lines, header};

/// The host name in a `Host` field or a target: a shared value and how much of it is the name.
#[derive(Clone, Debug)]
pub struct HostName {
    /// The field's value as it came; visible ASCII.
    pub value: HeaderValue,
    /// Units: bytes before the port.
    pub len: usize,
}

impl HostName {
    /// The name without its port.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.value.to_str().ok()?.get(..self.len)
    }
}

/// A request's head.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lies on the heap, once, with its request")]
pub enum Head {
    /// As it was taken apart by hyper or h2.
    Parts {
        /// Its method.
        method: Method,
        /// Its target.
        uri: Uri,
        /// The HTTP that it came in.
        version: Version,
        /// Its fields.
        headers: HeaderMap,
        /// Whom it is for; `None` where it does not say.
        host: Option<HostName>,
    },
    /// As it came over HTTP/1.1, with a target in origin form.
    Lines(Lines),
}

impl Head {
    /// Of a request that was taken apart, for whom it is.
    #[must_use]
    #[inline]
    pub fn of(parts: Parts, host: Option<HostName>) -> Self {
        let Parts { method, uri, version, headers, .. } = parts;
        Self::Parts { method, uri, version, headers, host }
    }

    pub(super) fn method(&self) -> &Method {
        match self {
            Self::Parts { method, .. } => method,
            Self::Lines(lines) => lines.method(),
        }
    }

    /// The path as the client sent it.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Parts { uri, .. } => uri.path(),
            Self::Lines(lines) => lines.path(),
        }
    }

    pub(super) fn query(&self) -> Option<&str> {
        match self {
            Self::Parts { uri, .. } => uri.query(),
            Self::Lines(lines) => lines.query(),
        }
    }

    /// Whom it is for: with the port, and without.
    pub(super) fn authority(&self) -> Option<(&str, &str)> {
        match self {
            Self::Parts { host, .. } => {
                let HostName { value, len } = host.as_ref()?;
                let text = value.to_str().ok()?;
                Some((text, text.get(..*len)?))
            }
            Self::Lines(lines) => Some((lines.authority(), lines.host_name())),
        }
    }

    pub(super) fn headers(&self) -> abi::Headers {
        match self {
            Self::Parts { headers, .. } => header::borrowed(headers),
            Self::Lines(lines) => lines.headers(),
        }
    }

    /// As in [`abi::RequestHead::version`].
    pub(super) fn version(&self) -> u32 {
        match self {
            Self::Parts { version: Version::HTTP_10, .. } => 10,
            Self::Parts { version: Version::HTTP_2, .. } => 20,
            Self::Parts { .. } | Self::Lines(_) => 11,
        }
    }

    pub(super) fn scheme(&self) -> &str {
        match self {
            Self::Parts { uri, .. } => uri.scheme_str().unwrap_or("http"),
            Self::Lines(_) => "http",
        }
    }

    /// As in [`abi::RequestHead::target`].
    pub(super) fn target(&self) -> u32 {
        match self {
            // Nobody else's target has an authority here: CONNECT has been refused.
            Self::Parts { uri, .. } if uri.authority().is_some() => abi::target::ABSOLUTE,
            Self::Parts { .. } | Self::Lines(_) => abi::target::ORIGIN,
        }
    }
}

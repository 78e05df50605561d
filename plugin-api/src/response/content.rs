//! What a fixed body can be made of.
//!
//! Owns the conversions. Knows nothing of responses.
//! Invariant: each conversion moves or borrows for ever; none copies.

use std::borrow::Cow;

use crate::owned::OwnedBytes;

/// The bytes of a fixed body, from a literal, a `String`, a `Vec<u8>` or
/// [`Bytes`](crate::Bytes).
#[derive(Debug)]
pub struct Content(OwnedBytes);

impl Content {
    pub(super) fn into_owned_bytes(self) -> OwnedBytes {
        self.0
    }
}

impl From<&'static [u8]> for Content {
    fn from(bytes: &'static [u8]) -> Self {
        Self(OwnedBytes::from_static(bytes))
    }
}

impl<const N: usize> From<&'static [u8; N]> for Content {
    fn from(bytes: &'static [u8; N]) -> Self {
        Self(OwnedBytes::from_static(bytes))
    }
}

impl From<&'static str> for Content {
    fn from(text: &'static str) -> Self {
        Self(OwnedBytes::from_static(text.as_bytes()))
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Cow<'static, str>> for Content {
    fn from(text: Cow<'static, str>) -> Self {
        Self(text.into())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<bytes::Bytes> for Content {
    fn from(bytes: bytes::Bytes) -> Self {
        Self(bytes.into())
    }
}

//! Owners of what the ABI hands over raw: each calls the maker's `drop` exactly once.
//!
//! Owns the wrappers and the conversion of bytes in both directions. Knows nothing of requests.
//! Invariant: bytes are never copied to cross the border.
#![expect(unsafe_code, reason = "owners of raw ABI values")]

use std::{borrow::Cow, mem::ManuallyDrop, ptr, slice};

use crate::{
    abi::{self, Headers, Stream},
    guard::guard,
};

/// Owned bytes, of the host or of this library.
#[derive(Debug)]
pub(crate) struct OwnedBytes(abi::Bytes);

// SAFETY: the ABI lets owned bytes be freed on any thread, and nobody writes to them.
unsafe impl Send for OwnedBytes {}

impl OwnedBytes {
    pub(crate) const EMPTY: Self = Self::from_static(&[]);

    pub(crate) const fn from_static(bytes: &'static [u8]) -> Self {
        Self(abi::Bytes {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
            owner: ptr::null_mut(),
            drop: None,
        })
    }

    /// Takes over what the other side has made.
    ///
    /// # Safety
    /// `raw` is a valid value that nobody else will free.
    pub(crate) unsafe fn from_abi(raw: abi::Bytes) -> Self {
        Self(raw)
    }

    pub(crate) fn into_abi(self) -> abi::Bytes {
        let this = ManuallyDrop::new(self);
        let abi::Bytes { ptr, len, owner, drop } = this.0;
        abi::Bytes { ptr, len, owner, drop }
    }

    /// Lossy only where an error's text is not UTF-8, which no side produces.
    pub(crate) fn to_text(&self) -> String {
        String::from_utf8_lossy(self.as_ref()).into_owned()
    }
}

impl AsRef<[u8]> for OwnedBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `ptr` is never null and covers `len` bytes until `drop` is called.
        unsafe { slice::from_raw_parts(self.0.ptr, self.0.len) }
    }
}

impl Drop for OwnedBytes {
    fn drop(&mut self) {
        if let Some(free) = self.0.drop {
            // SAFETY: called once, with what the maker asked for.
            unsafe { free(self.0.owner, self.0.ptr, self.0.len) }
        }
    }
}

impl From<Vec<u8>> for OwnedBytes {
    /// The capacity travels in `owner`, so no box is needed.
    fn from(bytes: Vec<u8>) -> Self {
        let mut bytes = ManuallyDrop::new(bytes);
        Self(abi::Bytes {
            ptr: bytes.as_mut_ptr(),
            len: bytes.len(),
            owner: ptr::without_provenance_mut(bytes.capacity()),
            drop: Some(free_vec),
        })
    }
}

impl From<bytes::Bytes> for OwnedBytes {
    fn from(bytes: bytes::Bytes) -> Self {
        if bytes.is_empty() {
            return Self::EMPTY;
        }
        let owner = Box::new(bytes);
        let (ptr, len) = (owner.as_ptr(), owner.len());
        Self(abi::Bytes { ptr, len, owner: Box::into_raw(owner).cast(), drop: Some(free_bytes) })
    }
}

impl From<String> for OwnedBytes {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<Cow<'static, str>> for OwnedBytes {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::from_static(text.as_bytes()),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<OwnedBytes> for bytes::Bytes {
    fn from(owned: OwnedBytes) -> Self {
        if owned.as_ref().is_empty() {
            return Self::new();
        }
        Self::from_owner(owned)
    }
}

unsafe extern "C" fn free_vec(owner: *mut (), ptr: *const u8, len: usize) {
    // SAFETY: the parts come from the `Vec` in `From<Vec<u8>>`. Freeing bytes cannot panic.
    drop(unsafe { Vec::from_raw_parts(ptr.cast_mut(), len, owner.addr()) });
}

unsafe extern "C" fn free_bytes(owner: *mut (), _: *const u8, _: usize) {
    // SAFETY: `owner` is the box made in `From<bytes::Bytes>`.
    let bytes = unsafe { Box::from_raw(owner.cast::<bytes::Bytes>()) };
    // `Bytes::from_owner` runs an author's destructor here.
    guard(|| drop(bytes));
}

/// An owned body, of the host or of this library.
#[derive(Debug)]
pub(crate) struct OwnedStream(pub(crate) Stream);

impl OwnedStream {
    pub(crate) fn into_abi(self) -> Stream {
        let this = ManuallyDrop::new(self);
        Stream { data: this.0.data, vt: this.0.vt }
    }
}

impl Drop for OwnedStream {
    fn drop(&mut self) {
        // SAFETY: a stream's table lives at least as long as the stream.
        let free = unsafe { (*self.0.vt).drop };
        // SAFETY: called once.
        unsafe { free(self.0.data) }
    }
}

/// A header list that its maker frees if it has a `drop`.
#[derive(Debug)]
pub(crate) struct OwnedHeaders(pub(crate) Headers);

impl Drop for OwnedHeaders {
    fn drop(&mut self) {
        if self.0.vt.is_null() {
            return;
        }
        // SAFETY: the table of a list lives as long as the list.
        let free = unsafe { (*self.0.vt).drop };
        if let Some(free) = free {
            // SAFETY: called once.
            unsafe { free(self.0.data) }
        }
    }
}

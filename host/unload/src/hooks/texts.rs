//! Texts that the C library goes on using, kept for ever.
//!
//! Each content once, so that a library that is loaded a thousand times costs one copy. Nothing is
//! ever freed: nobody knows who has read the address.

use std::{
    any::Any,
    collections::BTreeSet,
    ffi::{CStr, CString},
    sync::{Mutex, MutexGuard, PoisonError},
};

static TEXTS: Mutex<BTreeSet<&'static CStr>> = Mutex::new(BTreeSet::new());

fn texts() -> MutexGuard<'static, BTreeSet<&'static CStr>> {
    TEXTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has them until it is dropped, for a fork.
pub(super) fn hold() -> Box<dyn Any> {
    Box::new(texts())
}

/// A copy of `text` that stays.
pub(super) fn keep(text: &CStr) -> &'static CStr {
    let mut texts = texts();
    if let Some(known) = texts.get(text) {
        return known;
    }
    let kept: &'static CStr = Box::leak(CString::from(text).into_boxed_c_str());
    texts.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once() {
        let text = CString::new("a text of its own").unwrap();
        let kept = keep(&text);
        assert_ne!(kept.as_ptr(), text.as_ptr());
        assert_eq!((kept, keep(&text).as_ptr()), (text.as_c_str(), kept.as_ptr()));
    }
}

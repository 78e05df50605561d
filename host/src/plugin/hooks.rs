//! Whether this process sees what plugins register, which every unload depends on.
//!
//! Owns what an operator is told where it does not. How it is tried is the engine's and [`heap`]'s.

use std::{ffi::OsStr, sync::OnceLock};

use super::heap;
use crate::sys::start::start;

/// Why nothing can be unloaded here, and what to do about it; `None`: it can. The first call tries it,
/// which is to be before the first library is loaded.
#[must_use]
pub fn complaint() -> Option<&'static str> {
    static COMPLAINT: OnceLock<Option<String>> = OnceLock::new();
    let tried = || {
        let why = hotseat_unload::self_test().and_then(|()| heap::self_test()).err()?;
        Some(told(&why, start().variable("LD_PRELOAD")))
    };
    COMPLAINT.get_or_init(tried).as_deref()
}

fn told(why: &str, preloaded: Option<&OsStr>) -> String {
    let preloaded = preloaded.filter(|names| !names.is_empty());
    let preloaded = preloaded.map_or_else(
        || "it is linked to this host, or named in /etc/ld.so.preload".to_owned(),
        |names| format!("LD_PRELOAD names `{}`", names.display()),
    );
    format!(
        "nothing can be unloaded by this host, so each deploy keeps its memory: another library takes \
         the place of functions that tell what plugins leave behind ({preloaded}); start it without \
         that library ({why})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_told_which_library_it_is() {
        let says = told("a key was noted 0 times", Some("/lib/libother.so".as_ref()));
        for part in ["LD_PRELOAD names `/lib/libother.so`", "start it without", "noted 0 times)"] {
            assert!(says.contains(part), "{says}");
        }
        for none in [None, Some(OsStr::new(""))] {
            assert!(told("", none).contains("linked to this host"), "{}", told("", none));
        }
    }
}

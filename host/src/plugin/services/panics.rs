//! What a plugin's panic hook said, kept per thread until the failed call is answered.
//!
//! Invariant: host-owned text only; it may be shown after the library is gone.

use std::cell::RefCell;

use hotseat_plugin_api::abi::TOLD_BEFORE;
use hotseat_unload::LibraryId;

/// A panic in a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicReport {
    /// The panic's message.
    pub message: String,
    /// `file:line:column`, or [`TOLD_BEFORE`].
    pub location: String,
}

/// What tokio's panics have in common where it finds no runtime.
const NO_RUNTIME: &str = "context of a Tokio 1.x runtime";

impl PanicReport {
    /// What its author can do, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.message.contains(NO_RUNTIME).then_some(
            "tokio finds no runtime: an application has one unless its export says `runtime = none`; \
             for a handler write `export_handler!(.., runtime = \"tokio\")`, with the feature \
             `runtime` of `hotseat-plugin-api`; or enter one of the plugin's own",
        )
    }
}

impl std::fmt::Display for PanicReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.location.as_str() {
            TOLD_BEFORE => write!(f, "`{}`", self.message),
            location => write!(f, "`{}` at {location}", self.message),
        }
    }
}

thread_local! {
    static LAST: RefCell<Option<(LibraryId, PanicReport)>> = const { RefCell::new(None) };
}

/// Keeps the thread's last report. On a thread whose own destructors have run nobody asks for it.
pub(super) fn keep(library: LibraryId, report: PanicReport) {
    let _ = LAST.try_with(|last| last.replace(Some((library, report))));
}

/// Takes it, if it is of `library`: a plugin may catch its own panics, and their reports must not
/// be told as another's.
pub(super) fn take(library: LibraryId) -> Option<PanicReport> {
    LAST.try_with(|last| {
        let mut last = last.borrow_mut();
        last.take_if(|(of, _)| *of == library).map(|(_, report)| report)
    })
    .ok()
    .flatten()
}

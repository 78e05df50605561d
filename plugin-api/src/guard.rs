//! Keeps panics inside the library, and tells the host of them.
//!
//! Owns the crossing guard and the panic hook. Knows nothing of requests.
//! Invariants: nothing unwinds past [`guard`], not even the drop of a panic's payload; the hook
//! takes no backtrace (its cache would outlive the library) and keeps no heap in statics.
#![expect(unsafe_code, reason = "calls the host's function from the panic hook")]

use std::{
    any::Any,
    cell::Cell,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    mem::ManuallyDrop,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    ptr,
    sync::Once,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::abi::{HostVt, Str, TOLD_BEFORE};

thread_local! {
    // What the hook said last on this thread; plain data, because a destructor would be the host's work.
    static TOLD: Cell<u64> = const { Cell::new(0) };
}

/// Where a panic was that our hook has not heard of.
const UNKNOWN: &str =
    "an unknown place (it was raised again here, or the plugin has a panic hook of its own)";

static HOST: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static HOST_VT: AtomicPtr<HostVt> = AtomicPtr::new(ptr::null_mut());

/// Runs `f`; `None` when it panicked.
///
/// Unwind safety is not asked for: after a panic the callers only ever drop what `f` worked on.
pub(crate) fn guard<T>(f: impl FnOnce() -> T) -> Option<T> {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) => {
            tell_again(&*payload);
            discard(payload);
            None
        }
    }
}

/// A payload that was caught elsewhere (on a thread of a pool, or by the plugin before another panic)
/// and raised again passes no hook: the host would tell the text of another panic. A hook that the
/// plugin sets itself takes the place of ours, and nobody can ask whose it is without taking it away.
#[cold]
fn tell_again(payload: &(dyn Any + Send)) {
    let message = message_of(payload);
    if TOLD.get() != hash(message) {
        tell(message, UNKNOWN);
    }
}

/// Raises again what the hook has told on another thread: the host hears the text once more, for whoever
/// waits for this call, and writes no second line.
#[cold]
pub(crate) fn raise_again(payload: Box<dyn Any + Send>) -> ! {
    tell(message_of(&*payload), TOLD_BEFORE);
    panic::resume_unwind(payload)
}

fn hash(message: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.hash(&mut hasher);
    hasher.finish()
}

fn message_of(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic whose payload is no text")
}

#[cold]
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // A payload whose drop panics is dropped no further: it could go on for ever.
        let _leaked = ManuallyDrop::new(second);
    }
}

/// Makes panics of this library go to `host`. The first call installs the hook.
pub(crate) fn report_panics_to(host: *const (), vt: *const HostVt) {
    static INSTALLED: Once = Once::new();
    // Of kits there may be several in a process, so theirs is looked up where it is needed.
    #[cfg(any(test, feature = "testing"))]
    if crate::testing::hears_panics() {
        return;
    }
    HOST.store(host.cast_mut(), Ordering::Release);
    HOST_VT.store(vt.cast_mut(), Ordering::Release);
    // A function item has no size, so boxing it allocates nothing that an unload would lose.
    INSTALLED.call_once(|| panic::set_hook(Box::new(hook)));
}

/// The library's host, once it has made a handler.
pub(crate) fn host() -> Option<(*const (), *const HostVt)> {
    #[cfg(any(test, feature = "testing"))]
    if let Some(host) = crate::testing::host_here() {
        return Some(host);
    }
    let vt = HOST_VT.load(Ordering::Acquire);
    let host = HOST.load(Ordering::Acquire);
    (!vt.is_null()).then_some((host.cast_const(), vt.cast_const()))
}

pub(crate) fn hook(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    tell(message_of(info.payload()), &location);
}

fn tell(message: &str, location: &str) {
    TOLD.set(hash(message));
    let Some((host, vt)) = host() else { return };
    // SAFETY: the host keeps its table for as long as the library is loaded.
    let panicked = unsafe { (*vt).panicked };
    // SAFETY: both texts live until the call returns, as it asks for.
    unsafe { panicked(host, Str::new(message.as_bytes()), Str::new(location.as_bytes())) }
}

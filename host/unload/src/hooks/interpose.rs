//! The C functions that plugins find in the host instead of the C library.
//!
//! They live in the library crate and must end up, exported, in the executable: `self_test` takes
//! their addresses so that the linker keeps them, `build.rs` exports them. C11's functions are here
//! beside POSIX's, because the C library's own call each other without asking. Nothing here
//! unwinds.

use std::ffi::{CStr, c_int, c_void};

use super::{
    asked, callbacks, ends,
    forks::handlers,
    keys, ledger,
    on_heap::{self, lists},
    pairs, prints,
    real::{self, Dtor},
    registry::{self, Owner},
    signals, stack, syslog, threads, zeroed,
};

/// Interposes glibc's registration of thread-local destructors: a plugin's are kept in the
/// ledger, so that glibc does not pin the library; the host's own are too, so that the loader's lock
/// stops no thread of the host.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
unsafe extern "C" fn __cxa_thread_atexit_impl(
    dtor: Option<Dtor>,
    object: *mut c_void,
    dso: *mut c_void,
) -> c_int {
    if let Some(dtor) = dtor {
        // By the object: the standard library gives the address of a variable of its own for it.
        match registry::owner(dso) {
            Owner::Host if ledger::note_own(dtor, object) => return 0,
            Owner::Plugin(record) => {
                ledger::note(record, dtor, object);
                return 0;
            }
            Owner::Host | Owner::Other(_) | Owner::Nobody => {}
        }
    }
    let Some(real) = real::thread_atexit() else { return -1 };
    // SAFETY: the caller's arguments, unchanged.
    unsafe { real(dtor, object, dso) }
}

/// The functions by the names that a plugin asks for.
pub(super) fn table() -> impl Iterator<Item = (&'static CStr, *const c_void)> {
    let own = [
        (c"__cxa_thread_atexit_impl", __cxa_thread_atexit_impl as *const c_void),
        (c"pthread_key_create", keys::pthread_key_create as *const c_void),
        (c"pthread_key_delete", keys::pthread_key_delete as *const c_void),
        (c"tss_create", keys::tss_create as *const c_void),
        (c"tss_delete", keys::tss_delete as *const c_void),
        (c"pthread_create", threads::pthread_create as *const c_void),
        (c"thrd_create", threads::thrd_create as *const c_void),
        (c"openlog", syslog::openlog as *const c_void),
        (c"exit", ends::exit as *const c_void),
        (c"_exit", ends::_exit as *const c_void),
        (c"_Exit", ends::_Exit as *const c_void),
        (c"quick_exit", ends::quick_exit as *const c_void),
        (c"abort", ends::abort as *const c_void),
        (c"kill", ends::kill as *const c_void),
        (c"raise", ends::raise as *const c_void),
        (c"pthread_kill", ends::pthread_kill as *const c_void),
        (c"pthread_exit", ends::pthread_exit as *const c_void),
        (c"thrd_exit", ends::thrd_exit as *const c_void),
        (c"timer_create", callbacks::timer_create as *const c_void),
        (c"timer_delete", callbacks::timer_delete as *const c_void),
        (c"mq_notify", callbacks::mq_notify as *const c_void),
        (c"on_exit", ends::on_exit as *const c_void),
        (c"__register_atfork", handlers::__register_atfork as *const c_void),
        (c"pthread_atfork", handlers::pthread_atfork as *const c_void),
        (c"fopencookie", on_heap::fopencookie as *const c_void),
        (c"fmemopen", on_heap::fmemopen as *const c_void),
        (c"open_memstream", on_heap::open_memstream as *const c_void),
        (c"open_wmemstream", on_heap::open_wmemstream as *const c_void),
        (c"fclose", on_heap::fclose as *const c_void),
        (c"register_printf_specifier", on_heap::register_printf_specifier as *const c_void),
        (c"register_printf_function", on_heap::register_printf_function as *const c_void),
        (c"register_printf_type", on_heap::register_printf_type as *const c_void),
        (c"__register_frame", lists::__register_frame as *const c_void),
        (c"__deregister_frame", lists::__deregister_frame as *const c_void),
        (c"__register_frame_info", lists::__register_frame_info as *const c_void),
        (c"__deregister_frame_info", lists::__deregister_frame_info as *const c_void),
        (c"hsearch", lists::hsearch as *const c_void),
        (c"hdestroy", lists::hdestroy as *const c_void),
        (c"addseverity", lists::addseverity as *const c_void),
        (c"dlsym", asked::dlsym as *const c_void),
        (c"dlvsym", asked::dlvsym as *const c_void),
        (c"write", prints::write as *const c_void),
        (c"socketpair", pairs::socketpair as *const c_void),
        (c"sigaltstack", stack::sigaltstack as *const c_void),
        (c"malloc", zeroed::malloc as *const c_void),
        (c"realloc", zeroed::realloc as *const c_void),
        (c"aligned_alloc", zeroed::aligned_alloc as *const c_void),
        (c"memalign", zeroed::memalign as *const c_void),
        (c"posix_memalign", zeroed::posix_memalign as *const c_void),
    ];
    own.into_iter().chain(signals::table())
}

/// What a plugin would find under `name`; null if nothing.
pub(super) fn lookup(name: &CStr) -> *mut c_void {
    // SAFETY: the name is a C string.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

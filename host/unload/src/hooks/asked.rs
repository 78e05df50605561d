//! Functions by which a library asks the loader for another function by its name.
//!
//! The loader would give it the C library's: `RTLD_NEXT` means "behind me", where the host is not, and
//! an explicit handle knows nothing of the host either. So a library that asks for a function of
//! `interpose`'s table gets the host's, where the answer would have been the C library's; all other
//! answers are the loader's own. Each function is a stub that goes on to the real one with everything
//! as it was, because the loader looks where it returns to.
//!
//! Source: dlsym(3), dlvsym(3).

use std::{
    arch::naked_asm,
    ffi::{CStr, c_char, c_void},
    mem::transmute,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use super::{current, interpose, needed, object, registry, symbols};

type Symbol = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;
type Versioned = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> *mut c_void;

/// What a stub does: gives the answer, or, where that is null, goes on to the real function. Two
/// registers on both machines.
#[repr(C)]
struct Next {
    answer: *const c_void,
    real: *const c_void,
}

/// The C library's own, found once. A program may ask before its `main`.
struct Real {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

static SYMBOL: Real = Real { name: c"dlsym", address: AtomicPtr::new(ptr::null_mut()) };
static VERSIONED: Real = Real { name: c"dlvsym", address: AtomicPtr::new(ptr::null_mut()) };

impl Real {
    fn address(&self) -> *const c_void {
        let known = self.address.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        let found = symbols::find(self.name);
        if found.is_null() {
            return nothing as *const c_void;
        }
        self.address.store(found, Ordering::Relaxed);
        found
    }
}

/// In the place of a function that the C library lacks.
extern "C" fn nothing() -> *const c_void {
    ptr::null()
}

unsafe extern "C" fn symbol(
    handle: *mut c_void,
    name: *const c_char,
    _: *const c_char,
    returns_to: *const c_void,
) -> Next {
    let real = SYMBOL.address();
    // SAFETY: the function of that name has this type; a function that looks at none of its arguments
    // may be called with any.
    let ask = unsafe { transmute::<*const c_void, Symbol>(real) };
    // SAFETY: the caller's name; a handle of the caller's or the loader's.
    let answer = unsafe { hosts(handle, name, returns_to, |handle| ask(handle, name)) };
    Next { answer, real }
}

unsafe extern "C" fn versioned(
    handle: *mut c_void,
    name: *const c_char,
    version: *const c_char,
    returns_to: *const c_void,
) -> Next {
    let real = VERSIONED.address();
    // SAFETY: as above.
    let ask = unsafe { transmute::<*const c_void, Versioned>(real) };
    // SAFETY: as above.
    let answer = unsafe { hosts(handle, name, returns_to, |handle| ask(handle, name, version)) };
    Next { answer, real }
}

/// The host's function for whoever `returns_to` is; null: the loader's answer is the right one.
///
/// # Safety
/// `name` must be null or a C string.
unsafe fn hosts(
    handle: *mut c_void,
    name: *const c_char,
    returns_to: *const c_void,
    ask: impl Fn(*mut c_void) -> *mut c_void,
) -> *const c_void {
    if registry::is_empty() || name.is_null() {
        return ptr::null();
    }
    // SAFETY: as the caller says.
    let name = unsafe { CStr::from_ptr(name) };
    let known = interpose::table().find(|(known, _)| *known == name);
    let Some((_, ours)) = known.filter(|_| is_library(returns_to)) else { return ptr::null() };
    let of_libc = symbols::find(name);
    let found = match handle {
        libc::RTLD_NEXT => behind(returns_to, &ask).unwrap_or(of_libc),
        handle => ask(handle),
    };
    // SAFETY: forgets an error, as an answer does. Where the loader is asked once more, it says so.
    unsafe { libc::dlerror() };
    // Another version of it is for whoever knows that one, and another object's is no business of ours.
    if ptr::eq(found, of_libc) { ours } else { ptr::null() }
}

/// Whether the code at this address is a library's, or of an object that goes with one. Only loads.
fn is_library(address: *const c_void) -> bool {
    let Some(object) = object::find(address) else { return current().is_some() };
    let is_host = object.name().is_empty();
    !is_host && (registry::library_of(&object).is_some() || !needed::is_permanent(object.id()))
}

/// What `RTLD_NEXT` means to the library of this address, unless that is the C library's: an object
/// that it needs may have a function of that name too. `None`: there is none, or it is no library, of
/// which alone the loader keeps what it needs, in order.
fn behind(address: *const c_void, ask: impl Fn(*mut c_void) -> *mut c_void) -> Option<*mut c_void> {
    let own = object::find(address).filter(|it| registry::library_of(it).is_some())?.id();
    // A handle is a place in the loader's list. What it has itself is not behind it.
    let found = ask(ptr::with_exposed_provenance_mut(own));
    let is_behind = object::find(found).is_some_and(|it| it.id() != own);
    is_behind.then_some(found)
}

/// A function that passes on where it returns to as a fourth argument, and goes on with the arguments
/// that it was given.
macro_rules! stub {
    ($name:ident($($argument:ident: $type:ty),*), $to:path) => {
        /// Interposes the function of that name.
        ///
        /// # Safety
        /// As for the function of that name.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name($($argument: $type),*) -> *mut c_void {
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                "endbr64",
                "push rdi",
                "push rsi",
                "push rdx",
                "mov rcx, [rsp + 24]",
                "call {to}",
                "mov r11, rdx",
                "pop rdx",
                "pop rsi",
                "pop rdi",
                "test rax, rax",
                "jne 2f",
                "jmp r11",
                "2:",
                "ret",
                to = sym $to
            );
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                "hint #34",
                "stp x29, x30, [sp, #-48]!",
                "mov x29, sp",
                "stp x0, x1, [sp, #16]",
                "str x2, [sp, #32]",
                "mov x3, x30",
                "bl {to}",
                "mov x9, x0",
                "mov x16, x1",
                "ldp x0, x1, [sp, #16]",
                "ldr x2, [sp, #32]",
                "ldp x29, x30, [sp], #48",
                "cbz x9, 2f",
                "mov x0, x9",
                "ret",
                "2:",
                "br x16",
                to = sym $to
            );
        }
    };
}

stub!(dlsym(handle: *mut c_void, name: *const c_char), symbol);
stub!(dlvsym(handle: *mut c_void, name: *const c_char, version: *const c_char), versioned);

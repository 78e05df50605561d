//! Handles SIGSEGV as crash reporters do: looks whether the fault is its own, and passes what is not
//! on to whoever had the signal before. `/segv` faults; `/reset` does so with a handler that restores
//! what it found and returns; `/stack` uses up its stack. With `crash` in its configuration it faults
//! as soon as it is made.
#![expect(unsafe_code, reason = "a signal handler and a fault are the purpose")]

use std::{
    ffi::{c_int, c_void},
    mem::{MaybeUninit, transmute},
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
static RESETS: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(before) = BEFORE.get() else { return };
    let is_rule = [libc::SIG_DFL, libc::SIG_IGN].contains(&before.sa_sigaction);
    if RESETS.load(Ordering::Relaxed) || is_rule {
        // SAFETY: what was in place.
        unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
        return;
    }
    type Next = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    // SAFETY: no rule, so a handler.
    let next = unsafe { transmute::<usize, Next>(before.sa_sigaction) };
    // SAFETY: the kernel's arguments, unchanged.
    unsafe { next(signal, info, context) }
}

/// `black_box` keeps the frames.
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 512]);
    if depth == u64::MAX { 0 } else { deeper(depth + 1) + std::hint::black_box(frame)[7] }
}

fn fault() {
    // SAFETY: none; the fault is the purpose.
    unsafe { ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

struct Chain;

impl Handler for Chain {
    fn new(context: &Context) -> Result<Self> {
        // SAFETY: all zeros is an action without flags and mask.
        let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let mut before = action;
        // SAFETY: a whole action and room for one.
        if unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, &raw mut before) } != 0 {
            return Err(Error::from(std::io::Error::last_os_error()));
        }
        let _ = BEFORE.set(before);
        if context.config().is_some_and(|it| it.contains("crash")) {
            fault();
        }
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        RESETS.store(request.path() == "/reset", Ordering::Relaxed);
        match request.path() {
            "/segv" | "/reset" => fault(),
            "/stack" => _ = std::hint::black_box(deeper(1)),
            _ => {}
        }
        Ok(Response::text("segv_chain"))
    }
}

export_handler!(Chain);

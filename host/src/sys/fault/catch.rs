//! The handlers of signals that a fault raises.
//!
//! Invariant: a handler only does what signal-safety(7) allows, and what `install` was given for it.
//!
//! # Known limit
//! A stack that overflows needs another stack for the handler. Threads of the host's standard
//! library have one, and those that a plugin starts get one (`hotseat_unload`); a thread that
//! is made without the C library has none, so the kernel ends the process without a note.

use std::{
    ffi::{c_int, c_void},
    io, ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use hotseat_unload::{FAULTS, action};

use super::{End, leave_of, own_page, running};

/// Those faults after which the instruction is tried again.
const TRIED_AGAIN: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// How far from the stack's end an address may lie that could not be reached because the stack is
/// used up: frames of code that checks each page are no larger. Units: bytes.
const STACK_REACH: u64 = 64 << 10;

static BEFORE: [AtomicPtr<libc::sigaction>; FAULTS.len()] =
    [const { AtomicPtr::new(ptr::null_mut()) }; FAULTS.len()];

pub(super) fn install() -> io::Result<()> {
    action::look_up();
    for (signal, before) in FAULTS.into_iter().zip(&BEFORE) {
        catch(signal, before)?;
    }
    Ok(())
}

/// The handler's address, by which it is known among actions.
pub(super) fn handler() -> usize {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = note;
    handler as usize
}

fn catch(signal: c_int, before: &AtomicPtr<libc::sigaction>) -> io::Result<()> {
    // Kept for the life of the process.
    let known = Box::into_raw(Box::new(action::get(signal)?));
    // Before the handler is there, which reads it.
    before.store(known, Ordering::Release);
    let ours = action::with(handler(), libc::SA_ONSTACK | libc::SA_SIGINFO);
    // SAFETY: the handler has the type that SA_SIGINFO asks for and lives as long as the process.
    unsafe { action::set(signal, &ours) }
}

/// The handler. Everything here is async-signal-safe.
extern "C" fn note(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes what SA_SIGINFO promises.
    let info = unsafe { &*info };
    // Neither the kernel nor a breakpoint, but somebody's kill(2), raise(3) or sigqueue(3).
    let sent = info.si_code <= 0;
    // SAFETY: every signal that was sent has its sender's number; 0 is one outside of here.
    let foreign = sent && unsafe { info.si_pid() }.cast_unsigned() != std::process::id();
    // Nobody's code is to blame for what another process has sent.
    if !foreign && own_page().is_some() {
        take_note(signal, sent, info, context);
    }
    if sent || !TRIED_AGAIN.contains(&signal) {
        // It does not come again by itself, and what was there before may count on that.
        give_back(signal, ptr::null());
        // SAFETY: fatal, at the latest when the handler has returned and unblocks it.
        unsafe { libc::raise(signal) };
        return;
    }
    let at = FAULTS.iter().position(|it| *it == signal);
    let before = at.map_or(ptr::null_mut(), |at| BEFORE[at].load(Ordering::Acquire));
    // The instruction is tried again and raises the signal again, now for whoever was there before.
    give_back(signal, before);
}

/// Notes what has happened. A function of its own, so that what it needs of the stack, which may be the
/// rest of a small one, is free again for what comes afterwards.
#[inline(never)]
fn take_note(signal: c_int, sent: bool, info: &libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel fills the address in for its own signals; for others it is 0 or part
    // of another field, which is as readable.
    let address = if sent { 0 } else { unsafe { info.si_addr() }.addr() as u64 };
    // SAFETY: the kernel passes the context of the thread, or null where it has none.
    let stack = unsafe { context.cast::<libc::ucontext_t>().as_ref() }.map(stack_pointer);
    let overflow = |stack: u64| {
        (stack.saturating_sub(STACK_REACH)..stack.saturating_add(STACK_REACH)).contains(&address)
    };
    let end = if signal == libc::SIGSEGV && !sent && stack.is_some_and(overflow) {
        End::Overflow(address)
    } else {
        End::Signal(signal, address)
    };
    // Whoever goes where a library lay was led there by what that one has left.
    let gone = hotseat_unload::tag_of_gone(usize::try_from(address).unwrap_or(0));
    let generation = if gone == 0 { running() } else { gone };
    leave_of(end, generation, gone != 0);
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(context: &libc::ucontext_t) -> u64 {
    let register = usize::try_from(libc::REG_RSP).unwrap_or_default();
    context.uc_mcontext.gregs.get(register).map_or(0, |value| value.cast_unsigned())
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(context: &libc::ucontext_t) -> u64 {
    context.uc_mcontext.sp
}

/// Has the kernel do `before`; null is the system's default, which ends the process. Whoever else
/// has a handler of this signal is asked no more.
fn give_back(signal: c_int, before: *const libc::sigaction) {
    // SAFETY: null, or what `catch` keeps for ever.
    match unsafe { before.as_ref() } {
        // SAFETY: an action that was in place before.
        Some(before) => drop(unsafe { action::set(signal, before) }),
        None => action::reset(signal),
    }
}

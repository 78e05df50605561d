//! Signal actions of libraries: each has its own, and none outlives its code.
//!
//! The executable defines `sigaction` and its older sisters (`calls`). The host's own calls go on to
//! the C library; a library's are kept in a slot of a pool (`slot`) for its signal and the object
//! that the handler lies in, and the kernel is given one function for all of them (`deliver`). So a
//! library sees and changes its own actions and nobody else's (`change`), and all of them are taken
//! away before it is closed ([`withdraw`]).
//!
//! | who gives | what | becomes |
//! |---|---|---|
//! | the host | anything | the *base*: what is done beside the libraries' handlers, or without any |
//! | a library or what it needs | a handler | the slot of the object that the handler lies in |
//! | | `SIG_DFL`, or what it was shown | no slot: the base |
//! | | `SIG_IGN` | ignored where nobody else has a say: base `SIG_DFL`, not SIGCHLD, no fault |
//! | a forked child | anything | its own: it goes straight to the C library |
//!
//! | what | whom it reaches |
//! |---|---|
//! | a fault ([`FAULTS`]) | the newest handler of the library that runs, or of an object that belongs to no single one; else the base |
//! | any other signal | the base, then every handler, each under its library's name |
//!
//! As the earlier action a caller is shown its object's own; else the base if that is no handler, or
//! a fault's, which belongs to the host and stays; else `SIG_IGN`, so that nobody calls the host's
//! handler a second time, or the handler of a library that may go.
//!
//! # Invariants
//! - A handler's address is in the hands of its own object and of nobody else.
//! - Once they were taken away, no slot has a handler in a library that is being closed (`closing`),
//!   and none of its handlers runs.
//! - Everything here may be called in a signal handler: nothing allocates, looks a symbol up or
//!   waits for a lock whose holder can be interrupted.

use std::{
    ffi::{CStr, c_int, c_void},
    ptr,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use self::{
    change::apply,
    slot::{SIGNAL_MAX, Slot, state},
};
use super::{LibraryId, current, forks, needed, needed::Going, object, registry::Record, stack};
use crate::action::{self, signal_name};

pub(super) mod calls;
mod change;
mod closing;
mod deliver;
mod kept;
mod lock;
mod party;
mod slot;
mod unfinished;

pub(crate) use closing::Closing;
pub(super) use unfinished::give_up as forget_unfinished;

/// Those that a fault of the code itself raises. SIGABRT: Rust's and C's own way to give up.
pub const FAULTS: [c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// How long a handler of a library that is to be closed may still run.
const HANDLER_TIME: Duration = Duration::from_millis(100);

/// The process whose libraries these are; a child that one of them forks is another.
static OWNER: AtomicU32 = AtomicU32::new(0);

fn is_fault(signal: c_int) -> bool {
    FAULTS.contains(&signal)
}

/// Before the first library: from now on what the host has is the base.
pub(super) fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        action::look_up();
        needed::begin();
        forks::begin();
        OWNER.store(std::process::id(), Ordering::Release);
    });
}

/// Whether this process has libraries, and is not the child of one.
pub(super) fn is_here() -> bool {
    let owner = OWNER.load(Ordering::Acquire);
    // `process::id` is getpid(2).
    owner != 0 && owner == std::process::id()
}

/// The address of what `signal` calls on this thread now: a handler, `SIG_DFL` or `SIG_IGN`.
pub(super) fn handler_here(signal: c_int) -> usize {
    let there = action::get(signal).map_or(libc::SIG_DFL, |it| it.sa_sigaction);
    if there != deliver::address() || !is_fault(signal) {
        return there;
    }
    let here = current().map_or(0, |library| library.0);
    match deliver::chosen(signal, here) {
        Some(slot) => slot.kept().action.handler,
        None => state(signal).base().handler,
    }
}

/// Takes away the actions of `library` and of what goes with it, and waits for those that run.
///
/// # Errors
/// A signal whose handler has not returned. None of them is called again; the library must stay
/// until that one has.
pub(crate) fn withdraw(library: LibraryId, going: &[Going]) -> Result<(), String> {
    let goes = |slot: &Slot| {
        slot.is_of(library) || slot.key().map().is_some_and(|map| going.iter().any(|it| it.is(map)))
    };
    let mut stays = Vec::new();
    for signal in 1..=SIGNAL_MAX {
        if state(signal).slots().next().is_none() {
            continue;
        }
        let its = |slot: &&Slot| !goes(slot) && slot.kept().owner == library.0;
        stays.extend(state(signal).slots().filter(its).map(|slot| slot.kept().action.handler));
        lock::locked(|locked| {
            for slot in state(signal).slots() {
                if goes(slot) {
                    slot.clear(locked);
                } else if slot.kept().owner == library.0 {
                    slot.disown(locked);
                }
            }
            apply(signal, locked);
        });
    }
    // Of an object that stays: as long as another library needs it, or, where nobody is known to, for
    // good. Outside the lock.
    for handler in stays {
        if needed::keeper(handler, library).is_none() {
            needed::pin(ptr::without_provenance(handler));
        }
    }
    let until = Instant::now() + HANDLER_TIME;
    for signal in 1..=SIGNAL_MAX {
        while !is_released(signal, goes) {
            if Instant::now() >= until {
                return Err(runs(signal));
            }
            thread::park_timeout(Duration::from_micros(100));
        }
    }
    Ok(())
}

/// Makes what `goes` of the signal's slots free for others, unless a handler of one runs: false.
fn is_released(signal: c_int, goes: impl Fn(&Slot) -> bool) -> bool {
    let its = || state(signal).slots().filter(|slot| goes(slot));
    if its().next().is_none() {
        return true;
    }
    lock::locked(|locked| {
        // Where nobody keeps it from that, a handler may have set itself again.
        its().for_each(|slot| slot.clear(locked));
        let is_idle = !its().any(Slot::is_running);
        if is_idle {
            its().for_each(|slot| slot.release(locked));
        }
        apply(signal, locked);
        is_idle
    })
}

/// Whether a handler under the library's name has begun and not returned. One that was left by a jump
/// is found out by a purge.
pub(super) fn runs_of(library: LibraryId) -> bool {
    let its = |slot: &Slot| slot.is_of(library) || slot.kept().owner == library.0;
    (1..=SIGNAL_MAX)
        .flat_map(|signal| state(signal).slots())
        .any(|slot| slot.is_running() && its(slot))
}

fn runs(signal: c_int) -> String {
    format!("a handler of {} runs", signal_name(signal))
}

/// What of the signals keeps the library: a second stack of it, a handler of it that runs, or one that
/// the kernel has from somebody who asked it directly, of the library or of what goes with it.
pub(crate) fn holder(record: &Record) -> Option<String> {
    let library = record.id();
    match stack::threads_with(library) {
        0 => {}
        1 => return Some("a second stack of 1 thread".to_owned()),
        count => return Some(format!("second stacks of {count} threads")),
    }
    let running = |signal: &c_int| {
        state(*signal).slots().any(|slot| slot.is_withdrawn_of(library) && slot.is_running())
    };
    if let Some(signal) = (1..=SIGNAL_MAX).find(running) {
        return Some(runs(signal));
    }
    let foreign = |signal: c_int| {
        let action = action::get(signal).ok().filter(action::is_handler)?;
        let object = object::find(ptr::without_provenance::<c_void>(action.sa_sigaction))?;
        (!object.name().is_empty()).then_some((signal, action.sa_sigaction))
    };
    let foreign: Vec<_> = (1..=SIGNAL_MAX).filter_map(foreign).collect();
    if foreign.is_empty() {
        return None;
    }
    let going = needed::going(record.path());
    let goes = |(_, address): &(c_int, usize)| going.iter().any(|it| it.holds(*address));
    let (signal, _) = foreign.into_iter().find(goes)?;
    Some(format!("signal handler of {}", signal_name(signal)))
}

/// After a library was closed: forgets what its own end has set, and the actions of objects that
/// went with it although nobody could know.
pub(crate) fn forget(library: LibraryId) {
    for signal in 1..=SIGNAL_MAX {
        let gone = |slot: &&Slot| slot.is_of(library) || slot.has_lost_its_object();
        if state(signal).slots().any(|slot| gone(&slot)) {
            lock::locked(|locked| {
                state(signal).slots().filter(gone).for_each(|slot| slot.release(locked));
                apply(signal, locked);
            });
        }
    }
}

/// Those of the executable's functions that a plugin finds, by name.
pub(super) fn table() -> [(&'static CStr, *const c_void); 10] {
    calls::table()
}

#[cfg(test)]
mod tests;

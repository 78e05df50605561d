//! What a call changes, and what it is shown: the rules of the module above.

use std::{
    ffi::{c_int, c_void},
    mem::MaybeUninit,
    ptr,
    sync::atomic::Ordering,
};

use super::{
    closing, deliver, is_fault,
    kept::Action,
    lock::{Locked, locked},
    party::{Party, caller, party_of, running},
    slot::{Key, Slot, state},
};
use crate::action;

/// Those whose default leaves the process alone, stops it or lets it go on. Source: signal(7).
const MILD: [c_int; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Does what sigaction(2) does for whoever `returns_to` is: sets `new`, and says what was shown
/// before.
///
/// # Errors
/// The error's number.
pub(super) fn change(
    signal: c_int,
    new: Option<Action>,
    returns_to: *const c_void,
) -> Result<Action, c_int> {
    let caller = caller(signal, returns_to);
    let party = match new {
        Some(new) if new.is_handler() => party_of(new.handler, caller),
        _ => caller,
    };
    match party {
        Party::Host => change_base(signal, new),
        Party::Slot(key, owner) => locked(|locked| change_slot(signal, new, (key, owner), locked)),
    }
}

fn change_base(signal: c_int, new: Option<Action>) -> Result<Action, c_int> {
    locked(|locked| {
        let state = state(signal);
        let known = state.has_base.load(Ordering::Relaxed);
        // The dying process, which wants the kernel to act and nobody else.
        if !known || (is_fault(signal) && new.is_some()) {
            let own = known.then(|| base_of(signal));
            let before = swap(signal, new)?;
            if known && let Some(new) = new {
                state.set_base(new, locked);
            }
            // Who puts back what it is shown must not put back what calls it.
            return Ok(own.filter(|_| before.handler == deliver::address()).unwrap_or(before));
        }
        let before = base_of(signal);
        if let Some(new) = new {
            state.set_base(new, locked);
            apply(signal, locked);
        }
        Ok(before)
    })
}

fn change_slot(
    signal: c_int,
    new: Option<Action>,
    (key, owner): (Key, u32),
    locked: &Locked,
) -> Result<Action, c_int> {
    let state = state(signal);
    if !state.has_base.load(Ordering::Relaxed) {
        let action = swap(signal, None)?;
        state.set_base(action, locked);
        state.has_base.store(true, Ordering::Relaxed);
    }
    let base = base_of(signal);
    let slot = state.find(key);
    let shown = slot.and_then(Slot::live).map_or_else(|| shown(signal, base), |it| it.action);
    let Some(new) = new else { return Ok(shown) };
    if closing::holds(key, locked) {
        return Ok(shown);
    }
    let owner = closing::name(owner, locked);
    if is_taken_back(signal, new, base) {
        let elsewhere = || if new.is_handler() { None } else { newest_of(signal, running()) };
        if let Some(slot) = slot.or_else(elsewhere) {
            slot.clear(locked);
        }
    } else {
        let slot = slot.or_else(|| state.make(key, locked)).ok_or(libc::ENOMEM)?;
        slot.write(new, owner, locked);
        if new.is_handler() && base.handler == libc::SIG_DFL && !MILD.contains(&signal) {
            state.is_harmless.store(!is_fault(signal), Ordering::Relaxed);
        }
    }
    apply(signal, locked);
    Ok(shown)
}

/// The host's own action, which the kernel itself may have used up while no library had one.
fn base_of(signal: c_int) -> Action {
    let state = state(signal);
    let base = state.base();
    let once = base.is_handler() && base.flags & libc::SA_RESETHAND != 0;
    if once && swap(signal, None).is_ok_and(|there| there.handler == libc::SIG_DFL) {
        state.take_base();
    }
    state.base()
}

/// What an object without an action of its own is shown.
fn shown(signal: c_int, base: Action) -> Action {
    if !base.is_handler() || is_fault(signal) { base } else { Action::IGNORE }
}

/// Whether `new` means that the object has no action any more.
fn is_taken_back(signal: c_int, new: Action, base: Action) -> bool {
    match new.handler {
        libc::SIG_DFL => true,
        libc::SIG_IGN => {
            base.handler != libc::SIG_DFL || signal == libc::SIGCHLD || is_fault(signal)
        }
        handler => handler == base.handler,
    }
}

/// The newest action under this name, or else of what lost its name with another library: for an
/// object whose call returns elsewhere than into itself.
fn newest_of(signal: c_int, library: u32) -> Option<&'static Slot> {
    let born = |wanted: u32, slot: &Slot| {
        let entry = slot.live().filter(|it| library != 0 && it.owner == wanted);
        entry.filter(|_| wanted != 0 || slot.key().map().is_some()).map(|it| it.born)
    };
    let newest = |wanted: u32| {
        let known = state(signal).slots().filter_map(|slot| Some((born(wanted, slot)?, slot)));
        known.max_by_key(|(born, _)| *born).map(|(_, slot)| slot)
    };
    newest(library).or_else(|| newest(0))
}

/// Has the kernel do what follows from everybody's actions.
pub(super) fn apply(signal: c_int, _: &Locked) {
    let state = state(signal);
    if !state.has_base.load(Ordering::Relaxed) {
        return;
    }
    let base = state.base();
    let live = || state.slots().filter_map(Slot::live).map(|it| it.action);
    let handlers = || live().filter(Action::is_handler);
    let wanted = if handlers().next().is_some() {
        let heard = || handlers().chain(Some(base).filter(Action::is_handler));
        let any = |flag: c_int| heard().any(|it| it.flags & flag != 0);
        let all = |flag: c_int| heard().all(|it| it.flags & flag != 0);
        let mut flags = libc::SA_SIGINFO;
        for (flag, is_set) in [
            (libc::SA_ONSTACK, is_fault(signal) || any(libc::SA_ONSTACK)),
            (libc::SA_NODEFER, any(libc::SA_NODEFER)),
            (libc::SA_RESTART, all(libc::SA_RESTART)),
            (libc::SA_NOCLDSTOP, all(libc::SA_NOCLDSTOP)),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        let mask = heard().fold(0, |mask, it| mask | it.mask);
        Action { handler: deliver::address(), flags, mask }
    } else if live().next().is_some() {
        Action::IGNORE
    } else if base.handler == libc::SIG_DFL && state.is_harmless.load(Ordering::Relaxed) {
        let flags = libc::SA_SIGINFO | libc::SA_RESTART;
        Action { handler: deliver::address(), flags, mask: 0 }
    } else {
        base
    };
    // It can only fail for what is no signal, which has no slot.
    let _ = swap(signal, Some(wanted));
}

/// Asks the kernel itself, and tells it.
pub(super) fn swap(signal: c_int, new: Option<Action>) -> Result<Action, c_int> {
    let new = new.map(|new| to_system(&new));
    let new = new.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: null or a whole action, of a handler that stays while it is in place; room for the
    // one before.
    if unsafe { action::sigaction(signal, new, before.as_mut_ptr()) } != 0 {
        // SAFETY: the calling thread's own.
        return Err(unsafe { *libc::__errno_location() });
    }
    // SAFETY: 0 means that it was written.
    Ok(from_system(&unsafe { before.assume_init() }))
}

pub(super) fn to_system(new: &Action) -> libc::sigaction {
    let mut system = action::with(new.handler, new.flags);
    // SAFETY: the set begins with the bits of the first 64 signals, which are all.
    unsafe { (&raw mut system.sa_mask).cast::<u64>().write(new.mask) };
    system
}

pub(super) fn from_system(system: &libc::sigaction) -> Action {
    // SAFETY: as above.
    let mask = unsafe { (&raw const system.sa_mask).cast::<u64>().read() };
    Action { handler: system.sa_sigaction, flags: system.sa_flags, mask }
}

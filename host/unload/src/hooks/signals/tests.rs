//! The rules, with a library that is loaded anyway playing the plugin. Each test has signals of its
//! own, because others run in the same process.

use std::{
    ffi::{c_int, c_void},
    mem::transmute,
    ptr,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use super::{
    change::{from_system, to_system},
    kept::Action,
    slot::state,
    *,
};
use crate::hooks::{census, enter, interpose::lookup, needed, purge_thread, tests::Played};

static CALLS: AtomicUsize = AtomicUsize::new(0);
static RAN_AS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: c_int) {
    CALLS.fetch_add(1, Ordering::SeqCst);
    RAN_AS.store(current().map_or(0, |it| it.0), Ordering::SeqCst);
}

extern "C" fn hosts(_: c_int) {}

/// As a plugin finds it.
fn set(signal: c_int, action: Option<Action>) -> Result<Action, c_int> {
    type Set = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
    // SAFETY: the function of that name has this type.
    let set = unsafe { transmute::<*mut c_void, Set>(lookup(c"sigaction")) };
    let new = action.as_ref().map(to_system);
    let mut shown = to_system(&Action::default());
    // SAFETY: null or a whole action, and room for one.
    match unsafe { set(signal, new.as_ref().map_or(ptr::null(), ptr::from_ref), &raw mut shown) } {
        0 => Ok(from_system(&shown)),
        // SAFETY: the calling thread's own.
        _ => Err(unsafe { *libc::__errno_location() }),
    }
}

fn handler(handler: extern "C" fn(c_int), flags: c_int, mask: u64) -> Action {
    Action { handler: handler as usize, flags, mask }
}

fn kernel(signal: c_int) -> Action {
    from_system(&action::get(signal).unwrap())
}

fn send(signal: c_int) {
    // SAFETY: to this thread.
    assert_eq!(unsafe { libc::pthread_kill(libc::pthread_self(), signal) }, 0);
}

#[test]
fn a_library_has_an_action_of_its_own_until_it_is_withdrawn() {
    let played = Played::start();
    let signal = libc::SIGRTMIN() + 5;
    let base = handler(hosts, libc::SA_RESTART, 0);
    assert_eq!(set(signal, Some(base)).unwrap().handler, libc::SIG_DFL);
    let entered = enter(played.record.id());
    assert_eq!(set(signal, None), Ok(Action::IGNORE), "nobody calls the host's handler for it");
    let own = handler(count, libc::SA_SIGINFO | libc::SA_NODEFER, 0x200);
    assert_eq!(set(signal, Some(own)), Ok(Action::IGNORE));
    assert_eq!(set(signal, None), Ok(own), "as it was given");
    drop(entered);
    assert_eq!(set(signal, None).unwrap().handler, base.handler, "the host's own is untouched");
    let there = kernel(signal);
    assert_eq!((there.handler, there.mask), (deliver::address(), 0x200));
    assert_ne!(there.flags & libc::SA_NODEFER, 0);
    assert_eq!(there.flags & libc::SA_RESTART, 0, "not everybody wants it");
    CALLS.store(0, Ordering::SeqCst);
    send(signal);
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
    assert_eq!(RAN_AS.load(Ordering::SeqCst), played.record.id().0);
    assert_eq!(current(), None);
    assert_eq!(withdraw(played.record.id(), &[]), Ok(()));
    assert_eq!(kernel(signal).handler, base.handler);
    send(signal);
    assert_eq!(CALLS.load(Ordering::SeqCst), 1, "not called any more");
}

#[test]
fn what_is_shown_and_what_counts_follow_from_the_base() {
    let played = Played::start();
    let _entered = enter(played.record.id());
    let (mild, fatal, child) = (libc::SIGURG, libc::SIGRTMIN() + 6, libc::SIGCHLD);
    for signal in [mild, fatal] {
        assert_eq!(set(signal, Some(Action::IGNORE)).unwrap().handler, libc::SIG_DFL);
        assert_eq!(kernel(signal).handler, libc::SIG_IGN);
        assert_eq!(set(signal, Some(Action::DEFAULT)), Ok(Action::IGNORE));
        assert_eq!(kernel(signal).handler, libc::SIG_DFL);
    }
    set(child, Some(Action::IGNORE)).unwrap();
    assert_eq!(kernel(child).handler, libc::SIG_DFL, "else no child's end is told");
    let quiet = handler(count, libc::SA_NOCLDWAIT | libc::SA_NOCLDSTOP, 0);
    set(child, Some(quiet)).unwrap();
    assert_eq!(set(child, None), Ok(quiet));
    assert_eq!(kernel(child).flags & (libc::SA_NOCLDWAIT | libc::SA_NOCLDSTOP), libc::SA_NOCLDSTOP);
    set(fatal, Some(handler(count, 0, 0))).unwrap();
    withdraw(played.record.id(), &[]).unwrap();
    assert_eq!(kernel(child).handler, libc::SIG_DFL);
    CALLS.store(0, Ordering::SeqCst);
    send(fatal);
    assert_eq!(CALLS.load(Ordering::SeqCst), 0, "a forgotten timer's, say: nobody dies of it");
    assert_eq!(set(fatal, None).unwrap().handler, libc::SIG_DFL);
}

#[test]
fn errors_are_the_systems() {
    let _played = Played::start();
    for signal in [0, -1, 65, 1000, libc::SIGKILL, libc::SIGSTOP, 32, 33] {
        let own = handler(count, 0, 0);
        assert_eq!(set(signal, Some(own)), Err(libc::EINVAL), "{signal}");
    }
    assert_eq!(set(libc::SIGKILL, None).map(|it| it.handler), Ok(libc::SIG_DFL));
}

#[test]
fn a_handler_that_is_called_once_is_used_up() {
    let played = Played::start();
    let _entered = enter(played.record.id());
    let signal = libc::SIGRTMIN() + 7;
    set(signal, Some(handler(count, libc::SA_RESETHAND, 0))).unwrap();
    CALLS.store(0, Ordering::SeqCst);
    send(signal);
    send(signal);
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
    assert_eq!(set(signal, None).unwrap().handler, libc::SIG_DFL);
    set(signal, Some(handler(count, libc::SA_RESETHAND, 0))).unwrap();
    send(signal);
    assert_eq!(CALLS.load(Ordering::SeqCst), 2, "given anew");
    withdraw(played.record.id(), &[]).unwrap();
}

/// The host's own too, whoever has it called: the kernel, or this module.
#[test]
fn what_the_host_has_called_once_is_used_up() {
    let played = Played::start();
    let signal = libc::SIGRTMIN() + 13;
    let base = handler(count, libc::SA_RESETHAND, 0);
    let set_own = |own: extern "C" fn(c_int)| {
        let entered = enter(played.record.id());
        set(signal, Some(handler(own, 0, 0))).unwrap();
        drop(entered);
    };
    CALLS.store(0, Ordering::SeqCst);
    set(signal, Some(base)).unwrap();
    set_own(hosts);
    send(signal);
    send(signal);
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
    assert_eq!(set(signal, None).unwrap().handler, libc::SIG_DFL);
    set(signal, Some(base)).unwrap();
    send(signal);
    assert_eq!(CALLS.load(Ordering::SeqCst), 2, "given anew");
    set(signal, Some(base)).unwrap();
    withdraw(played.record.id(), &[]).unwrap();
    assert_ne!(kernel(signal).flags & libc::SA_RESETHAND, 0, "the kernel sees to it");
    send(signal);
    set_own(hosts);
    send(signal);
    assert_eq!(CALLS.load(Ordering::SeqCst), 3);
    withdraw(played.record.id(), &[]).unwrap();
}

#[test]
fn a_handler_that_runs_keeps_its_library_until_it_returns() {
    static STEPS: std::sync::OnceLock<Barrier> = std::sync::OnceLock::new();
    extern "C" fn wait(_: c_int) {
        let steps = STEPS.get().unwrap();
        steps.wait();
        steps.wait();
    }
    let steps = STEPS.get_or_init(|| Barrier::new(2));
    let played = Played::start();
    let signal = libc::SIGRTMIN() + 8;
    let entered = enter(played.record.id());
    set(signal, Some(handler(wait, 0, 0))).unwrap();
    drop(entered);
    let thread = std::thread::spawn(move || send(signal));
    steps.wait();
    let name = signal_name(signal);
    let reason = format!("a handler of {name} runs");
    assert_eq!(withdraw(played.record.id(), &[]), Err(reason.clone()));
    assert_eq!(holder(&played.record), Some(reason));
    steps.wait();
    thread.join().unwrap();
    assert_eq!(holder(&played.record), None);
    assert_eq!(withdraw(played.record.id(), &[]), Ok(()));
}

/// From the moment on in which its actions are taken away for its close.
#[test]
fn a_library_that_is_being_closed_sets_no_action() {
    static STEPS: std::sync::OnceLock<Barrier> = std::sync::OnceLock::new();
    static IS_SET: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn again(signal: c_int) {
        let steps = STEPS.get().unwrap();
        steps.wait();
        steps.wait();
        set(signal, Some(handler(again, 0, 0))).unwrap();
        IS_SET.store(set(signal, None).unwrap().handler, Ordering::SeqCst);
    }
    let steps = STEPS.get_or_init(|| Barrier::new(2));
    let played = Played::start();
    let turn = census::turn().unwrap();
    let (id, signal) = (played.record.id(), libc::SIGRTMIN() + 14);
    let base = handler(hosts, 0, 0);
    set(signal, Some(base)).unwrap();
    let set_own = |own: extern "C" fn(c_int)| {
        let entered = enter(id);
        set(signal, Some(handler(own, 0, 0))).unwrap();
        drop(entered);
    };
    set_own(again);
    let slot = state(signal).slots().find(|slot| slot.is_of(id)).unwrap();
    let thread = std::thread::spawn(move || send(signal));
    steps.wait();
    let closing = Closing::begin(id, &[], &turn);
    std::thread::scope(|scope| {
        let withdrawn = scope.spawn(|| {
            // On a busy machine the wait may be over before.
            while withdraw(id, &[]).is_err() {}
        });
        while slot.live().is_some() {
            std::thread::yield_now();
        }
        steps.wait();
        withdrawn.join().unwrap();
    });
    thread.join().unwrap();
    assert_eq!(IS_SET.load(Ordering::SeqCst), libc::SIG_IGN, "as without one of its own");
    assert_eq!(kernel(signal).handler, base.handler);
    drop(closing);
    set_own(count);
    assert_eq!(kernel(signal).handler, deliver::address());
    withdraw(id, &[]).unwrap();
}

/// Its thread's purge says that it is over.
#[test]
fn a_handler_that_was_left_by_a_jump_is_not_waited_for() {
    let played = Played::start();
    let signal = libc::SIGRTMIN() + 9;
    let entered = enter(played.record.id());
    set(signal, Some(handler(count, 0, 0))).unwrap();
    let slot = state(signal).slots().find(|slot| slot.is_of(played.record.id())).unwrap();
    for _ in 0..3 {
        unfinished::begin(slot);
    }
    unfinished::end(slot);
    assert!(slot.is_running());
    drop(entered);
    assert!(withdraw(played.record.id(), &[]).is_err());
    purge_thread(played.record.id());
    assert!(!slot.is_running());
    assert_eq!(withdraw(played.record.id(), &[]), Ok(()));
}

/// As many changes as deliveries, from many threads: a handler is called whole or not at all.
#[test]
fn actions_change_while_they_are_called() {
    let played = Played::start();
    let id = played.record.id();
    let signal = libc::SIGRTMIN() + 10;
    let base = handler(hosts, 0, 0);
    set(signal, Some(base)).unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let stop = stop.clone();
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    send(signal);
                }
            });
        }
        for round in 0..2000 {
            let entered = enter(id);
            let flags = if round % 2 == 0 { libc::SA_NODEFER } else { libc::SA_RESETHAND };
            set(signal, Some(handler(count, flags, round))).unwrap();
            drop(entered);
            if round % 16 == 0 {
                assert_eq!(withdraw(id, &[]), Ok(()));
            }
        }
        assert_eq!(withdraw(id, &[]), Ok(()));
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(kernel(signal).handler, base.handler);
}

/// The library's own objects go, what others need does not: an action that lies elsewhere keeps its
/// place and loses its name.
#[test]
fn what_stays_loses_its_name_only() {
    let played = Played::start();
    let signal = libc::SIGRTMIN() + 11;
    let entered = enter(played.record.id());
    // SAFETY: a place in the loader's list that is none, which nobody follows.
    lock::locked(|locked| {
        let state = state(signal);
        state.set_base(handler(hosts, 0, 0), locked);
        state.has_base.store(true, Ordering::Relaxed);
        let slot = state.make(slot::Key::object(4096), locked).unwrap();
        slot.write(handler(count, 0, 0), played.record.id().0, locked);
        apply(signal, locked);
    });
    drop(entered);
    assert_eq!(withdraw(played.record.id(), &needed::going(played.record.path())), Ok(()));
    CALLS.store(0, Ordering::SeqCst);
    send(signal);
    assert_eq!(CALLS.load(Ordering::SeqCst), 1, "still there");
    assert_eq!(RAN_AS.load(Ordering::SeqCst), 0, "under nobody's name");
    // As if somebody had closed the object and left its handler.
    let key = slot::Key::object(4096);
    let lost = Action { handler: 4096, flags: 0, mask: 0 };
    lock::locked(|locked| state(signal).find(key).unwrap().write(lost, 0, locked));
    send(signal);
    assert_eq!(CALLS.load(Ordering::SeqCst), 1, "nothing is called that is not there");
    forget(played.record.id());
    assert!(state(signal).find(key).is_none());
}

#[test]
fn older_functions_do_as_their_manual_says() {
    type Old = unsafe extern "C" fn(c_int, usize) -> usize;
    let played = Played::start();
    let _entered = enter(played.record.id());
    // SAFETY: functions of these names have this type.
    let old = |name| unsafe { transmute::<*mut c_void, Old>(lookup(name)) };
    let counted: extern "C" fn(c_int) = count;
    let signal = libc::SIGRTMIN() + 12;
    let bit = 1_u64 << (signal - 1);
    let once = libc::SA_RESETHAND | libc::SA_NODEFER;
    for (name, flags, mask) in [
        (c"signal", libc::SA_RESTART, bit),
        (c"bsd_signal", libc::SA_RESTART, bit),
        (c"ssignal", libc::SA_RESTART, bit),
        (c"sysv_signal", once, 0),
        (c"__sysv_signal", once, 0),
        (c"sigset", 0, 0),
    ] {
        // SAFETY: a handler that stays.
        assert_eq!(unsafe { old(name)(signal, counted as usize) }, libc::SIG_DFL, "{name:?}");
        let set_to = set(signal, None).unwrap();
        assert_eq!(set_to, Action { handler: counted as usize, flags, mask }, "{name:?}");
        // SAFETY: the default.
        assert_eq!(unsafe { old(name)(signal, libc::SIG_DFL) }, counted as usize, "{name:?}");
        // SAFETY: no signal, and no action.
        unsafe {
            assert_eq!(old(name)(99, counted as usize), libc::SIG_ERR, "{name:?}");
            assert_eq!(old(name)(signal, libc::SIG_ERR), libc::SIG_ERR, "{name:?}");
        }
    }
    // SAFETY: `SIG_HOLD`, twice, and away again.
    unsafe {
        assert_eq!(old(c"sigset")(signal, 2), libc::SIG_DFL);
        assert_eq!(old(c"sigset")(signal, 2), 2);
        assert_eq!(old(c"sigset")(signal, libc::SIG_DFL), 2);
    }
    // SAFETY: these have this type.
    unsafe {
        type One = unsafe extern "C" fn(c_int) -> c_int;
        type Two = unsafe extern "C" fn(c_int, c_int) -> c_int;
        let ignore = transmute::<*mut c_void, One>(lookup(c"sigignore"));
        let interrupt = transmute::<*mut c_void, Two>(lookup(c"siginterrupt"));
        assert_eq!((ignore(signal), ignore(99)), (0, -1));
        assert_eq!(set(signal, None).unwrap().handler, libc::SIG_IGN);
        old(c"signal")(signal, counted as usize);
        assert_eq!(interrupt(signal, 1), 0);
        assert_eq!(set(signal, None).unwrap().flags, 0);
        old(c"signal")(signal, counted as usize);
        assert_eq!(set(signal, None).unwrap().flags, 0, "it is remembered");
        assert_eq!(interrupt(signal, 0), 0);
        assert_eq!(set(signal, None).unwrap().flags, libc::SA_RESTART);
    }
    withdraw(played.record.id(), &[]).unwrap();
}

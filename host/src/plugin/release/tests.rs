//! When things go, and in what order.

use std::cell::RefCell;

use hotseat_unload::{Holding, running_library};

use super::*;
use crate::plugin::tests::Played;

thread_local! {
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn log(what: impl Into<String>) {
    LOG.with_borrow_mut(|log| log.push(what.into()));
}

fn logged() -> Vec<String> {
    LOG.take()
}

/// Keeps a library that was never loaded.
struct Kept(LibraryId);

impl Keep for Kept {
    fn library(&self) -> LibraryId {
        self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        log("kept");
    }
}

/// Bytes whose `owner` is their name.
fn bytes(name: usize, drop: unsafe extern "C" fn(*mut (), *const u8, usize)) -> abi::Bytes {
    let owner = std::ptr::without_provenance_mut(name);
    abi::Bytes { ptr: std::ptr::null(), len: 0, owner, drop: Some(drop) }
}

unsafe extern "C" fn freed(owner: *mut (), _: *const u8, _: usize) {
    log(format!("bytes {} of {:?}", owner.addr(), running_library()));
}

#[test]
fn what_goes_inside_a_scope_goes_after_the_outermost() {
    let played = Played::start();
    let library = played.record().id();
    let keeper: Keeper = Rc::new(Kept(library));
    scope(|| {
        scope(|| let_go(Leaving::Bytes(bytes(1, freed), keeper.clone())));
        let_go(Leaving::Keeper(keeper));
        assert!(logged().is_empty(), "nothing has gone");
    });
    let of = Some(library);
    assert_eq!(logged(), [format!("bytes 1 of {of:?}"), "kept".to_owned()]);
    let_go(Leaving::Bytes(bytes(2, freed), Rc::new(Kept(library))));
    assert_eq!(logged(), [format!("bytes 2 of {of:?}"), "kept".to_owned()], "at once");
}

unsafe extern "C" fn frees_more(owner: *mut (), _: *const u8, _: usize) {
    log("begun");
    let keeper: Keeper = Rc::new(Kept(running_library().expect("inside a library")));
    scope(|| let_go(Leaving::Bytes(bytes(owner.addr() + 1, freed), keeper)));
    log("ended");
}

#[test]
fn a_destructor_may_let_go_of_more() {
    let played = Played::start();
    let library = played.record().id();
    scope(|| {
        let_go(Leaving::Bytes(bytes(1, frees_more), Rc::new(Kept(library))));
        empty();
        let of = Some(library);
        let expected = [
            "begun".to_owned(),
            "ended".to_owned(),
            "kept".to_owned(),
            format!("bytes 2 of {of:?}"),
        ];
        assert_eq!(logged()[..4], expected, "one after the other, and asked for inside a scope");
    });
}

unsafe extern "C" fn their_clone(_: *const abi::Waker) -> abi::Waker {
    abi::Waker { data: std::ptr::null(), aux: std::ptr::null(), vt: &raw const THEIR_VT }
}

unsafe extern "C" fn their_wake(_: *const abi::Waker) {
    log("woken");
}

unsafe extern "C" fn their_free(_: *mut abi::Waker) {
    log("freed");
}

static THEIR_VT: abi::WakerVt = abi::WakerVt {
    size: abi::size_of_u32::<abi::WakerVt>(),
    clone: their_clone,
    wake_by_ref: their_wake,
    drop: their_free,
};

/// A waker of the host around one of a plugin.
fn theirs(played: &Played) -> Waker {
    let lease = || LibraryLease::new(Arc::clone(played.record()), Holding::Waker).unwrap();
    // SAFETY: makes a value of its argument alone.
    let theirs = unsafe { their_clone(std::ptr::null()) };
    // SAFETY: `theirs` lives until the end of the call.
    unsafe { crate::plugin::waker::to_std(&raw const theirs, lease) }
}

#[test]
fn a_plugins_waker_runs_none_of_its_code_inside_a_scope() {
    let played = Played::start();
    let waker = theirs(&played);
    scope(|| {
        waker.wake_by_ref();
        waker.wake_by_ref();
        drop(waker);
        assert!(logged().is_empty());
    });
    assert_eq!(logged(), ["woken", "freed"], "two wakes before it hears of one are one");
    let waker = theirs(&played);
    scope(|| {
        drop(waker);
        assert!(logged().is_empty(), "nobody has woken it before");
    });
    assert_eq!(logged(), ["freed"]);
    assert!(played.record().is_quiet());
}

#[test]
fn within_a_turn_values_go_at_once_and_wakers_afterwards() {
    let played = Played::start();
    let library = played.record().id();
    let (woken, dropped) = (theirs(&played), theirs(&played));
    turn(|| {
        let_go(Leaving::Bytes(bytes(1, freed), Rc::new(Kept(library))));
        let of = Some(library);
        assert_eq!(logged(), [format!("bytes 1 of {of:?}"), "kept".to_owned()]);
        woken.wake_by_ref();
        drop(dropped);
        assert!(logged().is_empty(), "whoever does that is in the middle of something");
    });
    assert_eq!(logged(), ["woken", "freed"]);
}

#[test]
fn outside_every_scope_the_emptier_is_woken_where_there_is_one() {
    let played = Played::start();
    let library = played.record().id();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    emptied_by(&Context::from_waker(&waker));
    let_go(Leaving::Keeper(Rc::new(Kept(library))));
    assert!(logged().is_empty() && woken.0.load(std::sync::atomic::Ordering::Relaxed));
    scope(|| ());
    assert_eq!(logged(), ["kept"]);
    emptied_by_nobody();
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

//! The interposition, with a library that is loaded anyway playing the plugin.

use std::{
    cell::RefCell,
    ffi::c_void,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    LibraryId, blame, current, enter,
    interpose::lookup,
    ledger::{forget, note},
    object, purge_thread,
    registry::{self, Record},
    self_test,
};

/// A registered library that is not the C library, which `self_test` takes.
pub(crate) struct Played {
    pub(crate) record: Arc<Record>,
    pub(crate) address: *mut c_void,
    _alone: MutexGuard<'static, ()>,
}

impl Played {
    pub(crate) fn start() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let address = lookup(c"_Unwind_Backtrace");
        let path = object::find(address).unwrap().name().to_owned();
        let record = registry::register(path).unwrap();
        Self { record, address, _alone: alone }
    }

    fn id(&self) -> LibraryId {
        self.record.id()
    }

    fn at_thread_exit(&self, dtor: unsafe extern "C" fn(*mut c_void), object: usize) {
        type AtExit = unsafe extern "C" fn(
            Option<unsafe extern "C" fn(*mut c_void)>,
            *mut c_void,
            *mut c_void,
        ) -> i32;
        let hook = lookup(c"__cxa_thread_atexit_impl");
        // SAFETY: the function of that name has this type.
        let hook = unsafe { std::mem::transmute::<*mut c_void, AtExit>(hook) };
        let object = std::ptr::without_provenance_mut(object);
        // SAFETY: the tests' destructors do not touch the object.
        assert_eq!(unsafe { hook(Some(dtor), object, self.address) }, 0);
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        purge_thread(self.id());
        registry::unregister(&self.record);
    }
}

static RAN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

fn ran() -> Vec<usize> {
    std::mem::take(&mut RAN.lock().unwrap_or_else(PoisonError::into_inner))
}

unsafe extern "C" fn mark(object: *mut c_void) {
    RAN.lock().unwrap_or_else(PoisonError::into_inner).push(object.addr());
}

#[test]
fn self_test_passes_in_a_test_executable() {
    assert_eq!(self_test(), Ok(()));
}

#[test]
fn crossings_nest() {
    let (outer, inner) = (LibraryId(u32::MAX), LibraryId(u32::MAX - 1));
    assert_eq!(current(), None);
    let first = enter(outer);
    {
        let _second = enter(inner);
        assert_eq!(current(), Some(inner));
    }
    assert_eq!(current(), Some(outer));
    drop(first);
    assert_eq!(current(), None);
}

#[test]
fn a_purge_runs_the_last_destructor_first_and_only_here() {
    let played = Played::start();
    ran();
    for object in 1..=3 {
        played.at_thread_exit(mark, object);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| purge_thread(played.record.id()));
    });
    assert_eq!((ran(), played.record.tls_count()), (vec![], 3), "purged from another thread");
    purge_thread(played.id());
    assert_eq!((ran(), played.record.tls_count()), (vec![3, 2, 1], 0));
}

#[test]
fn a_destructor_that_registers_another_is_followed() {
    unsafe extern "C" fn two_more(object: *mut c_void) {
        NEXT.with_borrow_mut(|next| {
            if let Some(record) = next.take() {
                note(Arc::clone(&record), mark, std::ptr::without_provenance_mut(7));
                note(record, mark, object);
            }
        });
    }
    thread_local! {
        static NEXT: RefCell<Option<Arc<Record>>> = const { RefCell::new(None) };
    }
    let played = Played::start();
    ran();
    NEXT.set(Some(Arc::clone(&played.record)));
    played.at_thread_exit(two_more, 8);
    purge_thread(played.id());
    assert_eq!((ran(), played.record.tls_count()), (vec![8, 7], 0));
}

#[test]
fn a_destructor_that_never_ends_does_not_hold_the_host() {
    thread_local! {
        static AGAIN: RefCell<Option<Arc<Record>>> = const { RefCell::new(None) };
    }
    unsafe extern "C" fn again(object: *mut c_void) {
        AGAIN.with_borrow(|record| note(Arc::clone(record.as_ref().unwrap()), again, object));
    }
    let played = Played::start();
    AGAIN.set(Some(Arc::clone(&played.record)));
    played.at_thread_exit(again, 1);
    purge_thread(played.id());
    assert_eq!(played.record.tls_count(), 1);
    forget(&played.record);
    assert_eq!(played.record.tls_count(), 0);
}

#[test]
fn a_thread_that_ends_purges_itself() {
    let played = Played::start();
    ran();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let hook = Arc::clone(&played.record);
            note(hook, mark, std::ptr::without_provenance_mut(5));
        });
    });
    // `scope` waits for the closure, not for the thread's own destructors.
    crate::tests::eventually(|| played.record.tls_count() == 0);
    assert_eq!(ran(), [5]);
}

#[test]
fn the_hosts_own_destructors_are_not_a_plugins() {
    struct Dropped;
    impl Drop for Dropped {
        fn drop(&mut self) {}
    }
    thread_local! {
        static OWN: Dropped = const { Dropped };
    }
    let played = Played::start();
    let _running = enter(played.id());
    OWN.with(|_| ());
    let started = std::thread::spawn(current).join().unwrap();
    assert_eq!(played.record.totals(), (0, 0, 0));
    assert_eq!(started, None);
}

/// Each runs once at the end of its thread, also one that another one's destructor made.
#[test]
fn the_hosts_own_destructors_run_at_the_end() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            RAN.fetch_add(1, Relaxed);
        }
    }
    struct First;
    impl Drop for First {
        fn drop(&mut self) {
            RAN.fetch_add(10, Relaxed);
            LAST.with(|_| ());
        }
    }
    thread_local! {
        static FIRST: First = const { First };
        static LAST: Last = const { Last };
    }
    std::thread::spawn(|| FIRST.with(|_| ())).join().unwrap();
    assert_eq!(RAN.load(Relaxed), 11);
}

#[test]
fn what_is_held_is_told() {
    let played = Played::start();
    let record = &played.record;
    assert!(record.is_quiet());
    record.thread_began();
    assert_eq!((record.is_quiet(), record.holders().as_str()), (false, "1 thread left behind"));
    record.thread_began();
    record.job_began();
    assert_eq!(record.holders(), "2 threads left behind, 1 job in the blocking pool");
    record.job_ended();
    record.thread_ended();
    record.thread_ended();
    assert!(record.is_quiet());
}

/// However many are loaded after it, and gone again.
#[test]
fn a_library_that_stays_keeps_its_tag() {
    let played = Played::start();
    blame::assign(played.id(), 7);
    let _running = enter(played.id());
    for number in 0..3 * blame::PLACES {
        let path = format!("/of a load/{number}.so");
        let record = registry::register(std::ffi::CString::new(path).unwrap()).unwrap();
        blame::assign(record.id(), 8);
        registry::unregister(&record);
        assert_eq!(super::running_tag(), 7, "after {number} loads");
    }
}

#[test]
fn a_path_is_registered_once() {
    let played = Played::start();
    assert!(registry::register(played.record.path().to_owned()).is_none());
}

const LEAVES: &str = "HOTSEAT_TEST_LEAVES";

/// Not a test by itself: the process that ends, started by the one below.
#[test]
fn leaver() {
    if std::env::var_os(LEAVES).is_none() {
        return;
    }
    type AtEnd = unsafe extern "C" fn(i32, *mut c_void);
    type OnExit = unsafe extern "C" fn(Option<AtEnd>, *mut c_void) -> i32;
    let played = Played::start();
    // SAFETY: the function of that name has this type.
    let on_exit = unsafe { std::mem::transmute::<*mut c_void, OnExit>(lookup(c"on_exit")) };
    // Called with the status it would call what lies there.
    // SAFETY: not called, which the test is about.
    let function = unsafe { std::mem::transmute::<*mut c_void, Option<AtEnd>>(played.address) };
    // SAFETY: as above.
    assert_eq!(unsafe { on_exit(function, std::ptr::null_mut()) }, 0);
    // SAFETY: ends the process, in the way that calls what was registered.
    unsafe { libc::exit(3) };
}

/// Its code may be gone by then.
#[test]
fn nobody_calls_a_library_at_the_end_of_the_process() {
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hooks::tests::leaver"])
        .env(LEAVES, "1")
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3), "{status:?}");
}

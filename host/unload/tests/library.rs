//! The life of a library, by the public interface: opened, held by this and that, closed.
#![expect(unsafe_code, reason = "opens libraries and calls them")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use hotseat_unload::{
    CloseError, Holding, Library, OpenError, enter,
    reaper::{Reaper, ReaperRules, Report, Retired, Unloading},
    running_tag,
};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(20);

type Greet = unsafe extern "C" fn(*const u8, usize, *mut u8, usize) -> usize;

/// A copy of the example's library in a folder of its own.
fn copy() -> (TempDir, PathBuf) {
    let own = env::current_exe().expect("a test has a path");
    let profile = own.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("greeter.so");
    fs::copy(profile.join("examples/libgreeter.so"), &file).expect("a built example");
    (folder, file)
}

fn open(file: &Path, tag: u64) -> Result<Library, OpenError> {
    // SAFETY: the example's, of which nothing is used any more once it is closed.
    unsafe { Library::open(file, tag) }
}

fn address(library: &Library) -> *const () {
    library.symbol(c"greet").expect("it has this function")
}

fn greet(library: &Library) {
    // SAFETY: a function of this name has this type.
    let greet = unsafe { std::mem::transmute::<*const (), Greet>(address(library)) };
    let mut text = [0; 100];
    let _entered = enter(library.id());
    // SAFETY: slices of that size.
    assert!(unsafe { greet("you".as_ptr(), 3, text.as_mut_ptr(), text.len()) } > 10);
}

fn is_mapped(file: &Path) -> bool {
    fs::read_to_string("/proc/self/maps").unwrap_or_default().contains(&*file.to_string_lossy())
}

#[track_caller]
fn held(closed: Result<(), CloseError>, by: &str) -> Library {
    match closed {
        Err(CloseError::Held(library, reason)) if reason.contains(by) => library,
        other => panic!("it is not held by {by}: {other:?}"),
    }
}

#[test]
fn what_cannot_be_opened_leaves_nothing() {
    let (_folder, file) = copy();
    assert!(matches!(open(Path::new("a\0b"), 1), Err(OpenError::Path)));
    fs::write(file.with_extension("txt"), "no library".repeat(99)).unwrap();
    let text = open(&file.with_extension("txt"), 1).unwrap_err().to_string();
    assert!(text.contains("invalid ELF header"), "{text}");
    let library = open(&file, 1).unwrap();
    assert!(matches!(open(&file, 2), Err(OpenError::InUse)));
    library.close_soon(LONG, LONG).unwrap();
    assert!(!is_mapped(&file));
}

#[test]
fn leases_threads_and_destructors_hold_it() {
    let (_folder, file) = copy();
    let library = open(&file, 1).unwrap();
    let lease = library.lease(Holding::Waker);
    let library = held(library.close(), "1 waker held by the host");
    drop(lease);
    // It starts a thread, which ends some time later, and leaves a thread-local here.
    greet(&library);
    library.record().wait_quiet(LONG).unwrap();
    let (threads, destructors, _) = library.record().totals();
    assert_eq!((threads, library.record().thread_count()), (1, 0));
    assert!(destructors > 0);
    let reason = library.held().unwrap();
    assert!(reason.contains("thread-local destructor"), "{reason}");
    library.close_soon(LONG, LONG).unwrap();
    assert!(!is_mapped(&file));
}

#[test]
fn an_address_that_somebody_keeps_holds_it() {
    static KEPT: AtomicUsize = AtomicUsize::new(0);
    let (_folder, file) = copy();
    let library = open(&file, 1).unwrap();
    KEPT.store(address(&library).addr(), Ordering::SeqCst);
    let library = held(library.close(), "held by ");
    KEPT.store(0, Ordering::SeqCst);
    library.close().unwrap();
    assert!(!is_mapped(&file));
}

#[test]
fn what_it_was_given_lives_as_long_as_it_is_mapped() {
    let (_folder, file) = copy();
    let mut library = open(&file, 1).unwrap();
    let given = Arc::new(7);
    let watched = Arc::downgrade(&given);
    library.keep(given);
    let lease = library.lease(Holding::Job);
    let library = held(library.close(), "1 job in the blocking pool");
    assert!(watched.upgrade().is_some(), "it is still there");
    drop(lease);
    library.close().unwrap();
    assert!(watched.upgrade().is_none());
}

#[test]
fn whose_code_runs_is_told_by_the_tag() {
    let (_folder, file) = copy();
    let library = open(&file, 4711).unwrap();
    assert_eq!(running_tag(), 0);
    let entered = enter(library.id());
    assert_eq!(running_tag(), 4711);
    drop(entered);
    assert_eq!(running_tag(), 0);
    library.close().unwrap();
}

fn reaper(never: Option<&str>) -> (Reaper<Library>, Receiver<Report>) {
    let (says, said) = channel();
    let rules = ReaperRules {
        never: never.map(ToOwned::to_owned),
        stop_time: LONG,
        purge_time: LONG,
        grace: Duration::from_millis(100),
    };
    // Whoever does not listen any more has ended.
    (Reaper::start(rules, move |report| drop(says.send(report))).expect("a thread"), said)
}

fn retired(
    library: Library,
    tag: u64,
    unmapped: impl FnOnce() + Send + 'static,
) -> Retired<Library> {
    Retired { tag, instance: library, unmapped: Box::new(unmapped) }
}

#[test]
fn a_reaper_waits_for_what_holds_it_and_then_unloads() {
    let (_folder, file) = copy();
    let library = open(&file, 1).unwrap();
    greet(&library);
    library.record().wait_quiet(LONG).unwrap();
    // This thread is none that the reaper could ask.
    hotseat_unload::purge_thread(library.id());
    let lease = library.lease(Holding::Job);
    let (reaper, said) = reaper(None);
    let (unmapped, was_unmapped) = channel();
    reaper.handle().retire(retired(library, 9, move || unmapped.send(()).unwrap()));
    let mut reports = std::iter::from_fn(|| said.recv_timeout(LONG).ok());
    // Pending at first, unless it was looked at late.
    let resident = reports.find(|report| matches!(report.state, Unloading::Resident(_)));
    let Report { tag, state, .. } = resident.expect("it is held");
    let why = "1 job in the blocking pool".to_owned();
    assert_eq!((tag, state), (9, Unloading::Resident(why)));
    drop(lease);
    assert!(reports.any(|report| report.state == Unloading::Unloaded), "it is, after all");
    was_unmapped.try_recv().expect("told before");
    assert!(!is_mapped(&file));
    assert_eq!(reaper.shut_down(std::time::Instant::now() + LONG), 0);
}

#[test]
fn a_reaper_that_may_not_unload_says_why() {
    let (_folder, file) = copy();
    let (reaper, said) = reaper(Some("the hooks are not in place"));
    reaper.handle().retire(retired(open(&file, 1).unwrap(), 3, || panic!("it is mapped")));
    let report = said.recv_timeout(LONG).unwrap();
    let why = "the hooks are not in place".to_owned();
    assert_eq!((report.tag, report.state), (3, Unloading::Resident(why)));
    assert!(is_mapped(&file));
}

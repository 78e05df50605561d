//! Processes that go down, and what is read of them afterwards.

use std::{
    os::{fd::AsFd as _, unix::process::ExitStatusExt as _},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::*;

/// How often the process that goes down has said its last.
static FAREWELLS: AtomicU32 = AtomicU32::new(0);

const HOW: &str = "HOTSEAT_TEST_FAULT";

/// Not a test by itself: the process that goes down, started by the one below.
#[test]
fn victim() {
    let Ok(how) = std::env::var(HOW) else { return };
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    let page = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    install(page, || 7, || _ = FAREWELLS.fetch_add(1, Ordering::SeqCst)).unwrap();
    match &*how {
        // SAFETY: none; that is the point.
        "segfault" => unsafe { ptr::without_provenance_mut::<u8>(0x123).write_volatile(1) },
        "abort" => std::process::abort(),
        // SAFETY: sends a signal to this thread.
        "sent" => drop(unsafe { libc::raise(libc::SIGSEGV) }),
        "foreign" => {
            let kill = ["-c", "kill -SEGV $PPID"];
            drop(Command::new("sh").args(kill).status());
            // Another thread may get the signal, later than this one its child's end.
            std::thread::park_timeout(Duration::from_secs(20));
        }
        "child" => {
            // SAFETY: the child only faults.
            if unsafe { libc::fork() } == 0 {
                // SAFETY: none; that is the point.
                unsafe { ptr::without_provenance_mut::<u8>(0x123).write_volatile(1) };
            }
            // SAFETY: no status is asked for.
            unsafe { libc::wait(ptr::null_mut()) };
        }
        "overflow" => drop(std::thread::spawn(|| deep(1)).join()),
        // SAFETY: ends the process.
        "exit" => unsafe { libc::exit(3) },
        "leaves" => drop((leave(End::Call(1, 4), 9), leave(End::Call(0, 5), 7))),
        "together" => {
            for end in [End::Call(1, 4), End::Signal(libc::SIGSEGV, 0)] {
                std::thread::spawn(move || leave(end, 9)).join().unwrap();
            }
            // SAFETY: a number of a status.
            unsafe { libc::_exit(FAREWELLS.load(Ordering::SeqCst).cast_signed()) };
        }
        "loads" => {
            let version = |number: u8, label: &str| Version {
                generation: Generation(number.into()),
                label: label.parse().unwrap(),
                digest: Digest([number; 32]),
            };
            let name = |name: &str| name.parse().unwrap();
            let work = Some(Work { verb: "rollback", order: 11 });
            let long = name(&"x".repeat(NAME_BYTES));
            drop(Loading::begin(&long, &version(5, &"1".repeat(NAME_BYTES)), work));
            serves();
            let work = Some(Work { verb: "deploy", order: 12 });
            let _loading = Loading::begin(&name("shop"), &version(6, "2.1"), work);
            let kill = ["-c", "kill -KILL $PPID"];
            drop(Command::new("sh").args(kill).status());
        }
        _ => {}
    }
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) };
}

fn deep(count: u64) -> u64 {
    let here = std::hint::black_box([count; 512]);
    if count == 0 { 0 } else { deep(count + 1) + here[3] }
}

fn left_by(how: &str) -> (Option<i32>, LastWords) {
    let (status, words) = ended_by(how);
    (status.signal(), words)
}

fn ended_by(how: &str) -> (ExitStatus, LastWords) {
    let page = page().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sys::fault::tests::victim", "--nocapture"])
        .env(HOW, how)
        .stdin(Stdio::from(page.try_clone().unwrap()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    (status, read(&page))
}

fn died_of(how: &str) -> (Option<i32>, Option<Note>) {
    let (signal, words) = left_by(how);
    (signal, words.note)
}

fn note(end: End) -> Option<Note> {
    Some(Note { end, generation: Some(Generation(7)), gone: false })
}

#[test]
fn a_fault_is_noted_and_ends_the_process_as_ever() {
    let signal = |signal| note(End::Signal(signal, 0));
    let segfault = note(End::Signal(libc::SIGSEGV, 0x123));
    assert_eq!(died_of("segfault"), (Some(libc::SIGSEGV), segfault));
    assert_eq!(died_of("abort"), (Some(libc::SIGABRT), signal(libc::SIGABRT)));
    assert_eq!(died_of("sent"), (Some(libc::SIGSEGV), signal(libc::SIGSEGV)));
    assert_eq!(died_of("foreign"), (Some(libc::SIGSEGV), None), "nobody here is to blame");
    assert_eq!(died_of("child"), (None, None), "a child is another process");
    assert_eq!(died_of("nothing"), (None, None));
}

#[test]
fn an_overflow_is_noted_and_then_told_by_the_standard_library() {
    let (signal, note) = died_of("overflow");
    assert_eq!(signal, Some(libc::SIGABRT), "after its message");
    assert!(matches!(note.map(|note| note.end), Some(End::Overflow(_))), "the first counts");
}

#[test]
fn a_call_that_ends_the_process_is_noted() {
    assert_eq!(died_of("exit"), (None, note(End::Call(0, 3))));
    let leaves = Some(Note { end: End::Call(1, 4), generation: Some(Generation(9)), gone: false });
    assert_eq!(died_of("leaves"), (None, leaves), "the first counts");
    assert!(!leave(End::Call(1, 4), 9), "without a page nobody reads it");
}

/// The one that comes second does not end the process before the first has said its last.
#[test]
fn whoever_ends_it_lets_the_log_out() {
    let (status, words) = ended_by("together");
    assert_eq!(status.code(), Some(2), "both");
    let first = Note { end: End::Call(1, 4), generation: Some(Generation(9)), gone: false };
    assert_eq!(words.note, Some(first));
}

#[test]
fn what_was_being_loaded_is_told_without_a_note() {
    let (signal, words) = left_by("loads");
    assert_eq!(signal, Some(libc::SIGKILL));
    let loading = Some((Generation(6), Digest([6; 32])));
    let whose = Some("shop".parse().unwrap());
    let work = Some(Work { verb: "deploy", order: 12 });
    let label = Some("2.1".parse().unwrap());
    let wanted = LastWords { note: None, loading, whose, label, work, served: true };
    assert_eq!(words, wanted);
    // A process of before says none of it.
    let mut bytes = [0; NOTE_BYTES];
    bytes[40] = 6;
    let words = parse(&bytes);
    assert_eq!((words.loading.is_some(), words.whose, words.work), (true, None, None));
    assert_eq!(words.label, None);
}

#[test]
fn what_is_no_note_is_none() {
    let empty = page().unwrap();
    assert_eq!(read(&empty), LastWords::default());
    rustix::io::pwrite(&empty, &WRITING.to_ne_bytes(), 0).unwrap();
    assert_eq!(read(&empty).note, None);
}

#[test]
fn each_way_to_end_has_its_words() {
    let all = [
        (Ends::Exit, "exit"),
        (Ends::UnderscoreExit, "_exit"),
        (Ends::CExit, "_Exit"),
        (Ends::QuickExit, "quick_exit"),
        (Ends::Abort, "abort"),
        (Ends::Kill, "kill"),
        (Ends::Raise, "raise"),
        (Ends::PthreadKill, "pthread_kill"),
        (Ends::PthreadExit, "pthread_exit"),
    ];
    for (ends, name) in all {
        assert_eq!(number(ends).map(|it| CALLS[it as usize]), Some(name));
    }
}

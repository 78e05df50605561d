//! The last words of a process that a fatal signal ends: which signal, and whose code ran.
//!
//! Owns one shared page: a process that goes down writes into it from its signal handler, and
//! whoever made the page reads it afterwards. Knows nothing of plugins: `blame` says whose code
//! runs. The handlers stay in place for the life of the process.
//!
//! # Invariants
//! - The first fault is noted and no other: a thread that dies with it may be a consequence.
//! - Whatever would have happened on the signal happens all the same, after the note.
//! - The handler only loads and stores atomics, and calls sigaction(2) and raise(3).
//!
//! # Known limit
//! A stack that overflows needs another stack for the handler. Threads of the host's standard
//! library have one; threads that a plugin starts have none, so the kernel ends the process without
//! a note.
#![expect(
    unsafe_code,
    reason = "signal handlers and a shared page are only reachable through libc"
)]

use std::{
    ffi::{c_int, c_void},
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap},
};

use crate::ids::Generation;

/// What a process died of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its number.
    pub signal: i32,
    /// Whose code ran on the thread that got it. `None`: the host's own.
    pub generation: Option<Generation>,
    /// The address that could not be reached; of no meaning for a signal that somebody sent.
    pub address: u64,
}

/// What lies at the page's begin. Native byte order: both ends are on one machine.
#[repr(C)]
struct Page {
    state: AtomicU32,
    signal: AtomicU32,
    generation: AtomicU64,
    address: AtomicU64,
}

/// Units: bytes. The smallest page there is.
const PAGE_BYTES: usize = 4096;
/// Of [`Page`], as it is read. Units: bytes.
const NOTE_BYTES: usize = 24;

const _: () = assert!(size_of::<Page>() == NOTE_BYTES);

/// Nothing is noted.
const EMPTY: u32 = 0;
/// Somebody is writing.
const WRITING: u32 = 1;
/// It is whole: any number that nobody writes by accident.
const WHOLE: u32 = 0x4845_4144;

/// Those that a fault of the code itself raises. SIGABRT: Rust's and C's own way to give up.
const SIGNALS: [c_int; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];

static PAGE: AtomicPtr<Page> = AtomicPtr::new(ptr::null_mut());
/// A process that a plugin forks inherits handler and page, and is not the one this is about.
static OWNER: AtomicU32 = AtomicU32::new(0);
static BLAME: OnceLock<fn() -> u64> = OnceLock::new();
static BEFORE: [AtomicPtr<libc::sigaction>; SIGNALS.len()] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS.len()];

/// An empty page, to be handed to a process. It is not inherited unless somebody sees to it.
///
/// # Errors
/// The system's own.
pub fn page() -> io::Result<OwnedFd> {
    let page = memfd_create("hotseat-fault", MemfdFlags::CLOEXEC)?;
    ftruncate(&page, PAGE_BYTES as u64)?;
    Ok(page)
}

/// What the process that was given `page` died of, if it was a fatal signal.
#[must_use]
pub fn read(page: impl AsFd) -> Option<Note> {
    let mut bytes = [0; NOTE_BYTES];
    let count = rustix::io::pread(page, &mut bytes, 0).ok()?;
    if count != NOTE_BYTES {
        return None;
    }
    let half = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let word = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    if half(0)? != WHOLE {
        return None;
    }
    let generation = Some(word(8)?).filter(|number| *number != 0).map(Generation);
    Some(Note { signal: i32::try_from(half(4)?).ok()?, generation, address: word(16)? })
}

/// Has a fatal signal noted in `page` from now on. `blame` gives the generation whose code runs on
/// the calling thread, 0 for none, and only loads atomics and plain thread-locals. Once a process.
///
/// # Errors
/// The system's own; it is installed already.
pub fn install(page: OwnedFd, blame: fn() -> u64) -> io::Result<()> {
    if BLAME.set(blame).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: a new mapping where the kernel likes; nothing that is there is replaced.
    let mapped = unsafe { mmap(ptr::null_mut(), PAGE_BYTES, access, flags, &page, 0) }?;
    OWNER.store(std::process::id(), Ordering::Release);
    PAGE.store(mapped.cast(), Ordering::Release);
    for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
        catch(signal, before)?;
    }
    Ok(())
}

fn catch(signal: c_int, before: &AtomicPtr<libc::sigaction>) -> io::Result<()> {
    let mut known = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null action only asks; `known` has room for the answer.
    if unsafe { libc::sigaction(signal, ptr::null(), known.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: 0 means that the answer was written. Kept for the life of the process.
    let known = Box::into_raw(Box::new(unsafe { known.assume_init() }));
    // Before the handler is there, which reads it.
    before.store(known, Ordering::Release);
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = note;
    // SAFETY: all zeros is an action without flags and with an empty mask.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
    // SAFETY: the handler has the type that SA_SIGINFO asks for and lives as long as the process.
    if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The handler. Everything here is async-signal-safe.
extern "C" fn note(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes what SA_SIGINFO promises.
    let info = unsafe { &*info };
    // Neither the kernel nor a breakpoint, but somebody's kill(2), raise(3) or sigqueue(3).
    let sent = info.si_code <= 0;
    // SAFETY: every signal that was sent has its sender's number; 0 is one outside of here.
    let foreign = sent && unsafe { info.si_pid() }.cast_unsigned() != std::process::id();
    // SAFETY: null, or the page that `install` mapped for ever.
    let page = unsafe { PAGE.load(Ordering::Acquire).as_ref() };
    // `process::id` is getpid(2).
    let page = page.filter(|_| OWNER.load(Ordering::Acquire) == std::process::id());
    // Nobody's code is to blame for what another process has sent.
    let page = page.filter(|_| !foreign);
    if let Some(page) = page {
        let (won, lost) = (Ordering::AcqRel, Ordering::Relaxed);
        if page.state.compare_exchange(EMPTY, WRITING, won, lost).is_ok() {
            page.signal.store(signal.cast_unsigned(), Ordering::Relaxed);
            let generation = BLAME.get().map_or(0, |blame| blame());
            page.generation.store(generation, Ordering::Relaxed);
            // SAFETY: the kernel fills the address in for its own signals; for others it is 0 or
            // part of another field, which is as readable.
            let address = if sent { 0 } else { unsafe { info.si_addr() }.addr() as u64 };
            page.address.store(address, Ordering::Relaxed);
            page.state.store(WHOLE, Ordering::Release);
        }
    }
    if sent {
        // It does not come again by itself, and what was there before may count on that.
        give_back(signal, ptr::null());
        // SAFETY: blocked until the handler returns, and then fatal.
        unsafe { libc::raise(signal) };
        return;
    }
    let at = SIGNALS.iter().position(|it| *it == signal);
    let before = at.map_or(ptr::null_mut(), |at| BEFORE[at].load(Ordering::Acquire));
    // The instruction is tried again and raises the signal again, now for whoever was there before.
    give_back(signal, before);
}

/// Puts `action` in place; null is the system's default, which ends the process.
fn give_back(signal: c_int, action: *const libc::sigaction) {
    // SAFETY: all zeros is the default action (`SIG_DFL` is 0) without flags and mask.
    let default = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    let action = if action.is_null() { &raw const default } else { action };
    // SAFETY: an action that was in place before, or the default.
    unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use std::{
        os::{fd::AsFd as _, unix::process::ExitStatusExt as _},
        process::{Command, Stdio},
    };

    use rustix::process::{Resource, Rlimit, setrlimit};

    use super::*;

    const HOW: &str = "HOTSEAT_TEST_FAULT";

    /// Not a test by itself: the process that goes down, started by the one below.
    #[test]
    fn victim() {
        let Ok(how) = std::env::var(HOW) else { return };
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
        let page = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        install(page, || 7).unwrap();
        match &*how {
            // SAFETY: none; that is the point.
            "segfault" => unsafe { ptr::without_provenance_mut::<u8>(0x123).write_volatile(1) },
            "abort" => std::process::abort(),
            // SAFETY: sends a signal to this thread.
            "sent" => drop(unsafe { libc::raise(libc::SIGSEGV) }),
            "foreign" => {
                let kill = ["-c", "kill -SEGV $PPID"];
                drop(Command::new("sh").args(kill).status());
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
            _ => {}
        }
    }

    fn deep(count: u64) -> u64 {
        let here = std::hint::black_box([count; 512]);
        if count == 0 { 0 } else { deep(count + 1) + here[3] }
    }

    fn died_of(how: &str) -> (Option<i32>, Option<Note>) {
        let page = page().unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::fault::tests::victim", "--nocapture"])
            .env(HOW, how)
            .stdin(Stdio::from(page.try_clone().unwrap()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        (status.signal(), read(&page))
    }

    #[test]
    fn a_fault_is_noted_and_ends_the_process_as_ever() {
        let note = |signal| Note { signal, generation: Some(Generation(7)), address: 0 };
        let segfault = Note { address: 0x123, ..note(libc::SIGSEGV) };
        assert_eq!(died_of("segfault"), (Some(libc::SIGSEGV), Some(segfault)));
        assert_eq!(died_of("abort"), (Some(libc::SIGABRT), Some(note(libc::SIGABRT))));
        assert_eq!(died_of("sent"), (Some(libc::SIGSEGV), Some(note(libc::SIGSEGV))));
        assert_eq!(died_of("foreign"), (Some(libc::SIGSEGV), None), "nobody here is to blame");
        assert_eq!(died_of("child"), (None, None), "a child is another process");
        assert_eq!(died_of("nothing"), (None, None));
    }

    #[test]
    fn an_overflow_is_noted_and_then_told_by_the_standard_library() {
        let (signal, note) = died_of("overflow");
        assert_eq!(signal, Some(libc::SIGABRT), "after its message");
        assert_eq!(note.map(|note| note.signal), Some(libc::SIGSEGV), "the first counts");
    }

    #[test]
    fn what_is_no_note_is_none() {
        let empty = page().unwrap();
        assert_eq!(read(&empty), None);
        rustix::io::pwrite(&empty, &WRITING.to_ne_bytes(), 0).unwrap();
        assert_eq!(read(&empty), None);
    }
}

//! The last words of a process that goes down: what ended it, and whose code ran.
//!
//! Owns one shared page: a process that goes down writes into it, from its signal handler
//! (`catch`) or from a function that it ends by (`leave`), and whoever made the page reads it
//! afterwards. Knows nothing of plugins: `blame` says whose code runs. The handlers stay in place
//! for the life of the process.
//!
//! # Invariants
//! - The first end is noted and no other: a thread that dies with it may be a consequence.
//! - Whatever would have happened on the signal happens all the same, after the note.
//! - The page only grows: who reads it and who writes it may be of different versions.
#![expect(
    unsafe_code,
    reason = "signal handlers and a shared page are only reachable through libc"
)]

use std::{
    ffi::{c_int, c_void},
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
    },
};

use hotseat_unload::{Ends, Witness, action::signal_name};
use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap},
};

use crate::ids::{Digest, Generation, Label, PluginName, Version};

mod catch;

/// What a process died of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// What ended it.
    pub end: End,
    /// Whose code ran on the thread that ended it. `None`: the host's own.
    pub generation: Option<Generation>,
    /// It had been unloaded: somebody still had an address of it.
    pub gone: bool,
}

/// What ends a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A signal, and the address that could not be reached; of no meaning for one that was sent.
    Signal(i32, u64),
    /// A stack that was used up.
    Overflow(u64),
    /// A function that does not come back, by its number in [`CALLS`], and what it was given.
    Call(u32, i32),
}

/// The functions that end a process or a thread of the host, by number; only to be added to.
pub const CALLS: [&str; 10] = [
    "exit",
    "_exit",
    "_Exit",
    "quick_exit",
    "abort",
    "kill",
    "raise",
    "pthread_kill",
    "pthread_exit",
    "dlopen",
];

/// In [`CALLS`]: the loader, which a library's constructor holds for ever.
pub const DLOPEN: u32 = 9;

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Signal(signal, 0) => f.write_str(&signal_name(signal)),
            Self::Signal(signal, address) => {
                write!(f, "{} at {address:#x}", signal_name(signal))
            }
            Self::Overflow(address) => write!(f, "a stack overflow at {address:#x}"),
            Self::Call(DLOPEN, _) => f.write_str("its constructors hold the loader"),
            Self::Call(number, given) => {
                let name = CALLS.get(number as usize).copied().unwrap_or("a function of that kind");
                match name {
                    "exit" | "_exit" | "_Exit" | "quick_exit" => {
                        write!(f, "its code called `{name}({given})`")
                    }
                    "kill" | "raise" | "pthread_kill" => {
                        write!(f, "its code called `{name}` with {}", signal_name(given))
                    }
                    "pthread_exit" => {
                        write!(f, "its code called `{name}` on a thread of the host")
                    }
                    name => write!(f, "its code called `{name}`"),
                }
            }
        }
    }
}

/// What a library was being loaded for; the number of its order, 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// `deploy`, `rollback` or `reload`.
    pub verb: &'static str,
    /// As in `/v1/deploys`.
    pub order: u64,
}

/// What loads are for, by number; only to be added to. A start, and whatever follows another worker, is
/// none of them.
const WORKS: [&str; 3] = ["deploy", "rollback", "reload"];

/// What is read of a process that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastWords {
    /// `None`: it was ended from outside, or ended as it should.
    pub note: Option<Note>,
    /// What it was loading at its end.
    pub loading: Option<(Generation, Digest)>,
    /// Of which plugin that is; a process of before does not say so.
    pub whose: Option<PluginName>,
    /// And which version of it, which a process of before does not say either.
    pub label: Option<Label>,
    /// What for, if somebody waits for it.
    pub work: Option<Work>,
    /// It has served.
    pub served: bool,
}

impl LastWords {
    /// `shop v2 (generation 7)`, as far as it is known.
    #[must_use]
    pub fn what_was_loading(&self) -> String {
        let name = self.whose.as_ref().map_or("a plugin", PluginName::as_str);
        let label = self.label.as_ref().map_or_else(String::new, |label| format!(" {label}"));
        let number = self.loading.map_or_else(String::new, |(it, _)| format!(" (generation {it})"));
        format!("{name}{label}{number}")
    }
}

/// What lies at the page's begin. Native byte order: both ends are on one machine. A process of
/// before the fields behind `address` leaves zeros there.
#[repr(C)]
struct Page {
    state: AtomicU32,
    /// 0: no signal.
    signal: AtomicU32,
    generation: AtomicU64,
    address: AtomicU64,
    /// A number in [`CALLS`], counted from 1; [`OVERFLOW`].
    call: AtomicU32,
    given: AtomicU32,
    served: AtomicU32,
    /// 1: whoever is to blame had been unloaded.
    gone: AtomicU32,
    loading: AtomicU64,
    content: [AtomicU64; 4],
    /// A name, and zeros behind it.
    plugin: [AtomicU64; NAME_BYTES / 8],
    order: AtomicU64,
    /// A number in [`WORKS`], counted from 1.
    work: AtomicU64,
    /// As `plugin`.
    label: [AtomicU64; NAME_BYTES / 8],
}

/// Units: bytes. The smallest page there is.
pub const PAGE_BYTES: usize = 4096;
/// The longest name of a plugin, and of a version of one. Units: bytes.
const NAME_BYTES: usize = 64;
/// Of [`Page`], as it is read. Units: bytes.
const NOTE_BYTES: usize = 224;

const _: () = assert!(size_of::<Page>() == NOTE_BYTES);

/// Nothing is noted.
const EMPTY: u32 = 0;
/// Somebody is writing.
const WRITING: u32 = 1;
/// It is whole: any number that nobody writes by accident.
const WHOLE: u32 = 0x4845_4144;

/// In the place of a call: a stack that was used up.
const OVERFLOW: u32 = u32::MAX;

static PAGE: AtomicPtr<Page> = AtomicPtr::new(ptr::null_mut());
/// A process that a plugin forks inherits handler and page, and is not the one this is about.
static OWNER: AtomicU32 = AtomicU32::new(0);
static BLAME: OnceLock<fn() -> u64> = OnceLock::new();
static FAREWELL: OnceLock<fn()> = OnceLock::new();

/// An empty page, to be handed to a process. It is not inherited unless somebody sees to it.
///
/// # Errors
/// The system's own.
pub fn page() -> io::Result<OwnedFd> {
    let page = memfd_create("hotseat-fault", MemfdFlags::CLOEXEC)?;
    ftruncate(&page, PAGE_BYTES as u64)?;
    Ok(page)
}

/// What the process that was given `page` has left there.
#[must_use]
pub fn read(page: impl AsFd) -> LastWords {
    let mut bytes = [0; NOTE_BYTES];
    let Ok(NOTE_BYTES) = rustix::io::pread(page, &mut bytes, 0) else {
        return LastWords::default();
    };
    parse(&bytes)
}

fn parse(bytes: &[u8; NOTE_BYTES]) -> LastWords {
    let half = |at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|it| it.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    };
    let word = |at: usize| {
        let bytes = bytes.get(at..at + 8).and_then(|it| it.try_into().ok());
        bytes.map_or(0, u64::from_ne_bytes)
    };
    let generation = |at: usize| Some(word(at)).filter(|number| *number != 0).map(Generation);
    let end = match half(24) {
        0 => End::Signal(half(4).cast_signed(), word(16)),
        OVERFLOW => End::Overflow(word(16)),
        call => End::Call(call - 1, half(28).cast_signed()),
    };
    let note =
        (half(0) == WHOLE).then(|| Note { end, generation: generation(8), gone: half(36) == 1 });
    let content = bytes.get(48..80).and_then(|it| it.try_into().ok()).map(Digest);
    let loading = generation(40).zip(content);
    let text = |at: usize| {
        let text = bytes.get(at..at + NAME_BYTES).and_then(|it| std::str::from_utf8(it).ok());
        text.map(|it| it.trim_end_matches('\0'))
    };
    let whose = text(80).and_then(|it| it.parse().ok());
    let label = text(160).and_then(|it| it.parse().ok());
    let verb = usize::try_from(word(152)).ok().and_then(|number| WORKS.get(number.checked_sub(1)?));
    let work = verb.map(|verb| Work { verb, order: word(144) });
    LastWords {
        note,
        whose: whose.filter(|_| loading.is_some()),
        label: label.filter(|_| loading.is_some()),
        work: work.filter(|_| loading.is_some()),
        loading,
        served: half(32) != 0,
    }
}

/// Has the end of this process noted in `page` from now on. `blame` gives the generation whose
/// code runs on the calling thread, 0 for none, and only loads atomics and plain thread-locals.
/// Once the note is there `farewell` is called, which may only do what a signal handler may. Once a
/// process.
///
/// # Errors
/// The system's own; it is installed already.
pub fn install(page: OwnedFd, blame: fn() -> u64, farewell: fn()) -> io::Result<()> {
    if BLAME.set(blame).is_err() || FAREWELL.set(farewell).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: a new mapping where the kernel likes; nothing that is there is replaced.
    let mapped = unsafe { mmap(ptr::null_mut(), PAGE_BYTES, access, flags, &page, 0) }?;
    OWNER.store(std::process::id(), Ordering::Release);
    PAGE.store(mapped.cast(), Ordering::Release);
    // Some functions of the C library end a process without asking anybody else's `exit`.
    // SAFETY: the function lives as long as the process, and only writes to the page.
    unsafe { on_exit(at_exit, ptr::null_mut()) };
    hotseat_unload::set_witness(Witness { handler: catch::handler(), note: witness });
    catch::install()
}

/// Takes note of a library that ends this process.
fn witness(ends: Ends, given: c_int, generation: u64) -> bool {
    number(ends).is_some_and(|call| leave(End::Call(call, given), generation))
}

/// Its place in [`CALLS`]. `None`: this host has no words for it.
fn number(ends: Ends) -> Option<u32> {
    Some(match ends {
        Ends::Exit => 0,
        Ends::UnderscoreExit => 1,
        Ends::CExit => 2,
        Ends::QuickExit => 3,
        Ends::Abort => 4,
        Ends::Kill => 5,
        Ends::Raise => 6,
        Ends::PthreadKill => 7,
        Ends::PthreadExit => 8,
        _ => return None,
    })
}

unsafe extern "C" {
    // glibc's, which unlike atexit(3) says with what.
    fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
}

extern "C" fn at_exit(code: c_int, _: *mut c_void) {
    let generation = running();
    if generation != 0 {
        leave(End::Call(0, code), generation);
    }
}

/// The page, in the process that it is about.
fn own_page() -> Option<&'static Page> {
    // SAFETY: null, or the page that `install` mapped for ever.
    let page = unsafe { PAGE.load(Ordering::Acquire).as_ref() };
    // `process::id` is getpid(2).
    page.filter(|_| OWNER.load(Ordering::Acquire) == std::process::id())
}

/// The generation whose code runs on this thread; 0 for none.
fn running() -> u64 {
    BLAME.get().map_or(0, |blame| blame())
}

/// Notes that `generation` (0 for none) ends this process by `end`, unless something else has been
/// noted. False: nobody reads what this process leaves. Only does what a signal handler may.
pub fn leave(end: End, generation: u64) -> bool {
    leave_of(end, generation, false)
}

fn leave_of(end: End, generation: u64, gone: bool) -> bool {
    let Some(page) = own_page() else { return false };
    let (won, lost) = (Ordering::AcqRel, Ordering::Relaxed);
    if page.state.compare_exchange(EMPTY, WRITING, won, lost).is_ok() {
        let (signal, address, call, given) = match end {
            End::Signal(signal, address) => (signal, address, 0, 0),
            End::Overflow(address) => (libc::SIGSEGV, address, OVERFLOW, 0),
            End::Call(call, given) => (0, 0, call + 1, given),
        };
        page.signal.store(signal.cast_unsigned(), Ordering::Relaxed);
        page.generation.store(generation, Ordering::Relaxed);
        page.address.store(address, Ordering::Relaxed);
        page.gone.store(u32::from(gone), Ordering::Relaxed);
        page.call.store(call, Ordering::Relaxed);
        page.given.store(given.cast_unsigned(), Ordering::Relaxed);
        page.state.store(WHOLE, Ordering::Release);
    }
    // Whoever comes second ends the process as well, while the first one may still be at this.
    if let Some(farewell) = FAREWELL.get() {
        farewell();
    }
    true
}

/// This process serves from now on.
pub fn serves() {
    if let Some(page) = own_page() {
        page.served.store(1, Ordering::Relaxed);
    }
}

/// Whether it does, or did.
#[must_use]
pub fn has_served() -> bool {
    own_page().is_some_and(|page| page.served.load(Ordering::Relaxed) != 0)
}

/// Until dropped, the page says that `generation` is being loaded.
#[derive(Debug)]
#[must_use = "the load is over when this is dropped"]
pub struct Loading(());

impl Loading {
    /// From now on.
    pub fn begin(plugin: &PluginName, version: &Version, work: Option<Work>) -> Self {
        let Version { generation, label, digest } = version;
        if let Some(page) = own_page() {
            store(&page.plugin, plugin.as_str());
            store(&page.label, label.as_str());
            let number = work.and_then(|it| WORKS.iter().position(|verb| *verb == it.verb));
            page.work.store(number.map_or(0, |at| at as u64 + 1), Ordering::Relaxed);
            page.order.store(work.map_or(0, |it| it.order), Ordering::Relaxed);
            for (place, bytes) in page.content.iter().zip(digest.0.chunks_exact(8)) {
                let word = bytes.try_into().map_or(0, u64::from_ne_bytes);
                place.store(word, Ordering::Relaxed);
            }
            page.loading.store(generation.0, Ordering::Relaxed);
        }
        Self(())
    }
}

/// Puts a text into its place, with zeros behind it.
fn store(place: &[AtomicU64; NAME_BYTES / 8], text: &str) {
    let mut bytes = [0; NAME_BYTES];
    for (to, from) in bytes.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    for (place, bytes) in place.iter().zip(bytes.chunks_exact(8)) {
        let word = bytes.try_into().map_or(0, u64::from_ne_bytes);
        place.store(word, Ordering::Relaxed);
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        if let Some(page) = own_page() {
            page.loading.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;

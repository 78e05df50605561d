//! The census, with memory that plays what goes, and marks of its own.
#![expect(unsafe_code, reason = "leaves addresses with the C library")]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    goes::Goes,
    heal, known, lacks,
    scan::{self, Hit, Survey},
    tables::{__cxa_at_quick_exit, __cxa_atexit, __cxa_finalize, __register_atfork},
};
use crate::hooks::{LibraryId, heap, interpose::lookup, memory::WORD};

type Dtor = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    static mut stdout: *mut libc::FILE;
    static mut environ: *mut *mut c_char;
}

/// Memory that plays what goes. Only one test at a time has some: the C library's variables are one
/// for all.
pub(super) struct Played {
    /// Never given back: what one test leaves somewhere is no address of another's.
    room: &'static mut [usize; 1024],
    _alone: MutexGuard<'static, ()>,
}

impl Played {
    pub(super) fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let played = Self { room: Box::leak(Box::new([0; 1024])), _alone };
        assert_eq!(played.hits(), [], "nobody knows it yet");
        played
    }

    fn at(&self, number: usize) -> *mut c_void {
        (&raw const self.room[number]).cast_mut().cast()
    }

    fn goes(&self) -> Goes {
        let start = self.at(0).addr();
        Goes::new(std::iter::once(start..start + size_of_val(&*self.room)))
    }

    fn seek(&self) -> Survey {
        scan::seek(&self.goes()).unwrap()
    }

    fn hits(&self) -> Vec<Hit> {
        self.seek().hits
    }

    #[track_caller]
    fn assert_hits(&self, count: usize, what: &str) {
        let hits = self.hits();
        assert_eq!(hits.len(), count, "{what}: {hits:?}");
    }

    fn heal(&self) {
        heal::heal(&self.goes(), &self.hits());
    }

    /// A text in it.
    fn text(&mut self, text: &CStr) -> *mut c_char {
        let at = self.room.as_mut_ptr().cast::<c_char>();
        // SAFETY: the tests' texts are far smaller than the room.
        unsafe { ptr::copy_nonoverlapping(text.as_ptr(), at, text.to_bytes_with_nul().len()) };
        at
    }
}

/// A C library that is not known is one whose users would be told; here it is to be known.
#[test]
fn this_c_library_is_known() {
    assert_eq!(lacks(), [""; 0]);
}

/// The figures of this machine, for whoever looks; a debug build is some ten times slower.
#[test]
fn it_costs_little() {
    let played = Played::new();
    let began = std::time::Instant::now();
    let words = played.seek().words;
    println!("{words} words in {} us", began.elapsed().as_micros());
    assert!(words > 10_000);
}

#[test]
fn an_address_is_found_where_it_is_left() {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    let played = Played::new();
    for (number, expected) in [(0, 1), (1023, 1), (1024, 0)] {
        LEFT.store(played.at(0).addr() + number * WORD, Ordering::SeqCst);
        played.assert_hits(expected, "an address of its first, last and next word");
    }
    LEFT.store(played.at(5).addr() + 3, Ordering::SeqCst);
    let hits = played.hits();
    assert_eq!((hits[0].address, hits[0].target), (LEFT.as_ptr().addr(), played.at(5).addr() + 3));
    assert_eq!(hits[0].holder.as_c_str(), c"", "the executable");
    LEFT.store(0, Ordering::SeqCst);
    played.assert_hits(0, "taken back");
}

/// Chunks of a library's heap go with it: who has an address of one keeps the library. Nothing else
/// of this one goes.
#[test]
fn a_chunk_of_the_heap_counts() {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    unsafe fn nothing(_: *const std::ffi::c_void) -> heap::Flow {
        heap::Flow::default()
    }
    let _alone = Played::new();
    // Far from the numbers that real libraries get in this process.
    let library = LibraryId(3_300_000);
    let chunk = heap::lend(library, (ptr::null(), nothing), 1 << 20, 1).addr();
    let hits = || scan::survey(c"/no such object", library).unwrap().hits.len();
    assert_eq!(hits(), 0, "nobody has it");
    LEFT.store(chunk + 8, Ordering::SeqCst);
    assert_eq!(hits(), 1);
    heap::take_back(library);
    assert_eq!(hits(), 0, "not its own any more");
    LEFT.store(0, Ordering::SeqCst);
}

/// What an older unwinder remembers of an object, which it believes no more once anything is unmapped;
/// one word less, and it is somebody's.
#[test]
fn the_cache_of_an_older_unwinder_holds_nothing() {
    static ENTRY: [AtomicUsize; 5] = [const { AtomicUsize::new(0) }; 5];
    let played = Played::new();
    let fill = |words: [usize; 5]| {
        for (place, word) in ENTRY.iter().zip(words) {
            let word = if word == 0 { 0 } else { played.at(word).addr() };
            place.store(word, Ordering::SeqCst);
        }
    };
    // From where to where a segment reaches, its object's base, frames, dynamic entries.
    fill([2, 900, 1, 30, 40]);
    played.assert_hits(0, "a whole entry");
    fill([2, 900, 1, 30, 0]);
    played.assert_hits(4, "without its dynamic entries");
    fill([900, 2, 1, 30, 40]);
    played.assert_hits(5, "a segment that ends before it begins");
    fill([0; 5]);
}

/// What the C library takes out itself when the library goes is forgiven, also once it has done so;
/// what it would call is not.
#[test]
fn functions_of_the_end_are_told_apart() {
    let played = Played::new();
    // SAFETY: addresses of memory that is no code; taken out before anything could call them.
    let code =
        |number: usize| unsafe { std::mem::transmute::<*mut c_void, Dtor>(played.at(number)) };
    let own = played.at(0);
    for round in 0..2 {
        // SAFETY: of these two nothing is called: no argument, and the process does not end.
        unsafe { __cxa_at_quick_exit(code(9), own) };
        played.assert_hits(0, "its own at a quick exit");
        // SAFETY: as above, of functions without arguments.
        let code = |number: usize| unsafe {
            std::mem::transmute::<*mut c_void, extern "C" fn()>(played.at(number))
        };
        // SAFETY: a fork would call them; no test of these makes one.
        unsafe { __register_atfork(Some(code(20)), None, Some(code(21)), own) };
        played.assert_hits(0, "its own around fork");
        // SAFETY: takes both out, without calling them.
        unsafe { __cxa_finalize(own) };
        played.assert_hits(0, &format!("words that were left behind, round {round}"));
    }
    let other = ptr::without_provenance_mut::<c_void>(0x1000);
    // SAFETY: `nothing` may be called at any time.
    unsafe { __cxa_atexit(nothing, played.at(3), other) };
    played.assert_hits(1, "an argument for somebody who stays");
    // SAFETY: calls `nothing`.
    unsafe { __cxa_finalize(other) };
    played.assert_hits(0, "called");
    // SAFETY: a process of tests ends by exit(3), which would call it: so it is one that stays, with
    // an argument that it does not look at.
    unsafe { on_exit(nothing_at_exit, played.at(7)) };
    played.assert_hits(1, "without anybody's handle");
    let hits = played.hits();
    assert_eq!(hits[0].target, played.at(7).addr());
}

unsafe extern "C" fn nothing(_: *mut c_void) {}
extern "C" fn nothing_at_exit(_: c_int, _: *mut c_void) {}

/// A function whose address is hidden, as the C library hides those it will call.
#[test]
fn a_hidden_address_is_seen() {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    let played = Played::new();
    let guard = known().tables.guard.unwrap();
    let target = played.at(11).addr();
    let hidden = guard.hide(target);
    assert_eq!(guard.open(hidden), target);
    LEFT.store(hidden, Ordering::SeqCst);
    assert_eq!(played.hits()[0].target, target);
    LEFT.store(0, Ordering::SeqCst);
}

/// A key in use keeps whose destructor it has; a deleted one leaves the address behind.
#[test]
fn keys_are_told_apart() {
    let played = Played::new();
    // SAFETY: memory that is no code; no thread has a value.
    let dtor = unsafe { std::mem::transmute::<*mut c_void, Dtor>(played.at(4)) };
    let mut key = 0;
    // SAFETY: the key is ours.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(dtor)) }, 0);
    played.assert_hits(1, "a live key");
    // SAFETY: made above.
    unsafe { libc::pthread_key_delete(key) };
    played.assert_hits(0, "a deleted key");
}

#[test]
fn an_environment_gets_copies() {
    let mut played = Played::new();
    let text = played.text(c"HOTSEAT_CENSUS=kept");
    // SAFETY: a text that stays until it is healed; tests that look at the environment pass over it.
    unsafe { libc::putenv(text) };
    let held = heal::environment_holds(&played.goes());
    assert_eq!(held.as_deref(), Some("the environment (HOTSEAT_CENSUS)"));
    played.heal();
    assert_eq!(heal::environment_holds(&played.goes()), None);
    played.text(c"HOTSEAT_CENSUS=gone");
    assert_eq!(std::env::var("HOTSEAT_CENSUS").unwrap(), "kept");
    // One without a sign cannot be put back by putenv(3): it is told.
    // SAFETY: as above.
    unsafe { libc::putenv(played.text(c"HOTSEAT_CENSUS=kept")) };
    let nameless = played.text(c"HOTSEAT_CENSUS");
    played.heal();
    assert_eq!(
        heal::environment_holds(&played.goes()).as_deref(),
        Some("the environment (HOTSEAT_CENSUS)")
    );
    // SAFETY: `nameless` has room for it.
    unsafe { nameless.add(14).write(b'='.cast_signed()) };
    played.heal();
    assert_eq!(heal::environment_holds(&played.goes()), None);
}

/// The array as well, which some set to one of their own.
#[test]
fn an_environments_array_is_copied() {
    let played = Played::new();
    // SAFETY: others of this process only read it, by functions of the C library.
    let before = unsafe { (&raw const environ).read() };
    for number in 0..1000 {
        // SAFETY: ends with null, as checked below.
        let entry = unsafe { before.add(number).read() };
        played.room[number] = entry.addr();
        if entry.is_null() {
            break;
        }
        assert!(number < 999);
    }
    // SAFETY: as above.
    unsafe { (&raw mut environ).write(played.at(0).cast()) };
    // One of a name that there is already, which putenv(3) would not find.
    let path = std::env::var_os("PATH");
    let last = played.room[..1000].iter().position(|entry| *entry == 0).unwrap();
    let text = played.at(1010).cast::<[u8; 8]>();
    // SAFETY: inside of the room, behind the entries.
    unsafe { text.write(*b"PATH=/x\0") };
    played.room[last] = text.addr();
    assert_eq!(heal::environment_holds(&played.goes()).unwrap(), "the environment's array");
    played.heal();
    assert_eq!(heal::environment_holds(&played.goes()), None);
    played.assert_hits(0, "its variable");
    played.room.fill(0);
    assert_eq!(std::env::var_os("PATH"), path);
}

/// Variables of the C library that hold a text, one that holds a function, and one that nobody knows.
#[test]
fn known_variables_get_copies() {
    let mut played = Played::new();
    let text = played.text(c"a name of its own");
    let names = [
        c"program_invocation_name",
        c"program_invocation_short_name",
        c"optarg",
        c"error_print_progname",
    ];
    for name in names {
        let place = lookup(name).cast::<*mut c_char>();
        assert!(!place.is_null(), "{name:?}");
        // SAFETY: a variable of the C library that nobody uses in tests.
        let before = unsafe { place.replace(text) };
        played.assert_hits(1, &format!("{name:?}"));
        played.heal();
        played.assert_hits(0, &format!("{name:?} is healed"));
        // SAFETY: as above.
        let healed = unsafe { place.replace(before) };
        if name == c"error_print_progname" {
            assert!(healed.is_null());
        } else {
            // SAFETY: the copy that was put there.
            assert_eq!(unsafe { CStr::from_ptr(healed) }, c"a name of its own");
        }
    }
}

/// The buffer of a standard stream is replaced, and what is in it is written.
#[test]
fn a_streams_buffer_is_replaced() {
    let played = Played::new();
    // SAFETY: a stream that is open, and that tests do not use.
    let stream = unsafe { (&raw const stdout).read() };
    // SAFETY: the room has that many bytes.
    unsafe { libc::setvbuf(stream, played.at(0).cast(), libc::_IOFBF, 4096) };
    assert!(!played.hits().is_empty());
    played.heal();
    played.assert_hits(0, "healed");
    // SAFETY: as above; the text is not seen before the stream is closed.
    unsafe { libc::fputs(c"".as_ptr(), stream) };
    played.assert_hits(0, "and used");
}

/// openlog(3) as plugins find it keeps no address of theirs.
#[test]
fn the_name_of_a_log_is_copied() {
    let mut played = Played::new();
    let text = played.text(c"a log of its own");
    type OpenLog = unsafe extern "C" fn(*const c_char, c_int, c_int);
    // SAFETY: the function of that name has this type.
    let open = unsafe { std::mem::transmute::<*mut c_void, OpenLog>(lookup(c"openlog")) };
    // SAFETY: a C string.
    unsafe { open(text, 0, libc::LOG_USER) };
    played.assert_hits(0, "the name of the log");
    // SAFETY: nothing is asked for.
    unsafe { libc::closelog() };
}

//! What libraries give the C library that it keeps on its heap, where no census looks: functions of
//! streams and of printf(3), memory that streams write to, and what [`lists`] have.
//!
//! It cannot be taken back: a stream is its owner's to close, and printf's functions stay. So it is
//! noted, and keeps the library, or what it lies in goes with, with a reason ([`holder`]).
//!
//! Source: fopencookie(3), fmemopen(3), open_memstream(3), and glibc's manual, "Customizing printf".

use std::{
    any::Any,
    ffi::{c_char, c_int, c_void},
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

pub(super) mod lists;

use super::{
    LibraryId, current, heap, needed,
    real::{self, Address, RegisterLetter},
    registry::{self, Owner, Record},
};

/// `cookie_io_functions_t`, passed by value. Source: `<bits/types/cookie_io_functions_t.h>`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct CookieFunctions([Address; 4]);

/// What keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// By its address, and the function that has made it.
    Stream(usize, &'static str),
    /// By its letter.
    Conversion(c_int),
    /// For good.
    Type,
    /// Tables to unwind by, by their address.
    Frames(usize),
    /// An entry of the process's hash table, by its key's address.
    Entry(usize),
    /// By its level.
    Severity(c_int),
}

struct Kept {
    /// Of those that were given together; never given twice: the address of a stream that is closed may
    /// be another's at once.
    number: usize,
    place: Place,
    /// An address in what must not go.
    inside: usize,
    /// Whose that is; `None`: of an object that may go with one.
    library: Option<LibraryId>,
}

#[derive(Default)]
struct All {
    last: usize,
    kept: Vec<Kept>,
}

static ALL: Mutex<All> = Mutex::new(All { last: 0, kept: Vec::new() });
/// So that who closes a stream asks no further where there is none.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn all() -> MutexGuard<'static, All> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the list until it is dropped, for a fork.
pub(super) fn hold() -> Box<dyn Any> {
    Box::new(all())
}

/// An address in what must not go, and whose that is, as in [`Kept`].
type Keeper = (usize, Option<LibraryId>);

/// Those of `addresses` that may go. Code that no object holds is the library's that runs; data that
/// none holds is the library's in whose heap it lies, or its own business.
fn keepers(addresses: &[Address], is_code: bool) -> Vec<Keeper> {
    if registry::is_empty() {
        return Vec::new();
    }
    let keeper = |address: &Address| {
        let library = match registry::owner(*address) {
            Owner::Plugin(record) => Some(record.id()),
            Owner::Other(object) if !needed::is_permanent(object.id()) => None,
            Owner::Nobody if is_code => Some(current()?),
            // Its own heap is unmapped with it.
            Owner::Nobody => Some(heap::owner(address.addr())?),
            Owner::Host | Owner::Other(_) => return None,
        };
        Some((address.addr(), library))
    };
    addresses.iter().filter(|it| !it.is_null()).filter_map(keeper).collect()
}

impl All {
    /// From now on `place` has these, and nothing of what it had: that has been closed, or is called no
    /// more.
    fn put(&mut self, place: Place, keepers: Vec<Keeper>) {
        let is_same = |it: &Kept| match (it.place, place) {
            (Place::Stream(one, _), Place::Stream(other, _)) => one == other,
            (one, other) => one == other && one != Place::Type,
        };
        self.kept.retain(|it| !is_same(it));
        self.last += 1;
        let number = self.last;
        let keep = |(inside, library)| Kept { number, place, inside, library };
        self.kept.extend(keepers.into_iter().map(keep));
        COUNT.store(self.kept.len(), Ordering::Release);
    }
}

/// Notes what is in `place` from now on: those of `addresses` that may go.
fn note(place: Place, addresses: &[Address], is_code: bool) {
    let keepers = keepers(addresses, is_code);
    if !keepers.is_empty() || COUNT.load(Ordering::Acquire) > 0 {
        all().put(place, keepers);
    }
}

/// The same of what `give` gives the C library, if that succeeds: nobody else does so in between, whose
/// note would then be of something else than what is there.
fn note_as_given(
    place: Place,
    addresses: &[Address],
    is_code: bool,
    give: impl FnOnce() -> c_int,
) -> c_int {
    let keepers = keepers(addresses, is_code);
    let mut all = all();
    let rc = give();
    if rc == 0 {
        all.put(place, keepers);
    }
    rc
}

/// What it says of is kept no more.
fn forget(is_over: impl Fn(Place) -> bool) {
    if COUNT.load(Ordering::Acquire) == 0 {
        return;
    }
    let mut all = all();
    all.kept.retain(|it| !is_over(it.place));
    COUNT.store(all.kept.len(), Ordering::Release);
}

/// What the C library keeps of `record`'s library, or of what goes with it, for people.
pub(crate) fn holder(record: &Record) -> Option<String> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return None;
    }
    let known: Vec<_> = all().kept.iter().map(|it| (it.place, it.inside, it.library)).collect();
    let own = |(_, _, library): &&(Place, usize, Option<LibraryId>)| *library == Some(record.id());
    let place = known.iter().find(own).or_else(|| {
        let going = needed::going(record.path());
        known.iter().find(|(_, inside, library)| {
            library.is_none() && going.iter().any(|object| object.holds(*inside))
        })
    });
    place.map(|(place, ..)| describe(*place))
}

fn describe(place: Place) -> String {
    match place {
        Place::Stream(_, function) => format!("a stream of `{function}` that is open"),
        Place::Conversion(letter) => {
            let letter = u8::try_from(letter).map_or('?', char::from);
            format!("a function that printf has for `%{letter}`")
        }
        Place::Type => "a function that printf has for a type".to_owned(),
        Place::Frames(_) => "tables to unwind by (`__register_frame`)".to_owned(),
        Place::Entry(_) => "an entry of the process's hash table (`hsearch`)".to_owned(),
        Place::Severity(level) => format!("the text of severity {level} (`addseverity`)"),
    }
}

/// Interposes the making of a stream of functions.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn fopencookie(
    cookie: *mut c_void,
    mode: *const c_char,
    functions: CookieFunctions,
) -> *mut libc::FILE {
    let Some(real) = real::fopencookie() else { return ptr::null_mut() };
    // SAFETY: the caller's arguments, unchanged.
    let stream = unsafe { real(cookie, mode, functions) };
    if !stream.is_null() {
        note(Place::Stream(stream.addr(), "fopencookie"), &functions.0, true);
    }
    stream
}

/// Interposes the making of a stream into memory of the caller's.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn fmemopen(
    buffer: *mut c_void,
    size: usize,
    mode: *const c_char,
) -> *mut libc::FILE {
    let Some(real) = real::fmemopen() else { return ptr::null_mut() };
    // SAFETY: the caller's arguments, unchanged.
    let stream = unsafe { real(buffer, size, mode) };
    if !stream.is_null() {
        note(Place::Stream(stream.addr(), "fmemopen"), &[buffer], false);
    }
    stream
}

/// Interposes the making of a stream that tells the caller's variables what it has.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn open_memstream(
    text: *mut *mut c_char,
    size: *mut usize,
) -> *mut libc::FILE {
    let Some(real) = real::open_memstream() else { return ptr::null_mut() };
    // SAFETY: the caller's arguments, unchanged.
    let stream = unsafe { real(text.cast(), size) };
    if !stream.is_null() {
        note(Place::Stream(stream.addr(), "open_memstream"), &[text.cast(), size.cast()], false);
    }
    stream
}

/// The same for wide characters.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn open_wmemstream(
    text: *mut *mut libc::wchar_t,
    size: *mut usize,
) -> *mut libc::FILE {
    let Some(real) = real::open_wmemstream() else { return ptr::null_mut() };
    // SAFETY: the caller's arguments, unchanged.
    let stream = unsafe { real(text.cast(), size) };
    if !stream.is_null() {
        note(Place::Stream(stream.addr(), "open_wmemstream"), &[text.cast(), size.cast()], false);
    }
    stream
}

/// Interposes the end of a stream.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn fclose(stream: *mut libc::FILE) -> c_int {
    let Some(real) = real::fclose() else { return libc::EOF };
    let is_it = |it: &Kept| matches!(it.place, Place::Stream(at, _) if at == stream.addr());
    let known = match COUNT.load(Ordering::Acquire) {
        0 => None,
        _ => all().kept.iter().find(|it| is_it(it)).map(|it| it.number),
    };
    // SAFETY: the caller's argument, unchanged. The last calls of its functions are made here.
    let rc = unsafe { real(stream) };
    if let Some(number) = known {
        let mut all = all();
        all.kept.retain(|it| it.number != number);
        COUNT.store(all.kept.len(), Ordering::Release);
    }
    rc
}

/// Interposes the registration of a letter of printf's.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn register_printf_specifier(
    letter: c_int,
    print: Address,
    arguments: Address,
) -> c_int {
    // SAFETY: the caller's arguments, unchanged.
    unsafe { register_letter(real::register_printf_specifier(), letter, print, arguments) }
}

/// Interposes the older registration of a letter.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn register_printf_function(
    letter: c_int,
    print: Address,
    arguments: Address,
) -> c_int {
    // SAFETY: the caller's arguments, unchanged.
    unsafe { register_letter(real::register_printf_function(), letter, print, arguments) }
}

/// # Safety
/// As for `real`.
unsafe fn register_letter(
    real: Option<RegisterLetter>,
    letter: c_int,
    print: Address,
    arguments: Address,
) -> c_int {
    let Some(real) = real else { return -1 };
    note_as_given(Place::Conversion(letter), &[print, arguments], true, || {
        // SAFETY: the caller's arguments, unchanged.
        unsafe { real(letter, print, arguments) }
    })
}

/// Interposes the registration of a type of printf's.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn register_printf_type(take: Address) -> c_int {
    let Some(real) = real::register_printf_type() else { return -1 };
    // SAFETY: the caller's argument, unchanged.
    let rc = unsafe { real(take) };
    if rc >= 0 {
        note(Place::Type, &[take], true);
    }
    rc
}

//! Tables of the C library in which words of a library stay behind, and how it hides addresses.
//!
//! A deleted key leaves its destructor, a handler of the process's end or of fork(2) that dlclose(3)
//! has run or taken out leaves its words: they are no pointers any more, but look like ones to
//! whoever reads the memory; so does what dlclose is about to take out. The tables are found by what
//! a mark that is put in changes, so that no release of the C library has to be known.
#![expect(unsafe_code, reason = "registers marks with the C library")]

use std::{
    ffi::{c_int, c_void},
    ops::Range,
    ptr,
};

use super::goes::Goes;
use crate::hooks::{
    memory::{WORD, Words, word},
    object,
    objects::{self, Loaded},
    real::{self, Dtor},
};

unsafe extern "C" {
    pub(super) fn __cxa_atexit(end: Dtor, argument: *mut c_void, dso: *mut c_void) -> c_int;
    pub(super) fn __cxa_at_quick_exit(end: Dtor, dso: *mut c_void) -> c_int;
    pub(super) fn __cxa_finalize(dso: *mut c_void);
    pub(super) fn __register_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
        dso: *mut c_void,
    ) -> c_int;
}

/// How the C library hides addresses of functions: a secret, and on some machines a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Guard {
    secret: usize,
}

/// Source: glibc, `sysdeps/unix/sysv/linux/x86_64/pointer_guard.h`.
#[cfg(target_arch = "x86_64")]
const ROTATION: u32 = 17;
/// Source: glibc, `sysdeps/unix/sysv/linux/aarch64/pointer_guard.h`.
#[cfg(not(target_arch = "x86_64"))]
const ROTATION: u32 = 0;

impl Guard {
    fn from_pair(hidden: usize, address: usize) -> Self {
        Self { secret: hidden.rotate_right(ROTATION) ^ address }
    }

    /// As the C library hides it.
    #[cfg(test)]
    pub(super) fn hide(self, address: usize) -> usize {
        (address ^ self.secret).rotate_left(ROTATION)
    }

    /// The address that `word` hides.
    #[inline]
    pub(super) fn open(self, word: usize) -> usize {
        word.rotate_right(ROTATION) ^ self.secret
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    /// Keys of threads' values: `{ uintptr_t seq; void (*destr)(void *); }` each.
    keys: Option<Range<usize>>,
    /// Functions of the process's end: four words each.
    exits: Vec<Range<usize>>,
    /// Functions around fork.
    forks: Option<Forks>,
    /// How addresses are hidden in `exits`.
    pub(super) guard: Option<Guard>,
}

/// `struct fork_handler`s, in the order of their registration.
#[derive(Clone, Copy, Debug)]
struct Forks {
    first: usize,
    stride: usize,
    room: usize,
}

/// Units: bytes of an entry of either table.
const KEY: usize = 2 * WORD;
const EXIT: usize = 4 * WORD;
/// Keys that there can be. Source: glibc, `PTHREAD_KEYS_MAX`.
const KEYS: usize = 1024;
/// Functions that fit into the table of the process's end before others are made on the heap.
/// Source: glibc, `stdlib/exit.h`.
const EXITS: usize = 32;
/// Kinds of its entries: free, and with a handle of who registered it. Source: as above.
const FREE: usize = 0;
const CXA: usize = 4;
/// An entry around fork names who registered it here. Source: glibc, `include/register-atfork.h`.
const FORK_DSO: usize = 3 * WORD;

// Each with a body of its own, so that no compiler makes them one.
extern "C" fn nothing() {
    std::hint::black_box(3);
}
extern "C" fn nothing_either() {
    std::hint::black_box(4);
}
unsafe extern "C" fn first_mark(_: *mut c_void) {
    std::hint::black_box(1);
}
unsafe extern "C" fn second_mark(_: *mut c_void) {
    std::hint::black_box(2);
}

impl Tables {
    /// Finds what can be found, with marks that are taken out again.
    pub(super) fn find() -> Self {
        let mut tables = Self { keys: find_keys(), ..Self::default() };
        let mark = Box::new([0_u8; 3]);
        let dso = |number: usize| (&raw const mark[number]).cast_mut().cast::<c_void>();
        // SAFETY: functions that do nothing with a null argument, until `__cxa_finalize` below.
        unsafe {
            __cxa_atexit(first_mark, ptr::null_mut(), dso(0));
            __cxa_atexit(second_mark, ptr::null_mut(), dso(0));
            __cxa_at_quick_exit(first_mark, dso(1));
            __register_atfork(Some(nothing), None, None, dso(2));
            __register_atfork(Some(nothing_either), None, None, dso(2));
        }
        let marks = [dso(0).addr(), dso(1).addr()];
        let forks =
            [nothing as extern "C" fn() as usize, nothing_either as extern "C" fn() as usize];
        let found = places(&[marks[0], marks[1], forks[0], forks[1]]);
        let [ends, quick, first, second] = &found[..] else { unreachable!("as many as asked for") };
        for at in ends.iter().chain(quick) {
            tables.exits.extend(exits_around(at.wrapping_sub(EXIT - WORD)));
        }
        tables.exits.dedup();
        tables.guard = tables.find_guard(ends);
        tables.forks = forks_around(first, second);
        for number in 0..mark.len() {
            // SAFETY: calls the functions above and forgets them; nobody else has these handles.
            unsafe { __cxa_finalize(dso(number)) };
        }
        tables
    }

    /// By two functions whose addresses are known: the first tells, the second agrees.
    fn find_guard(&self, ends: &[usize]) -> Option<Guard> {
        let hidden = ends.iter().filter(|at| self.exits.iter().any(|it| it.contains(at)));
        let hidden: Vec<_> = hidden.filter_map(|at| word(at - 2 * WORD)).collect();
        let [first, second] = hidden[..] else { return None };
        let guard = Guard::from_pair(first, first_mark as Dtor as usize);
        (guard.open(second) == second_mark as Dtor as usize).then_some(guard)
    }

    /// What is not known of this C library, for people.
    pub(super) fn unknown(&self) -> Vec<&'static str> {
        let lacks = [
            (self.keys.is_none(), "the table of keys"),
            (self.exits.len() < 2, "the tables of functions at the process's end"),
            (self.forks.is_none(), "the table of functions around fork"),
            (self.guard.is_none(), "how addresses of functions are hidden"),
        ];
        lacks.into_iter().filter_map(|(lacks, what)| lacks.then_some(what)).collect()
    }

    /// Whether the word at `address`, which looks like an address of what goes, is nothing that
    /// anybody will use once that has gone. `None`: it is in none of the tables.
    pub(super) fn forgives(&self, address: usize, goes: &Goes) -> Option<bool> {
        if let Some(keys) = self.keys.as_ref().filter(|it| it.contains(&address)) {
            let entry = address - (address - keys.start) % KEY;
            // In use while odd. Source: glibc, `KEY_UNUSED`.
            return Some(word(entry).is_some_and(|sequence| sequence % 2 == 0));
        }
        if let Some(exits) = self.exits.iter().find(|it| it.contains(&address)) {
            let entry = address - (address - exits.start) % EXIT;
            return Some(match word(entry) {
                Some(FREE) => true,
                Some(CXA) => word(entry + 3 * WORD).is_some_and(|dso| goes.holds(dso)),
                _ => false,
            });
        }
        self.forks.filter(|it| it.range().contains(&address)).map(|it| it.forgives(address, goes))
    }

    /// Whether a word of a table that is not known could stand here.
    pub(super) fn is_blind(&self) -> bool {
        self.exits.len() < 2 || self.forks.is_none()
    }
}

impl Forks {
    fn range(self) -> Range<usize> {
        self.first..self.first + self.room * self.stride
    }

    fn forgives(self, address: usize, goes: &Goes) -> bool {
        // Before the entries: how many there are, for how many there is room, and where they are.
        let [used, place] = [3, 1].map(|before| word(self.first - before * WORD).unwrap_or(0));
        let number = (address - self.first) / self.stride;
        // Moved elsewhere, or taken out.
        if place != self.first || number >= used {
            return true;
        }
        let dso = self.first + number * self.stride + FORK_DSO;
        word(dso).is_some_and(|dso| goes.holds(dso))
    }
}

fn find_keys() -> Option<Range<usize>> {
    let (make, delete) = (real::key_create()?, real::key_delete()?);
    let mut key = 0;
    // SAFETY: the key is ours; its destructor does nothing, and the key never gets a value.
    if unsafe { make(&raw mut key, Some(first_mark)) } != 0 {
        return None;
    }
    let found = places(&[first_mark as Dtor as usize]);
    let start = |at: &usize| at.checked_sub(WORD + KEY * usize::try_from(key).ok()?);
    let starts: Vec<_> = found[0].iter().filter_map(start).collect();
    let entry = |start: usize| start + KEY * usize::try_from(key).unwrap_or_default();
    let used = |start: &usize| word(entry(*start)).is_some_and(|sequence| sequence % 2 == 1);
    let starts: Vec<_> = starts.into_iter().filter(used).collect();
    // SAFETY: made above.
    unsafe { delete(key) };
    let [start] = starts[..] else { return None };
    (!used(&start)).then_some(start..start + KEYS * KEY)
}

/// The table that the entry at `entry`, its last, belongs to: before its first entry it says how many
/// it has.
fn exits_around(entry: usize) -> Option<Range<usize>> {
    let first = (0..EXITS).find_map(|before| {
        let first = entry.checked_sub(before * EXIT)?;
        // Others may have come meanwhile.
        let count = word(first.checked_sub(WORD)?)?;
        (before < count && count <= (before + 4).min(EXITS)).then_some(first)
    })?;
    Some(first..first + EXITS * EXIT)
}

/// The table in which one entry begins at a place of `first` and another at one of `second`.
fn forks_around(first: &[usize], second: &[usize]) -> Option<Forks> {
    let ([first], [second]) = (first, second) else { return None };
    let stride = second.checked_sub(*first).filter(|it| *it >= 4 * WORD && it % WORD == 0)?;
    let place = |before: usize| {
        let start = first.checked_sub(before * stride)?;
        (word(start.checked_sub(WORD)?)? == start).then_some(start)
    };
    let start = (0..256).find_map(place)?;
    let room = word(start - 2 * WORD)?;
    let used = word(start - 3 * WORD)?;
    let is_sound = (second - start) / stride < used && used <= room && room <= 1 << 16;
    is_sound.then_some(Forks { first: start, stride, room })
}

/// Where each of `wanted` stands in the data of the C library.
fn places(wanted: &[usize]) -> Vec<Vec<usize>> {
    let inside = object::in_libc();
    let look = |all: &[Loaded]| {
        let mut found = vec![Vec::new(); wanted.len()];
        let library = all.iter().find(|it| it.span.contains(&inside.addr()));
        let mut words = Words::new();
        for range in library.into_iter().flat_map(|it| &it.writable) {
            // What cannot be read holds none.
            let _ = words.each(range, |address, word| {
                if let Some(number) = wanted.iter().position(|it| *it == word) {
                    found[number].push(address);
                }
            });
        }
        found
    };
    objects::with_all(look).unwrap_or_else(|| vec![Vec::new(); wanted.len()])
}

//! What the loader knows of an object and does not tell: who opened it, which threads will call it
//! when they end, and whether it stays for ever.
//!
//! Three fields of glibc's `struct link_map`, whose places differ from release to release. They are
//! found by what changes in the map of a library when that is opened once more, or when a thread has
//! a destructor of it.
#![expect(unsafe_code, reason = "opens a library that is there already")]

use std::{
    ffi::{CStr, c_int, c_void},
    ptr,
};

use super::{
    interpose::lookup,
    memory,
    object::{self, Object},
    real,
};

/// Units: bytes of a map that are looked at, where they can be read. It has some 1,200, and the count
/// of destructors is one of its last fields.
const MAP_BYTES: usize = 1600;
/// How often it is opened to see a count go up.
const TIMES: usize = 3;

/// Where three fields stand in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// A number of 32 bits: how often it was opened by itself, not as what another needs.
    opened: usize,
    /// A number, of which the lower 32 bits are looked at: destructors of threads, on all of them.
    destructors: usize,
    /// A byte: 1 when it is never unmapped.
    kept: usize,
}

impl Fields {
    /// Finds them with the C library, or what unwinds: they stay loaded as long as the process in any
    /// case, and one of them is marked so for good. One that is so already shows nothing.
    pub(super) fn find() -> Option<Self> {
        [object::in_libc(), lookup(c"_Unwind_Backtrace")].into_iter().find_map(Self::find_with)
    }

    fn find_with(address: *const c_void) -> Option<Self> {
        let object = object::find(address)?;
        let name = object.name().to_owned();
        let opened = counter(object, || open(&name, 0))?;
        // They are called when this thread ends, and do nothing.
        let destructors = counter(object, || note_destructor(address))?;
        let before = map_of(object);
        open(&name, libc::RTLD_NODELETE)?;
        let after = map_of(object);
        let turns = |at: &usize| before.get(*at) == Some(&0) && after.get(*at) == Some(&1);
        let is_count = |at: &usize| (opened..opened + 4).contains(at);
        let kept: Vec<_> = (0..before.len()).filter(|at| turns(at) && !is_count(at)).collect();
        let [kept] = kept[..] else { return None };
        Some(Self { opened, destructors, kept })
    }

    /// Whether the object stays even if nothing that is loaded needs it. `None`: its map is not read.
    pub(super) fn keep(self, object: Object) -> Option<Keeps> {
        let is_any = |at: usize, bytes: usize| {
            let start = object.map_address() + at;
            Some(memory::bytes(&(start..start + bytes))?.iter().any(|byte| *byte != 0))
        };
        let (for_good, by_threads) = (is_any(self.kept, 1)?, is_any(self.destructors, 4)?);
        Some(Keeps { by_itself: for_good || is_any(self.opened, 4)?, by_threads })
    }
}

/// For what the loader keeps an object that nothing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keeps {
    /// Somebody has opened it, or it is marked: until it is closed, or for ever.
    pub(super) by_itself: bool,
    /// Threads that have not ended have destructors of it.
    pub(super) by_threads: bool,
}

/// The place of the one number that goes up by one each time, 32 bits of it.
fn counter(object: Object, mut raise: impl FnMut() -> Option<()>) -> Option<usize> {
    let mut maps = vec![map_of(object)];
    for _ in 0..TIMES {
        raise()?;
        maps.push(map_of(object));
    }
    let count =
        |map: &[u8], at: usize| Some(u32::from_ne_bytes(*map.get(at..)?.first_chunk::<4>()?));
    let goes_up = |at: &usize| {
        let counts: Option<Vec<_>> = maps.iter().map(|map| count(map, *at)).collect();
        counts.is_some_and(|it| it.windows(2).all(|pair| pair[0].wrapping_add(1) == pair[1]))
    };
    let found: Vec<_> = (0..MAP_BYTES).step_by(4).filter(goes_up).collect();
    let [found] = found[..] else { return None };
    Some(found)
}

/// Its map, and what is behind it, as far as that can be read.
fn map_of(object: Object) -> Vec<u8> {
    memory::up_to(object.map_address(), MAP_BYTES)
}

unsafe extern "C" fn nothing(_: *mut c_void) {}

/// Has this thread call `nothing` at its end on behalf of the object that `address` lies in.
fn note_destructor(address: *const c_void) -> Option<()> {
    let register = real::thread_atexit()?;
    // SAFETY: a function that stays and looks at nothing; the address is only looked up.
    let rc = unsafe { register(Some(nothing), ptr::null_mut(), address.cast_mut()) };
    (rc == 0).then_some(())
}

/// Opens it, which is there, once more, for good.
fn open(name: &CStr, flags: c_int) -> Option<()> {
    let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD | flags;
    let name = if name.is_empty() { ptr::null() } else { name.as_ptr() };
    // SAFETY: a C string, or null for the executable; NOLOAD runs nothing.
    let handle = unsafe { libc::dlopen(name, flags) };
    (!handle.is_null()).then_some(())
}

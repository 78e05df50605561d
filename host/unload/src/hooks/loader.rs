//! What the loader knows of an object and does not tell: who opened it, and whether it stays for ever.
//!
//! Two fields of glibc's `struct link_map`, whose places differ from release to release. They are
//! found by what changes in the map of a library when that is opened once more.
#![expect(unsafe_code, reason = "opens a library that is there already")]

use std::{
    ffi::{CStr, c_int, c_void},
    ptr,
};

use super::{
    interpose::lookup,
    memory,
    object::{self, Object},
};

/// Units: bytes of a map that are looked at. It has some 1,150.
const MAP_BYTES: usize = 1024;
/// How often it is opened to see a count go up.
const TIMES: usize = 3;

/// Where two fields stand in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// A number of 32 bits: how often it was opened by itself, not as what another needs.
    opened: usize,
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
        let mut maps = vec![map_of(object)?];
        for _ in 0..TIMES {
            open(&name, 0)?;
            maps.push(map_of(object)?);
        }
        let count =
            |map: &[u8], at: usize| Some(u32::from_ne_bytes(*map.get(at..)?.first_chunk::<4>()?));
        let goes_up = |at: &usize| {
            let counts: Option<Vec<_>> = maps.iter().map(|map| count(map, *at)).collect();
            counts.is_some_and(|it| it.windows(2).all(|pair| pair[0].wrapping_add(1) == pair[1]))
        };
        let opened: Vec<_> = (0..MAP_BYTES).step_by(4).filter(goes_up).collect();
        let [opened] = opened[..] else { return None };
        let before = maps.pop()?;
        open(&name, libc::RTLD_NODELETE)?;
        let after = map_of(object)?;
        let turns = |at: &usize| before.get(*at) == Some(&0) && after.get(*at) == Some(&1);
        let is_count = |at: &usize| (opened..opened + 4).contains(at);
        let kept: Vec<_> = (0..MAP_BYTES).filter(|at| turns(at) && !is_count(at)).collect();
        let [kept] = kept[..] else { return None };
        Some(Self { opened, kept })
    }

    /// Whether the object stays even if nothing that is loaded needs it.
    pub(super) fn stays(self, object: Object) -> Option<bool> {
        let map = map_of(object)?;
        let opened = map.get(self.opened..self.opened + 4)?;
        Some(opened.iter().any(|byte| *byte != 0) || *map.get(self.kept)? != 0)
    }
}

fn map_of(object: Object) -> Option<Vec<u8>> {
    let at = object.map_address();
    memory::bytes(&(at..at + MAP_BYTES))
}

/// Opens it, which is there, once more, for good.
fn open(name: &CStr, flags: c_int) -> Option<()> {
    let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD | flags;
    let name = if name.is_empty() { ptr::null() } else { name.as_ptr() };
    // SAFETY: a C string, or null for the executable; NOLOAD runs nothing.
    let handle = unsafe { libc::dlopen(name, flags) };
    (!handle.is_null()).then_some(())
}

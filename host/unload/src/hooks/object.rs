//! Which loaded object an address lies in.
//!
//! Uses `_dl_find_object` (glibc 2.35): it takes no lock, so a constructor that sleeps under the
//! loader's lock blocks nobody, and it already knows an object whose constructors run.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    mem::MaybeUninit,
    ptr,
};

/// The public head of glibc's `struct link_map`. Source: `<link.h>`.
#[repr(C)]
struct LinkMap {
    addr: usize,
    name: *const c_char,
    dynamic: *const Dynamic,
    next: *mut LinkMap,
    prev: *mut LinkMap,
}

/// `Elf64_Dyn`. Source: `<elf.h>`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Dynamic {
    pub(super) tag: i64,
    pub(super) value: u64,
}

pub(super) const DT_NULL: i64 = 0;
pub(super) const DT_FLAGS_1: i64 = 0x6fff_fffb;
pub(super) const DF_1_NODELETE: u64 = 8;

/// `struct dl_find_object`, as on x86-64 and aarch64. Source: `<dlfcn.h>`.
#[repr(C)]
struct Found {
    flags: u64,
    map_start: usize,
    map_end: usize,
    link_map: *mut LinkMap,
    eh_frame: *mut c_void,
    reserved: [u64; 7],
}

unsafe extern "C" {
    fn _dl_find_object(address: *mut c_void, found: *mut Found) -> c_int;
}

/// A loaded object.
///
/// # Lifetime
/// Valid while the object stays loaded, which whoever looked up one of its addresses answers for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object {
    map: *mut LinkMap,
}

impl Object {
    /// Its place in the loader's list: its own while it is loaded, and even.
    pub(crate) fn id(&self) -> usize {
        self.map.addr()
    }

    /// The path it was opened with; empty for the executable.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: a link map that `find` returned, still loaded (see the type).
        let name = unsafe { (*self.map).name };
        if name.is_null() {
            return c"";
        }
        // SAFETY: glibc keeps a C string there for as long as the object is loaded.
        unsafe { CStr::from_ptr(name) }
    }

    /// Where the loader keeps what it knows of it.
    pub(super) fn map_address(&self) -> usize {
        self.map.addr()
    }

    /// An address in it, of its dynamic section; 0: it has none.
    pub(crate) fn inside(&self) -> usize {
        // SAFETY: as in `name`.
        unsafe { (*self.map).dynamic }.addr()
    }

    /// Whether it is marked to stay loaded for ever (`-z nodelete`).
    pub(crate) fn nodelete(&self) -> bool {
        // SAFETY: as in `name`.
        let mut at = unsafe { (*self.map).dynamic };
        if at.is_null() {
            return false;
        }
        loop {
            // SAFETY: the dynamic section is an array that ends with DT_NULL, checked below.
            let entry = unsafe { *at };
            match entry.tag {
                DT_NULL => return false,
                DT_FLAGS_1 => return entry.value & DF_1_NODELETE != 0,
                _ => {}
            }
            // SAFETY: not the last entry, so another one follows.
            at = unsafe { at.add(1) };
        }
    }
}

/// The object behind a handle of `dlopen`. `None`: the loader does not tell.
pub(crate) fn behind(handle: *mut c_void) -> Option<Object> {
    let mut map = ptr::null_mut::<LinkMap>();
    // SAFETY: an open handle, and room for what this request writes.
    let rc = unsafe { libc::dlinfo(handle, libc::RTLD_DI_LINKMAP, (&raw mut map).cast()) };
    (rc == 0 && !map.is_null()).then_some(Object { map })
}

/// The object that `address` lies in.
pub(crate) fn find(address: *const c_void) -> Option<Object> {
    let mut found = MaybeUninit::<Found>::uninit();
    // SAFETY: any address may be asked for; `found` has room for the answer.
    if unsafe { _dl_find_object(address.cast_mut(), found.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: 0 means that the answer was written.
    let map = unsafe { found.assume_init() }.link_map;
    (!map.is_null()).then_some(Object { map })
}

/// An address in the C library. One of a function may be the executable's own, where that is not
/// position-independent.
pub(super) fn in_libc() -> *const c_void {
    // SAFETY: gives the address of a constant text.
    unsafe { libc::gnu_get_libc_version() }.cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_its_object() {
        let object = find(in_libc()).unwrap();
        assert!(object.name().to_string_lossy().contains("libc.so"), "{:?}", object.name());
        let ours = an_address_lies_in_its_object as *const c_void;
        assert_eq!(find(ours).unwrap().name(), c"");
        let heap = Box::new(0_u8);
        assert!(find((&raw const *heap).cast()).is_none());
    }
}

//! The word in which the loader keeps where a file lay that it has unmapped.
//!
//! To find a library by its name alone the loader maps the system's list of libraries
//! (`/etc/ld.so.cache`), and takes it away again, but not the address that it had. Whatever is mapped
//! there next, a library or a chunk of its heap, looks held by the loader, for good. The next search
//! puts another address there, where nothing else can be: what the loader holds behind it, it holds.
#![expect(unsafe_code, reason = "asks the loader for a name")]

use std::ptr;

use crate::hooks::{interpose::lookup, object};

/// Whether the word at `address` is one of the loader's.
pub(super) fn is_loaders(address: usize) -> bool {
    let find = |at| object::find(at).map(|it| it.id());
    let loader = find(lookup(c"__tls_get_addr"));
    loader.is_some() && loader == find(ptr::without_provenance_mut(address))
}

/// Has the loader search for a library that there is none of.
pub(super) fn search() {
    let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD;
    // SAFETY: a C string; nothing is opened that is not there already.
    let handle = unsafe { libc::dlopen(c"libno-such-library.so.0".as_ptr(), flags) };
    if !handle.is_null() {
        // SAFETY: opened by the line above.
        unsafe { libc::dlclose(handle) };
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::c_void, iter};

    use super::*;
    use crate::hooks::{
        census::{goes::Goes, scan, tests::Played},
        memory::Words,
        objects,
    };

    /// Files are mapped within that of the loader, which is one; numbers, and pairs of them, are far
    /// from it. Units: bytes.
    const NEAR: usize = 1 << 36;

    /// Pages that are not there, whose addresses the loader has.
    fn dangling() -> Vec<usize> {
        let page = rustix::param::page_size();
        let look = |all: &[objects::Loaded]| {
            let (mut found, mut words) = (Vec::new(), Words::new());
            let loader = all.iter().find(|it| is_loaders(it.span.start)).unwrap();
            for range in &loader.writable {
                let look = |_, word: usize| {
                    let is_near = word.abs_diff(loader.span.start) < NEAR;
                    if is_near && word.is_multiple_of(page) {
                        found.push(word);
                    }
                };
                words.each(range, look).unwrap();
            }
            found
        };
        objects::with_all(look).unwrap()
    }

    /// A page that is kept from everybody else.
    struct Taken {
        page: usize,
    }

    impl Taken {
        /// `None`: something is there.
        fn new(page: usize) -> Option<Self> {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            let size = rustix::param::page_size();
            let wanted = ptr::without_provenance_mut::<c_void>(page);
            // SAFETY: replaces nothing that is mapped.
            let got = unsafe { libc::mmap(wanted, size, libc::PROT_NONE, flags, -1, 0) };
            if got == libc::MAP_FAILED {
                return None;
            }
            // An older kernel takes the address for a wish; dropped, it gives back what it got.
            let taken = Self { page: got.addr() };
            (taken.page == page).then_some(taken)
        }
    }

    impl Drop for Taken {
        fn drop(&mut self) {
            // SAFETY: a page of ours, which nobody has used.
            unsafe {
                libc::munmap(ptr::without_provenance_mut(self.page), rustix::param::page_size());
            }
        }
    }

    /// What is mapped where the list lay is held by nobody.
    #[test]
    fn where_a_file_lay_is_forgotten() {
        let _alone = Played::new();
        search();
        let mut tried = 0;
        for page in dangling() {
            let Some(taken) = Taken::new(page) else { continue };
            let goes = Goes::new(iter::once(page..page + rustix::param::page_size()));
            assert_eq!(scan::seek(&goes).unwrap().hits, [], "{page:#x}");
            drop(taken);
            tried += 1;
        }
        let has_list = std::path::Path::new("/etc/ld.so.cache").exists();
        assert!(tried > 0 || !has_list, "this C library forgets it: then nothing is to be done");
    }

    #[test]
    fn the_loaders_words_are_told_from_others() {
        static OWN: usize = 7;
        assert!(is_loaders(lookup(c"__tls_get_addr").addr()));
        assert!(!is_loaders((&raw const OWN).addr()));
        assert!(!is_loaders(libc::getppid as *const c_void as usize));
        assert!(!is_loaders(8));
    }
}

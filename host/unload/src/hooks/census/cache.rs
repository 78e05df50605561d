//! Words in which the loader keeps where a file lay that it has unmapped.
//!
//! To find a library by its name alone the loader maps the system's list of libraries
//! (`/etc/ld.so.cache`), and takes it away again, but not the address that it had. Whatever is mapped
//! there next, a library or a chunk of its heap, looks held by the loader, for good. The words are
//! found by what they do: once the address is taken, the next search leaves another one.
#![expect(unsafe_code, reason = "asks the loader for a name, and takes pages")]

use std::{ffi::c_void, ptr, sync::OnceLock};

use super::known;
use crate::hooks::{
    interpose::lookup,
    memory::Words,
    object,
    objects::{self, Loaded},
};

/// Files are mapped within that of the loader, which is one; numbers, and pairs of them, are far from
/// it. Units: bytes.
const NEAR: usize = 1 << 36;

/// A word that holds the address of a page that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dangling {
    place: usize,
    page: usize,
}

static PLACES: OnceLock<Vec<usize>> = OnceLock::new();

/// Finds the places of such words, once: whoever looks through itself does so at its start, since a
/// loader that cannot read its list for once never does so again; a process that lives for one library,
/// when it meets one.
pub(super) fn learn() {
    PLACES.get_or_init(find);
}

/// Whether the word at `address` of the loader's could be such a one, of which nothing is known yet.
pub(super) fn is_doubtful(address: usize) -> bool {
    PLACES.get().is_none()
        && object::find(ptr::without_provenance_mut(address)).map(|it| it.id()) == known().loader
}

/// Whether the word at `address` is such a one.
pub(super) fn is_forgotten(address: usize) -> bool {
    PLACES.get().is_some_and(|places| places.contains(&address))
}

/// Others map something as well; who is slower in all of these sees nothing.
const ATTEMPTS: usize = 8;

/// The places of such words; none where the loader has no such list, or forgets where it lay.
fn find() -> Vec<usize> {
    (0..ATTEMPTS).map(|_| attempt()).find(|places| !places.is_empty()).unwrap_or_default()
}

fn attempt() -> Vec<usize> {
    let first = search();
    let taken: Vec<_> = first.iter().filter_map(|it| Taken::new(it.page)).collect();
    let then = search();
    let moved = |it: &&Dangling| {
        taken.iter().any(|taken| taken.page == it.page)
            && then.iter().any(|other| other.place == it.place && other.page != it.page)
    };
    first.iter().filter(moved).map(|it| it.place).collect()
}

/// Has the loader search for a library that there is none of; the words that dangle then.
fn search() -> Vec<Dangling> {
    let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD;
    // SAFETY: a C string; nothing is opened that is not there already.
    let handle = unsafe { libc::dlopen(c"libno-such-library.so.0".as_ptr(), flags) };
    if !handle.is_null() {
        // SAFETY: opened by the line above.
        unsafe { libc::dlclose(handle) };
    }
    let inside = lookup(c"__tls_get_addr").addr();
    objects::with_all(|all| {
        let loader = all.iter().find(|it| it.span.contains(&inside));
        loader.map(dangling).unwrap_or_default()
    })
    .unwrap_or_default()
}

fn dangling(loader: &Loaded) -> Vec<Dangling> {
    let page = rustix::param::page_size();
    let mut found = Vec::new();
    let mut words = Words::new();
    for range in &loader.writable {
        // What cannot be read holds none.
        let _ = words.each(range, |place, word| {
            let is_near = word.abs_diff(loader.span.start) < NEAR;
            if is_near && word.is_multiple_of(page) && !is_mapped(word) {
                found.push(Dangling { place, page: word });
            }
        });
    }
    found
}

fn is_mapped(page: usize) -> bool {
    let mut is_in_memory = 0;
    let at = ptr::without_provenance_mut(page);
    // SAFETY: any address may be asked for; the answer on one page is one byte.
    let done = unsafe { libc::mincore(at, 1, &raw mut is_in_memory) };
    // Without an answer it counts as there.
    done == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOMEM)
}

/// A page that is kept from everybody else.
#[derive(Debug)]
struct Taken {
    page: usize,
}

impl Taken {
    /// `None`: somebody was faster.
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

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::hooks::census::{goes::Goes, scan};

    /// What is mapped where the list lay is held by nobody.
    #[test]
    fn where_a_file_lay_is_forgotten() {
        let _alone = super::super::tests::Played::new();
        let mut tried = 0;
        for Dangling { page, place } in search() {
            let Some(taken) = Taken::new(page) else { continue };
            let goes = Goes::new(iter::once(page..page + rustix::param::page_size()));
            assert_eq!(scan::seek(&goes).unwrap().hits, [], "{place:#x}");
            drop(taken);
            tried += 1;
        }
        let has_list = std::path::Path::new("/etc/ld.so.cache").exists();
        assert!(
            tried > 0 || !has_list,
            "this C library forgets it: then nothing is to be forgiven"
        );
    }
}

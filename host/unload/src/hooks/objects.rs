//! The objects that the loader has mapped, seen at one moment.
//!
//! Owns the walk under the loader's own lock, behind which nothing is mapped or unmapped.
//! Invariants: what runs there asks nothing of the loader but `_dl_find_object`, which takes no lock:
//! whoever loads a library takes another lock first, and waits for this one. No thread forks meanwhile:
//! of the loader's locks this is the one that the C library does not open in the child.
#![expect(unsafe_code, reason = "walks the loader's list")]

use std::{
    any::Any,
    cell::Cell,
    ffi::{CStr, CString, c_int, c_void},
    ops::Range,
    ptr,
    sync::{Mutex, PoisonError},
};

use super::memory;

/// One loaded object.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    /// The path it was opened with; empty for the executable.
    pub(super) name: CString,
    /// What is added to the addresses in its file.
    pub(super) base: usize,
    /// From its first to its last page.
    pub(super) span: Range<usize>,
    /// Its data.
    pub(super) writable: Vec<Range<usize>>,
    /// What its linker has noted, and how that is aligned.
    pub(super) notes: Vec<(Range<usize>, usize)>,
    dynamic: Range<usize>,
}

/// What an object says of itself to the loader.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants {
    /// The name that others want it by.
    pub(super) soname: Option<Vec<u8>>,
    /// The names of the objects that it wants.
    pub(super) needed: Vec<Vec<u8>>,
    /// `DF_1_NODELETE`.
    pub(super) nodelete: bool,
}

// Tags of dynamic entries. Source: `<elf.h>`.
const DT_NULL: usize = 0;
const DT_NEEDED: usize = 1;
const DT_STRTAB: usize = 5;
const DT_SONAME: usize = 14;
const DT_FLAGS_1: usize = 0x6fff_fffb;
const DF_1_NODELETE: usize = 8;

/// Units: bytes of a name that are looked at.
const NAME_BYTES_MAX: usize = 4096;

impl Loaded {
    /// Reads its dynamic entries.
    pub(super) fn wants(&self) -> Wants {
        let mut wants = Wants::default();
        let bytes = memory::bytes(&self.dynamic).unwrap_or_default();
        let (words, _) = bytes.as_chunks::<{ memory::WORD }>();
        let (pairs, _) = words.as_chunks::<2>();
        let entries = pairs.iter().map(|pair| pair.map(usize::from_ne_bytes));
        let entries: Vec<_> = entries.take_while(|[tag, _]| *tag != DT_NULL).collect();
        let Some([_, names]) = entries.iter().find(|[tag, _]| *tag == DT_STRTAB) else {
            return wants;
        };
        // The loader adds the base in place, but for the kernel's own object.
        let names = if *names < self.base { self.base.wrapping_add(*names) } else { *names };
        let name = |at: usize| memory::text(names.wrapping_add(at), NAME_BYTES_MAX);
        for [tag, value] in entries {
            match tag {
                DT_NEEDED => wants.needed.extend(name(value)),
                DT_SONAME => wants.soname = name(value),
                DT_FLAGS_1 => wants.nodelete |= value & DF_1_NODELETE != 0,
                _ => {}
            }
        }
        wants
    }

    /// The last part of its path.
    pub(super) fn file_name(&self) -> &[u8] {
        self.name.to_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

static LOOK: Mutex<()> = Mutex::new(());

thread_local! {
    /// This thread looks, and may do so again meanwhile.
    static LOOKS: Cell<bool> = const { Cell::new(false) };
}

/// Has whoever wants to look wait until it is dropped, for a fork.
pub(super) fn hold() -> Box<dyn Any> {
    Box::new(LOOK.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Does `work` on every loaded object, the executable first; none of them is unmapped meanwhile.
pub(super) fn with_all<W, T>(work: W) -> Option<T>
where
    W: FnOnce(&[Loaded]) -> T,
{
    struct Held<W, T> {
        work: Option<W>,
        outcome: Option<T>,
    }

    unsafe extern "C" fn hold<W: FnOnce(&[Loaded]) -> T, T>(
        _: *mut libc::dl_phdr_info,
        _: usize,
        held: *mut c_void,
    ) -> c_int {
        // SAFETY: what `with_all` handed over, for this call alone.
        let held = unsafe { &mut *held.cast::<Held<W, T>>() };
        if let Some(work) = held.work.take() {
            // The lock may be taken again by who holds it.
            let mut all = Vec::<Loaded>::new();
            // SAFETY: `note` fits, and gets the list that outlives the call.
            unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut all).cast()) };
            held.outcome = Some(work(&all));
        }
        // No further object: they have all been seen.
        1
    }

    /// Until dropped, this thread looks.
    struct Looking(bool);
    impl Drop for Looking {
        fn drop(&mut self) {
            LOOKS.set(self.0);
        }
    }

    let before = LOOKS.get();
    let _alone = (!before).then(|| LOOK.lock().unwrap_or_else(PoisonError::into_inner));
    let _looking = Looking(LOOKS.replace(true));
    let mut held = Held { work: Some(work), outcome: None };
    // SAFETY: `hold` fits, and gets the value that outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(hold::<W, T>), (&raw mut held).cast()) };
    held.outcome
}

unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _: usize, all: *mut c_void) -> c_int {
    // SAFETY: the loader's own description of one object, for this call.
    let info = unsafe { &*info };
    // SAFETY: the list that `hold` handed over, which nobody else uses meanwhile.
    let all = unsafe { &mut *all.cast::<Vec<Loaded>>() };
    all.push(describe(info));
    0
}

fn describe(info: &libc::dl_phdr_info) -> Loaded {
    let name = match info.dlpi_name.is_null() {
        true => c"",
        // SAFETY: the loader keeps a C string there as long as the object is loaded.
        false => unsafe { CStr::from_ptr(info.dlpi_name) },
    };
    let address = |value: u64| usize::try_from(value).unwrap_or_default();
    let base = address(info.dlpi_addr);
    let mut loaded = Loaded { name: name.to_owned(), base, ..Loaded::default() };
    let page = rustix::param::page_size();
    let (mut first, mut last) = (usize::MAX, 0);
    let headers = match info.dlpi_phdr.is_null() {
        true => ptr::NonNull::dangling().as_ptr(),
        false => info.dlpi_phdr,
    };
    let count = if info.dlpi_phdr.is_null() { 0 } else { usize::from(info.dlpi_phnum) };
    // SAFETY: the loader's table of program headers, of that many entries.
    for header in unsafe { std::slice::from_raw_parts(headers, count) } {
        let start = base.wrapping_add(address(header.p_vaddr));
        let range = start..start.wrapping_add(address(header.p_memsz));
        match header.p_type {
            libc::PT_LOAD => {
                first = first.min(range.start / page * page);
                last = last.max(range.end.next_multiple_of(page));
                if header.p_flags & libc::PF_W != 0 {
                    loaded.writable.push(range);
                }
            }
            libc::PT_DYNAMIC => loaded.dynamic = range,
            libc::PT_NOTE => loaded.notes.push((range, address(header.p_align))),
            _ => {}
        }
    }
    if first < last {
        loaded.span = first..last;
    }
    loaded
}

#[cfg(test)]
mod tests {
    use super::{super::object, *};

    #[test]
    fn the_executable_and_the_c_library_are_seen() {
        let here = the_executable_and_the_c_library_are_seen as *const c_void;
        let (own, libc) = with_all(|all| {
            let at = |address: *const c_void| {
                all.iter().find(|it| it.span.contains(&address.addr())).cloned()
            };
            (at(here), at(object::in_libc()))
        })
        .unwrap();
        let (own, libc) = (own.unwrap(), libc.unwrap());
        assert_eq!(own.name.as_c_str(), c"");
        assert_eq!(libc.file_name(), b"libc.so.6");
        assert_eq!(libc.wants().soname.unwrap(), b"libc.so.6");
        assert!(own.wants().needed.contains(&b"libc.so.6".to_vec()), "{:?}", own.wants());
        static mut VARIABLE: usize = 1;
        let variable = (&raw const VARIABLE).addr();
        assert!(own.writable.iter().any(|range| range.contains(&variable)), "{own:?}");
    }
}

//! Which loaded objects stay for the life of the process, and which go with a library.
//!
//! Owns what the loader does not tell: who needs whom, by the names in the objects' own tables. What
//! the program began with never goes; [`going`] is what only the library still needs.

use std::{
    collections::BTreeSet,
    ffi::{CStr, c_int, c_void},
    ops::Range,
    ptr, slice,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    object::{self, DF_1_NODELETE, DT_FLAGS_1, DT_NULL, Dynamic},
    registry,
};

/// Objects of the start that are told apart from libraries' own; a program has tens.
const PERMANENT_MAX: usize = 256;

static PERMANENT: [AtomicUsize; PERMANENT_MAX] = [const { AtomicUsize::new(0) }; PERMANENT_MAX];

/// Tags of [`Dynamic`]. Source: `<elf.h>`.
const DT_NEEDED: i64 = 1;
const DT_STRTAB: i64 = 5;
const DT_SONAME: i64 = 14;

/// An object that the loader will unmap with a library.
#[derive(Clone, Debug)]
pub(in crate::plugin) struct Going {
    map: usize,
    addresses: Range<usize>,
}

impl Going {
    /// Whether it has this place in the loader's list.
    pub(super) fn is(&self, map: usize) -> bool {
        self.map == map
    }

    /// Whether the address lies in it.
    pub(super) fn holds(&self, address: usize) -> bool {
        self.addresses.contains(&address)
    }
}

/// What one loaded object says of itself.
#[derive(Debug, Default)]
struct Loaded {
    name: Vec<u8>,
    soname: Vec<u8>,
    needed: Vec<Vec<u8>>,
    nodelete: bool,
    addresses: Range<usize>,
    dynamic: usize,
}

impl Loaded {
    /// Whether an object that needs `wanted` was given this one.
    fn answers_to(&self, wanted: &[u8]) -> bool {
        let file = self.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        !wanted.is_empty() && (self.soname == wanted || self.name == wanted || file == wanted)
    }

    fn map(&self) -> Option<usize> {
        let inside = ptr::without_provenance::<c_void>(self.dynamic);
        object::find(inside).map(|object| object.id())
    }
}

/// Notes what is loaded now as what never goes. Once, before the first library.
pub(super) fn note_permanent() {
    let maps = loaded().into_iter().filter_map(|it| it.map());
    for (place, map) in PERMANENT.iter().zip(maps) {
        place.store(map, Ordering::Release);
    }
}

/// Whether the object was there before the first library. Only loads: for signal handlers.
pub(super) fn is_permanent(map: usize) -> bool {
    let known = PERMANENT.iter().map(|it| it.load(Ordering::Acquire));
    map != 0 && known.take_while(|it| *it != 0).any(|it| it == map)
}

/// What the loader will unmap when the library that was opened as `path` is closed: what it needs,
/// and nobody else, and nothing that was there before it. The library comes first.
pub(in crate::plugin) fn going(path: &CStr) -> Vec<Going> {
    let all = loaded();
    let Some(library) = all.iter().position(|it| it.name == path.to_bytes()) else {
        return Vec::new();
    };
    let its = closure(&all, [library].into());
    let stays = |at: usize| {
        let it = &all[at];
        let is_other = || {
            let name = std::ffi::CString::new(it.name.clone()).unwrap_or_default();
            registry::is_library(&name)
        };
        !its.contains(&at)
            || (at != library && (it.nodelete || it.map().is_some_and(is_permanent) || is_other()))
    };
    let staying = closure(&all, (0..all.len()).filter(|at| stays(*at)).collect());
    let order = [library].into_iter().chain(its.into_iter().filter(|at| *at != library));
    order
        .filter(|at| !staying.contains(at))
        .filter_map(|at| Some(Going { map: all[at].map()?, addresses: all[at].addresses.clone() }))
        .collect()
}

/// These and all that they need. Where a name is that of several, all of them count.
fn closure(all: &[Loaded], mut begin: Vec<usize>) -> BTreeSet<usize> {
    let mut found: BTreeSet<usize> = begin.iter().copied().collect();
    while let Some(at) = begin.pop() {
        for wanted in &all[at].needed {
            let answers = (0..all.len()).filter(|it| all[*it].answers_to(wanted));
            begin.extend(answers.filter(|it| found.insert(*it)));
        }
    }
    found
}

fn loaded() -> Vec<Loaded> {
    let mut all: Vec<Loaded> = Vec::new();
    // SAFETY: `visit` takes what is passed here, and the loader unmaps nothing meanwhile.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut all).cast()) };
    all
}

unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, all: *mut c_void) -> c_int {
    // SAFETY: what `loaded` has passed, which nobody else has.
    let all = unsafe { &mut *all.cast::<Vec<Loaded>>() };
    // SAFETY: the loader passes a whole record.
    let info = unsafe { &*info };
    let mut object = Loaded::default();
    if !info.dlpi_name.is_null() {
        // SAFETY: the loader's C string.
        object.name = unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes().to_vec();
    }
    let base = usize::try_from(info.dlpi_addr).unwrap_or_default();
    // SAFETY: as many headers as the record says; null only with none.
    let headers = (!info.dlpi_phdr.is_null())
        .then(|| unsafe { slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) });
    let mut addresses: Option<Range<usize>> = None;
    for header in headers.unwrap_or_default() {
        let begin = base.wrapping_add(usize::try_from(header.p_vaddr).unwrap_or_default());
        let end = begin.saturating_add(usize::try_from(header.p_memsz).unwrap_or_default());
        match header.p_type {
            libc::PT_LOAD => {
                let known = addresses.unwrap_or(begin..end);
                addresses = Some(known.start.min(begin)..known.end.max(end));
            }
            libc::PT_DYNAMIC => object.dynamic = begin,
            _ => {}
        }
    }
    object.addresses = addresses.unwrap_or_default();
    if object.dynamic != 0 {
        // SAFETY: the dynamic section of an object that stays mapped during this call.
        unsafe { read_dynamic(&mut object, base) };
    }
    all.push(object);
    0
}

/// # Safety
/// `object.dynamic` must be the dynamic section of an object that is mapped at `base`.
unsafe fn read_dynamic(object: &mut Loaded, base: usize) {
    let mut at = ptr::with_exposed_provenance::<Dynamic>(object.dynamic);
    let (mut names, mut soname, mut needed) = (0, None, Vec::new());
    loop {
        // SAFETY: the section is an array that ends with DT_NULL, checked below.
        let Dynamic { tag, value } = unsafe { *at };
        let number = usize::try_from(value).unwrap_or_default();
        match tag {
            DT_NULL => break,
            DT_NEEDED => needed.push(number),
            DT_SONAME => soname = Some(number),
            // Relocated in place, but not where the section cannot be written (the vDSO).
            DT_STRTAB => names = if number < base { base + number } else { number },
            DT_FLAGS_1 => object.nodelete = value & DF_1_NODELETE != 0,
            _ => {}
        }
        // SAFETY: not the last entry, so another one follows.
        at = unsafe { at.add(1) };
    }
    if names == 0 {
        return;
    }
    let name = |offset: usize| {
        // SAFETY: offsets in the object's table of names, each of which ends with a zero.
        unsafe { CStr::from_ptr(ptr::with_exposed_provenance(names + offset)) }.to_bytes().to_vec()
    };
    object.soname = soname.map(name).unwrap_or_default();
    object.needed = needed.into_iter().map(name).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_began_with_stays() {
        note_permanent();
        let libc = object::find(libc::getppid as *const c_void).unwrap();
        assert!(is_permanent(libc.id()));
        assert!(!is_permanent(0));
        // It is needed by the program, whoever else asks for it.
        assert!(going(libc.name()).iter().all(|it| it.is(libc.id())), "{:?}", going(libc.name()));
        assert!(going(c"/no/such.so").is_empty());
    }

    #[test]
    fn needs_are_followed_by_every_name() {
        let object = |name: &str, soname: &str, needed: &[&str]| Loaded {
            name: name.as_bytes().to_vec(),
            soname: soname.as_bytes().to_vec(),
            needed: needed.iter().map(|it| it.as_bytes().to_vec()).collect(),
            ..Loaded::default()
        };
        let all = [
            object("", "", &["libc.so.6"]),
            object("/a/libplug.so", "", &["libone.so.1", "/a/libtwo.so"]),
            object("/a/libone.so.1", "", &["three"]),
            object("/a/libtwo.so", "two", &[]),
            object("/a/anything.so", "three", &["libplug.so"]),
            object("/lib/libc.so.6", "libc.so.6", &[]),
        ];
        assert_eq!(closure(&all, vec![1]), [1, 2, 3, 4].into());
        assert_eq!(closure(&all, vec![0]), [0, 5].into());
    }
}

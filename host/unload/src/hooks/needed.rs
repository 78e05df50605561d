//! Which loaded objects stay for the life of the process, and which go with a library.
//!
//! Owns what the loader does not tell: who needs whom, by the names in the objects' own tables
//! (`objects`), and what it keeps in any case (`loader`). What the program began with never goes;
//! [`going`] is what only the library still needs.

use std::{
    ffi::{CStr, c_void},
    ops::Range,
    ptr,
    sync::{
        Arc, Once, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    LibraryId, gone,
    loader::{Fields, Keeps},
    object,
    objects::{self, Loaded, Wants},
    registry::{self, Record},
};

/// Objects of the start that are told apart from libraries' own; a program has tens, a large one
/// hundreds.
const PERMANENT_MAX: usize = 1024;

static PERMANENT: [AtomicUsize; PERMANENT_MAX] = [const { AtomicUsize::new(0) }; PERMANENT_MAX];

/// An object that the loader will unmap with a library.
#[derive(Clone, Debug)]
pub(crate) struct Going {
    map: usize,
    addresses: Range<usize>,
}

impl Going {
    /// Whether it has this place in the loader's list.
    pub(super) fn is(&self, map: usize) -> bool {
        self.map == map
    }

    /// It is unmapped, and was there for the library with this tag.
    pub(crate) fn note_gone(&self, tag: u64) {
        gone::note(&self.addresses, tag);
    }

    /// Its place in the loader's list.
    pub(super) fn map(&self) -> usize {
        self.map
    }

    /// Whether it is there. In the turn in which it was to go.
    pub(crate) fn is_there(&self) -> bool {
        let there = object::find(ptr::without_provenance(self.addresses.start));
        there.is_some_and(|it| it.id() == self.map)
    }

    /// Whether the address lies in it.
    pub(super) fn holds(&self, address: usize) -> bool {
        self.addresses.contains(&address)
    }
}

/// Notes what is loaded now as what never goes, and sees to it. Once, before the first library.
pub(super) fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(note);
}

fn note() {
    fields();
    let found = |it: &Loaded| Some((map_of(it)?, it.name.clone()));
    let all = objects::with_all(|all| all.iter().filter_map(found).collect::<Vec<_>>());
    let mut places = PERMANENT.iter();
    for (map, name) in all.unwrap_or_default() {
        // What the host closed later would make room for a library under the same map. What has no
        // place here is still known to stay, by the loader's own note.
        if is_pinned(&name)
            && let Some(place) = places.next()
        {
            place.store(map, Ordering::Release);
        }
    }
}

/// Has the loader keep what it has under this name for good; false: it has nothing.
fn is_pinned(name: &CStr) -> bool {
    let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
    // The kernel's own object has a name that nobody can open, and goes nowhere.
    if name.is_empty() || !name.to_bytes().contains(&b'/') {
        return true;
    }
    // SAFETY: a C string; NOLOAD runs nothing.
    !unsafe { libc::dlopen(name.as_ptr(), flags) }.is_null()
}

/// Has the loader keep the object at `address` for good: something will go on to call it, or is
/// promised that it is there. Not under the loader's lock.
pub(crate) fn pin(address: *const c_void) {
    if let Some(object) = object::find(address) {
        // Where that fails it is because the loader has it as its own.
        let _ = is_pinned(object.name());
    }
}

/// A library besides `library` that needs the object at this address, by the names in the tables.
pub(super) fn keeper(address: usize, library: LibraryId) -> Option<Arc<Record>> {
    let others: Vec<_> = registry::all().into_iter().filter(|it| it.id() != library).collect();
    if others.is_empty() {
        return None;
    }
    let look = |all: &[Loaded]| {
        let at = all.iter().position(|it| it.span.contains(&address))?;
        let wants: Vec<Wants> = all.iter().map(Loaded::wants).collect();
        let needs = |from: usize, to: usize| needs(&wants[from], &all[to], &wants[to]);
        let reaches = |record: &Arc<Record>| {
            let first = |it: usize| all[it].name.as_c_str() == record.path();
            spread(all.len(), first, needs)[at]
        };
        others.into_iter().find(reaches)
    };
    objects::with_all(look).flatten()
}

/// Whether an object with these wants was given `other`, as far as names tell.
fn needs(wants: &Wants, other: &Loaded, its: &Wants) -> bool {
    let known = [Some(other.name.to_bytes()), Some(other.file_name()), its.soname.as_deref()];
    wants.needed.iter().any(|name| known.contains(&Some(name.as_slice())))
}

/// What the loader does not tell of an object. `None`: it was not found in this C library.
pub(super) fn fields() -> Option<Fields> {
    static FIELDS: OnceLock<Option<Fields>> = OnceLock::new();
    *FIELDS.get_or_init(Fields::find)
}

/// Whether the object was there before the first library. Only loads: for signal handlers.
pub(super) fn is_permanent(map: usize) -> bool {
    let known = PERMANENT.iter().map(|it| it.load(Ordering::Acquire));
    map != 0 && known.take_while(|it| *it != 0).any(|it| it == map)
}

pub(super) fn map_of(loaded: &Loaded) -> Option<usize> {
    let inside = ptr::without_provenance(loaded.span.start);
    object::find(inside).map(|object| object.id())
}

/// What the loader will unmap when the library that was opened as `path` is closed: what it needs,
/// and nobody else, and nothing that was there before it.
pub(crate) fn going(path: &CStr) -> Vec<Going> {
    let with_map = |it: &Loaded| Some(Going { map: map_of(it)?, addresses: it.span.clone() });
    let look = |all: &[Loaded]| {
        all.iter()
            .zip(with(all, path))
            .filter_map(|(it, goes)| with_map(it).filter(|_| goes))
            .collect()
    };
    objects::with_all(look).unwrap_or_default()
}

/// As [`going`], for a library that is to be closed now. What stays only until some threads end, which
/// have destructors of it, is made to stay for good: with whichever library it went then, nobody would
/// have asked who has an address of it.
pub(crate) fn settle(path: &CStr) -> Vec<Going> {
    let look = |all: &[Loaded]| {
        let (now, later) = (with(all, path), spared(all, path, |keeps| keeps.by_itself));
        let lingers = |at: &usize| later[*at] && !now[*at];
        (0..all.len()).filter(lingers).map(|at| all[at].span.start).collect::<Vec<_>>()
    };
    for start in objects::with_all(look).unwrap_or_default() {
        pin(ptr::without_provenance(start));
    }
    going(path)
}

/// Which of `all` the loader unmaps with the object of this path; none when there is no such object.
/// What was there before the first library stays, as does what it needs. Under the loader's lock.
pub(super) fn with(all: &[Loaded], path: &CStr) -> Vec<bool> {
    spared(all, path, |keeps| keeps.by_itself || keeps.by_threads)
}

/// The same, where an object that nothing needs stays if `stays` says so.
fn spared(all: &[Loaded], path: &CStr, stays: impl Fn(Keeps) -> bool) -> Vec<bool> {
    let is_early = |it: &Loaded| map_of(it).is_some_and(is_permanent);
    let late: Vec<usize> = (0..all.len()).filter(|at| !is_early(&all[*at])).collect();
    let own = late.iter().position(|at| all[*at].name.as_c_str() == path);
    // Most libraries need nothing but what the executable needs as well.
    let wants: Vec<Wants> = match late.len() {
        1 => vec![Wants::default()],
        _ => late.iter().map(|at| all[*at].wants()).collect(),
    };
    let needs = |from: usize, to: usize| needs(&wants[from], &all[late[to]], &wants[to]);
    let own_only = |at: usize| Some(at) == own;
    let reached = spread(late.len(), own_only, needs);
    let kept = |at: usize| is_kept(&all[late[at]], &wants[at], &stays);
    let first = |at: usize| !own_only(at) && (!reached[at] || kept(at));
    let stay = spread(late.len(), first, |from, to| !own_only(to) && needs(from, to));
    let mut goes = vec![false; all.len()];
    for (at, index) in late.iter().enumerate() {
        goes[*index] = reached[at] && !stay[at];
    }
    goes
}

/// All that can be reached from where `first` says, by steps that `step` allows.
pub(super) fn spread(
    count: usize,
    first: impl Fn(usize) -> bool,
    step: impl Fn(usize, usize) -> bool,
) -> Vec<bool> {
    let mut reached: Vec<bool> = (0..count).map(first).collect();
    let mut next: Vec<usize> = (0..count).filter(|at| reached[*at]).collect();
    while let Some(from) = next.pop() {
        for (to, reached) in reached.iter_mut().enumerate() {
            if !*reached && step(from, to) {
                *reached = true;
                next.push(to);
            }
        }
    }
    reached
}

/// Whether the loader keeps it although nothing needs it: somebody has opened it by itself, threads
/// have destructors of it, it is marked, or others use a symbol of it that there may be once only.
fn is_kept(object: &Loaded, wants: &Wants, stays: impl Fn(Keeps) -> bool) -> bool {
    let found = object::find(ptr::without_provenance(object.span.start));
    let known = found.zip(fields()).and_then(|(object, fields)| fields.keep(object));
    wants.nodelete || known.is_some_and(stays) || registry::is_library(&object.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_began_with_stays() {
        begin();
        let libc = object::find(object::in_libc()).unwrap();
        assert!(is_permanent(libc.id()));
        assert!(!is_permanent(0));
        // It is needed by the program, whoever else asks for it.
        assert!(going(libc.name()).iter().all(|it| it.is(libc.id())), "{:?}", going(libc.name()));
        assert!(going(c"/no/such.so").is_empty());
    }

    #[test]
    fn what_can_be_reached_is_followed() {
        let steps = [(0, 1), (1, 2), (3, 2), (4, 0)];
        let reached = spread(5, |at| at == 0, |from, to| steps.contains(&(from, to)));
        assert_eq!(reached, [true, true, true, false, false]);
    }
}

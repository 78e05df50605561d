//! Which file the loader has taken for each name that a library needs, and whether two processes agree.
//!
//! The loader takes what answers to a name already, whoever brought it, before it looks for a file. So a
//! library that was tried in one process may be given another copy of what it needs in the next one.
//! [`of`] tells what an open library was given; [`other_copy`] holds that against another process,
//! before a library is opened there, and behind it. What the process began with is its own: no library
//! brings it, and none can have another one, so [`replaced`] only tells of it.
//!
//! What a library opens by itself is not known here.
//! Invariants: nothing here has the loader look for a file, which would give a name to what it finds; and
//! only [`of`], and [`other_copy`] behind an open, wait for the loader, which a constructor may hold.
#![expect(unsafe_code, reason = "asks the loader for what has a name")]

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CStr, CString},
    fmt, fs,
    sync::OnceLock,
};

use serde::{Deserialize, Serialize};

use super::{
    blame, build_id, census, needed, object,
    objects::{self, Loaded, Wants},
    registry::{self, Record},
};

/// One file that is mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Where the loader found it.
    pub path: String,
    /// Device and inode, as the kernel shows them of what is mapped: not what the path leads to by
    /// now.
    pub file: Option<(String, u64)>,
    /// What its linker made of its content, in hexadecimal digits.
    pub build_id: Option<String>,
    /// The process began with it.
    pub own: bool,
}

impl Image {
    /// Whether both are the same code: the same build, wherever it lies, or the same file.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.build_id, &other.build_id, &self.file, &other.file) {
            (Some(one), Some(other), ..) => one == other,
            (None, None, Some(one), Some(other)) => one == other,
            (None, None, ..) => self.path == other.path,
            (Some(_), None, ..) | (None, Some(_), ..) => false,
        }
    }
}

impl fmt::Display for Image {
    /// `` `/opt/lib/libx.so.1` (inode 4711, build id 3fa1c2) ``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.path)?;
        let inode = self.file.as_ref().map(|(_, inode)| format!("inode {inode}"));
        let build = self.build_id.as_ref().map(|id| format!("build id {id}"));
        let facts: Vec<_> = inode.into_iter().chain(build).collect();
        if facts.is_empty() { Ok(()) } else { write!(f, " ({})", facts.join(", ")) }
    }
}

/// A name that is needed, and what the loader has for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// As it stands in the table of who needs it.
    pub wanted: String,
    /// What answers to it.
    pub image: Image,
}

/// Under one name, two processes have different code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherCopy {
    /// The name.
    pub wanted: String,
    /// What the library was tried with.
    pub tried: Image,
    /// What this process has.
    pub here: Image,
    /// It was there before the library. Otherwise it was found in another place by now.
    pub before: bool,
    /// The tags of the libraries that need what is here.
    pub needed_by: Vec<u64>,
}

/// What an object says of itself.
#[derive(Clone, Debug, Default)]
struct Said {
    wants: Wants,
    build_id: Option<Vec<u8>>,
}

impl Said {
    fn by(loaded: &Loaded) -> Self {
        Self { wants: loaded.wants(), build_id: build_id::of(loaded) }
    }
}

/// What the objects that the process began with say, by their places in the loader's list. They stay, and
/// say nothing else later: read once, as soon as it is known which they are.
fn said_by_own() -> Option<&'static BTreeMap<usize, Said>> {
    static SAID: OnceLock<BTreeMap<usize, Said>> = OnceLock::new();
    if SAID.get().is_none() {
        let own = |loaded: &Loaded| {
            let map = needed::map_of(loaded).filter(|map| needed::is_permanent(*map))?;
            Some((map, Said::by(loaded)))
        };
        let said = objects::with_all(|all| all.iter().filter_map(own).collect::<BTreeMap<_, _>>());
        if let Some(said) = said.filter(|it| !it.is_empty()) {
            let _ = SAID.set(said);
        }
    }
    SAID.get()
}

/// Reads what is read once. Behind the first turn.
pub(super) fn warm() {
    said_by_own();
}

/// A loaded object, with what is known of it.
struct Known {
    loaded: Loaded,
    /// Its place in the loader's list.
    map: Option<usize>,
    /// The process began with it.
    own: bool,
    /// Nothing for what the process began with, unless it was asked for.
    wants: Wants,
    build_id: Option<Vec<u8>>,
}

impl Known {
    /// All of them; `whole`: also what the process's own say of themselves.
    fn all(whole: bool) -> Vec<Self> {
        // Before the loader's lock, under which nothing is waited for.
        let said_by_own = whole.then(said_by_own).flatten();
        let known = |loaded: &Loaded| {
            let map = needed::map_of(loaded);
            let own = map.is_some_and(needed::is_permanent);
            let said = match own && !whole {
                true => Some(Said::default()),
                false => map.and_then(|map| said_by_own?.get(&map).cloned()),
            };
            let Said { wants, build_id } = said.unwrap_or_else(|| Said::by(loaded));
            Self { map, own, wants, build_id, loaded: loaded.clone() }
        };
        objects::with_all(|all| all.iter().map(known).collect()).unwrap_or_default()
    }

    /// Whether somebody who needs `wanted` was given this one, as far as its names tell.
    fn answers_to(&self, wanted: &[u8]) -> bool {
        let known = [self.loaded.name.to_bytes(), self.loaded.file_name()];
        known.contains(&wanted) || self.wants.soname.as_deref() == Some(wanted)
    }

    fn needs(&self, wanted: &[u8]) -> bool {
        self.wants.needed.iter().any(|name| name == wanted)
    }

    fn image(&self, files: Option<&Files>) -> Image {
        Image {
            path: text(self.loaded.name.to_bytes()),
            file: files.and_then(|it| it.file_at(self.loaded.span.start)),
            build_id: self.build_id.as_ref().map(|id| digits(id)),
            own: self.own,
        }
    }
}

/// What an open library needs, and what the libraries that it needs need, as the loader has it. What the
/// process began with is not followed.
#[must_use]
pub fn of(library: &Record) -> Vec<Resolved> {
    // Its questions take references for a moment.
    let _turn = census::turn();
    let all = Known::all(true);
    let names = names(&all, library.path());
    // Most libraries need nothing that the process did not begin with, which a build id tells.
    let is_told = |at: usize| all[at].own && all[at].build_id.is_some();
    let files = (!names.iter().all(|(_, at)| is_told(*at))).then(Files::read);
    let resolved = |(wanted, at): (&[u8], usize)| Resolved {
        wanted: text(wanted),
        image: all[at].image(files.as_ref()),
    };
    names.into_iter().map(resolved).collect()
}

/// What this process has under a name of `tried` that is other code. Before a library is opened: what
/// it would be given, if that is certain; behind it, of `library`: what it was given.
///
/// Of what the process began with only [`replaced`] tells.
#[must_use]
pub fn other_copy(tried: &[Resolved], library: Option<&Record>) -> Option<OtherCopy> {
    // Most libraries need nothing else.
    if tried.iter().all(|it| it.image.own) {
        return None;
    }
    // Behind an open its questions take references for a moment. Before one it asks nothing, and must
    // not wait for somebody whose constructor does not return.
    let _turn = library.and_then(|_| census::turn());
    let all = Known::all(false);
    let mut files = None;
    for Resolved { wanted, image: tried } in tried.iter().filter(|it| !it.image.own) {
        let name = wanted.as_bytes();
        let found = if library.is_some() { resolve(&all, name) } else { taken(&all, name) };
        let Some(at) = found else { continue };
        let here = all[at].image(None);
        if here.own || (here.build_id.is_some() && here.is_same(tried)) {
            continue;
        }
        // Read only where it matters: a process that serves has many mappings.
        let here = all[at].image(Some(files.get_or_insert_with(Files::read)));
        if !here.is_same(tried) {
            let needed_by = needed_by(&all, at, library);
            let before = library.is_none() || !needed_by.is_empty();
            let (wanted, tried) = (wanted.clone(), tried.clone());
            return Some(OtherCopy { wanted, tried, here, before, needed_by });
        }
    }
    None
}

/// Names of `tried` for which this process has, from its beginning, other code.
#[must_use]
pub fn replaced(tried: &[Resolved]) -> Vec<OtherCopy> {
    let all = Known::all(true);
    let mut files = None;
    let other = |it: &Resolved| {
        let own = &all[taken(&all, it.wanted.as_bytes()).filter(|at| all[*at].own)?];
        let here = own.image(None);
        if here.build_id.is_some() && here.is_same(&it.image) {
            return None;
        }
        let here = own.image(Some(files.get_or_insert_with(Files::read)));
        let (wanted, tried) = (it.wanted.clone(), it.image.clone());
        let other = OtherCopy { wanted, tried, here, before: true, needed_by: Vec::new() };
        (!other.here.is_same(&other.tried)).then_some(other)
    };
    tried.iter().filter_map(other).collect()
}

/// What the loader would take for a name without a look for a file: it says so itself, or was found as
/// a file of that name by somebody who needed it.
fn taken(all: &[Known], wanted: &[u8]) -> Option<usize> {
    let is_needed = all.iter().any(|it| it.needs(wanted));
    all.iter().position(|it| match is_needed {
        true => it.answers_to(wanted),
        false => it.wants.soname.as_deref() == Some(wanted),
    })
}

/// Each name that `library` needs, with what answers to it.
fn names<'all>(all: &'all [Known], library: &CStr) -> Vec<(&'all [u8], usize)> {
    let own = all.iter().position(|it| it.loaded.name.as_c_str() == library);
    let mut next: Vec<usize> = own.into_iter().collect();
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(from) = next.pop() {
        for wanted in &all[from].wants.needed {
            let Some(at) = seen.insert(wanted).then(|| resolve(all, wanted)).flatten() else {
                continue;
            };
            if !all[at].own {
                next.push(at);
            }
            found.push((wanted.as_slice(), at));
        }
    }
    found
}

/// What the loader has for a name that an open library needs.
fn resolve(all: &[Known], wanted: &[u8]) -> Option<usize> {
    let asked = || {
        // Such a name depends on who needs it.
        let name = (!wanted.contains(&b'$')).then(|| CString::new(wanted).ok()).flatten()?;
        let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD;
        // SAFETY: a C string; NOLOAD runs nothing, and the name is one that something has.
        let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
        if handle.is_null() {
            return None;
        }
        let map = object::behind(handle).map(|object| object.id());
        // SAFETY: gives back what the call above has taken; the library has it open.
        unsafe { libc::dlclose(handle) };
        all.iter().position(|it| it.map.is_some() && it.map == map)
    };
    asked().or_else(|| all.iter().position(|it| it.answers_to(wanted)))
}

/// The tags of the libraries but `library` that need the object at this place.
fn needed_by(all: &[Known], at: usize, library: Option<&Record>) -> Vec<u64> {
    let step = |from: usize, to: usize| {
        all[from].wants.needed.iter().any(|wanted| all[to].answers_to(wanted))
    };
    let needs = |path: &CStr| {
        let first = |it: usize| all[it].loaded.name.as_c_str() == path;
        needed::spread(all.len(), first, step)[at]
    };
    let others = registry::all().into_iter().filter(|it| Some(it.id()) != library.map(Record::id));
    others.filter(|it| needs(it.path())).map(|it| blame::tag_of(it.id().0)).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is mapped where, as the kernel shows it. Nothing, where it shows nothing.
struct Files(String);

impl Files {
    fn read() -> Self {
        let maps = fs::read("/proc/self/maps").unwrap_or_default();
        Self(text(&maps))
    }

    /// Device and inode of the file that is mapped at `address`.
    fn file_at(&self, address: usize) -> Option<(String, u64)> {
        // `7f12a000-7f12b000 r--p 00000000 fd:01 4711   /lib/libx.so`. Source: proc(5).
        self.0.lines().find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            if !(number(start)?..number(end)?).contains(&address) {
                return None;
            }
            let (device, inode) = (fields.nth(2)?.to_owned(), fields.next()?.parse().ok()?);
            (inode != 0).then_some((device, inode))
        })
    }
}

#[cfg(test)]
mod tests;

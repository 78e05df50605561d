//! Addresses of what goes, in blocks of memory that objects which stay keep.
//!
//! A library of C that others use often has a list of functions, whose nodes are blocks of `malloc`;
//! only the list's head stands in its data. So from its data on every block is followed that an
//! address leads to. What leads nowhere is not looked at: blocks that were freed are full of old
//! addresses.
//!
//! Invariant: other threads use this memory meanwhile. What one of them is about to move may be
//! missed, so whoever finds nothing looks once more.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::{CStr, CString},
    ops::Range,
};

use super::{
    blocks::{Pages, TooMuch},
    goes::Goes,
};
use crate::hooks::{memory, needed::map_of, objects::Loaded, registry};

/// Objects of the C library and of the compiler's: they keep addresses in ways of their own (`tables`,
/// `cache`), and their data leads to everything.
const SYSTEM: [&[u8]; 8] = [
    b"ld-linux",
    b"libc.so",
    b"libdl.so",
    b"libgcc_s.so",
    b"libm.so",
    b"libpthread.so",
    b"librt.so",
    b"linux-vdso.so",
];

/// Where a look begins, and where it never goes on. Noted under the loader's lock.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// Whose blocks are looked at.
    keepers: Vec<Keeper>,
    /// Everything that is mapped by the loader: no block lies there.
    objects: Goes,
    /// The loader's own blocks. Every object leads to them, and they lead to every object.
    maps: BTreeSet<usize>,
}

#[derive(Debug)]
struct Keeper {
    name: CString,
    writable: Vec<Range<usize>>,
}

impl Roots {
    /// Whether the word at `address` stands in data of one whose blocks are looked at.
    pub(super) fn hold(&self, address: usize) -> bool {
        self.keepers.iter().flat_map(|it| &it.writable).any(|it| it.contains(&address))
    }

    /// Those of `all` that `may_keep` takes, but for the executable, the system's own and libraries.
    pub(super) fn of(all: &[Loaded], may_keep: impl Fn(usize) -> bool) -> Self {
        let keeps = |(at, it): &(usize, &Loaded)| {
            let is_system = SYSTEM.iter().any(|name| it.file_name().starts_with(name));
            let others = !it.name.is_empty() && !is_system && !registry::is_library(&it.name);
            others && may_keep(*at)
        };
        let keeper = |(_, it): (usize, &Loaded)| Keeper {
            name: it.name.clone(),
            writable: it.writable.clone(),
        };
        Self {
            keepers: all.iter().enumerate().filter(keeps).map(keeper).collect(),
            objects: Goes::new(all.iter().map(|it| it.span.clone())),
            maps: all.iter().filter_map(map_of).collect(),
        }
    }
}

/// Words that lead to what goes: where each stands, and what it is.
pub(super) type Trail = Vec<(usize, usize)>;

/// One that has a block with an address of what goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its path.
    by: CString,
    /// The first stands in its data, the last in that block.
    pub(super) trail: Trail,
}

impl Kept {
    /// The name of its file.
    pub(super) fn name(&self) -> String {
        file_name(&self.by)
    }
}

/// What one look at blocks found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// One of each who keeps something.
    pub(super) kept: Vec<Kept>,
    /// The file's name of who has more than can be looked through.
    pub(super) unread: Option<String>,
    /// How many blocks there were.
    pub(super) blocks: usize,
}

/// Follows `roots` to blocks with addresses of `goes`.
pub(super) fn follow(roots: &Roots, goes: &Goes) -> Found {
    let mut all = Found::default();
    let mut pages = Pages::new();
    for keeper in &roots.keepers {
        let mut walk = Walk { roots, goes, known: HashMap::new() };
        let found = walk.trail(keeper, &mut pages);
        all.blocks += walk.known.len();
        match found {
            Ok(None) => {}
            Ok(Some(trail)) => all.kept.push(Kept { by: keeper.name.clone(), trail }),
            Err(TooMuch) => {
                all.unread = Some(file_name(&keeper.name));
                break;
            }
        }
    }
    all
}

/// Whether each word of `trail` leads into the block that the next one stands in, and that is in use: one
/// that was freed keeps most of its words.
pub(super) fn leads_on(trail: &Trail) -> bool {
    let mut pages = Pages::new();
    trail.iter().zip(trail.iter().skip(1)).all(|((_, word), (next, _))| {
        pages.block(*word).is_ok_and(|block| block.is_some_and(|it| it.contains(next)))
    })
}

fn file_name(path: &CStr) -> String {
    let name = path.to_bytes().rsplit(|byte| *byte == b'/').next();
    String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
}

/// A word that may be an address of a block.
#[derive(Clone, Copy, Debug)]
struct Lead {
    at: usize,
    word: usize,
    /// The block that it stands in; 0: it is data.
    within: usize,
}

struct Walk<'a> {
    roots: &'a Roots,
    goes: &'a Goes,
    /// By where they begin, blocks that were looked at, with what led there.
    known: HashMap<usize, Lead>,
}

impl Walk<'_> {
    /// The words that lead from the data of `keeper` to a block with an address of what goes.
    fn trail(&mut self, keeper: &Keeper, pages: &mut Pages) -> Result<Option<Trail>, TooMuch> {
        let mut leads = Vec::new();
        // The words of data themselves are seen by whoever looks at all data.
        for range in keeper.writable.iter().flat_map(memory::touched) {
            pages.each(&range, |at, word| self.note(Lead { at, word, within: 0 }, &mut leads))?;
        }
        while let Some(lead) = leads.pop() {
            let Some(block) = pages.block(lead.word)? else { continue };
            let within = block.start;
            if self.roots.maps.contains(&within) || self.known.contains_key(&within) {
                continue;
            }
            self.known.insert(within, lead);
            let mut hit = None;
            pages.each(&block, |at, word| {
                let lead = Lead { at, word, within };
                match self.goes.holds(word) {
                    true => hit = Some(lead),
                    false => self.note(lead, &mut leads),
                }
            })?;
            if let Some(hit) = hit {
                return Ok(Some(self.back(hit)));
            }
        }
        Ok(None)
    }

    /// Notes an address that a block might be at.
    fn note(&self, lead: Lead, leads: &mut Vec<Lead>) {
        let (word, objects) = (lead.word, &self.roots.objects);
        if MEMORY.contains(&word) && !self.goes.holds(word) && !objects.holds(word) {
            leads.push(lead);
        }
    }

    fn back(&self, last: Lead) -> Trail {
        let leads = std::iter::successors(Some(last), |it| self.known.get(&it.within).copied());
        let mut trail: Trail = leads.map(|it| (it.at, it.word)).collect();
        trail.reverse();
        trail
    }
}

/// Where programs have memory.
const MEMORY: Range<usize> = 1 << 16..1 << 47;

#[cfg(test)]
mod tests {
    #![expect(unsafe_code, reason = "takes blocks of C's, and gives them back")]

    use std::{
        iter,
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        thread,
    };

    use super::{super::held::Cause, *};

    /// Larger than what the allocator keeps in each thread, where it counts as in use.
    const BLOCK_BYTES: usize = 5000;

    /// What was found in a block is believed while that is in use, though its words stay afterwards.
    #[test]
    fn a_block_that_was_freed_keeps_nothing() {
        static HEAD: AtomicUsize = AtomicUsize::new(0);
        let gone: &'static [usize; 64] = Box::leak(Box::new([0; 64]));
        let start = gone.as_ptr().addr();
        let goes = Goes::new(iter::once(start..start + size_of_val(gone)));
        let head = HEAD.as_ptr().addr();
        let writable = iter::once(head..head + memory::WORD).collect();
        let keeper = Keeper { name: c"/lib/libdep.so".to_owned(), writable };
        let roots = Roots { keepers: vec![keeper], ..Roots::default() };

        // A thread of its own has a heap of its own: what a look needs is not taken from that block.
        let (turn, turns) = mpsc::channel();
        let (told, tells) = mpsc::channel();
        let owner = thread::spawn(move || {
            // SAFETY: any size may be asked for.
            let block = unsafe { libc::malloc(BLOCK_BYTES) }.cast::<usize>();
            // SAFETY: as above; keeps the first one from the end of the heap.
            let behind = unsafe { libc::malloc(BLOCK_BYTES) };
            // SAFETY: inside of the block.
            unsafe { block.add(100).write(start + 24) };
            told.send(block.addr()).unwrap();
            turns.recv().unwrap();
            // SAFETY: taken above, given back once.
            unsafe { libc::free(block.cast()) };
            told.send(0).unwrap();
            turns.recv().unwrap();
            // SAFETY: as above.
            unsafe { libc::free(behind) };
        });
        HEAD.store(tells.recv().unwrap(), Ordering::SeqCst);
        let kept = follow(&roots, &goes).kept.remove(0);
        assert_eq!((kept.name().as_str(), kept.trail.len()), ("libdep.so", 2));
        let cause = Cause::in_block("held".to_owned(), kept);
        assert!(cause.is_still_in_block(&roots, &goes));

        turn.send(()).unwrap();
        tells.recv().unwrap();
        assert_eq!(follow(&roots, &goes).kept, []);
        assert!(!cause.is_still_in_block(&roots, &goes), "its words are still there");
        HEAD.store(0, Ordering::SeqCst);
        turn.send(()).unwrap();
        owner.join().unwrap();
    }
}

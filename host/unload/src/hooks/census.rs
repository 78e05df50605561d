//! Who still has an address of a library that is about to be unmapped.
//!
//! Before a library is closed, every word of the data of everything that stays is held against the
//! addresses that go: those of its object, of the objects that only it needs, and of its own heap
//! (`heap`). Known places get copies (`heal`), what nobody will use any more is forgiven
//! (`tables`, `cache`); anything else keeps the library, and is named (`holder`). Knows nothing of why
//! a library is closed.
//!
//! # Invariants
//! - What was found holds until the library is closed: libraries are opened and closed one at a time,
//!   by whoever has the [`Turn`].
//! - Nothing is read that the loader could unmap meanwhile, and nothing by a pointer: the kernel
//!   copies it (`memory`).
//! - It is never silently off: what it does not know of the C library, [`complaint`] says, and where
//!   memory cannot be read, nothing is closed.
//!
//! Of heaps it sees what the data of the libraries that libraries need leads to (`heaps`, `blocks`).
//! What it does not see: other heaps, stacks, thread-locals and registers.

use std::{
    cell::Cell,
    ffi::CStr,
    iter,
    marker::PhantomData,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use self::{
    goes::Goes,
    heaps::{Found, Kept, Roots},
    held::Cause,
    scan::{Hit, Survey},
    tables::Tables,
};
use super::{LibraryId, check, interpose, needed, object, resolved};

mod blocks;
mod cache;
mod goes;
mod heal;
mod heaps;
pub(crate) mod held;
mod holder;
mod scan;
mod tables;

/// What was found out about this process's C library before the first library.
#[derive(Debug)]
struct Known {
    /// Where it keeps what goes with its owner.
    tables: Tables,
    /// The loader itself, by its place in its list.
    loader: Option<usize>,
}

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    let loader = || object::find(interpose::lookup(c"__tls_get_addr")).map(|it| it.id());
    KNOWN.get_or_init(|| Known { tables: Tables::find(), loader: loader() })
}

/// The right to open or close a library, and to ask the loader for what takes a reference: nobody else
/// does either meanwhile.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub(crate) struct Turn {
    _held: MutexGuard<'static, ()>,
    // It belongs to its thread.
    here: PhantomData<*const ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Turn {
    fn new(held: MutexGuard<'static, ()>) -> Self {
        HAS_IT.set(true);
        Self { _held: held, here: PhantomData }
    }
}

thread_local! {
    /// This thread has the turn.
    static HAS_IT: Cell<bool> = const { Cell::new(false) };
}

impl Drop for Turn {
    fn drop(&mut self) {
        HAS_IT.set(false);
    }
}

/// Waits for a turn. The first one is to be taken before any library is opened. `None`: this thread has
/// it, and a library that is being opened or closed here asks for another.
pub(crate) fn turn() -> Option<Turn> {
    if HAS_IT.get() {
        return None;
    }
    needed::begin();
    known();
    Some(Turn::new(TURN.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// A turn, if nobody has it.
pub(crate) fn try_turn() -> Option<Turn> {
    if HAS_IT.get() {
        return None;
    }
    match TURN.try_lock() {
        Ok(held) => Some(Turn::new(held)),
        Err(TryLockError::Poisoned(error)) => Some(Turn::new(error.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// What a look has found.
pub(crate) enum Look {
    /// Nobody has an address; how many words were looked at.
    Clear(usize),
    /// Somebody has, and could be given another one: [`Healing`], and then once more.
    Heals(Healing),
    /// Somebody has.
    Held(String),
}

/// Who can be given addresses of something that stays.
pub(crate) struct Healing {
    goes: Goes,
    hits: Vec<Hit>,
}

impl Healing {
    /// Gives them. Outside a turn: a stream that is healed may wait for its reader, and nobody else is
    /// to wait as well.
    pub(crate) fn heal(self) {
        heal::heal(&self.goes, &self.hits);
    }
}

/// Looks who has an address of `library`, which was opened with `path`, in the turn in which it may be
/// closed. `again`: what can be healed has been.
pub(crate) fn look(library: LibraryId, path: &CStr, again: bool) -> Look {
    let survey = match scan::survey(path, library) {
        Ok(survey) if survey.is_listed => survey,
        Ok(_) => return Look::Held("the loader does not list it".to_owned()),
        Err(error) => return Look::Held(format!("the memory of others is not read: {error}")),
    };
    let environment = heal::environment_holds(&survey.goes);
    let Survey { goes, hits, words, roots, .. } = survey;
    let cause = match (hits.is_empty(), environment) {
        (true, None) => match kept_in_blocks(library, &roots, &goes) {
            None => {
                held::forget(library);
                return Look::Clear(words);
            }
            Some(cause) => cause,
        },
        (_, _) if !again => return Look::Heals(Healing { goes, hits }),
        (true, Some(entry)) => Cause::told(format!("held by {entry}")),
        (false, _) => Cause::in_data(format!("held by {}", holder::describe(&hits)), &hits),
    };
    Look::Held(held::note(library, cause))
}

/// Who keeps an address of `goes`, of `library`, in a block of memory.
fn kept_in_blocks(library: LibraryId, roots: &Roots, goes: &Goes) -> Option<Cause> {
    // What was found once need not be sought again.
    let before = held::last(library).filter(|it| it.is_still_in_block(roots, goes));
    before.or_else(|| {
        // What another thread has moved during one look lies still during the next.
        (0..2).find_map(|_| seek_blocks(roots, goes)).map(|found| match found {
            Ok(kept) => Cause::in_block(held_by(&kept), kept),
            Err(unread) => Cause::told(unread),
        })
    })
}

/// One who keeps an address, or words for who cannot be looked through.
fn seek_blocks(roots: &Roots, goes: &Goes) -> Option<Result<Kept, String>> {
    let began = Instant::now();
    let Found { kept, unread, blocks } = heaps::follow(roots, goes);
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(blocks, micros, hits = kept.len(), "looked at what others keep in blocks");
    if let Some(found) = kept.first() {
        tracing::debug!(keeper = found.name(), trail = ?found.trail, "a block leads to what goes");
    }
    let unread = unread.map(|it| Err(format!("{it} keeps more memory than can be looked through")));
    kept.into_iter().next().map(Ok).or(unread)
}

fn held_by(kept: &Kept) -> String {
    format!("held by a block of memory that {} keeps", kept.name())
}

/// Who would hold `library`, which was opened with `path`, in a block of memory if all that it needs
/// stayed, as it does while another library needs it, too.
pub(crate) fn would_hold(library: LibraryId, path: &CStr) -> Option<String> {
    let _turn = turn()?;
    let (goes, roots) = scan::alone(path, library)?;
    heaps::follow(&roots, &goes).kept.first().map(held_by)
}

/// Makes whatever is made once: for a process that counts what a load leaves behind.
pub fn warm() {
    let _ = check::self_test();
    drop(turn());
    resolved::warm();
}

/// What this process does not let it see, for people; `None`: nothing. Looked at once.
pub fn complaint() -> Option<&'static str> {
    // Empty: nothing, with every byte of it written, or this would itself keep what a stack held.
    static COMPLAINT: OnceLock<String> = OnceLock::new();
    let look = || match lacks().as_slice() {
        [] => String::new(),
        lacks => format!("not found in this process: {}", lacks.join(", ")),
    };
    Some(COMPLAINT.get_or_init(look).as_str()).filter(|it| !it.is_empty())
}

/// What was not found. Tries it on an address that is left on purpose, too.
fn lacks() -> Vec<String> {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    cache::learn();
    let mut lacks: Vec<String> = known().tables.unknown().iter().map(ToString::to_string).collect();
    if needed::fields().is_none() {
        lacks.push("which libraries the loader keeps".to_owned());
    }
    if !blocks::are_known() {
        lacks.push("the blocks of `malloc`".to_owned());
    }
    let own = Box::new([0_u64; 8]);
    let start = own.as_ptr().addr();
    let goes = Goes::new(iter::once(start..start + size_of_val(&*own)));
    LEFT.store(start + 8, Ordering::SeqCst);
    let hits = scan::seek(&goes).map(|survey| survey.hits);
    LEFT.store(0, Ordering::SeqCst);
    match hits {
        Ok(hits) if hits.iter().any(|it| it.address == LEFT.as_ptr().addr()) => {}
        Ok(_) => lacks.push("an address that was left on purpose".to_owned()),
        Err(error) => lacks.push(format!("any memory ({error})")),
    }
    lacks
}

#[cfg(test)]
mod tests;

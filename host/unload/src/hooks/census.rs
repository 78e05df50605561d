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
//! What it does not see: heaps, stacks, thread-locals and registers.

use std::{
    ffi::CStr,
    iter,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use self::{goes::Goes, scan::Survey, tables::Tables};
use super::{LibraryId, needed};

mod cache;
mod goes;
mod heal;
mod holder;
mod scan;
mod tables;

/// What was found out about this process's C library before the first library.
#[derive(Debug)]
struct Known {
    /// Where it keeps what goes with its owner.
    tables: Tables,
    /// Words of the loader that are no addresses any more; see [`cache`].
    forgotten: Vec<usize>,
}

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(|| Known { tables: Tables::find(), forgotten: cache::find() })
}

/// The right to open or close a library: nobody else does either meanwhile.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub(crate) struct Turn {
    _held: MutexGuard<'static, ()>,
}

/// Waits for a turn. The first one is to be taken before any library is opened.
pub(crate) fn turn() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    known();
    Turn { _held: TURN.lock().unwrap_or_else(PoisonError::into_inner) }
}

/// Looks who has an address of `library`, which was opened with `path`; what can be healed is. The
/// turn in which it may be closed.
///
/// # Errors
/// Who has one.
pub(crate) fn look(library: LibraryId, path: &CStr) -> Result<Turn, String> {
    let mut healed = false;
    loop {
        let turn = turn();
        let began = Instant::now();
        let survey = scan::survey(path, library);
        let survey =
            survey.map_err(|error| format!("the memory of others is not read: {error}"))?;
        if !survey.is_listed {
            return Err("the loader does not list it".to_owned());
        }
        let environment = heal::environment_holds(&survey.goes);
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let Survey { goes, hits, words, .. } = &survey;
        tracing::debug!(words, micros, hits = hits.len(), "looked who holds a library");
        if hits.is_empty() && environment.is_none() {
            return Ok(turn);
        }
        // A stream that is healed may wait for its reader: nobody else is to wait as well.
        drop(turn);
        if healed {
            let held = if hits.is_empty() { environment } else { None };
            return Err(format!("held by {}", held.unwrap_or_else(|| holder::describe(hits))));
        }
        heal::heal(goes, hits);
        healed = true;
    }
}

/// Looks for nothing, so that whatever is made once is there: for a process that counts what a load
/// leaves behind.
pub fn warm() {
    // An error is told by the look that matters.
    let _ = scan::survey(c"", LibraryId(0));
}

/// What this process does not let it see, for people; `None`: nothing. Looked at once.
pub fn complaint() -> Option<&'static str> {
    static COMPLAINT: OnceLock<Option<String>> = OnceLock::new();
    let look = || match lacks().as_slice() {
        [] => None,
        lacks => Some(format!("not found in this process: {}", lacks.join(", "))),
    };
    COMPLAINT.get_or_init(look).as_deref()
}

/// What was not found. Tries it on an address that is left on purpose, too.
fn lacks() -> Vec<String> {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    let mut lacks: Vec<String> = known().tables.unknown().iter().map(ToString::to_string).collect();
    if needed::fields().is_none() {
        lacks.push("which libraries the loader keeps".to_owned());
    }
    let own = Box::new([0_u64; 8]);
    let start = own.as_ptr().addr();
    let goes = Goes::new(iter::once(start..start + size_of_val(&*own)));
    LEFT.store(start + 8, Ordering::SeqCst);
    let hits = scan::seek(goes).map(|survey| survey.hits);
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

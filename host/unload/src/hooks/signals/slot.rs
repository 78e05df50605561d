//! Where actions are kept: a fixed pool, which a signal handler reads without a lock.
//!
//! A slot that was taken for a signal stays in that signal's list for ever, and is used again there.
//!
//! Invariant: `running` is raised before the handler is read, and who clears a slot looks at it
//! afterwards: either the handler is not called any more, or whoever waits sees that it runs.

use std::{
    ffi::{c_int, c_void},
    ptr,
    sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use super::{
    kept::{Action, Entry, Kept},
    lock::Locked,
};
use crate::hooks::{LibraryId, needed, object};

/// The last real-time signal of Linux. Source: signal(7).
pub(super) const SIGNAL_MAX: c_int = 64;

/// Slots of all signals together, and so the actions that there can be at one time.
const SLOTS: usize = 2048;

/// Whose action a slot has: a library by its number, another object by its place in the loader's
/// list (which is even), nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(usize);

impl Key {
    pub(super) const FREE: Self = Self(0);
    /// Code that no object holds, and that runs under no library's name.
    pub(super) const NOBODY: Self = Self(usize::MAX);

    pub(super) fn library(id: u32) -> Self {
        Self((id as usize) << 1 | 1)
    }

    pub(super) fn object(map: usize) -> Self {
        Self(map)
    }

    pub(super) fn map(self) -> Option<usize> {
        (self != Self::FREE && self.0.is_multiple_of(2)).then_some(self.0)
    }
}

/// One object's action on one signal.
pub(super) struct Slot {
    key: AtomicUsize,
    kept: Kept,
    /// Calls of the handler that have not returned.
    running: AtomicU32,
    /// `SA_RESETHAND`: it was called.
    spent: AtomicBool,
    /// The next one of its signal, counted from 1; written once.
    next: AtomicU16,
}

static POOL: [Slot; SLOTS] = [const {
    Slot {
        key: AtomicUsize::new(0),
        kept: Kept::new(),
        running: AtomicU32::new(0),
        spent: AtomicBool::new(false),
        next: AtomicU16::new(0),
    }
}; SLOTS];

/// How many of the pool are in a list.
static USED: AtomicUsize = AtomicUsize::new(0);
static BORN: AtomicU64 = AtomicU64::new(0);

impl Slot {
    /// Its number in the pool.
    pub(super) fn number(&self) -> u16 {
        let offset = ptr::from_ref(self).addr() - POOL.as_ptr().addr();
        u16::try_from(offset / size_of::<Self>()).unwrap_or(u16::MAX)
    }

    pub(super) fn by_number(number: u16) -> Option<&'static Self> {
        POOL.get(usize::from(number))
    }

    pub(super) fn key(&self) -> Key {
        Key(self.key.load(Ordering::Acquire))
    }

    pub(super) fn kept(&self) -> Entry {
        self.kept.read()
    }

    /// The action that is in force: it is there, and not used up.
    pub(super) fn live(&self) -> Option<Entry> {
        let entry = self.kept();
        let there = entry.action.handler != libc::SIG_DFL && !self.spent.load(Ordering::Relaxed);
        (there && self.key() != Key::FREE).then_some(entry)
    }

    pub(super) fn is_of(&self, library: LibraryId) -> bool {
        self.key() == Key::library(library.0)
    }

    pub(super) fn is_withdrawn_of(&self, library: LibraryId) -> bool {
        self.is_of(library) && self.kept().action.handler == libc::SIG_DFL
    }

    /// Whether the loader has taken the object away that its handler lies in.
    pub(super) fn has_lost_its_object(&self) -> bool {
        let Some(map) = self.key().map() else { return false };
        let action = self.kept().action;
        let found = || object::find(ptr::without_provenance::<c_void>(action.handler));
        // A function of an object that never goes may be kept under this one's name.
        action.is_handler()
            && found().is_none_or(|it| it.id() != map && !needed::is_permanent(it.id()))
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst) > 0
    }

    /// A call of its handler begins; the handler is to be read after this.
    pub(super) fn begin(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
    }

    /// `count` calls are over.
    pub(super) fn end(&self, count: u32) {
        self.running.fetch_sub(count, Ordering::SeqCst);
    }

    /// Takes the one call that `SA_RESETHAND` allows.
    pub(super) fn spend(&self) -> bool {
        !self.spent.swap(true, Ordering::Relaxed)
    }

    pub(super) fn write(&self, action: Action, owner: u32, locked: &Locked) {
        let born = BORN.fetch_add(1, Ordering::Relaxed) + 1;
        self.kept.write(Entry { action, owner, born }, locked);
        self.spent.store(false, Ordering::Relaxed);
    }

    /// Nothing is called any more.
    pub(super) fn clear(&self, locked: &Locked) {
        let entry = self.kept();
        self.kept.write(Entry { action: Action::DEFAULT, ..entry }, locked);
    }

    /// Its handler runs under nobody's name from now on.
    pub(super) fn disown(&self, locked: &Locked) {
        let entry = self.kept();
        self.kept.write(Entry { owner: 0, ..entry }, locked);
    }

    /// It is anybody's. What of it still runs keeps it from being used.
    pub(super) fn release(&self, locked: &Locked) {
        self.clear(locked);
        self.key.store(Key::FREE.0, Ordering::Release);
    }
}

/// What is known of one signal.
pub(super) struct State {
    /// The first of its slots, counted from 1.
    first: AtomicU16,
    /// The host's own action, once it is known.
    base: Kept,
    /// `SA_RESETHAND`: it was called.
    is_base_spent: AtomicBool,
    pub(super) has_base: AtomicBool,
    /// It must not end the process although no handler is left.
    pub(super) is_harmless: AtomicBool,
}

static STATES: [State; SIGNAL_MAX as usize + 1] = [const {
    State {
        first: AtomicU16::new(0),
        base: Kept::new(),
        is_base_spent: AtomicBool::new(false),
        has_base: AtomicBool::new(false),
        is_harmless: AtomicBool::new(false),
    }
}; SIGNAL_MAX as usize + 1];

/// Of a signal; the first one's place, which no signal has, for any other number.
pub(super) fn state(signal: c_int) -> &'static State {
    usize::try_from(signal).ok().and_then(|it| STATES.get(it)).unwrap_or(&STATES[0])
}

impl State {
    /// The host's own action that is in force: the default once it is used up.
    pub(super) fn base(&self) -> Action {
        match self.is_base_spent.load(Ordering::Relaxed) {
            true => Action::DEFAULT,
            false => self.base.read().action,
        }
    }

    pub(super) fn set_base(&self, action: Action, locked: &Locked) {
        self.base.write(Entry { action, owner: 0, born: 0 }, locked);
        self.is_base_spent.store(false, Ordering::Relaxed);
    }

    /// The host's own action for one call, which may be the only one that `SA_RESETHAND` allows.
    pub(super) fn take_base(&self) -> Action {
        let base = self.base();
        let once = base.is_handler() && base.flags & libc::SA_RESETHAND != 0;
        let is_spent = once && self.is_base_spent.swap(true, Ordering::Relaxed);
        if is_spent { Action::DEFAULT } else { base }
    }

    /// Its slots, used or not.
    pub(super) fn slots(&'static self) -> impl Iterator<Item = &'static Slot> {
        let at = |number: u16| POOL.get(usize::from(number.checked_sub(1)?));
        let first = at(self.first.load(Ordering::Acquire));
        std::iter::successors(first, move |slot| at(slot.next.load(Ordering::Acquire)))
    }

    pub(super) fn find(&'static self, key: Key) -> Option<&'static Slot> {
        self.slots().find(|slot| slot.key() == key)
    }

    /// A slot for `key`, which has none. `None`: the pool is used up.
    pub(super) fn make(&'static self, key: Key, locked: &Locked) -> Option<&'static Slot> {
        let unused = |slot: &&Slot| slot.key() == Key::FREE && !slot.is_running();
        let slot = self.slots().find(unused).or_else(|| self.link(locked))?;
        slot.key.store(key.0, Ordering::Release);
        Some(slot)
    }

    /// Takes a slot from the pool into this list, at its begin.
    fn link(&self, _: &Locked) -> Option<&'static Slot> {
        let number = USED.load(Ordering::Relaxed);
        let slot = POOL.get(number)?;
        USED.store(number + 1, Ordering::Relaxed);
        slot.next.store(self.first.load(Ordering::Relaxed), Ordering::Relaxed);
        self.first.store(u16::try_from(number + 1).ok()?, Ordering::Release);
        Some(slot)
    }
}

//! The heaps of libraries: memory that is lent to each, and goes when the library has gone.
//!
//! A library with an allocator of its own may ask its host for whole ranges ([`request`]), from its
//! constructors to its last destructor. Owns the books of what each has, and the look at what it says
//! of its heap. Knows nothing of how a heap is divided, by which name libraries find the function, or
//! what is done about one that has too much.
//!
//! # Invariants
//! - A range is unmapped when its library gives it back, or after the loader has confirmed that the
//!   library is unmapped (`take_back`); a library that stays keeps everything.
//! - What a library says of its heap, which lies in the library, is read only while nobody unmaps it
//!   (`shut`).
//! - Nobody of a library is called, and no other lock is taken, under the lock of the books.

use std::{
    any::Any,
    collections::BTreeMap,
    ffi::c_void,
    fmt,
    ops::Range,
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    LibraryId,
    registry::{self, Owner},
};

mod range;

/// What a library has taken from its heap and given back since it was loaded. Units: bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// All that was taken.
    pub taken: u64,
    /// What of it was given back.
    pub given: u64,
}

/// Reads what a library says of its heap, of which this is the address. It must not call the library,
/// allocate or wait.
pub type Gauge = unsafe fn(*const c_void) -> Flow;

/// What a library wants of its heap.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// Units: bytes, a multiple of a page.
    pub size: usize,
    /// To what a new range is aligned: a power of two; at least a page is.
    pub align: usize,
    /// The range that is meant; null: a new one.
    pub old: *mut c_void,
}

/// How much a library has on its heap. Units: bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapSize {
    /// What it was lent and has not given back. Exact.
    pub held: u64,
    /// The most that it has held.
    pub peak: u64,
    /// What of it is in use. Each of its threads may have taken or given back up to 64 KiB more.
    pub live: u64,
    /// All that was taken since it was loaded, as exact as `live`.
    pub total: u64,
}

/// Whoever is told that a library has crossed its line; see [`watch`].
pub type OnCrossing = Arc<dyn Fn(LibraryId) + Send + Sync>;

struct Line {
    /// Units: bytes.
    max: u64,
    /// It was above, and has not come down to [`Line::way_back`] since.
    over: bool,
    tell: OnCrossing,
}

impl Line {
    /// A little below, so that one chunk more or less is no crossing each time.
    fn way_back(&self) -> u64 {
        self.max - self.max / 8
    }

    /// Whether this is a crossing.
    fn crosses(&mut self, held: u64) -> bool {
        let over = held > if self.over { self.way_back() } else { self.max };
        std::mem::replace(&mut self.over, over) != over
    }
}

#[derive(Default)]
struct Heap {
    /// Start and length.
    ranges: BTreeMap<usize, usize>,
    size: HeapSize,
    /// Where the library says what it has, and how that is read; `None`: it has not asked yet, or
    /// is being unmapped.
    says: Option<(usize, Gauge)>,
    /// It is being unmapped.
    shut: bool,
    line: Option<Line>,
}

static HEAPS: Mutex<BTreeMap<LibraryId, Heap>> = Mutex::new(BTreeMap::new());

fn heaps() -> MutexGuard<'static, BTreeMap<LibraryId, Heap>> {
    HEAPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the books until it is dropped, for a fork.
pub(super) fn hold() -> Box<dyn Any> {
    Box::new(heaps())
}

/// Lends, resizes and takes back one range, for whatever library `of` lies in:
///
/// - `old` null: a new range, zeroed. Null: there is none, or no library has that address.
/// - `old` a range of this library: it is made that long, and may move. Null: it could not, and is
///   as it was.
/// - `old` a range and no size: it is taken back. Returns null.
///
/// What is not given back goes when the library is unmapped. May be called on any thread, also under
/// locks of the library.
///
/// # Safety
/// `of` lies in the library that asks, and `gauge` can read there as long as that is mapped; nobody
/// uses the bytes that go, or those of a range that moves.
pub unsafe fn request(of: *const c_void, gauge: Gauge, want: Want) -> *mut c_void {
    let Owner::Plugin(record) = registry::owner(of) else { return ptr::null_mut() };
    let (id, old) = (record.id(), want.old.cast::<u8>());
    let base = if old.is_null() {
        lend(id, (of, gauge), want.size, want.align)
    } else if want.size == 0 {
        // SAFETY: as the caller says.
        unsafe { return_range(id, old) };
        ptr::null_mut()
    } else {
        // SAFETY: as the caller says.
        unsafe { resize(id, old, want.size) }
    };
    base.cast()
}

pub(super) fn lend(
    id: LibraryId,
    (of, gauge): (*const c_void, Gauge),
    size: usize,
    align: usize,
) -> *mut u8 {
    let base = range::map(size, align);
    if !base.is_null() {
        settle(id, |heap| {
            if !heap.shut {
                heap.says = Some((of.expose_provenance(), gauge));
            }
            heap.add(base, size);
        });
    }
    base
}

/// # Safety
/// Nobody uses the range any more.
unsafe fn return_range(id: LibraryId, base: *mut u8) {
    let mut found = None;
    settle(id, |heap| found = heap.remove(base));
    if let Some(size) = found {
        // SAFETY: lent with this size, and in nobody's books any more.
        unsafe { range::unmap(base, size) };
    }
}

/// # Safety
/// Nobody uses the bytes that go, and, if it moves, where it was.
unsafe fn resize(id: LibraryId, base: *mut u8, size: usize) -> *mut u8 {
    let mut moved = ptr::null_mut();
    settle(id, |heap| {
        let Some(before) = heap.ranges.get(&base.addr()).copied() else { return };
        // Under the lock: where it was may be another's range at once.
        // SAFETY: lent with that size; the rest as the caller says.
        moved = unsafe { range::remap(base, before, size) };
        if !moved.is_null() {
            heap.remove(base);
            heap.add(moved, size);
        }
    });
    moved
}

/// Changes the books of a library; whoever watches it is told of a crossing afterwards.
fn settle(id: LibraryId, change: impl FnOnce(&mut Heap)) {
    let tell = {
        let mut heaps = heaps();
        let heap = heaps.entry(id).or_default();
        change(heap);
        heap.size.peak = heap.size.peak.max(heap.size.held);
        let held = heap.size.held;
        heap.line.as_mut().and_then(|line| line.crosses(held).then(|| Arc::clone(&line.tell)))
    };
    if let Some(tell) = tell {
        tell(id);
    }
}

/// Has `tell` called whenever the library comes to hold more than `max` bytes, and when it holds an
/// eighth less again: on the thread that has allocated, under locks of the library, so it may only
/// leave word. It is called at once if that is so already.
pub fn watch(id: LibraryId, max: u64, tell: OnCrossing) {
    if registry::by_id(id).is_none() {
        return;
    }
    settle(id, |heap| heap.line = Some(Line { max, over: false, tell }));
}

/// Whether the library holds more than it should; see [`watch`].
#[must_use]
pub fn is_over(id: LibraryId) -> bool {
    heaps().get(&id).and_then(|heap| heap.line.as_ref()).is_some_and(|line| line.over)
}

/// How much the library has. `None`: it was never lent anything, or has gone.
#[must_use]
pub fn size(id: LibraryId) -> Option<HeapSize> {
    let mut heaps = heaps();
    let heap = heaps.get_mut(&id).filter(|heap| heap.size.peak > 0)?;
    heap.read();
    Some(heap.size)
}

/// Whether `object` is what the library describes its heap by.
pub(super) fn is_described_by(id: LibraryId, object: *const c_void) -> bool {
    heaps().get(&id).and_then(|heap| heap.says).is_some_and(|(of, _)| of == object.addr())
}

/// Whose heap the address lies in.
pub(super) fn owner(address: usize) -> Option<LibraryId> {
    let heaps = heaps();
    let holds = |heap: &Heap| {
        let before = heap.ranges.range(..=address).next_back();
        before.is_some_and(|(base, size)| address - base < *size)
    };
    heaps.iter().find(|(_, heap)| holds(heap)).map(|(id, _)| *id)
}

/// Where the library's heap lies.
#[must_use]
pub fn ranges(id: LibraryId) -> Vec<Range<usize>> {
    let heaps = heaps();
    let ranges = heaps.get(&id).into_iter().flat_map(|heap| &heap.ranges);
    ranges.map(|(base, size)| *base..*base + *size).collect()
}

/// From here on what the library says is not looked at, because it is about to be unmapped; what
/// they said last is known. `shut(id, false)` takes that back: it is still there.
pub(crate) fn shut(id: LibraryId, shut: bool) {
    let mut heaps = heaps();
    // One that has asked for nothing yet may do so from its static destructors.
    let heap = heaps.entry(id).or_default();
    if shut {
        heap.read();
    }
    heap.shut = shut;
}

/// Frees all that the library had, once it is unmapped.
pub(crate) fn take_back(id: LibraryId) {
    let Some(heap) = heaps().remove(&id) else { return };
    for (base, size) in heap.ranges {
        // SAFETY: lent to a library that is gone, and with it whoever could use it.
        unsafe { range::unmap(ptr::with_exposed_provenance_mut(base), size) };
    }
}

impl Heap {
    fn add(&mut self, base: *mut u8, size: usize) {
        self.ranges.insert(base.addr(), size);
        self.size.held += size as u64;
    }

    fn remove(&mut self, base: *mut u8) -> Option<usize> {
        let size = self.ranges.remove(&base.addr())?;
        self.size.held -= size as u64;
        Some(size)
    }

    fn read(&mut self) {
        let Some((of, gauge)) = self.says.filter(|_| !self.shut) else { return };
        // SAFETY: an address of a library that is not being unmapped, which gave both.
        let Flow { taken, given } = unsafe { gauge(ptr::with_exposed_provenance(of)) };
        self.size.total = taken;
        // What is given back on one thread may be told before it was taken on another.
        self.size.live = taken.saturating_sub(given).min(self.size.held);
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").field("size", &self.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

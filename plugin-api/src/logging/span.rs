//! Spans of `tracing`, and which of them each thread is in.
//!
//! A span has a number that no other subscriber gives: an author who has one of their own for a while can
//! name its spans to ours, where they are nobody.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tracing_core::{Metadata, span::Id};

use super::Fields;

/// A span that somebody has.
#[derive(Debug)]
pub(super) struct Span {
    id: u64,
    pub(super) metadata: &'static Metadata<'static>,
    parent: Option<Arc<Span>>,
    /// The request that it was made for; 0: none.
    pub(super) request: u64,
    fields: Mutex<Fields<&'static str>>,
    /// Of the author's.
    handles: AtomicUsize,
}

/// The first number: far from those that count from 1, and from those with bits of a place in them.
const FIRST: u64 = 0x6873_0000_0000_0000;

/// By their numbers; `None` until there was one.
type Spans = Option<HashMap<u64, Arc<Span>>>;

/// The live ones: so many tables that threads seldom meet.
static LIVE: [Mutex<Spans>; 16] = [const { Mutex::new(None) }; 16];

fn live(id: u64) -> MutexGuard<'static, Spans> {
    let table = usize::try_from(id % 16).unwrap_or_default();
    LIVE[table].lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    // The innermost last. Who is in a span keeps it, whatever becomes of its handles.
    static HERE: RefCell<Vec<Arc<Span>>> = const { RefCell::new(Vec::new()) };
}

/// The innermost span that the calling thread is in.
pub(super) fn here() -> Option<Arc<Span>> {
    // A thread that ends has none.
    HERE.try_with(|here| here.borrow().last().cloned()).ok().flatten()
}

pub(super) fn enter(id: &Id) {
    if let Some(span) = of(id) {
        let _ = HERE.try_with(|here| here.borrow_mut().push(span));
    }
}

pub(super) fn exit(id: &Id) {
    let left = HERE.try_with(|here| {
        let mut here = here.borrow_mut();
        let at = here.iter().rposition(|it| it.id == id.into_u64())?;
        Some(here.remove(at))
    });
    drop(left);
}

/// The span of this number. `None`: it is of another subscriber.
pub(super) fn of(id: &Id) -> Option<Arc<Span>> {
    live(id.into_u64()).as_ref()?.get(&id.into_u64()).cloned()
}

impl Span {
    /// Makes one, of which the author has one handle.
    pub(super) fn begin(
        metadata: &'static Metadata<'static>,
        parent: Option<Arc<Span>>,
        request: u64,
        fields: Fields<&'static str>,
    ) -> Id {
        static LAST: AtomicU64 = AtomicU64::new(FIRST);
        let id = LAST.fetch_add(1, Ordering::Relaxed);
        let request = match (request, &parent) {
            (0, Some(parent)) => parent.request,
            _ => request,
        };
        let (fields, handles) = (Mutex::new(fields), AtomicUsize::new(1));
        let span = Arc::new(Self { id, metadata, parent, request, fields, handles });
        live(id).get_or_insert_default().insert(id, span);
        Id::from_u64(id)
    }

    pub(super) fn id(&self) -> Id {
        Id::from_u64(self.id)
    }

    pub(super) fn hold(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fields(&self) -> MutexGuard<'_, Fields<&'static str>> {
        self.fields.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The span around it.
    pub(super) fn parent(&self) -> Option<&Self> {
        self.parent.as_deref()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // A chain of any length, without a call for each.
        let mut next = self.parent.take();
        while let Some(mut span) = next.and_then(Arc::into_inner) {
            next = span.parent.take();
        }
    }
}

/// Lets go of one handle; whether it was the last, and the span is no more.
pub(super) fn let_go(id: &Id) -> bool {
    let Some(span) = of(id) else { return false };
    if span.handles.fetch_sub(1, Ordering::AcqRel) != 1 {
        return false;
    }
    // Outside the lock its fields go, and those around it.
    let gone = live(span.id).as_mut().and_then(|live| live.remove(&span.id));
    drop(gone);
    true
}

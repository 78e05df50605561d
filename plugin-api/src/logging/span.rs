//! Spans of `tracing`, and which of them each thread is in.
//!
//! A span's number is the address of its box, which is counted: no table, no lock but its own.
#![expect(unsafe_code, reason = "a span's number is an address")]

use std::{
    cell::RefCell,
    num::NonZeroU64,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tracing_core::{Metadata, span::Id};

use super::Fields;

/// A span that somebody has.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) metadata: &'static Metadata<'static>,
    /// Held.
    parent: Option<Id>,
    /// The request that it was made for; 0: none.
    pub(super) request: u64,
    fields: Mutex<Fields<&'static str>>,
    handles: AtomicUsize,
}

thread_local! {
    // The innermost last. Those who are in a span hold it.
    static HERE: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
}

/// The innermost span that the calling thread is in.
pub(super) fn here() -> Option<Id> {
    // A thread that ends has none.
    HERE.try_with(|here| here.borrow().last().cloned()).ok().flatten()
}

pub(super) fn enter(id: &Id) {
    let _ = HERE.try_with(|here| here.borrow_mut().push(id.clone()));
}

pub(super) fn exit(id: &Id) {
    let _ = HERE.try_with(|here| {
        let mut here = here.borrow_mut();
        if let Some(at) = here.iter().rposition(|it| it == id) {
            here.remove(at);
        }
    });
}

/// The span of a number that `tracing` has from [`Span::begin`] and has not given up.
pub(super) fn of(id: &Id) -> &Span {
    let address = usize::try_from(id.into_u64()).unwrap_or_default();
    // SAFETY: the address of a box; whoever has its number holds it.
    unsafe { &*std::ptr::with_exposed_provenance::<Span>(address) }
}

impl Span {
    /// Makes one, which is held once.
    pub(super) fn begin(
        metadata: &'static Metadata<'static>,
        parent: Option<Id>,
        request: u64,
        fields: Fields<&'static str>,
    ) -> Id {
        if let Some(parent) = &parent {
            of(parent).hold();
        }
        let request = match (request, &parent) {
            (0, Some(parent)) => of(parent).request,
            _ => request,
        };
        let handles = AtomicUsize::new(1);
        let span =
            Box::new(Self { metadata, parent, request, fields: Mutex::new(fields), handles });
        let address = Box::into_raw(span).expose_provenance();
        let number = u64::try_from(address).ok().and_then(NonZeroU64::new);
        Id::from_non_zero_u64(number.expect("a box is at no null address"))
    }

    pub(super) fn hold(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fields(&self) -> MutexGuard<'_, Fields<&'static str>> {
        self.fields.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The span around it.
    pub(super) fn parent(&self) -> Option<&Id> {
        self.parent.as_ref()
    }
}

/// Lets go of one handle; whether it was the last, and the span is gone. Those around it then lose one
/// as well.
pub(super) fn let_go(id: &Id) -> bool {
    if of(id).handles.fetch_sub(1, Ordering::AcqRel) != 1 {
        return false;
    }
    let address = usize::try_from(id.into_u64()).unwrap_or_default();
    // SAFETY: the box made in `begin`, and that was its last handle.
    let mut span = unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut::<Span>(address)) };
    // A chain of any length, without a call for each.
    while let Some(parent) = span.parent.take() {
        if of(&parent).handles.fetch_sub(1, Ordering::AcqRel) != 1 {
            break;
        }
        let address = usize::try_from(parent.into_u64()).unwrap_or_default();
        // SAFETY: as above.
        span = unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut::<Span>(address)) };
    }
    true
}

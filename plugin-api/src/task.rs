//! A future of this library, as the host polls it.
//!
//! Owns the one allocation of a request: the author's future, and in its place later what must
//! stay valid until the host drops it. Knows nothing of handlers.
//! Invariant: poll and drop let no panic out; what panicked is only dropped.
#![expect(unsafe_code, reason = "makes raw futures of boxed ones")]

use std::{future::Future, mem::MaybeUninit, pin::Pin, ptr, task::Poll};

use crate::{
    Result,
    abi::{self, Done, poll},
    guard::guard,
    owned::OwnedBytes,
    waker,
};

/// A result that can be written to the host.
pub(crate) trait Outcome {
    /// What the host receives.
    type Wire;
    /// What the host may read in place until it drops the future.
    type Keep: Default;

    /// Fills `out`, leaves in `keep` what it points to, and tells [`poll`]'s code.
    fn settle(self, keep: &mut Self::Keep, out: &mut MaybeUninit<Self::Wire>) -> u32;
}

impl Outcome for Result<()> {
    type Wire = Done;
    type Keep = ();

    fn settle(self, (): &mut (), out: &mut MaybeUninit<Done>) -> u32 {
        let (code, error) = match self {
            Ok(()) => (poll::READY, OwnedBytes::EMPTY),
            Err(error) => (poll::FAILED, error.into_text().into()),
        };
        out.write(Done { error: error.into_abi() });
        code
    }
}

enum Task<F, K> {
    Running(F),
    Ended(K),
}

/// Boxes `future` for the host, which owns it from now on.
pub(crate) fn export<F>(future: F) -> abi::Future<<F::Output as Outcome>::Wire>
where
    F: Future,
    F::Output: Outcome,
{
    let task = Box::new(Task::<F, <F::Output as Outcome>::Keep>::Running(future));
    abi::Future { data: Box::into_raw(task).cast(), poll: poll_task::<F>, drop: drop_task::<F> }
}

/// The future of code that panicked before it could make one.
pub(crate) fn panicked<W>() -> abi::Future<W> {
    unsafe extern "C" fn poll<W>(_: *mut (), _: *const abi::Waker, _: *mut W) -> u32 {
        poll::PANICKED
    }
    unsafe extern "C" fn drop(_: *mut ()) {}
    abi::Future { data: ptr::null_mut(), poll: poll::<W>, drop }
}

unsafe extern "C" fn poll_task<F>(
    data: *mut (),
    waker: *const abi::Waker,
    out: *mut <F::Output as Outcome>::Wire,
) -> u32
where
    F: Future,
    F::Output: Outcome,
{
    // SAFETY: the box made in `export`, alive until `drop_task` and used by one thread.
    let task = unsafe { &mut *data.cast::<Task<F, <F::Output as Outcome>::Keep>>() };
    // SAFETY: the caller gives room for one result.
    let out = unsafe { &mut *out.cast::<MaybeUninit<<F::Output as Outcome>::Wire>>() };
    let code = guard(|| {
        let Task::Running(future) = task else { return poll::PANICKED };
        // SAFETY: the box never moves what it holds, and nothing moves it out of the enum.
        let future = unsafe { Pin::new_unchecked(future) };
        // SAFETY: the caller's waker is valid for the call.
        let polled = unsafe { waker::with_std(waker, |cx| future.poll(cx)) };
        let Poll::Ready(outcome) = polled else { return poll::PENDING };
        *task = Task::Ended(Default::default());
        match task {
            Task::Ended(keep) => outcome.settle(keep, out),
            Task::Running(_) => poll::PANICKED,
        }
    });
    code.unwrap_or(poll::PANICKED)
}

unsafe extern "C" fn drop_task<F>(data: *mut ())
where
    F: Future,
    F::Output: Outcome,
{
    // SAFETY: the box made in `export`; the host drops a future once.
    let task = unsafe { Box::from_raw(data.cast::<Task<F, <F::Output as Outcome>::Keep>>()) };
    guard(|| drop(task));
}

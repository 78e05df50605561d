//! What an author implements.
//!
//! Owns the trait only; `shim` calls it.
//! Invariant: nothing of the ABI shows here.

use std::future::{Future, ready};

use crate::{Context, Phase, Request, Response, Result, Signal};

/// One plugin: an instance is made for each generation and serves until another takes its seat.
///
/// # Threads
/// The handler is shared by all of the host's data threads. Each call's future stays on the
/// thread that it was begun on and need not be `Send`.
///
/// # Ownership
/// A version that no request, stream or connection holds any more ends on one thread:
/// [`stop`](Self::stop), then at once the handler's `Drop`, then its threads are waited for, and its
/// library is unmapped. So a runtime, a pool or a thread that its owner joins may simply be a field.
/// `stop` is the last call in which the handler exists: a thread that goes on after it may use what
/// it owns (an `Arc`, say) and statics, as every thread of Rust does; one that was given a raw
/// pointer into the handler has to be joined in `stop`.
pub trait Handler: Sized + Send + Sync + 'static {
    /// Makes the instance. Runs in a preflight child first; see [`Context::is_preflight`].
    ///
    /// # Errors
    /// An error (or a panic) refuses the version; what served before serves on.
    fn new(context: &Context) -> Result<Self>;

    /// Answers one request. Write it as `async fn`. It must not block its thread.
    ///
    /// # Errors
    /// An error (or a panic) answers 500 and is logged. For any other status return a
    /// [`Response`].
    ///
    /// # Cancellation
    /// The future is dropped when the client goes away or the time limit passes.
    fn call(&self, request: Request<'_>) -> impl Future<Output = Result<Response>>;

    /// Checks the instance, in the preflight child only.
    ///
    /// # Errors
    /// An error refuses the version.
    fn self_test(&self) -> impl Future<Output = Result<()>> {
        ready(Ok(()))
    }

    /// Tells that another version has the seat and that this one should come to its end. Must
    /// return at once. [`Context::draining`] is the same for code that waits.
    fn drain(&self) {}

    /// Tells of a signal that the host got, before and after the host acts on it: to reopen a log
    /// file on [`Signal::Usr1`], say, or to write down what is known before an upgrade. Nothing is
    /// asked of the plugin; what the host does with the signal stays the same.
    ///
    /// It should return soon: the host goes on without waiting, and logs a callback that takes
    /// longer than its `hook_time`. Until it returns the version stays in memory, and what else
    /// the host would tell it of signals waits.
    ///
    /// After an upgrade the new process's instances are told of what the new host does; those of
    /// the old one may hear [`Phase::Pre`] without [`Phase::Post`].
    ///
    /// # Threads
    /// Called on a thread of its own, beside requests; one signal after the other.
    fn signal(&self, signal: Signal, phase: Phase) {
        let _ = (signal, phase);
    }

    /// Stops what the instance has started and does not end by being dropped: joins threads that use
    /// the handler through a pointer, closes what a static holds. May block, within the host's limit.
    /// No call runs any more; the handler is dropped next, on the same thread.
    fn stop(&self) {}
}

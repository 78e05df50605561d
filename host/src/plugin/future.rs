//! A future that a plugin made for a request: its answer, or its conversation after a 101.
//!
//! Owns how one is polled and let go of, and the words for how it fails. Knows nothing of what it
//! ends with.
#![expect(unsafe_code, reason = "crosses the ABI")]

use std::{mem::MaybeUninit, task::Context};

use hotseat_plugin_api::abi;

use super::{
    exchange::{Exchange, Lease, RequestBody},
    release::{self, Leaving},
    services::PanicReport,
    waker::HostWaker,
};

/// Why there is no reply. Owned text only.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The handler returned an error.
    #[error("{0}")]
    Failed(String),
    /// The handler panicked.
    #[error("panicked{}", .0.as_ref().map_or_else(String::new, |it| format!(": {it}")))]
    Panicked(Option<PanicReport>),
    /// The handler answered something that is no HTTP.
    #[error("answered {0}")]
    Invalid(String),
    /// The call was cut at a drain limit.
    #[error("was cut at the drain limit")]
    Cut,
}

/// A future of the plugin that is dropped in the plugin's code, before its exchange.
pub(super) struct PluginFuture<T, L: Lease, B: RequestBody> {
    future: abi::Future<T>,
    exchange: Exchange<L, B>,
}

impl<T, L: Lease, B: RequestBody> PluginFuture<T, L, B> {
    /// Takes a future over that borrows from `exchange`.
    pub(super) fn new(future: abi::Future<T>, exchange: Exchange<L, B>) -> Self {
        Self { future, exchange }
    }

    /// The request that it belongs to.
    pub(super) fn exchange(&self) -> &Exchange<L, B> {
        &self.exchange
    }

    /// Polls once; returns the code, with `out` filled as the code says.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, out: &mut MaybeUninit<T>) -> u32 {
        let waker = HostWaker::new(cx.waker());
        let _entered = self.exchange.enter();
        // SAFETY: the future came from the plugin that the exchange keeps loaded, has not been
        // dropped, and is not polled after it has ended (the callers drop it then).
        unsafe { (self.future.poll)(self.future.data, waker.as_ptr(), out.as_mut_ptr()) }
    }
}

impl<T, L: Lease, B: RequestBody> Drop for PluginFuture<T, L, B> {
    #[inline]
    fn drop(&mut self) {
        release::let_go(Leaving::future(&self.future, self.exchange.keeper()));
    }
}

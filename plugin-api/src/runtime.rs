//! A tokio runtime of the plugin's own, and handlers that run within it.
//!
//! Owns the runtime's life: made before the handler, entered around all of its code, shut down after
//! the handler is dropped. Knows nothing of requests.
//! Invariant: the handler is dropped within the runtime and before it, because what it holds (pools,
//! clients) ends tasks and threads of the runtime.

use std::{fmt, future::Future, mem::ManuallyDrop, time::Duration};

use tokio::runtime::{Builder, Handle};

use crate::{
    Context, Error, Handler, Phase, Request, Response, Result, Signal,
    export::Place,
    within::{Call, Within},
};

/// How a plugin's own runtime is made, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// Threads that run spawned tasks. Requests are polled on the host's threads.
    pub threads: usize,
    /// Threads of `spawn_blocking` at most; they are made when they are needed.
    pub blocking_threads: usize,
    /// How long the end of a version waits for blocking code that still runs. What takes longer keeps
    /// its thread, and that keeps the library.
    pub stop_time: Duration,
}

impl RuntimeOptions {
    /// One thread for tasks, up to 64 for blocking code, five seconds to end.
    pub const DEFAULT: Self =
        Self { threads: 1, blocking_threads: 64, stop_time: Duration::from_secs(5) };
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Within a runtime of its own, made with these options.
#[doc(hidden)]
pub trait Options: Send + Sync + 'static {
    /// The value.
    const OPTIONS: RuntimeOptions;
}

/// As [`Options`] says.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct OwnRuntime<O>(std::marker::PhantomData<fn() -> O>);

impl<O> OwnRuntime<O> {
    /// The place.
    pub const PLACE: Self = Self(std::marker::PhantomData);
}

impl<O: Options> Place for OwnRuntime<O> {
    type Of<H: Handler> = InRuntime<H, O>;
}

/// A runtime that ends when it is dropped, within a limit.
struct Runtime {
    inner: ManuallyDrop<tokio::runtime::Runtime>,
    stop_time: Duration,
}

impl Runtime {
    fn start(name: &str, options: RuntimeOptions) -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        // A thread's name has room for 15 bytes.
        let name: String = name.chars().take(11).chain("-rt".chars()).collect();
        let inner = builder
            .worker_threads(options.threads.max(1))
            .max_blocking_threads(options.blocking_threads.max(1))
            .thread_name(name)
            .enable_all()
            .build()
            .map_err(|error| Error::from(error).context("start the plugin's runtime"))?;
        Ok(Self { inner: ManuallyDrop::new(inner), stop_time: options.stop_time })
    }

    fn handle(&self) -> &Handle {
        self.inner.handle()
    }
}

impl Drop for Runtime {
    #[expect(unsafe_code, reason = "its end takes it by value")]
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        let inner = unsafe { ManuallyDrop::take(&mut self.inner) };
        let stop_time = self.stop_time;
        let end = move || inner.shutdown_timeout(stop_time);
        // An application that could not be made ends on the test's thread.
        #[cfg(any(test, feature = "testing"))]
        crate::testing::where_blocking_is_allowed(end);
        #[cfg(not(any(test, feature = "testing")))]
        end();
    }
}

/// `H`, all of whose code runs within a runtime of its own.
pub struct InRuntime<H, O> {
    // Before the runtime.
    handler: ManuallyDrop<H>,
    runtime: Runtime,
    options: std::marker::PhantomData<fn() -> O>,
}

impl<H, O> Drop for InRuntime<H, O> {
    #[expect(unsafe_code, reason = "the handler is dropped within the runtime")]
    fn drop(&mut self) {
        let _entered = self.runtime.handle().enter();
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.handler) }
    }
}

impl<H: Handler, O: Options> Handler for InRuntime<H, O> {
    fn new(context: &Context) -> Result<Self> {
        let runtime = Runtime::start(context.name(), O::OPTIONS)?;
        context.set_runtime(runtime.handle().clone());
        let entered = runtime.handle().enter();
        let handler = H::new(context);
        drop(entered);
        let handler = ManuallyDrop::new(handler?);
        Ok(Self { handler, runtime, options: std::marker::PhantomData })
    }

    fn call(&self, request: Request<'_>) -> impl Future<Output = Result<Response>> {
        Call::begin(self.runtime.handle().clone(), || self.handler.call(request))
    }

    fn self_test(&self) -> impl Future<Output = Result<()>> {
        let runtime = self.runtime.handle();
        let test = {
            let _entered = runtime.enter();
            self.handler.self_test()
        };
        Within::new(runtime.clone(), test)
    }

    fn drain(&self) {
        let _entered = self.runtime.handle().enter();
        self.handler.drain();
    }

    fn signal(&self, signal: Signal, phase: Phase) {
        let _entered = self.runtime.handle().enter();
        self.handler.signal(signal, phase);
    }

    fn stop(&self) {
        let _entered = self.runtime.handle().enter();
        self.handler.stop();
    }
}

impl<H, O> fmt::Debug for InRuntime<H, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InRuntime").finish_non_exhaustive()
    }
}

//! What an instance knows of itself and may ask of its host.
//!
//! Owns the author's side of the host's services: log, metrics, timer, blocking pool, tasks, topics,
//! cells, drain notice. Knows nothing of requests.
//! Invariant: the host's table stays valid as long as the library is loaded, so a clone may be
//! kept anywhere that is gone by then: in the handler, its threads and its bodies.
#![expect(unsafe_code, reason = "calls the host's table of services")]

mod blocking;
mod cell;
mod drain;
mod spawn;
mod telemetry;
mod topic;
#[cfg(feature = "config")]
mod typed;

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use crate::{
    Result,
    abi::{HostVt, Job, NewArgs, Str, new_flags},
    entry,
    host_future::FreeFuture,
};

pub use blocking::BlockingError;
pub use cell::{Cell, CellError, Versioned};
pub use drain::Draining;
pub(crate) use drain::{Drain, Phase};
pub use spawn::{Outcome, Period, SpawnError, Task, TaskError};
pub use telemetry::Level;
pub use topic::{Subscription, Topic, TopicError, TopicMessage};
#[cfg(feature = "config")]
pub use typed::ConfigError;

/// The surroundings of an instance. Cheap to clone; keep one in the handler.
///
/// # Threads
/// Usable from every thread that [`Handler::stop`](crate::Handler::stop) ends.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    label: String,
    generation: u64,
    preflight: bool,
    config: Option<String>,
    #[cfg(feature = "config")]
    config_places: Option<String>,
    host: Host,
    drain: Drain,
    #[cfg(feature = "runtime")]
    runtime: std::sync::OnceLock<tokio::runtime::Handle>,
}

#[derive(Clone, Copy)]
struct Host {
    data: *const (),
    vt: *const HostVt,
}

// SAFETY: the ABI lets every function of the table be called from any thread.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Context {
    /// Copies what `args` says.
    ///
    /// # Safety
    /// `args` is valid for the call; its `host` and `host_vt` as long as the library is loaded.
    pub(crate) unsafe fn from_args(args: *const NewArgs) -> Self {
        /// Fields are read one by one: a reference to the whole would claim bytes that an older
        /// host does not have.
        macro_rules! arg {
            ($field:ident) => {
                // SAFETY: valid for the call, and the fields of ABI 1.0 are in every version.
                unsafe { (*args).$field }
            };
        }
        let config = arg!(config);
        let text = |it: Str| {
            // SAFETY: the host's texts live until `new` returns.
            String::from_utf8_lossy(unsafe { it.bytes() }).into_owned()
        };
        Self {
            inner: Arc::new(Inner {
                name: text(arg!(name)),
                label: text(arg!(label)),
                generation: arg!(generation),
                preflight: arg!(flags) & new_flags::PREFLIGHT != 0,
                config: (!config.ptr.is_null()).then(|| text(config)),
                #[cfg(feature = "config")]
                config_places: crate::entry!(args => NewArgs.config_places)
                    .filter(|it| !it.ptr.is_null())
                    .map(text),
                host: Host { data: arg!(host), vt: arg!(host_vt) },
                drain: Drain::default(),
                #[cfg(feature = "runtime")]
                runtime: std::sync::OnceLock::new(),
            }),
        }
    }

    /// The plugin's name as the host calls it, for example `handler`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The version's label as the host calls it, for example `2`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.inner.label
    }

    /// The number of this load, never used again; 0 in a preflight.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// Whether this instance lives in the short-lived child that tries a version out. Check what
    /// can be checked; take no port, write no data.
    #[must_use]
    pub fn is_preflight(&self) -> bool {
        self.inner.preflight
    }

    /// The plugin's own configuration as JSON text, if the host has one: its table `[plugin.NAME]`,
    /// with the keys that the host reads itself (`memory_max` and its like), and with the values of
    /// its secrets. Print none of it. `config_as` makes a type of it.
    #[must_use]
    pub fn config(&self) -> Option<&str> {
        self.inner.config.as_deref()
    }

    /// Ends after `duration`, without blocking the thread.
    ///
    /// # Panics
    /// When awaited, if the host cannot keep time any more (it is stopping).
    #[must_use = "a future does nothing until it is awaited"]
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + use<> {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let Host { data, vt } = self.inner.host;
        // SAFETY: the table lives as long as the library.
        let sleep = unsafe { (*vt).sleep };
        // SAFETY: `data` belongs to the table; the future is new and ours.
        let timer = unsafe { FreeFuture::new(sleep(data, nanos)) };
        async move {
            if let Err(error) = timer.await {
                panic!("the host's timer failed: {error}");
            }
        }
    }

    /// The time by the clock that [`sleep`](Self::sleep) goes by. Measure with it what waits: in a test of
    /// the feature `testing` that clock jumps.
    #[must_use]
    pub fn now(&self) -> Instant {
        #[cfg(any(test, feature = "testing"))]
        if let Some(now) = crate::testing::now(self.inner.host.data, self.inner.host.vt) {
            return now;
        }
        Instant::now()
    }

    /// Runs `f` on the host's bounded pool for blocking code, within the plugin's own runtime if it has
    /// one.
    ///
    /// # Errors
    /// [`BlockingError::Full`] when the pool has no room: `f` then never runs, and a client is best
    /// answered with 503. [`BlockingError::Panicked`] when `f` did.
    ///
    /// # Cancellation
    /// `f` runs to its end even when nobody waits for it any more; its result is then dropped.
    pub async fn blocking<T, F>(&self, f: F) -> Result<T, BlockingError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        blocking::run(self.in_runtime(f), |job| self.submit(job, false)).await
    }

    /// As [`blocking`](Self::blocking), but `f` is dropped if the future is before it has begun, and
    /// what it panics with goes on in the future.
    pub(crate) async fn blocking_call<T, F>(&self, f: F) -> Result<T, BlockingError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        blocking::call(self.in_runtime(f), |job| self.submit(job, true)).await
    }

    /// `f`, within the plugin's own runtime wherever it is called.
    fn in_runtime<T, F: FnOnce() -> T>(&self, f: F) -> impl FnOnce() -> T + use<T, F> {
        #[cfg(feature = "runtime")]
        let runtime = self.runtime();
        move || {
            #[cfg(feature = "runtime")]
            let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
            f()
        }
    }

    /// Hands a job to the host; one that nobody but the caller `waits` for goes with the future, where
    /// the host knows that.
    fn submit(&self, job: Job, waits: bool) -> FreeFuture {
        let Host { data, vt } = self.inner.host;
        let call = entry!(vt => HostVt.blocking_call).flatten().filter(|_| waits);
        // SAFETY: the table lives as long as the library.
        let submit = call.unwrap_or(unsafe { (*vt).blocking });
        // SAFETY: `data` belongs to the table, which takes the job over.
        let future = unsafe { submit(data, job) };
        // SAFETY: the future is new and ours.
        unsafe { FreeFuture::new(future) }
    }

    /// The plugin's own runtime, or that of the code that calls.
    #[cfg(feature = "runtime")]
    pub(crate) fn runtime(&self) -> Option<tokio::runtime::Handle> {
        let own = self.inner.runtime.get().cloned();
        own.or_else(|| tokio::runtime::Handle::try_current().ok())
    }

    /// All of the plugin's code runs within `runtime`. Once.
    #[cfg(feature = "runtime")]
    pub(crate) fn set_runtime(&self, runtime: tokio::runtime::Handle) {
        let set = self.inner.runtime.set(runtime);
        debug_assert!(set.is_ok(), "an instance has one runtime");
    }

    /// Ends when another version has taken the seat and this one should come to its end.
    #[must_use = "a future does nothing until it is awaited"]
    pub fn draining(&self) -> Draining {
        self.reached(Phase::Requested)
    }

    /// What `future` gives, or `None` if the drain notice comes first.
    pub async fn until_drain<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut draining = pin!(self.draining());
        std::future::poll_fn(|cx| {
            if draining.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }

    pub(crate) fn reached(&self, phase: Phase) -> Draining {
        Draining::new(self.clone(), phase)
    }

    pub(crate) fn drain(&self) -> &Drain {
        &self.inner.drain
    }

    fn host(&self) -> Host {
        self.inner.host
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("name", &self.inner.name)
            .field("label", &self.inner.label)
            .field("generation", &self.inner.generation)
            .field("preflight", &self.inner.preflight)
            .finish_non_exhaustive()
    }
}

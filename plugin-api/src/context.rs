//! What an instance knows of itself and may ask of its host.
//!
//! Owns the author's side of the host's services: log, metrics, timer, blocking pool, drain
//! notice. Knows nothing of requests.
//! Invariant: the host's table stays valid as long as the library is loaded, so a clone may be
//! kept anywhere that is gone by then: in the handler, its threads and its bodies.
#![expect(unsafe_code, reason = "calls the host's table of services")]

mod blocking;
mod drain;
mod telemetry;

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
    abi::{HostVt, NewArgs, Str, new_flags},
    host_future::HostFuture,
};

pub use drain::Draining;
pub(crate) use drain::{Drain, Phase};
pub use telemetry::Level;

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
    host: Host,
    drain: Drain,
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
                host: Host { data: arg!(host), vt: arg!(host_vt) },
                drain: Drain::default(),
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

    /// The plugin's own configuration as JSON text, if the host has one.
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
        let timer = unsafe { HostFuture::new(sleep(data, nanos)) };
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

    /// Runs `f` on the host's bounded pool for blocking code.
    ///
    /// # Errors
    /// When the pool's queue is full (`f` then never runs), or when `f` panicked.
    ///
    /// # Cancellation
    /// `f` runs to its end even when nobody waits for it any more; its result is then dropped.
    pub async fn blocking<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let Host { data, vt } = self.inner.host;
        // SAFETY: the table lives as long as the library.
        let submit = unsafe { (*vt).blocking };
        blocking::run(f, |job| {
            // SAFETY: `data` belongs to the table, which takes the job over.
            let future = unsafe { submit(data, job) };
            // SAFETY: the future is new and ours.
            unsafe { HostFuture::new(future) }
        })
        .await
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

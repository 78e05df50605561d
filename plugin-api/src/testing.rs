//! A host in miniature, for tests of plugins: feature `testing`.
//!
//! [`Host`] runs a handler or a service within the process of its tests and without a network, and tells
//! what it has done. "Testing a plugin" in the [documentation of the crate](crate#testing-a-plugin) is
//! the way in.
//!
//! It reaches plugin code through the binary interface alone, as a real host does, and offers all of
//! that host's services.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

#[cfg(test)]
pub(crate) mod allocations;
mod cells;
mod clock;
mod driver;
mod fields;
mod future;
mod head;
mod made;
mod peer;
mod pool;
mod record;
mod reply;
mod request;
mod running;
mod services;
#[cfg(feature = "websocket")]
mod socket;
#[cfg(test)]
pub(crate) mod steps;
mod tasks;
mod topics;
mod upload;
mod waker;
mod world;

use std::{
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    mem::MaybeUninit,
    panic,
    sync::Once,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Error, Handler, Result,
    abi::{self, Created, Growing, HostVt, NewArgs, Str, new_flags, poll},
    owned::OwnedBytes,
    shim,
};
use cells::Cells;
use clock::Clock;
use driver::Driver;
use running::Entries;
use world::{Levels, World};

pub use made::Made;
pub use peer::Peer;
pub use record::{LogLine, LogSpan, Metric, MetricKind, Panic};
pub use reply::Reply;
pub use request::{Call, RequestBuilder};
pub use running::Running;
#[cfg(feature = "websocket")]
pub use socket::Socket;
pub use upload::Upload;

/// A plugin's own configuration: JSON, as a value or as text.
#[derive(Clone, Debug)]
pub struct Config(String);

impl From<Value> for Config {
    fn from(value: Value) -> Self {
        Self(value.to_string())
    }
}

impl From<&Value> for Config {
    fn from(value: &Value) -> Self {
        Self(value.to_string())
    }
}

impl From<&str> for Config {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Config {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// A host for tests of `T`, before its start.
#[must_use = "nothing runs before `start`"]
pub struct Host<T> {
    /// Taken by `T`'s `new`.
    made: Option<Box<dyn std::any::Any>>,
    name: String,
    label: String,
    generation: u64,
    is_preflight: bool,
    config: Option<Config>,
    cells: BTreeMap<String, Vec<u8>>,
    levels: Result<Levels, String>,
    is_real_time: bool,
    patience: Duration,
    #[cfg(feature = "runtime")]
    has_runtime: bool,
    of: PhantomData<fn() -> T>,
}

impl<T: Handler> Host<T> {
    /// One for the handler `T`.
    pub fn new() -> Self {
        Self {
            made: None,
            name: "test".to_owned(),
            label: "1".to_owned(),
            generation: 1,
            is_preflight: false,
            config: None,
            cells: BTreeMap::new(),
            levels: Ok(Levels::default()),
            is_real_time: false,
            patience: Duration::from_secs(10),
            #[cfg(feature = "runtime")]
            has_runtime: false,
            of: PhantomData,
        }
    }

    /// The plugin's own configuration, as [`Context::config`](crate::Context::config) gives it.
    pub fn config(mut self, config: impl Into<Config>) -> Self {
        self.config = Some(config.into());
        self
    }

    /// The plugin's name, instead of `test`.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The version's label, instead of `1`.
    pub fn label(mut self, label: &str) -> Self {
        label.clone_into(&mut self.label);
        self
    }

    /// The generation's number, instead of 1.
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    /// As in the short-lived child that tries a version out: [`Context::is_preflight`](crate::Context::is_preflight), generation 0,
    /// and no task begins.
    pub fn preflight(mut self, preflight: bool) -> Self {
        self.is_preflight = preflight;
        self
    }

    /// What is in one of the plugin's cells when it starts.
    pub fn cell(mut self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.cells.insert(key.to_owned(), value.into());
        self
    }

    /// Which lines are kept, in the words of the host's `[plugin.NAME] log`: `debug`, or
    /// `warn,sqlx=debug`. Instead of `info`.
    pub fn log(mut self, levels: &str) -> Self {
        self.levels = Levels::parse(levels);
        self
    }

    /// The time is the real one: [`Context::sleep`](crate::Context::sleep) takes as long as it says.
    pub fn real_time(mut self) -> Self {
        self.is_real_time = true;
        self
    }

    /// How long anything is waited for, in real time, before the test fails: instead of 10 seconds.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whether the plugin has a tokio runtime of its own, as by `runtime = "tokio"` in
    /// [`export_handler!`](crate::export_handler). A service has one unless this says otherwise.
    #[cfg(feature = "runtime")]
    pub fn runtime(mut self, runtime: bool) -> Self {
        self.has_runtime = runtime;
        self
    }

    /// Makes the handler.
    ///
    /// # Errors
    /// That of its `new`, a panic there, or what is wrong with this host's settings.
    #[track_caller]
    pub fn start(self) -> Result<Running> {
        #[cfg(feature = "runtime")]
        if self.has_runtime {
            return self.start_as::<crate::runtime::InRuntime<T, DefaultRuntime>>();
        }
        self.start_as::<T>()
    }

    fn start_as<H: Handler>(self) -> Result<Running> {
        let config = self.config.map(|config| config.0);
        if let Some(config) = &config {
            serde_json::from_str::<Value>(config).map_err(|error| {
                Error::new(format_args!("the configuration is no JSON: {error}"))
            })?;
        }
        let levels = self.levels.map_err(Error::new)?;
        let (clock, cells) = (Clock::new(self.is_real_time), Cells::new(self.cells));
        let world = World::new(levels, clock, cells);
        let args = NewArgs {
            size: abi::size_of_u32::<NewArgs>(),
            flags: if self.is_preflight { new_flags::PREFLIGHT } else { 0 },
            host: world.data(),
            host_vt: &services::VT,
            name: Str::new(self.name.as_bytes()),
            label: Str::new(self.label.as_bytes()),
            generation: if self.is_preflight { 0 } else { self.generation },
            config: config.as_ref().map_or(Str::NONE, |it| Str::new(it.as_bytes())),
            config_places: Str::NONE,
        };
        let mut out = MaybeUninit::<Created>::uninit();
        let inside = world.enter();
        let stash = made::stash(self.made);
        // SAFETY: the arguments live for the call, and `out` has room.
        let code = unsafe { shim::new::<H>(Growing { ptr: &raw const args }, out.as_mut_ptr()) };
        drop(stash);
        // SAFETY: the SDK fills it on every code.
        let Created { instance, error } = unsafe { out.assume_init() };
        // SAFETY: valid on every code, and the receiver's.
        let error = unsafe { OwnedBytes::from_abi(error) }.to_text();
        drop(inside);
        if code != poll::READY {
            let panic = world.record().panics.last().map(|panic| format!("panicked: {panic}"));
            return Err(Error::new(panic.filter(|_| code == poll::PANICKED).unwrap_or(error)));
        }
        // SAFETY: just made, of that type.
        let context = unsafe { shim::context_of::<H>(instance) };
        let driver = Driver::new(world, context, self.is_preflight, self.patience);
        let entries = Entries { call: shim::call::<H>, instance: shim::Table::<H>::TABLE };
        Ok(Running::new(world, driver, entries, instance))
    }
}

impl<T: Handler> Default for Host<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Host<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The runtime of `runtime = "tokio"`.
#[cfg(feature = "runtime")]
struct DefaultRuntime;

#[cfg(feature = "runtime")]
impl crate::runtime::Options for DefaultRuntime {
    const OPTIONS: crate::RuntimeOptions = crate::RuntimeOptions::DEFAULT;
}

/// Has panics of plugin code told to its kit, if a kit runs here; whether one does. What was told of
/// panics before is told as well: a failed assertion of a test is printed as always.
pub(crate) fn hears_panics() -> bool {
    static INSTALLED: Once = Once::new();
    if world::current().is_none() {
        return false;
    }
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            crate::guard::hook(info);
            before(info);
        }));
    });
    true
}

/// Runs `f`, which may block: on a thread of its own if the calling one is within a runtime, where tokio
/// panics at the end of another one. What `f` prints is the test's.
pub(crate) fn where_blocking_is_allowed(f: impl FnOnce() + Send) {
    #[cfg(feature = "runtime")]
    if tokio::runtime::Handle::try_current().is_ok() {
        let end = std::thread::scope(|scope| scope.spawn(f).join());
        if let Err(panic) = end {
            panic::resume_unwind(panic);
        }
        return;
    }
    f();
}

/// The host of the kit that the calling thread belongs to.
pub(crate) fn host_here() -> Option<(*const (), *const HostVt)> {
    Some((world::current()?.data(), &raw const services::VT))
}

/// The time of the kit that the calling thread belongs to, as `CLOCK_MONOTONIC` has it.
pub(crate) fn monotonic() -> Option<Duration> {
    Some(world::current()?.clock.monotonic())
}

/// The time of a kit, if `vt` is of one.
pub(crate) fn now(data: *const (), vt: *const HostVt) -> Option<Instant> {
    // SAFETY: the data of our table.
    std::ptr::eq(vt, &raw const services::VT).then(|| unsafe { World::of(data) }.clock.instant())
}

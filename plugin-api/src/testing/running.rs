//! A plugin that runs, and what it has done.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{collections::BTreeMap, fmt, rc::Rc, sync::atomic::Ordering, thread, time::Duration};

use bytes::Bytes;
use http::Method;

use super::{
    driver::{Driver, Job, outcome},
    record::{LogLine, Metric, MetricKind, Panic},
    request::RequestBuilder,
    where_blocking_is_allowed,
    world::World,
};
use crate::{
    Error, Phase, Result, Signal,
    abi::{CallFn, InstanceVt, drain},
};

/// The functions of one plugin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries {
    pub(super) call: CallFn,
    /// Of this build.
    pub(super) instance: *const InstanceVt,
}

/// A plugin under test, from [`Host::start`](super::Host::start). When it is dropped its version ends,
/// as by [`stop`](Self::stop); where a test fails, what the plugin has logged is printed.
///
/// # Threads
/// Stays on the thread of its test, which is the data thread of the plugin. Within a runtime of the
/// test's own (`#[tokio::test]`) the version ends on a thread of its own, as on a real host, because what
/// ends there may block. The kit waits without an `await`: what a test itself has spawned goes on
/// meanwhile in the flavour `multi_thread` alone, and an application that is made by
/// `Handle::block_on` needs a plain `#[test]`.
pub struct Running {
    world: &'static World,
    driver: Driver,
    entries: Entries,
    /// `None` once it was stopped.
    instance: Option<*const ()>,
}

/// Calls one entry of the instance.
macro_rules! entry {
    ($kit:expr, $entry:ident $(, $arg:expr)*) => {{
        if let Some(instance) = $kit.instance {
            // SAFETY: a table of this build.
            let entry = unsafe { (*$kit.entries.instance).$entry };
            let entry = entry.expect("the SDK's table has it");
            let _inside = $kit.world.enter();
            // SAFETY: the instance is alive.
            Some(unsafe { entry(instance $(, $arg)*) })
        } else {
            None
        }
    }};
}

impl Running {
    pub(super) fn new(
        world: &'static World,
        driver: Driver,
        entries: Entries,
        instance: *const (),
    ) -> Self {
        Self { world, driver, entries, instance: Some(instance) }
    }

    /// `GET path`; a query may follow.
    ///
    /// # Panics
    /// When `path` is no path.
    #[track_caller]
    pub fn get(&self, path: &str) -> RequestBuilder<'_> {
        self.request(Method::GET, path)
    }

    /// `POST path`, with a body; there is none if it is empty.
    ///
    /// # Panics
    /// When `path` is no path.
    #[track_caller]
    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> RequestBuilder<'_> {
        let request = self.request(Method::POST, path);
        let body = body.into();
        if body.is_empty() { request } else { request.body(body) }
    }

    /// Any request.
    ///
    /// # Panics
    /// When `path` is no path.
    #[track_caller]
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder<'_> {
        RequestBuilder::new(self, method, path)
    }

    /// Lets everything go on that can (requests, tasks, conversations), without time passing.
    ///
    /// # Panics
    /// When it does not come to rest within the [patience](super::Host::patience) of the kit.
    #[track_caller]
    pub fn settle(&self) {
        self.driver.settle();
    }

    /// How long the plugin has run, by the clock that [`Context::sleep`](crate::Context::sleep) goes by.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.world.clock.now()
    }

    /// Lets time pass, and everything go on that it wakes.
    ///
    /// # Panics
    /// When what goes on does not come to rest within the [patience](super::Host::patience) of the kit.
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        self.driver.advance(time);
    }

    /// Tells the plugin that another version has its seat: [`Handler::drain`](crate::Handler::drain),
    /// [`Context::draining`](crate::Context::draining).
    pub fn drain(&self) {
        entry!(self, drain_notice, drain::REQUESTED);
    }

    /// Tells the plugin that the drain limit is near: WebSockets are closed.
    pub fn last_call(&self) {
        entry!(self, drain_notice, drain::LAST_CALL);
    }

    /// Tells the plugin of a signal of the host.
    pub fn signal(&self, signal: Signal, phase: Phase) {
        entry!(self, signal, signal.to_abi(), phase.to_abi());
    }

    /// Any numbers.
    #[cfg(test)]
    pub(crate) fn raw_signal(&self, signal: u32, phase: u32) {
        entry!(self, signal, signal, phase);
    }

    /// Runs [`Handler::self_test`](crate::Handler::self_test).
    ///
    /// # Errors
    /// Its own, or its panic's text.
    ///
    /// # Panics
    /// When it does not end within the [patience](super::Host::patience) of the kit, or the kit was
    /// stopped.
    #[track_caller]
    pub fn self_test(&self) -> Result<()> {
        let future = entry!(self, self_test).expect("the kit was stopped");
        let job = Rc::new(Job::new(self.world, future));
        self.driver.add(job.clone());
        let end = self.driver.wait(&"the self test", || job.take_end());
        outcome(self.world, end).map_err(Error::new)
    }

    /// Ends the version, as the host does when its last request has ended: tasks are dropped, then the
    /// handler is stopped and dropped. What it has done can be read afterwards.
    pub fn stop(&mut self) {
        let waiting = self.world.end_tasks();
        for task in waiting {
            drop(Job::new(self.world, task.0));
        }
        self.driver.cancel_all();
        self.world.topics.end();
        if let Some(instance) = self.instance.take() {
            let ending = Ending { world: self.world, table: self.entries.instance, instance };
            where_blocking_is_allowed(|| ending.end());
        }
        self.world.pool.join();
    }

    /// Refuses blocking code from now on, as the host does whose pool is full, or takes it again.
    pub fn refuse_blocking(&self, refuse: bool) {
        self.world.pool.is_full.store(refuse, Ordering::Relaxed);
    }

    /// What the plugin has logged.
    #[must_use]
    pub fn logs(&self) -> Vec<LogLine> {
        self.world.record().logs.clone()
    }

    /// What the plugin has recorded, each value by itself.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        self.world.record().metrics.clone()
    }

    /// What the metric `name` has come to, whatever its labels: the sum of a counter, the last value of
    /// a gauge, how often a histogram was observed.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let record = self.world.record();
        let of_name = record.metrics.iter().filter(|metric| metric.name == name);
        of_name.fold(None, |sum, metric| {
            Some(match metric.kind {
                MetricKind::Counter => sum.unwrap_or(0.0) + metric.value,
                MetricKind::Gauge => metric.value,
                MetricKind::Histogram => sum.unwrap_or(0.0) + 1.0,
            })
        })
    }

    /// Panics of the plugin's code on any of its threads, in requests and elsewhere.
    #[must_use]
    pub fn panics(&self) -> Vec<Panic> {
        self.world.record().panics.clone()
    }

    /// What is in the plugin's cells.
    #[must_use]
    pub fn cells(&self) -> BTreeMap<String, Vec<u8>> {
        self.world.cells.all()
    }

    /// Changes a cell, as another version of the plugin may at any time.
    ///
    /// # Panics
    /// When the host would refuse it: a key that is none, a value that is too long.
    #[track_caller]
    pub fn set_cell(&self, key: &str, value: impl AsRef<[u8]>) {
        if let Err(why) = self.world.cells.set(key, value.as_ref()) {
            panic!("{why}");
        }
    }

    /// What the plugin has published, by topic.
    #[must_use]
    pub fn published(&self) -> Vec<(String, Bytes)> {
        self.world.record().published.clone()
    }

    /// Publishes in a topic, as another version of the plugin may; how many were subscribed.
    ///
    /// # Panics
    /// When the message is longer than the host allows.
    #[track_caller]
    pub fn publish(&self, topic: &str, message: impl Into<Bytes>) -> usize {
        let count = self.world.topics.publish(topic, &message.into());
        count.expect("a message of at most 1 MiB")
    }

    pub(super) fn world(&self) -> &'static World {
        self.world
    }

    pub(super) fn driver(&self) -> &Driver {
        &self.driver
    }

    pub(super) fn call_fn(&self) -> CallFn {
        self.entries.call
    }

    pub(super) fn instance(&self) -> Option<*const ()> {
        self.instance
    }
}

/// An instance at its end.
struct Ending {
    world: &'static World,
    table: *const InstanceVt,
    instance: *const (),
}

// SAFETY: the ABI lets the last two entries be called on any thread; a handler is `Send`.
unsafe impl Send for Ending {}

impl Ending {
    /// Stops and drops it.
    fn end(self) {
        let _inside = self.world.enter();
        // SAFETY: a table of this build.
        let (stop, free) = unsafe { ((*self.table).stop, (*self.table).drop) };
        let stop = stop.expect("the SDK's table has it");
        // SAFETY: the instance is alive.
        unsafe { stop(self.instance) };
        // SAFETY: alive until now; called once, last.
        unsafe { free(self.instance) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            // Panics were printed when they came.
            for line in &self.world.record().logs {
                eprintln!("the plugin's log: {line}");
            }
        }
        self.world.close();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("is_stopped", &self.instance.is_none())
            .finish_non_exhaustive()
    }
}

//! What a plugin may ask of the host: log, metrics, panic reports, timers, blocking work, tasks, topics,
//! cells.
//!
//! Owns the functions behind `abi::HostVt` and the context that is their first argument. Knows
//! nothing of what the answers are used for. Invariants: nothing unwinds into a plugin; every
//! text is copied before the function returns; the context lives until its library is closed.
#![expect(unsafe_code, reason = "called by plugins with raw pointers")]

use std::{borrow::Cow, fmt, sync::Arc};

use hotseat_plugin_api::abi;

use hotseat_unload::{Holding, LibraryId, LibraryLease, Record};

use super::{
    blocking::BlockingPool,
    desk::{DataThreads, Desk},
    release,
    shield::shield,
    tasks::{self, Tasks},
    topics::{self, Subscriptions, TopicLimits, Topics},
};
use crate::{
    cells::{CellStore, Cells},
    ids::{Generation, PluginName},
    log::{Heard, Line, Pairs, Prints, Span, levels_of},
    status::Beside,
};

mod cell;
mod future;
mod log;
mod panics;
mod subscription;

pub use panics::PanicReport;

/// Takes the metrics of plugins.
pub trait MetricSink: Send + Sync {
    /// Records `value`; `kind` is one of [`abi::metric`]'s constants. Called from any thread.
    fn record(
        &self,
        plugin: &PluginName,
        kind: u32,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    );

    /// What is counted of `plugin` beside its requests.
    fn beside(&self, plugin: &PluginName) -> Arc<Beside>;
}

/// The host's side of all plugins; cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// Where metrics go.
    pub metrics: Arc<dyn MetricSink>,
    /// Whose timers serve a plugin's own threads; a data thread uses its own runtime's. The
    /// thread that drives it runs plugins' wakers and must be registered for purges.
    pub timer: tokio::runtime::Handle,
    /// Where blocking work runs.
    pub blocking: Arc<BlockingPool>,
    /// Where tasks run.
    pub threads: Arc<dyn DataThreads>,
    /// How many tasks a generation may have.
    pub tasks_count: usize,
    /// What generations of a plugin tell each other.
    pub topics: Arc<Topics>,
    /// Where values are kept.
    pub cells: Arc<dyn CellStore>,
}

/// There are none: tasks are dropped.
struct NoThreads;

impl DataThreads for NoThreads {
    fn next(&self) -> Option<Arc<Desk>> {
        None
    }

    fn are_ending(&self) -> bool {
        false
    }
}

impl Services {
    /// Those of a process without data threads.
    #[must_use]
    pub fn new(
        metrics: Arc<dyn MetricSink>,
        timer: tokio::runtime::Handle,
        blocking: Arc<BlockingPool>,
    ) -> Self {
        let topics =
            TopicLimits { topics_count: 64, subscribers_count: 64, waiting_bytes: 1 << 20 };
        Self {
            metrics,
            timer,
            blocking,
            threads: Arc::new(NoThreads),
            tasks_count: 64,
            topics: Topics::new(topics),
            cells: Arc::new(Cells::unavailable("nobody keeps them here")),
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("blocking", &self.blocking).finish_non_exhaustive()
    }
}

/// Where a plugin's log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogTo {
    /// The host's log.
    Tracing,
    /// Plain lines on stderr, in a preflight child.
    Stderr,
}

/// What `host` points to in every function of [`VT`].
pub(super) struct Context {
    pub(super) plugin: PluginName,
    pub(super) generation: Generation,
    pub(super) record: Arc<Record>,
    pub(super) services: Services,
    pub(super) log_to: LogTo,
    /// Which of its lines are written.
    pub(super) heard: Arc<Heard>,
    /// Kept for its drop, behind the library's end.
    pub(super) _prints: Option<Prints>,
    tasks: Arc<Tasks>,
    subscriptions: Subscriptions,
    beside: Arc<Beside>,
}

impl Context {
    pub(super) fn new(
        (plugin, generation): (PluginName, Generation),
        record: Arc<Record>,
        services: Services,
        (log_to, prints): (LogTo, Option<Prints>),
    ) -> Self {
        let beside = services.metrics.beside(&plugin);
        let tasks = Tasks::new(tasks::Owner {
            plugin: plugin.clone(),
            generation,
            record: record.clone(),
            beside: beside.clone(),
            threads: services.threads.clone(),
            limit: services.tasks_count,
        });
        let subscriptions = Subscriptions::new(services.topics.of(&plugin, &beside));
        let heard = levels_of(&plugin);
        Self {
            plugin,
            generation,
            record,
            services,
            log_to,
            heard,
            _prints: prints,
            tasks,
            subscriptions,
            beside,
        }
    }

    /// Its tasks.
    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Ends what it does beside requests, and waits for that; it can begin no more.
    pub(super) fn end_beside(&self) {
        self.tasks.end();
        self.subscriptions.end();
    }

    pub(super) fn library(&self) -> LibraryId {
        self.record.id()
    }

    pub(super) fn lease(&self, holding: Holding) -> LibraryLease {
        // Its own code asks for it.
        LibraryLease::new(Arc::clone(&self.record), holding).expect("the library is open")
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

/// The host's functions as plugins get them.
pub(super) static VT: abi::HostVt = abi::HostVt {
    size: abi::size_of_u32::<abi::HostVt>(),
    log,
    log_enabled,
    metric,
    panicked,
    sleep,
    blocking,
    log_enabled_for: Some(log_enabled_for),
    log_record: Some(log_record),
    spawn: Some(spawn),
    cell: Some(cell),
    publish: Some(publish),
    subscribe: Some(subscribe),
    blocking_call: Some(blocking_call),
};

/// # Safety
/// `host` must be the context that the library was made with, which is still loaded.
unsafe fn context<'a>(host: *const ()) -> &'a Context {
    // SAFETY: as the caller says; the context is freed after the library is closed.
    unsafe { &*host.cast::<Context>() }
}

/// A plugin's text, lossy: a wrong byte must not lose a log line.
///
/// # Safety
/// The text must be alive for the call.
unsafe fn text(text: abi::Str) -> String {
    // SAFETY: alive, as the caller says.
    String::from_utf8_lossy(unsafe { text.bytes() }).into_owned()
}

/// # Safety
/// `fields` must point to `n` live fields.
unsafe fn pairs(fields: *const abi::Header, n: usize) -> Vec<(String, String)> {
    if fields.is_null() || n == 0 {
        return Vec::new();
    }
    // SAFETY: `n` live fields, as the caller says.
    let fields = unsafe { std::slice::from_raw_parts(fields, n) };
    let pair = |field: &abi::Header| {
        // SAFETY: the field's texts live as long as the field.
        let name = unsafe { text(field.name) };
        // SAFETY: as above.
        let value = unsafe { text(field.value) };
        (name, value)
    };
    fields.iter().map(pair).collect()
}

/// Host-owned bytes as the ABI has them.
fn owned(bytes: Vec<u8>) -> abi::Bytes {
    unsafe extern "C" fn free(owner: *mut (), ptr: *const u8, len: usize) {
        // SAFETY: pointer, length and capacity of the vector that `owned` took apart.
        drop(unsafe { Vec::from_raw_parts(ptr.cast_mut(), len, owner.addr()) });
    }
    if bytes.is_empty() {
        let dangling = std::ptr::NonNull::dangling().as_ptr();
        return abi::Bytes { ptr: dangling, len: 0, owner: std::ptr::null_mut(), drop: None };
    }
    let mut bytes = std::mem::ManuallyDrop::new(bytes);
    abi::Bytes {
        ptr: bytes.as_mut_ptr(),
        len: bytes.len(),
        owner: std::ptr::without_provenance_mut(bytes.capacity()),
        drop: Some(free),
    }
}

unsafe extern "C" fn log(
    host: *const (),
    level: u32,
    target: abi::Str,
    message: abi::Str,
    fields: *const abi::Header,
    n: usize,
) {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    shield(|| {
        // SAFETY: arguments are alive for the call.
        let target = unsafe { text(target) };
        if !log::enabled(context, level, Some(&target)) {
            return;
        }
        // SAFETY: as above.
        let message = unsafe { text(message) };
        // SAFETY: as above.
        let fields = unsafe { pairs(fields, n) };
        let fields = fields.into_iter().map(|(name, value)| (name, value.into())).collect();
        log::write(context, level, 0, &target, &Line { message, fields, spans: Vec::new() });
    });
}

unsafe extern "C" fn log_enabled_for(host: *const (), level: u32, target: abi::Str) -> u8 {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    // SAFETY: alive for the call.
    let target = unsafe { target.bytes() };
    // Asked for each event and span: what is text is not looked at twice.
    let target = str::from_utf8(target).map_or_else(|_| String::from_utf8_lossy(target), Cow::from);
    u8::from(shield(|| log::enabled(context, level, Some(&target))).unwrap_or(false))
}

/// # Safety
/// `fields` must point to `n` live fields.
unsafe fn values(fields: *const abi::Field, n: usize) -> Pairs {
    if fields.is_null() || n == 0 {
        return Pairs::new();
    }
    // SAFETY: `n` live fields, as the caller says.
    let fields = unsafe { std::slice::from_raw_parts(fields, n) };
    let pair = |field: &abi::Field| {
        // SAFETY: the field's texts live as long as the field.
        let name = unsafe { text(field.name) };
        let value = match field.kind {
            abi::field::I64 => field.bits.cast_signed().into(),
            abi::field::U64 => field.bits.into(),
            abi::field::F64 => f64::from_bits(field.bits).into(),
            abi::field::BOOL => (field.bits != 0).into(),
            // SAFETY: as above.
            _ => unsafe { text(field.text) }.into(),
        };
        (name, value)
    };
    fields.iter().map(pair).collect()
}

unsafe extern "C" fn log_record(host: *const (), record: *const abi::LogRecord) {
    /// Fields are read one by one: another build's record may be shorter.
    macro_rules! of {
        ($field:ident) => {
            // SAFETY: alive for the call, and these are in every version.
            unsafe { (*record).$field }
        };
    }
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    shield(|| {
        let level = of!(level);
        let target = of!(target);
        // SAFETY: what the record borrows is alive for the call.
        let target = unsafe { text(target) };
        if !log::enabled(context, level, Some(&target)) {
            return;
        }
        let (message, fields, fields_count) = (of!(message), of!(fields), of!(fields_count));
        // SAFETY: as above.
        let message = unsafe { text(message) };
        // SAFETY: as above.
        let fields = unsafe { values(fields, fields_count) };
        let (spans, count) = (of!(spans), of!(spans_count));
        let spans = if spans.is_null() || count == 0 {
            Vec::new()
        } else {
            // SAFETY: `spans_count` live spans.
            let spans = unsafe { std::slice::from_raw_parts(spans, count) };
            let span = |span: &abi::LogSpan| {
                // SAFETY: alive as the record.
                let name = unsafe { text(span.name) };
                // SAFETY: as above.
                let fields = unsafe { values(span.fields, span.fields_count) };
                Span { name, fields }
            };
            spans.iter().map(span).collect()
        };
        log::write(context, level, of!(request), &target, &Line { message, fields, spans });
    });
}

unsafe extern "C" fn log_enabled(host: *const (), level: u32) -> u8 {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    u8::from(shield(|| log::enabled(context, level, None)).unwrap_or(false))
}

unsafe extern "C" fn metric(
    host: *const (),
    kind: u32,
    name: abi::Str,
    labels: *const abi::Header,
    n: usize,
    value: f64,
) {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    shield(|| {
        // SAFETY: arguments are alive for the call.
        let name = unsafe { text(name) };
        // SAFETY: as above.
        let labels = unsafe { pairs(labels, n) };
        let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        context.services.metrics.record(&context.plugin, kind, &name, &labels, value);
    });
}

unsafe extern "C" fn panicked(host: *const (), message: abi::Str, location: abi::Str) {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    shield(|| {
        // SAFETY: arguments are alive for the call.
        let message = unsafe { text(message) };
        // SAFETY: as above.
        let location = unsafe { text(location) };
        let report = PanicReport { message, location };
        log::panic(context, &report);
        panics::keep(context.library(), report);
    });
}

unsafe extern "C" fn sleep(host: *const (), nanos: u64) -> abi::Future<abi::Done> {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    future::sleep(context, std::time::Duration::from_nanos(nanos))
}

unsafe extern "C" fn blocking(host: *const (), job: abi::Job) -> abi::Future<abi::Done> {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    future::blocking(context, job)
}

/// A future of another part of the host, for the library of `context` to poll.
pub(super) fn lend<F>(context: &Context, make: impl FnOnce() -> F) -> abi::Future<abi::Done>
where
    F: Future<Output = ()> + Unpin,
{
    future::lend(context, make)
}

unsafe extern "C" fn blocking_call(host: *const (), job: abi::Job) -> abi::Future<abi::Done> {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    future::blocking_call(context, job)
}

unsafe extern "C" fn spawn(host: *const (), task: abi::Future<abi::Done>, flags: u32) -> u32 {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    let here = flags & abi::spawn::HERE != 0;
    let spawned = shield(|| release::scope(|| context.tasks.spawn(task, here)));
    match spawned {
        // One that panicked in our hands is not the caller's any more.
        Some(Ok(())) | None => abi::spawn::ACCEPTED,
        Some(Err(tasks::Refused::Full)) => abi::spawn::FULL,
        Some(Err(tasks::Refused::Ended)) => abi::spawn::ENDED,
    }
}

unsafe extern "C" fn publish(host: *const (), topic: abi::Str, message: abi::Str) -> u64 {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    let publish = || {
        // SAFETY: arguments are alive for the call.
        let topic = unsafe { text(topic) };
        // SAFETY: as above.
        let message = unsafe { message.bytes() };
        let wake = |waiting| subscription::wake(context, waiting);
        context.subscriptions.topics().publish(&topic, message, wake)
    };
    let count = shield(|| release::scope(publish)).unwrap_or(Some(0));
    count.map_or(abi::topic::TOO_LONG, |count| count as u64)
}

unsafe extern "C" fn subscribe(
    host: *const (),
    topic: abi::Str,
    capacity: u32,
    out: *mut abi::topic::Subscription,
) -> u32 {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    let subscribe = || {
        // SAFETY: arguments are alive for the call.
        let topic = unsafe { text(topic) };
        context.subscriptions.subscribe(&topic, capacity, &context.record)
    };
    match shield(subscribe).unwrap_or(Err(topics::Refused::Ended)) {
        Ok(reader) => {
            // SAFETY: the caller gave a place for one subscription.
            unsafe { out.write(subscription::lend(context, reader)) };
            abi::topic::DONE
        }
        Err(topics::Refused::Full) => abi::topic::FULL,
        Err(topics::Refused::Ended) => abi::topic::ENDED,
        Err(topics::Refused::BadName) => abi::topic::BAD_NAME,
    }
}

unsafe extern "C" fn cell(
    host: *const (),
    operation: u32,
    key: abi::Str,
    expected: u64,
    value: abi::Str,
    out: *mut abi::cell::CellValue,
) -> u32 {
    // SAFETY: called through `VT` by the context's library.
    let context = unsafe { context(host) };
    // SAFETY: alive for the call.
    let (key, value) = unsafe { (key.bytes(), value.bytes()) };
    let said = shield(|| cell::carry_out(context, operation, key, expected, value));
    let (code, version, bytes) = said.unwrap_or_else(cell::broken);
    // SAFETY: the caller's out value has room for it.
    unsafe { out.write(abi::cell::CellValue { version, bytes: owned(bytes) }) };
    code
}

/// The report of this thread's last panic in `library`, once.
pub(super) fn take_panic(library: LibraryId) -> Option<PanicReport> {
    panics::take(library)
}

#[cfg(test)]
pub(super) mod tests;

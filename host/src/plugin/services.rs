//! What a plugin may ask of the host: log, metrics, panic reports, timers, blocking work.
//!
//! Owns the functions behind `abi::HostVt` and the context that is their first argument. Knows
//! nothing of what the answers are used for. Invariants: nothing unwinds into a plugin; every
//! text is copied before the function returns; the context lives until its library is closed.
#![expect(unsafe_code, reason = "called by plugins with raw pointers")]

use std::{fmt, sync::Arc};

use hotseat_plugin_api::abi;

use hotseat_unload::{Holding, LibraryId, LibraryLease, Record};

use super::{blocking::BlockingPool, shield::shield};
use crate::{
    ids::{Generation, PluginName},
    log::{Heard, Line, Pairs, Prints, Span},
};

mod future;
mod log;
mod panics;

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
}

impl Context {
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
    spawn: None,
    cell: None,
    publish: None,
    subscribe: None,
    blocking_call: None,
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
        if !log::enabled(context, level, &target) {
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
    let target = String::from_utf8_lossy(unsafe { target.bytes() });
    u8::from(shield(|| log::enabled(context, level, &target)).unwrap_or(false))
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
        if !log::enabled(context, level, &target) {
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
    u8::from(shield(|| log::enabled(context, level, "")).unwrap_or(false))
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

/// The report of this thread's last panic in `library`, once.
pub(super) fn take_panic(library: LibraryId) -> Option<PanicReport> {
    panics::take(library)
}

#[cfg(test)]
pub(super) mod tests;

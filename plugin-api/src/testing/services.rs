//! The table of services that plugin code gets.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use serde_json::Value;

use super::{
    cells, clock, pool,
    record::{self, LogLine, LogSpan, Metric, Panic},
    tasks, topics,
    world::World,
};
use crate::{
    abi::{self, Field, Header, HostVt, LogRecord, LogSpan as RawSpan, Str, field},
    entry,
};

impl World {
    /// # Safety
    /// `data` is what [`data`](Self::data) gave.
    pub(super) unsafe fn of(data: *const ()) -> &'static Self {
        // SAFETY: a world is never freed.
        unsafe { &*data.cast::<Self>() }
    }
}

fn text(text: Str) -> String {
    // SAFETY: the plugin lends its texts for the call.
    String::from_utf8_lossy(unsafe { text.bytes() }).into_owned()
}

/// `n` things that the plugin lends for a call.
///
/// # Safety
/// They are there, unless `n` is 0.
unsafe fn list<'a, T>(first: *const T, n: usize) -> &'a [T] {
    if n == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, n) }
}

fn pairs(fields: *const Header, n: usize) -> Vec<(String, String)> {
    // SAFETY: the plugin lends `n` pairs for the call.
    let fields = unsafe { list(fields, n) };
    fields.iter().map(|it| (text(it.name), text(it.value))).collect()
}

unsafe extern "C" fn log(
    host: *const (),
    level: u32,
    target: Str,
    message: Str,
    fields: *const Header,
    n: usize,
) {
    // SAFETY: the data of our table.
    let world = unsafe { World::of(host) };
    let fields = pairs(fields, n).into_iter().map(|(name, value)| (name, Value::String(value)));
    let line = LogLine {
        level: record::level(level),
        target: text(target),
        message: text(message),
        fields: fields.collect(),
        spans: Vec::new(),
        request: None,
    };
    if world.hears(level, &line.target) {
        world.record().logs.push(line);
    }
}

unsafe extern "C" fn log_enabled(host: *const (), level: u32) -> u8 {
    // SAFETY: the data of our table.
    u8::from(unsafe { World::of(host) }.may_hear(level))
}

unsafe extern "C" fn log_enabled_for(host: *const (), level: u32, target: Str) -> u8 {
    // SAFETY: the data of our table.
    u8::from(unsafe { World::of(host) }.hears(level, &text(target)))
}

fn fields(first: *const Field, n: usize) -> Vec<(String, Value)> {
    // SAFETY: the plugin lends `n` fields for the call.
    let fields = unsafe { list(first, n) };
    fields.iter().map(|it| (text(it.name), value(it))).collect()
}

fn value(field: &Field) -> Value {
    match field.kind {
        field::I64 => field.bits.cast_signed().into(),
        field::U64 => field.bits.into(),
        field::F64 => f64::from_bits(field.bits).into(),
        field::BOOL => (field.bits != 0).into(),
        _ => text(field.text).into(),
    }
}

unsafe extern "C" fn log_record(host: *const (), record: *const LogRecord) {
    /// Fields are read one by one: an older plugin's record may be shorter.
    macro_rules! part {
        ($field:ident) => {
            entry!(record => LogRecord.$field)
        };
    }
    // SAFETY: the data of our table.
    let world = unsafe { World::of(host) };
    let level = part!(level).unwrap_or(abi::level::INFO);
    let target = part!(target).map(text).unwrap_or_default();
    if !world.hears(level, &target) {
        return;
    }
    let of_line = part!(fields).zip(part!(fields_count));
    let spans = part!(spans).zip(part!(spans_count));
    // SAFETY: the plugin lends its spans for the call.
    let spans = spans.map_or(&[][..], |(first, n)| unsafe { list::<RawSpan>(first, n) });
    let spans = spans
        .iter()
        .map(|span| LogSpan::new(text(span.name), fields(span.fields, span.fields_count)));
    let line = LogLine {
        level: record::level(level),
        target,
        message: part!(message).map(text).unwrap_or_default(),
        fields: of_line.map(|(first, n)| fields(first, n)).unwrap_or_default(),
        spans: spans.collect(),
        request: part!(request).filter(|number| *number != 0),
    };
    world.record().logs.push(line);
}

unsafe extern "C" fn metric(
    host: *const (),
    kind: u32,
    name: Str,
    labels: *const Header,
    n: usize,
    value: f64,
) {
    // SAFETY: the data of our table.
    let world = unsafe { World::of(host) };
    let metric = Metric::new(kind, text(name), pairs(labels, n), value);
    world.record().metrics.extend(metric);
}

unsafe extern "C" fn panicked(host: *const (), message: Str, location: Str) {
    // SAFETY: the data of our table.
    let world = unsafe { World::of(host) };
    let (message, location) = (text(message), text(location));
    let mut record = world.record();
    let known = record.panics.iter().rfind(|it| it.message == message).cloned();
    let panic = match known.filter(|_| location == abi::TOLD_BEFORE) {
        Some(known) => known,
        None => {
            let panic = Panic::new(message, location);
            record.panics.push(panic.clone());
            panic
        }
    };
    record.told = Some(panic);
}

/// See the module.
pub(super) static VT: HostVt = FUNCTIONS;

/// What is in it.
pub(super) const FUNCTIONS: HostVt = HostVt {
    size: abi::size_of_u32::<HostVt>(),
    log,
    log_enabled,
    metric,
    panicked,
    sleep: clock::sleep,
    blocking: pool::blocking,
    log_enabled_for: Some(log_enabled_for),
    log_record: Some(log_record),
    spawn: Some(tasks::spawn),
    cell: Some(cells::cell),
    publish: Some(topics::publish),
    subscribe: Some(topics::subscribe),
    blocking_call: Some(pool::blocking),
};

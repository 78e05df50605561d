//! Records of the `log` crate, for the host's log.

use log::{
    LevelFilter, Metadata, Record,
    kv::{self, Key, VisitSource, VisitValue},
};

use super::{Fields, Line, Log, Value, events, request, span};
use crate::abi::level;

/// From now on records go to the host, unless the author has set a logger.
pub(super) fn begin() {
    if log::set_logger(&ToHost).is_ok() {
        // Which of them are heard may change at any time.
        log::set_max_level(LevelFilter::Trace);
    }
}

fn code(level: log::Level) -> u32 {
    match level {
        log::Level::Error => level::ERROR,
        log::Level::Warn => level::WARN,
        log::Level::Info => level::INFO,
        log::Level::Debug => level::DEBUG,
        log::Level::Trace => level::TRACE,
    }
}

struct ToHost;

impl log::Log for ToHost {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = code(metadata.level());
        Log::of_library().is_some_and(|log| log.is_heard(level, metadata.target()))
    }

    fn log(&self, record: &Record<'_>) {
        let Some(log) = Log::of_library() else { return };
        // The macros of that crate do not ask before.
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut told = Told::default();
        // Nothing of ours fails.
        let _ = record.key_values().visit(&mut told);
        let here = span::here();
        let (spans, of_spans) = here.as_deref().map_or_else(Default::default, events::around_here);
        let here = request::here();
        log.write(&Line {
            level: code(record.level()),
            request: if here == 0 { of_spans } else { here },
            target: record.target(),
            message: &record.args().to_string(),
            fields: &told.0,
            spans: &spans,
        });
    }

    fn flush(&self) {}
}

/// The values of a record.
#[derive(Debug, Default)]
struct Told(Fields<String>);

impl<'a> VisitSource<'a> for Told {
    fn visit_pair(&mut self, key: Key<'a>, value: kv::Value<'a>) -> Result<(), kv::Error> {
        let mut read = Read(None);
        value.visit(&mut read)?;
        self.0.extend(read.0.map(|value| (key.as_str().to_owned(), value)));
        Ok(())
    }
}

struct Read(Option<Value>);

impl Read {
    #[expect(clippy::unnecessary_wraps, reason = "what each of the trait's functions gives")]
    fn is(&mut self, value: Value) -> Result<(), kv::Error> {
        self.0 = Some(value);
        Ok(())
    }
}

impl VisitValue<'_> for Read {
    fn visit_any(&mut self, value: kv::Value<'_>) -> Result<(), kv::Error> {
        self.is(Value::Text(value.to_string()))
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.is(Value::I64(value))
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.is(Value::U64(value))
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.is(Value::F64(value))
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.is(Value::Bool(value))
    }
}

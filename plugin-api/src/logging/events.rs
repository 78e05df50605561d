//! Events and spans of `tracing`, for the host's log.
//!
//! Which of them are heard may change at any time, so each one is asked for. An author's own subscriber
//! takes our place; where there is none ours is there for the whole library, as long as it is loaded.

use std::fmt;

use tracing_core::{
    Dispatch, Event, Field, Interest, Level, Metadata, Subscriber, dispatcher,
    field::Visit,
    span::{Attributes, Current, Id, Record},
};

use super::{
    Fields, Line, Log, Value, request,
    span::{self, Span},
};
use crate::abi::level;

/// Has it all go to the host while `make` runs, and afterwards as well unless that has set another
/// subscriber.
pub(super) fn around<T>(make: impl FnOnce() -> T) -> T {
    let ours = Dispatch::new(ToHost);
    let made = dispatcher::with_default(&ours, make);
    // An error means that the author has set one. To ask whether there is one would be no use: one that
    // was only set for a while counts.
    let _ = dispatcher::set_global_default(ours);
    made
}

/// The code of a level.
fn code(level: Level) -> u32 {
    match level {
        Level::ERROR => level::ERROR,
        Level::WARN => level::WARN,
        Level::INFO => level::INFO,
        Level::DEBUG => level::DEBUG,
        Level::TRACE => level::TRACE,
    }
}

/// Has no size: what is set for good is never freed.
struct ToHost;

impl Subscriber for ToHost {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = code(*metadata.level());
        Log::of_library().is_some_and(|log| log.is_heard(level, metadata.target()))
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let parent = match attributes.parent() {
            Some(parent) => span::of(parent),
            None if attributes.is_contextual() => span::here(),
            None => None,
        };
        let mut told = Told::default();
        attributes.record(&mut told);
        Span::begin(attributes.metadata(), parent, request::here(), told.into_fields())
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        // Formatted before the lock is taken: that may be anybody's code.
        let mut told = Told::default();
        values.record(&mut told);
        let Some(span) = span::of(id) else { return };
        let mut fields = span.fields();
        for (name, value) in told.into_fields() {
            match fields.iter_mut().find(|(it, _)| *it == name) {
                Some((_, before)) => *before = value,
                None => fields.push((name, value)),
            }
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(log) = Log::of_library() else { return };
        let mut told = Told::default();
        event.record(&mut told);
        let within = match event.parent() {
            Some(parent) => span::of(parent),
            None if event.is_contextual() => span::here(),
            None => None,
        };
        let (spans, of_spans) = within.as_deref().map_or_else(Default::default, around_here);
        let here = request::here();
        log.write(&Line {
            level: code(*event.metadata().level()),
            request: if here == 0 { of_spans } else { here },
            target: event.metadata().target(),
            message: &told.message,
            fields: &told.fields,
            spans: &spans,
        });
    }

    fn enter(&self, id: &Id) {
        span::enter(id);
    }

    fn exit(&self, id: &Id) {
        span::exit(id);
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(span) = span::of(id) {
            span.hold();
        }
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        span::let_go(&id)
    }

    fn current_span(&self) -> Current {
        span::here().map_or_else(Current::none, |span| Current::new(span.id(), span.metadata))
    }
}

/// Spans, the outermost first.
pub(super) type Spans = Vec<(&'static str, Fields<&'static str>)>;

/// `innermost` and those around it, and the request that they belong to.
pub(super) fn around_here(innermost: &Span) -> (Spans, u64) {
    let mut spans = Vec::new();
    let mut next = Some(innermost);
    while let Some(span) = next {
        spans.push((span.metadata.name(), span.fields().clone()));
        next = span.parent();
    }
    spans.reverse();
    (spans, innermost.request)
}

/// What an event or a span says.
#[derive(Debug, Default)]
struct Told {
    message: String,
    fields: Fields<&'static str>,
}

impl Told {
    /// A span has no message: one that is called so is a field.
    fn into_fields(self) -> Fields<&'static str> {
        let Self { message, mut fields } = self;
        if !message.is_empty() {
            fields.push(("message", Value::Text(message)));
        }
        fields
    }

    fn add(&mut self, field: &Field, value: Value) {
        self.fields.push((field.name(), value));
    }
}

impl Visit for Told {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::F64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::U64(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, Value::Text(value.to_owned()));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, Value::Text(crate::error::chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

//! Lines for the host's log, whoever in the library writes them.
//!
//! Owns the way of one line to the host. What `tracing` and `log` give is in `events` and `records`.
//! Invariant: nothing is kept of a line, and nothing is formatted for one that the host would drop.
#![expect(unsafe_code, reason = "calls the host's table of services")]

#[cfg(feature = "tracing")]
mod events;
#[cfg(feature = "tracing")]
mod records;
#[cfg(feature = "tracing")]
mod request;
#[cfg(feature = "tracing")]
mod span;

use std::fmt::Write as _;

use crate::{
    abi::{self, Field, Header, HostVt, LogRecord, LogSpan, Str, field},
    entry,
};

#[cfg(feature = "tracing")]
pub(crate) use request::OfRequest;

/// The value of a field, as the host gets it: numbers as numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    #[cfg(feature = "tracing")]
    I64(i64),
    #[cfg(feature = "tracing")]
    U64(u64),
    #[cfg(feature = "tracing")]
    F64(f64),
    #[cfg(feature = "tracing")]
    Bool(bool),
}

impl Value {
    fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            #[cfg(feature = "tracing")]
            Self::I64(number) => number.to_string(),
            #[cfg(feature = "tracing")]
            Self::U64(number) => number.to_string(),
            #[cfg(feature = "tracing")]
            Self::F64(number) => number.to_string(),
            #[cfg(feature = "tracing")]
            Self::Bool(truth) => truth.to_string(),
        }
    }
}

/// Values by name.
pub(crate) type Fields<N> = Vec<(N, Value)>;

/// One line, with all that is known of it.
#[derive(Debug)]
pub(crate) struct Line<'a, N> {
    /// One of [`abi::level`]'s.
    pub(crate) level: u32,
    /// The request that it belongs to; 0: none.
    pub(crate) request: u64,
    /// The module.
    pub(crate) target: &'a str,
    pub(crate) message: &'a str,
    pub(crate) fields: &'a Fields<N>,
    /// The spans that it happened in, the outermost first.
    pub(crate) spans: &'a [(&'static str, Fields<&'static str>)],
}

/// A host's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    pub(crate) host: *const (),
    pub(crate) vt: *const HostVt,
}

impl Log {
    /// The one of the library's host, once there is one.
    #[cfg(feature = "tracing")]
    fn of_library() -> Option<Self> {
        crate::guard::host().map(|(host, vt)| Self { host, vt })
    }

    /// Whether a line of `level` from the module `target` would be written.
    pub(crate) fn is_heard(self, level: u32, target: &str) -> bool {
        // SAFETY: the host keeps its table for as long as the library is loaded.
        if let Some(Some(enabled)) = entry!(self.vt => HostVt.log_enabled_for) {
            // SAFETY: `host` belongs to the table, the text lives for the call.
            return unsafe { enabled(self.host, level, text(target)) } != 0;
        }
        // SAFETY: as above; in every version.
        let enabled = unsafe { (*self.vt).log_enabled };
        // SAFETY: `host` belongs to the table.
        unsafe { enabled(self.host, level) != 0 }
    }

    /// Writes a line that is heard.
    pub(crate) fn write<N: AsRef<str>>(self, line: &Line<'_, N>) {
        let Some(Some(write)) = entry!(self.vt => HostVt.log_record) else {
            return self.write_as_before(line);
        };
        let fields = to_abi(line.fields);
        let of_spans: Vec<Vec<Field>> = line.spans.iter().map(|(_, it)| to_abi(it)).collect();
        let spans: Vec<LogSpan> = line
            .spans
            .iter()
            .zip(&of_spans)
            .map(|((name, _), fields)| LogSpan {
                name: text(name),
                fields: fields.as_ptr(),
                fields_count: fields.len(),
            })
            .collect();
        let record = LogRecord {
            size: abi::size_of_u32::<LogRecord>(),
            level: line.level,
            request: line.request,
            target: text(line.target),
            message: text(line.message),
            fields: fields.as_ptr(),
            fields_count: fields.len(),
            spans: spans.as_ptr(),
            spans_count: spans.len(),
        };
        // SAFETY: `host` belongs to the table; all that the record borrows lives for the call.
        unsafe { write(self.host, &raw const record) }
    }

    /// For a host of ABI 1.3 or before: everything is text, and the spans are one.
    fn write_as_before<N: AsRef<str>>(self, line: &Line<'_, N>) {
        let mut values: Vec<(&str, String)> =
            line.fields.iter().map(|(name, value)| (name.as_ref(), value.to_text())).collect();
        if !line.spans.is_empty() {
            values.push(("span", spans_text(line.spans)));
        }
        let pair = |(name, value): &(&str, String)| Header { name: text(name), value: text(value) };
        let fields: Vec<Header> = values.iter().map(pair).collect();
        // SAFETY: in every version of the table, which lives as long as the library.
        let log = unsafe { (*self.vt).log };
        let (target, message) = (text(line.target), text(line.message));
        // SAFETY: every text lives until the call returns.
        unsafe { log(self.host, line.level, target, message, fields.as_ptr(), fields.len()) }
    }
}

/// `outer{a=1}:inner`.
fn spans_text(spans: &[(&'static str, Fields<&'static str>)]) -> String {
    let one = |(name, fields): &(&'static str, Fields<&'static str>)| {
        let mut text = (*name).to_owned();
        for (at, (name, value)) in fields.iter().enumerate() {
            let before = if at == 0 { '{' } else { ' ' };
            // A `String` takes everything.
            let _ = write!(text, "{before}{name}={}", value.to_text());
        }
        if !fields.is_empty() {
            text.push('}');
        }
        text
    };
    spans.iter().map(one).collect::<Vec<_>>().join(":")
}

fn text(text: &str) -> Str {
    Str::new(text.as_bytes())
}

fn to_abi<N: AsRef<str>>(fields: &Fields<N>) -> Vec<Field> {
    let one = |(name, value): &(N, Value)| {
        let (kind, bits, told) = match value {
            Value::Text(told) => (field::TEXT, 0, text(told)),
            #[cfg(feature = "tracing")]
            Value::I64(number) => (field::I64, number.cast_unsigned(), Str::NONE),
            #[cfg(feature = "tracing")]
            Value::U64(number) => (field::U64, *number, Str::NONE),
            #[cfg(feature = "tracing")]
            Value::F64(number) => (field::F64, number.to_bits(), Str::NONE),
            #[cfg(feature = "tracing")]
            Value::Bool(truth) => (field::BOOL, u64::from(*truth), Str::NONE),
        };
        Field { name: text(name.as_ref()), kind, bits, text: told }
    };
    fields.iter().map(one).collect()
}

/// Makes a handler by `make`, and has what `tracing` and `log` say in this library go to the host from
/// then on. A subscriber or a logger that the author sets meanwhile is left alone and hears it instead.
pub(crate) fn around<T>(make: impl FnOnce() -> T) -> T {
    #[cfg(feature = "tracing")]
    {
        let made = events::around(make);
        records::begin();
        made
    }
    #[cfg(not(feature = "tracing"))]
    make()
}

/// The request that the calling thread works for; 0: none that is known.
pub(crate) fn request_here() -> u64 {
    #[cfg(feature = "tracing")]
    {
        request::here()
    }
    #[cfg(not(feature = "tracing"))]
    0
}

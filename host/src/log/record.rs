//! How a line looks: text for people, or one JSON object with every name once.
//!
//! In JSON `timestamp`, `level`, `process`, `pid`, `target` and `message` are the line's own; what a
//! module adds has names of its own beside them, numbers as numbers.

use std::{fmt, sync::OnceLock};

use serde_json::Value;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use super::{LogFormat, printed::Printer};

/// Who writes.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) format: LogFormat,
    /// `worker-3`.
    pub(super) who: String,
    pub(super) pid: u32,
}

/// Of this process.
pub(super) static HEAD: OnceLock<Head> = OnceLock::new();

/// The time of a line of text, and who writes it.
#[derive(Debug)]
pub(super) struct Stamp;

impl FormatTime for Stamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(writer)?;
        HEAD.get().map_or(Ok(()), |Head { who, pid, .. }| write!(writer, " {who}[{pid}]"))
    }
}

/// The names that a line has by itself.
const OWN: [&str; 6] = ["timestamp", "level", "process", "pid", "target", "message"];

/// One JSON object a line.
#[derive(Debug)]
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, target) = (event.metadata().level(), event.metadata().target());
        object(&mut writer, level.as_str(), target, &fields)
    }
}

fn object(writer: &mut Writer<'_>, level: &str, target: &str, fields: &Fields) -> fmt::Result {
    let mut stamp = String::new();
    SystemTime.format_time(&mut Writer::new(&mut stamp))?;
    write!(writer, "{{\"timestamp\":\"{stamp}\",\"level\":\"{level}\"")?;
    if let Some(Head { who, pid, .. }) = HEAD.get() {
        write!(writer, ",\"process\":{},\"pid\":{pid}", Value::from(&**who))?;
    }
    let message = Value::from(&*fields.message);
    write!(writer, ",\"target\":{},\"message\":{message}", Value::from(target))?;
    for (name, value) in &fields.others {
        // Whatever a module calls it, the line's own names are the line's.
        let prefix = if OWN.contains(name) { "field_" } else { "" };
        write!(writer, ",\"{prefix}{name}\":{value}")?;
    }
    writeln!(writer, "}}")
}

/// Values by name, as a plugin gave them.
pub type Pairs = Vec<(String, Value)>;

/// A span around a plugin's line.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Its own fields.
    pub fields: Pairs,
}

/// What a plugin says in one line: names that are not known when the host is built.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// The text.
    pub message: String,
    /// Its fields.
    pub fields: Pairs,
    /// The spans that it happened in, the outermost first.
    pub spans: Vec<Span>,
}

/// The fields of an event that are JSON text, because their names are a plugin's.
const NESTED: [&str; 2] = ["fields", "spans"];

fn is_json() -> bool {
    HEAD.get().is_some_and(|head| head.format == LogFormat::Json)
}

impl Line {
    /// The event's message. For people it is the whole line: `outer{a=1}: message b="x y"`.
    #[must_use]
    pub fn message(&self) -> String {
        if is_json() { self.message.clone() } else { self.text() }
    }

    /// The whole line for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Span { name, fields } in &self.spans {
            let fields = pairs(fields);
            text += &if fields.is_empty() {
                format!("{name}:")
            } else {
                format!("{name}{{{fields}}}:")
            };
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text += &self.message;
        if !self.fields.is_empty() {
            text.push(' ');
            text += &pairs(&self.fields);
        }
        text
    }

    /// The event's field `fields` in a JSON log: an object.
    #[must_use]
    pub fn fields(&self) -> Option<String> {
        (is_json() && !self.fields.is_empty()).then(|| object_of(&self.fields).to_string())
    }

    /// The event's field `spans` in a JSON log: a list of objects with `name` and the span's fields.
    #[must_use]
    pub fn spans(&self) -> Option<String> {
        let span = |Span { name, fields }: &Span| {
            let mut object = object_of(fields);
            if let Value::Object(object) = &mut object {
                object.insert("name".to_owned(), name.as_str().into());
            }
            object
        };
        let list = || Value::Array(self.spans.iter().map(span).collect()).to_string();
        (is_json() && !self.spans.is_empty()).then(list)
    }
}

fn object_of(list: &Pairs) -> Value {
    Value::Object(list.iter().cloned().collect())
}

/// As `name="value"`, texts quoted so that they stay one word of one line.
fn pairs(list: &Pairs) -> String {
    let pair = |(name, value): &(String, Value)| match value {
        Value::String(text) => format!("{name}={text:?}"),
        other => format!("{name}={other}"),
    };
    list.iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// What an event carries.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        match self.others.iter_mut().find(|(name, _)| *name == field.name()) {
            // tracing lets a name be given twice; the last one counts.
            Some((_, before)) => *before = value,
            None => self.others.push((field.name(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let nested = || serde_json::from_str(value).ok();
        let nested = NESTED.contains(&field.name()).then(nested).flatten();
        self.add(field, nested.unwrap_or_else(|| value.into()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.add(field, format!("{value:?}").into());
        }
    }
}

/// A line that was printed past the log, as a line of the log.
pub(super) fn printed(line: &[u8]) -> Vec<u8> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    // A record already: of a process that writes its log here.
    if !is_json() || text.starts_with(b"{\"timestamp\":") && text.ends_with(b"}") {
        return [text, b"\n"].concat();
    }
    record_of(text, Vec::new())
}

/// The target of what was printed.
const PRINTED: &str = "printed";

fn record_of(text: &[u8], others: Vec<(&'static str, Value)>) -> Vec<u8> {
    let message = String::from_utf8_lossy(text).into_owned();
    let mut record = String::new();
    // A `String` takes everything.
    let fields = Fields { message, others };
    let _ = object(&mut Writer::new(&mut record), "INFO", PRINTED, &fields);
    record.into_bytes()
}

/// A line that the code of `plugin` has printed, as a line of the log.
pub(super) fn printed_by(by: Printer, plugin: &str, line: &[u8]) -> Vec<u8> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let (generation, stream) = (by.generation, if by.stream == 1 { "stdout" } else { "stderr" });
    if is_json() {
        let others = [("plugin", plugin.into()), ("generation", generation.into())];
        return record_of(text, others.into_iter().chain([("stream", stream.into())]).collect());
    }
    let mut head = String::new();
    // A `String` takes everything.
    let _ = Stamp.format_time(&mut Writer::new(&mut head));
    head += &format!("  INFO {PRINTED}{{plugin={plugin:?} generation={generation}}}: ");
    [head.as_bytes(), text, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once_and_numbers_are_numbers() {
        let others = vec![
            ("pid", Value::from(7)),
            ("generation", Value::from(3_u64)),
            ("line", Value::from("a \"quoted\"\nword")),
        ];
        let fields = Fields { message: "it \"is\"\nso".to_owned(), others };
        let mut text = String::new();
        object(&mut Writer::new(&mut text), "WARN", "hotseat::x", &fields).unwrap();
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{text}");
        assert_eq!(text.matches("\"pid\":").count(), HEAD.get().map_or(0, |_| 1));
        let object: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(object["message"], "it \"is\"\nso");
        assert_eq!((&object["field_pid"], &object["generation"]), (&7.into(), &3.into()));
        assert_eq!(object["line"], "a \"quoted\"\nword");
        assert!(object["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn text_that_was_printed_stays_as_it_is() {
        assert_eq!(printed(b"a\n"), b"a\n");
        assert_eq!(printed(b"a"), b"a\n");
    }
}

//! What plugins do beside their requests: tasks, topics, calls that block.
//!
//! Owns the book that the plugin `beside` writes, and how it is read.

use hotseat_test_support::{Builder, Host, fault, host, library};

mod blocking;
mod ends;
mod tasks;
mod topics;

/// A process and a generation in it.
type Of = (u32, u64);

/// What serves now.
#[track_caller]
fn serving(host: &Host) -> Of {
    (host.worker_pid(), host.active("handler"))
}

/// One line of the book.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    of: Of,
    name: String,
    what: String,
    thread: String,
}

/// A host whose `handler` v1 is the plugin `beside`.
fn builder() -> Builder {
    let builder = host!();
    let file = builder.home().path().join("book");
    let text = format!("[plugin.handler]\nfile = '{}'\n", file.display());
    builder.config(&text).with(fault("beside"), "libhandler_v1.so")
}

/// Versions of it with other bytes.
fn version(number: u16) -> Vec<u8> {
    [&library::bytes(&fault("beside"))[..], &number.to_be_bytes()].concat()
}

/// All that was written so far.
fn book(host: &Host) -> Vec<Line> {
    let text = std::fs::read_to_string(host.home().path().join("book")).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let mut number = || word().parse::<u64>().expect("a line begins with two numbers");
        let of = (number().try_into().expect("a process"), number());
        Line { of, name: word(), what: word(), thread: word() }
    };
    text.lines().map(line).collect()
}

/// Where the book says so of a generation: positions.
fn places(book: &[Line], of: Of, name: &str, what: &str) -> Vec<usize> {
    let is = |line: &Line| line.of == of && line.name == name && line.what == what;
    (0..book.len()).filter(|at| is(&book[*at])).collect()
}

fn count(host: &Host, of: Of, name: &str, what: &str) -> usize {
    places(&book(host), of, name, what).len()
}

/// A number of `/metrics` of one plugin.
#[track_caller]
pub(crate) fn metric(host: &Host, name: &str, plugin: &str) -> u64 {
    let text = host.control().get("/metrics").assert_status(200).text();
    let begin = format!("{name}{{plugin=\"{plugin}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&begin));
    value.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("no `{begin}` in {text}"))
}

//! The host's processes and its upgrades, for people.

use std::{
    fmt::{self, Write},
    time::SystemTime,
};

use super::{table::Table, unit};
use crate::{
    admin::answer::{lines, one_line},
    status::{Classes, ProcessStatus},
    sys::clock::Now,
    upgrade::Outcome,
};

/// Figures of a binary's digest that are shown; the JSON has all of them.
const DIGEST_CHARS: usize = 12;

/// How one upgrade ended: what it says, and what to do.
pub(in crate::admin) fn outcome(outcome: &Outcome) -> String {
    let hint = outcome.hint.as_deref();
    let hint = hint.map_or_else(String::new, |hint| format!("hint: {}\n", lines(hint)));
    format!("{}\n{hint}", lines(&outcome.text).trim_end())
}

/// `7 (2 idle, 5 busy)`.
fn connections(classes: &Classes) -> String {
    let Classes { fresh, head, idle, busy, h2, upgraded } = *classes;
    let named = [
        (fresh, "fresh"),
        (head, "head"),
        (idle, "idle"),
        (busy, "busy"),
        (h2, "h2"),
        (upgraded, "upgraded"),
    ];
    let there = named.iter().filter(|(count, _)| *count > 0);
    let there: Vec<_> = there.map(|(count, name)| format!("{count} {name}")).collect();
    match there.as_slice() {
        [] => "0".to_owned(),
        there => format!("{} ({})", classes.total(), there.join(", ")),
    }
}

/// A table where there is a master; without one the head of the page says everything.
pub(super) fn write_processes(
    page: &mut String,
    processes: &[ProcessStatus],
    now: &Now,
) -> fmt::Result {
    if processes.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.row(["process", "pid", "number", "version", "binary", "up", "connections"]);
    for process in processes {
        let ProcessStatus { pid, role, number, version, binary, .. } = process;
        let ProcessStatus { from_memory, since, up_from, connections, .. } = process;
        let digest = binary.as_deref().map(|digest| match digest.get(..DIGEST_CHARS) {
            Some(first) if digest.len() > DIGEST_CHARS => format!("{first}…"),
            _ => digest.to_owned(),
        });
        let mut digest = digest.unwrap_or_else(|| "-".to_owned());
        if *from_memory {
            digest.push_str(" in memory");
        }
        // The master counts no workers and serves nobody.
        let is_master = *number == 0;
        let own = |text: String| if is_master { "-".to_owned() } else { text };
        table.row([
            &one_line(role),
            &pid.to_string(),
            &own(number.to_string()),
            &one_line(version),
            &one_line(&digest),
            &unit::span(now.since(*up_from, *since)),
            &own(self::connections(connections)),
        ]);
    }
    writeln!(page, "{table}")
}

/// One line about the last upgrade.
pub(super) fn write_upgrade(page: &mut String, last: &Outcome, now: SystemTime) -> fmt::Result {
    let ago = unit::span(now.duration_since(last.at).unwrap_or_default());
    let first = last.text.lines().next().unwrap_or_default();
    writeln!(page, "last upgrade: {}, {ago} ago: {}", last.verdict.as_str(), one_line(first))
}

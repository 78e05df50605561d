//! What the host says goes through its log, in a form that machines read.

use super::{assert_none, is_unit_test, sources};

/// A print waits for whoever reads it, and ends the process where nobody can. (Commands for people
/// write to the streams themselves, and look at what comes of it.)
#[test]
fn nothing_prints_past_the_log() {
    let words = ["println!", "print!(", "dbg!"];
    let mut found = Vec::new();
    for (path, text) in sources("host/src") {
        let lines = (1..).zip(text.lines()).filter(|_| !is_unit_test(&path));
        for (number, line) in lines.filter(|(_, line)| words.iter().any(|it| line.contains(it))) {
            found.push(format!("{}:{number}: {line}", path.display()));
        }
    }
    assert_none(&found);
}

/// What a macro is given, up to its closing bracket, without its texts.
fn given(text: &str) -> String {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    let part = text.chars().take_while(|it| {
        if quoted {
            quoted = escaped || *it != '"';
            escaped = !escaped && *it == '\\';
        } else {
            quoted = *it == '"';
            depth += i32::from(*it == '(') - i32::from(*it == ')');
        }
        depth > 0
    });
    part.collect::<String>().split('"').step_by(2).collect()
}

/// A field of a line is a text or a number; what `Debug` makes of a value is for people who know
/// Rust, and changes with the code. `%` in front of a number makes a text of it.
#[test]
fn fields_of_the_log_are_texts_and_numbers() {
    let numbers = ["generation", "order", "worker", "pid", "number", "core", "count"];
    let mut found = Vec::new();
    for (path, text) in sources("host/src") {
        for level in ["error", "warn", "info", "debug", "trace"] {
            for call in text.split(&format!("tracing::{level}!(")).skip(1) {
                let given = given(call);
                let fields = given.split(',').map(str::trim);
                let bad = |field: &&str| {
                    let value = field.rsplit('=').next().unwrap_or_default().trim();
                    value.starts_with('?')
                        || value.strip_prefix('%').is_some_and(|it| numbers.contains(&it))
                };
                let all = fields.filter(bad).map(|it| format!("{}: `{it}`", path.display()));
                found.extend(all.collect::<Vec<_>>());
            }
        }
    }
    assert_none(&found);
}

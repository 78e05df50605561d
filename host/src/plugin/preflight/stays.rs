//! What a library that was still there at the end of its preflight is said to do.
//!
//! Owns the words, and what to do by what held it. A preflight waits for a moment only, and what held the
//! library there may end, or be taken away, later: nothing is promised beyond what was seen.

use hotseat_unload::NODELETE;

/// What the reason stands behind among the hazards.
pub(super) const MAPPED: &str = "stays mapped: ";

/// What to do by what a reason says, which is the engine's text; the first that fits.
const HINTS: [(&str, &str); 9] = [
    ("thread left behind", THREADS),
    ("threads left behind", THREADS),
    ("thread-local destructor", THREADS),
    ("signal handler of", "put back in `stop` the signal action that was there before"),
    (NODELETE, "link it without `-z nodelete`"),
    ("kept by the loader", "build it with `-fno-gnu-unique`, and see what needs it"),
    ("held by the host", "end in `stop` what it has others wait for"),
    ("held by", "take back in `stop` what was given away there: a callback, a handler, a buffer"),
    ("job", "end in `stop` what it has in the blocking pool"),
];

const THREADS: &str = "end its threads in `stop`, and wait there until they have ended";

/// The reasons among `hazards`, or all that there is: what held it, and its own mark.
fn reason(hazards: &[String]) -> String {
    let held = hazards.iter().filter_map(|it| it.strip_prefix(MAPPED));
    let marked = hazards.iter().map(String::as_str).filter(|it| *it == NODELETE);
    let all: Vec<&str> = held.chain(marked).collect();
    if all.is_empty() { hazards.join(", ") } else { all.join(", ") }
}

/// What is to be expected of it, for people.
pub(super) fn line(hazards: &[String]) -> String {
    let reason = reason(hazards);
    // The one that never ends.
    let verb = if reason.contains(NODELETE) { "will" } else { "may" };
    format!(
        "its library {verb} stay resident after it is retired: at the end of the preflight it was \
         still there ({reason})"
    )
}

/// Why it is refused where every library has to go.
pub(super) fn refusal(hazards: &[String]) -> String {
    format!("its library was still there at the end of the preflight: {}", reason(hazards))
}

/// What to do about that.
pub(super) fn hint(hazards: &[String]) -> String {
    let reason = reason(hazards);
    let fits = HINTS.iter().find(|(says, _)| reason.contains(says));
    let hint = fits.map_or("see what it leaves behind in `stop`", |(_, hint)| hint);
    format!("{hint}; or set `unload = \"allow\"`, which lets it serve all the same")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_fits_what_was_seen() {
        for (reason, verb, help) in [
            ("1 thread left behind", "may", "end its threads in `stop`"),
            ("12 threads left behind, 1 waker held by the host", "may", "end its threads"),
            ("1 waker held by the host", "may", "wait for"),
            ("held by libstdc++.so.6+0x2a8 (std::set_terminate?)", "may", "a callback"),
            ("signal handler of SIGUSR1", "may", "signal action"),
            ("1 job in the blocking pool", "may", "blocking pool"),
            (NODELETE, "will", "nodelete"),
            ("1 thread left behind, marked to stay loaded (DF_1_NODELETE)", "will", "threads"),
            ("something new", "may", "see what it leaves"),
        ] {
            let hazards = ["1 thread started".to_owned(), format!("{MAPPED}{reason}")];
            let line = line(&hazards);
            let said = format!("its library {verb} stay resident");
            assert!(line.starts_with(&said) && line.ends_with(&format!("({reason})")), "{line}");
            assert!(hint(&hazards).contains(help), "{}", hint(&hazards));
        }
    }
}

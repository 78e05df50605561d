//! Probes, hooks and the other settings around upgrade and stop, as people type them.
//!
//! Owns their syntax and what is allowed of each by itself. Runs no command and sends no request.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::values::from_text;
use crate::config::{Hook, HookPhase};

/// A probe is a request's target: it stays short. Units: bytes.
const TARGET_BYTES: usize = 1024;
/// Probes, and hooks, that one host may have: each is waited for in turn.
pub(super) const LIST_COUNT: usize = 64;
/// Signals that may have hooks.
const SIGNALS: [&str; 7] = ["HUP", "USR1", "USR2", "INT", "TERM", "QUIT", "TSTP"];

/// A text that cannot be that setting. The message says what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    /// No status for a lame duck.
    #[error("`{0}` is not what `/readyz` of a lame duck can answer: write `503` or `404`")]
    LameStatus(String),
    /// No target of a request.
    #[error(
        "`{0}` is not a probe: it begins with `/` and is plain ASCII without spaces and `#`, as in \
         `/health?deep=1`"
    )]
    Probe(String),
    /// No hook.
    #[error("`{0}` is not a hook: write `PHASE_SIGNAL=COMMAND`, as in `pre_hup=/usr/bin/touch /x`")]
    Hook(String),
    /// No phase and signal.
    #[error(
        "`{0}` is not a phase and a signal: write `pre_` or `post_` and one of `hup`, `usr1`, \
         `usr2`, `int`, `term`, `quit` and `tstp`, as in `pre_hup`"
    )]
    When(String),
    /// No command.
    #[error("the hook `{0}` has no command: write a program and its arguments")]
    NoCommand(String),
    /// A command that cannot be started.
    #[error("the command of the hook `{0}` has a NUL byte in it")]
    Nul(String),
}

/// What `/readyz` of a lame duck answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LameStatus(pub u16);

/// The target of a probe: a path, and a query where one is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe(pub String);

/// One hook, as a flag (`pre_hup=COMMAND`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawHook(pub Hook);

/// Whether the master goes over to a new binary too, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawReexec {
    /// When the binary is another one
    Auto,
    /// It stays what it was started as
    Never,
}

impl FromStr for LameStatus {
    type Err = LifecycleError;

    fn from_str(text: &str) -> Result<Self, LifecycleError> {
        match text {
            "503" => Ok(Self(503)),
            "404" => Ok(Self(404)),
            _ => Err(LifecycleError::LameStatus(text.to_owned())),
        }
    }
}

impl FromStr for Probe {
    type Err = LifecycleError;

    fn from_str(text: &str) -> Result<Self, LifecycleError> {
        let good = text.starts_with('/')
            && text.len() <= TARGET_BYTES
            && text.bytes().all(|c| c.is_ascii_graphic() && c != b'#');
        if good { Ok(Self(text.to_owned())) } else { Err(LifecycleError::Probe(text.to_owned())) }
    }
}

/// `pre_hup` and the like.
fn when(text: &str) -> Result<(HookPhase, String), LifecycleError> {
    let wrong = || LifecycleError::When(text.to_owned());
    let (phase, signal) = text.split_once('_').ok_or_else(wrong)?;
    let phase = match phase {
        "pre" => HookPhase::Pre,
        "post" => HookPhase::Post,
        _ => return Err(wrong()),
    };
    // One spelling, so that two keys of the file never mean the same.
    let known = |name: &&str| name.to_ascii_lowercase() == signal;
    let signal = SIGNALS.into_iter().find(known).ok_or_else(wrong)?;
    Ok((phase, signal.to_owned()))
}

fn hook(name: &str, command: Vec<String>) -> Result<RawHook, LifecycleError> {
    let (phase, signal) = when(name)?;
    if command.first().is_none_or(String::is_empty) {
        return Err(LifecycleError::NoCommand(name.to_owned()));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(LifecycleError::Nul(name.to_owned()));
    }
    Ok(RawHook(Hook { signal, phase, command }))
}

/// No shell is asked, so there is no quoting: who needs a space in a word writes a list.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl FromStr for RawHook {
    type Err = LifecycleError;

    fn from_str(text: &str) -> Result<Self, LifecycleError> {
        let (name, command) =
            text.split_once('=').ok_or_else(|| LifecycleError::Hook(text.to_owned()))?;
        hook(name, words(command))
    }
}

impl<'de> Deserialize<'de> for LameStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "503 or 404")]
        enum Typed {
            Number(u16),
            Text(String),
        }
        let text = match Typed::deserialize(deserializer)? {
            Typed::Number(number) => number.to_string(),
            Typed::Text(text) => text,
        };
        text.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

/// Reads the table `[hooks]`: a line or a list of words for each phase and signal.
pub(super) fn hooks_of_table<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<RawHook>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a command: a text, or a list of program and arguments")]
    enum Command {
        Line(String),
        Words(Vec<String>),
    }
    let table = BTreeMap::<String, Command>::deserialize(deserializer)?;
    let one = |(name, command): (String, Command)| {
        let command = match command {
            Command::Line(line) => words(&line),
            Command::Words(words) => words,
        };
        hook(&name, command).map_err(D::Error::custom)
    };
    table.into_iter().map(one).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_a_phase_a_signal_and_a_command() {
        let parsed: RawHook = "post_usr1=/bin/x  a=b c".parse().unwrap();
        let command = ["/bin/x", "a=b", "c"].map(str::to_owned).to_vec();
        let signal = "USR1".to_owned();
        assert_eq!(parsed, RawHook(Hook { signal, phase: HookPhase::Post, command }));
        for signal in SIGNALS {
            let text = format!("pre_{}=x", signal.to_lowercase());
            assert_eq!(text.parse::<RawHook>().unwrap().0.signal, signal);
        }
        let name = |text: &str| text.to_owned();
        for (text, error) in [
            ("pre_hup", LifecycleError::Hook(name("pre_hup"))),
            ("pre_hup=", LifecycleError::NoCommand(name("pre_hup"))),
            ("pre_hup= ", LifecycleError::NoCommand(name("pre_hup"))),
            ("pre_hup=a\0b", LifecycleError::Nul(name("pre_hup"))),
            ("pre_HUP=x", LifecycleError::When(name("pre_HUP"))),
            ("pre_kill=x", LifecycleError::When(name("pre_kill"))),
            ("at_hup=x", LifecycleError::When(name("at_hup"))),
            ("hup=x", LifecycleError::When(name("hup"))),
        ] {
            assert_eq!(text.parse::<RawHook>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_probe_is_a_target() {
        for text in ["/", "/a?b=c&d,e", "/%C3%A4"] {
            assert_eq!(text.parse(), Ok(Probe(text.to_owned())));
        }
        let long = format!("/{}", "a".repeat(TARGET_BYTES));
        assert!(long[..TARGET_BYTES].parse::<Probe>().is_ok());
        for text in ["", "a", "/a b", "/ä", "/a#b", "/a\r\nb", "http://x/", &long] {
            assert!(text.parse::<Probe>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_lame_duck_answers_503_or_404() {
        assert_eq!("404".parse(), Ok(LameStatus(404)));
        assert_eq!("503".parse(), Ok(LameStatus(503)));
        for text in ["200", "", "4040", "+404"] {
            assert!(text.parse::<LameStatus>().is_err(), "{text}");
        }
    }
}

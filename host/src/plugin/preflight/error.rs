//! Why a preflight did not accept a candidate.

use std::{io, time::Duration};

use hotseat_unload::action::signal_name;

use super::{stays, wire::Stage};
use crate::{
    error::{Coded, Kind},
    sys::process::shortage_of,
};

/// The candidate was not accepted.
#[derive(Debug, thiserror::Error)]
#[error("{problem}{}", self.last_words())]
pub struct PreflightError {
    /// What went wrong.
    pub problem: PreflightProblem,
    /// The end of what the child wrote to its stderr, for the log.
    pub output: String,
}

/// What went wrong in a preflight.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreflightProblem {
    /// The child died on a signal.
    #[error("the preflight child died on {} {stage}", signal_name(*signal))]
    Crashed {
        /// Source: waitpid(2).
        signal: i32,
        /// Where.
        stage: Stage,
    },
    /// The child ended without a verdict.
    #[error("the preflight child ended with status {status} {stage}, without a verdict")]
    Exited {
        /// Source: waitpid(2).
        status: i32,
        /// Where.
        stage: Stage,
    },
    /// The child was killed at its time limit.
    #[error("the preflight took longer than {} ms; it was {stage}", time.as_millis())]
    Timeout {
        /// The limit.
        time: Duration,
        /// Where.
        stage: Stage,
    },
    /// The child could not give a verdict, or gave one that is none.
    #[error("the preflight child gave no proper verdict; it was {stage}")]
    NoVerdict {
        /// Where.
        stage: Stage,
    },
    /// The child ended, and somebody else has taken note of how.
    #[error("the preflight child ended {stage}, without a verdict; how is not known")]
    Lost {
        /// Where.
        stage: Stage,
    },
    /// The child says no.
    #[error("{text}")]
    Refused {
        /// One of `REFUSALS`.
        code: &'static str,
        /// The child's text.
        text: String,
        /// The child's hint.
        hint: Option<String>,
    },
    /// It would stay mapped, and `unload = "require"` is set.
    #[error("{}", stays::refusal(hazards))]
    WouldStayResident {
        /// Why.
        hazards: Vec<String>,
    },
    /// The child could not be started.
    #[error("the preflight child cannot be started: {0}")]
    Spawn(#[source] io::Error),
}

/// The codes with which a child refuses.
const REFUSALS: [&str; 12] = [
    "abi_mismatch",
    "dlopen_failed",
    "entry_missing",
    "feature_unknown",
    "layout_mismatch",
    "new_failed",
    "new_panicked",
    "path_in_use",
    "preflight_forked",
    "self_test_failed",
    "self_test_panicked",
    NO_EXEC,
];

/// The host's own trouble, and not the candidate's.
const NO_EXEC: &str = "state_noexec";

/// The last line of a dead child may say more than its signal. Units: characters.
const LAST_WORDS_COUNT: usize = 200;

impl PreflightError {
    fn last_words(&self) -> String {
        match self.problem {
            PreflightProblem::Crashed { .. }
            | PreflightProblem::Exited { .. }
            | PreflightProblem::Timeout { .. }
            | PreflightProblem::NoVerdict { .. }
            | PreflightProblem::Lost { .. }
            | PreflightProblem::Spawn(_) => {}
            PreflightProblem::Refused { .. } | PreflightProblem::WouldStayResident { .. } => {
                return String::new();
            }
        }
        let line = self.output.lines().map(str::trim).rfind(|line| !line.is_empty());
        let Some(line) = line else { return String::new() };
        let line: String =
            line.chars().filter(|c| !c.is_control()).take(LAST_WORDS_COUNT).collect();
        format!("; its last words: `{line}`")
    }
}

impl PreflightError {
    /// Whether it came as far as its end, and only that went wrong.
    #[must_use]
    pub fn is_of_its_end(&self) -> bool {
        match self.problem {
            PreflightProblem::WouldStayResident { .. } => true,
            PreflightProblem::Crashed { stage, .. }
            | PreflightProblem::Exited { stage, .. }
            | PreflightProblem::Timeout { stage, .. }
            | PreflightProblem::NoVerdict { stage }
            | PreflightProblem::Lost { stage } => matches!(stage, Stage::Stop | Stage::Close),
            PreflightProblem::Refused { .. } | PreflightProblem::Spawn(_) => false,
        }
    }

    /// Whether its constructor did not want to.
    #[must_use]
    pub fn is_of_new(&self) -> bool {
        match &self.problem {
            PreflightProblem::Refused { code, .. } => {
                matches!(*code, "new_failed" | "new_panicked")
            }
            PreflightProblem::Crashed { stage, .. }
            | PreflightProblem::Exited { stage, .. }
            | PreflightProblem::Timeout { stage, .. }
            | PreflightProblem::NoVerdict { stage }
            | PreflightProblem::Lost { stage } => matches!(stage, Stage::New),
            PreflightProblem::WouldStayResident { .. } | PreflightProblem::Spawn(_) => false,
        }
    }

    /// With what to do about the loader's words, where `explain` knows more than the child.
    #[must_use]
    pub fn explained(mut self, explain: impl FnOnce(&str) -> Option<String>) -> Self {
        if let PreflightProblem::Refused { code: "dlopen_failed", text, hint } = &mut self.problem {
            *hint = explain(text).or(hint.take());
        }
        self
    }
}

impl From<PreflightProblem> for PreflightError {
    fn from(problem: PreflightProblem) -> Self {
        Self { problem, output: String::new() }
    }
}

impl PreflightProblem {
    /// A refusal as the child sent it.
    pub(super) fn refused(code: &str, text: String, hint: Option<String>) -> Self {
        match REFUSALS.into_iter().find(|known| *known == code) {
            Some(code) => Self::Refused { code, text, hint },
            None => Self::NoVerdict { stage: Stage::Setup },
        }
    }
}

impl Coded for PreflightError {
    fn code(&self) -> &'static str {
        match &self.problem {
            PreflightProblem::Crashed { .. } => "preflight_crashed",
            PreflightProblem::Exited { .. } => "preflight_exited",
            PreflightProblem::Timeout { .. } => "preflight_timeout",
            PreflightProblem::NoVerdict { .. } | PreflightProblem::Lost { .. } => {
                "preflight_no_verdict"
            }
            PreflightProblem::Refused { code, .. } => code,
            PreflightProblem::WouldStayResident { .. } => "would_stay_resident",
            PreflightProblem::Spawn(_) => "preflight_spawn",
        }
    }

    fn kind(&self) -> Kind {
        match self.problem {
            PreflightProblem::Spawn(_) | PreflightProblem::Refused { code: NO_EXEC, .. } => {
                Kind::Host
            }
            PreflightProblem::Crashed { .. }
            | PreflightProblem::Exited { .. }
            | PreflightProblem::Timeout { .. }
            | PreflightProblem::NoVerdict { .. }
            | PreflightProblem::Lost { .. }
            | PreflightProblem::Refused { .. }
            | PreflightProblem::WouldStayResident { .. } => Kind::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match &self.problem {
            PreflightProblem::Refused { hint, .. } => return hint.clone(),
            PreflightProblem::Crashed { stage, .. } => {
                format!("run `hotseat check` on it under a debugger; look at what it does {stage}")
            }
            PreflightProblem::Exited { .. } => {
                "a plugin must not end the process: look for `exit` and `daemon`".to_owned()
            }
            PreflightProblem::Timeout { .. } => {
                "let it return sooner (`Context::is_preflight` tells when to skip work), or raise \
                 `preflight_time`"
                    .to_owned()
            }
            PreflightProblem::NoVerdict { .. } => {
                "a plugin must not close or write to descriptors that it did not open".to_owned()
            }
            PreflightProblem::Lost { stage } => format!(
                "run `hotseat check` on it and look at what it does {stage}; a plugin that is loaded \
                 here waits for children that are not its own (`waitpid(-1)`, SIGCHLD ignored)"
            ),
            PreflightProblem::WouldStayResident { hazards } => stays::hint(hazards),
            PreflightProblem::Spawn(source) => shortage_of(source).unwrap_or_else(|| {
                "see the limits of processes and memory of this service".to_owned()
            }),
        })
    }
}

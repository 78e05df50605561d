//! What every refusal offers: a stable code, a kind and a hint.
//!
//! Owns the vocabulary only; each error stands beside the code that raises it. Knows nothing of
//! HTTP or exit codes: `admin::wire` and `cli` turn a [`Kind`] into those.
//! Invariant: a released `code` never changes its meaning.

use crate::ids::Generation;

/// Whose fault it is, in the coarse classes that callers react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request itself makes no sense.
    Input,
    /// What it names does not exist.
    Missing,
    /// It does not fit what is there now.
    Conflict,
    /// The caller has said what must be so, and it is not.
    Condition,
    /// It is larger than the limit.
    TooLarge,
    /// The artifact was looked at and refused.
    Refused,
    /// Too much is waiting already; try again later.
    Busy,
    /// The host is stopping.
    Stopping,
    /// The host's own trouble: disk full, cannot fork.
    Host,
}

/// A refusal as people read it, a line each: what is wrong, what to do, and the code by which it is
/// searched for, in the log as well.
#[must_use]
pub fn for_people(message: &str, hint: Option<&str>, code: &str) -> String {
    let hint = hint.map_or_else(String::new, |hint| format!("hint: {hint}\n"));
    format!("{message}\n{hint}code: {code}\n")
}

/// An error that is told to a caller. Its `Display` is one line that says what is wrong.
pub trait Coded: std::error::Error {
    /// Stable for ever, `snake_case`.
    fn code(&self) -> &'static str;
    /// See [`Kind`].
    fn kind(&self) -> Kind;
    /// One line that says what to do, without the word "hint".
    fn hint(&self) -> Option<String> {
        None
    }
    /// What serves instead of what the caller expected; generation 0 is nothing.
    fn serving(&self) -> Option<Generation> {
        None
    }
}

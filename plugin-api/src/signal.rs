//! What a handler hears of signals.
//!
//! Owns the words; the numbers are the ABI's. Knows nothing of what the host does with a signal.
//! Invariant: a number that this build does not know is no error.

use std::fmt;

use crate::abi;

/// A signal that the host got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// `SIGHUP`: the host is upgraded.
    Hup,
    /// `SIGUSR1`: yours; the host does nothing.
    Usr1,
    /// `SIGUSR2`: what drains is cut.
    Usr2,
    /// `SIGINT`: the host stops.
    Int,
    /// `SIGTERM`: the host stops.
    Term,
    /// `SIGQUIT`: the host stops.
    Quit,
    /// `SIGTSTP`: yours where the host has a command for it. Without one its master stands still until
    /// `SIGCONT`, as any program does on Ctrl-Z, and nobody is told.
    Tstp,
}

/// When a handler is told of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Before the host acts on it.
    Pre,
    /// After the host has acted on it.
    Post,
}

impl Signal {
    /// Its name without `SIG`: `HUP`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hup => "HUP",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
            Self::Int => "INT",
            Self::Term => "TERM",
            Self::Quit => "QUIT",
            Self::Tstp => "TSTP",
        }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) const fn to_abi(self) -> u32 {
        match self {
            Self::Hup => abi::signal::HUP,
            Self::Usr1 => abi::signal::USR1,
            Self::Usr2 => abi::signal::USR2,
            Self::Int => abi::signal::INT,
            Self::Term => abi::signal::TERM,
            Self::Quit => abi::signal::QUIT,
            Self::Tstp => abi::signal::TSTP,
        }
    }

    pub(crate) const fn from_abi(number: u32) -> Option<Self> {
        Some(match number {
            abi::signal::HUP => Self::Hup,
            abi::signal::USR1 => Self::Usr1,
            abi::signal::USR2 => Self::Usr2,
            abi::signal::INT => Self::Int,
            abi::signal::TERM => Self::Term,
            abi::signal::QUIT => Self::Quit,
            abi::signal::TSTP => Self::Tstp,
            _ => return None,
        })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Phase {
    /// `pre` or `post`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Post => "post",
        }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) const fn to_abi(self) -> u32 {
        match self {
            Self::Pre => abi::signal_phase::PRE,
            Self::Post => abi::signal_phase::POST,
        }
    }

    pub(crate) const fn from_abi(number: u32) -> Option<Self> {
        match number {
            abi::signal_phase::PRE => Some(Self::Pre),
            abi::signal_phase::POST => Some(Self::Post),
            _ => None,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

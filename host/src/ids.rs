//! The words everything else is said with: generation, digest, plugin name, label.
//!
//! Owns their syntax and order. Knows nothing of files or HTTP.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

/// One successful load. Units: counts up from 1, never reused, also across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells the file of a lock from every other one, as long as somebody has it open: device and inode.
pub type LockId = (u64, u64);

/// The sha256 of a library: the identity of code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The first 16 hexadecimal digits, for file names and people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(16);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// A text that is not what its type wants. The message says what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 64 hexadecimal digits.
    #[error("`{0}` is not a sha256: 64 hexadecimal digits are expected")]
    Digest(String),
    /// Not a plugin name.
    #[error(
        "`{0}` is not a plugin name: it begins with a-z or 0-9 and goes on with at most 63 of a-z, \
         0-9, `_` and `-`"
    )]
    PluginName(String),
    /// Not a version label.
    #[error(
        "`{0}` is not a version: it begins with a digit and goes on with at most 63 of a-z, A-Z, 0-9, `.`, `-`, `+` and `_`"
    )]
    Label(String),
}

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Digest(text.to_owned());
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// The name of a plugin: `[a-z0-9][a-z0-9_-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName(Arc<str>);

impl PluginName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PluginName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let good = (1..=64).contains(&text.len())
            && text.bytes().next().is_some_and(plain)
            && text.bytes().all(|c| plain(c) || c == b'_' || c == b'-');
        if good { Ok(Self(text.into())) } else { Err(IdError::PluginName(text.to_owned())) }
    }
}

/// A version label as it stands in a file name: `2`, `2.1.0`, `2.0.0-rc1`. Shown with a `v`.
///
/// Order: semver's where both are (after filling up missing numbers), so 10 is above 9 and 2.0.0
/// above 2.0.0-rc1; any other text is below every version, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// The text without the `v`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn version(&self) -> Option<semver::Version> {
        let numbers = self.0.find(['-', '+']).unwrap_or(self.0.len());
        let (numbers, rest) = self.0.split_at(numbers);
        let dots = numbers.bytes().filter(|c| *c == b'.').count();
        let zeros = ".0".repeat(2_usize.checked_sub(dots)?);
        semver::Version::parse(&format!("{numbers}{zeros}{rest}")).ok()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl Ord for Label {
    fn cmp(&self, other: &Self) -> Ordering {
        self.version().cmp(&other.version()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Label {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Label {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let good = (1..=64).contains(&text.len())
            && text.as_bytes()[0].is_ascii_digit()
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || b".-+_".contains(&c));
        if good { Ok(Self(text.into())) } else { Err(IdError::Label(text.to_owned())) }
    }
}

/// A process that asked for something, as the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Peer {
    /// Its id.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, uid {}", self.pid, self.uid)
    }
}

/// One version of one plugin and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The load.
    pub generation: Generation,
    /// Its label.
    pub label: Label,
    /// Its content.
    pub digest: Digest,
}

/// Splits a versioned library's file name: `libhandler_v2.1.so` is (`handler`, `2.1`). The split
/// is at the last `_v` that a digit follows. `None` when it is no such name.
#[must_use]
pub fn split_file_name(file_name: &str) -> Option<(PluginName, Label)> {
    split_versioned(file_name.strip_prefix("lib")?.strip_suffix(".so")?)
}

/// Splits `handler_v2` at the last `_v` that a digit follows, as in a crate name.
#[must_use]
pub fn split_versioned(stem: &str) -> Option<(PluginName, Label)> {
    let at = stem
        .rmatch_indices("_v")
        .map(|(at, _)| at)
        .find(|at| stem.as_bytes().get(at + 2).is_some_and(u8::is_ascii_digit))?;
    Some((stem[..at].parse().ok()?, stem[at + 2..].parse().ok()?))
}

#[cfg(test)]
mod tests;

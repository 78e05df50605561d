//! The text by which a plugin introduces itself before any of its code runs.
//!
//! Owns the format, a static byte array that the export macro places in the file. Knows nothing of
//! who reads it.
//! Invariant: lines are `key=value`, closed by a NUL; `requires` always has 16 hex digits.

/// The symbol of the byte array, also in section `.hotseat`.
pub const SYMBOL: &str = "hotseat_manifest";
/// The first line.
pub const HEAD: &str = "hotseat-manifest 1\n";
/// The ABI's version in the manifest, `major.minor`.
pub const ABI: &str = "1.4";
/// The features a plugin of this build requires of its host.
pub const REQUIRES: &str = "0x0000000000000001";
/// `rustc -V` of the compiler that builds this crate, and the plugin with it.
pub const RUSTC: &str = env!("HOTSEAT_RUSTC");
/// The version of this crate, for people: it decides nothing. `CARGO_PKG_VERSION` is abi_stable's
/// here; see [`abi::root`](crate::abi::root).
pub const API: &str = env!("HOTSEAT_API_VERSION");

/// Bytes of [`join`]'s result.
#[must_use]
pub const fn length(parts: &[&str]) -> usize {
    let mut total = 0;
    let mut at = 0;
    while at < parts.len() {
        total += parts[at].len();
        at += 1;
    }
    total
}

/// The parts in one array of [`length`] bytes.
#[must_use]
pub const fn join<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut out = [0; N];
    let mut end = 0;
    let mut at = 0;
    while at < parts.len() {
        let part = parts[at].as_bytes();
        let mut from = 0;
        while from < part.len() {
            out[end] = part[from];
            end += 1;
            from += 1;
        }
        at += 1;
    }
    out
}

/// What cargo says of the crate, or nothing in a build without cargo.
#[must_use]
pub const fn known(value: Option<&'static str>) -> &'static str {
    match value {
        Some(text) => text,
        None => "",
    }
}

/// `name` when it is empty or a plugin's name, else the build fails.
///
/// # Panics
/// At compile time, unless it is `[a-z0-9][a-z0-9_-]{0,63}`.
#[must_use]
pub const fn checked_name(name: &'static str) -> &'static str {
    let bytes = name.as_bytes();
    assert!(bytes.len() <= 64, "a plugin's name has at most 64 characters");
    let mut at = 0;
    while at < bytes.len() {
        let inner = at > 0 && matches!(bytes[at], b'_' | b'-');
        assert!(
            inner || bytes[at].is_ascii_digit() || bytes[at].is_ascii_lowercase(),
            "a plugin's name has a-z, 0-9, `_` and `-`, and begins with neither of the last two"
        );
        at += 1;
    }
    name
}

/// `version` when it is empty or a version label, else the build fails.
///
/// # Panics
/// At compile time, unless it is `[0-9][0-9A-Za-z.+_-]{0,63}`.
#[must_use]
pub const fn checked_version(version: &'static str) -> &'static str {
    let bytes = version.as_bytes();
    assert!(bytes.len() <= 64, "a plugin's version has at most 64 characters");
    let mut at = 0;
    while at < bytes.len() {
        let inner =
            bytes[at].is_ascii_alphabetic() || matches!(bytes[at], b'.' | b'+' | b'_' | b'-');
        assert!(
            bytes[at].is_ascii_digit() || at > 0 && inner,
            "a plugin's version begins with a digit and has letters, digits, `.`, `+`, `_` and `-`"
        );
        at += 1;
    }
    version
}

#[cfg(test)]
mod tests {
    use super::{ABI, REQUIRES};
    use crate::abi;

    #[test]
    fn texts_follow_the_numbers() {
        assert_eq!(ABI, format!("{}.{}", abi::ABI_MAJOR, abi::ABI_MINOR));
        assert_eq!(REQUIRES, format!("{:#018x}", abi::FEATURE_BASE));
    }
}

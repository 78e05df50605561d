//! Programs of the system that some tests lean on.
//!
//! Owns finding them, and what is said where they are not there.

use std::{env, os::unix::fs::PermissionsExt as _, path::PathBuf};

/// Where `name` is. Also looks where programs for administrators are, which is not in everyone's
/// `PATH`.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|folder| folder.join(name)).find(|file| {
        file.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    })
}

/// As [`tool`]; where it is not there, says so and which package has it. The caller then returns:
/// the test is skipped.
///
/// # Panics
/// Where `HOTSEAT_TEST_TOOLS=all` says that every tool must be there.
#[must_use]
#[track_caller]
pub fn tool_or_skip(name: &str, package: &str) -> Option<PathBuf> {
    let found = tool(name);
    if found.is_none() {
        skip(&format!("`{name}` is not installed (package {package}: `make test-packages`)"));
    }
    found
}

/// Says that this test is skipped.
///
/// # Panics
/// Where `HOTSEAT_TEST_TOOLS=all` says that nothing may be.
#[track_caller]
pub fn skip(why: &str) {
    assert!(env::var_os("HOTSEAT_TEST_TOOLS").is_none_or(|it| it != "all"), "{why}");
    eprintln!("skipped: {why}");
}

#[cfg(test)]
mod tests {
    use super::tool;

    #[test]
    fn what_is_there_is_found() {
        assert!(tool("sh").is_some_and(|path| path.ends_with("sh")));
        assert_eq!(tool("no-such-program"), None);
    }
}

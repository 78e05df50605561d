//! What has to be in the environment of a process before its first instruction, where that process
//! will load libraries and unload them.
//!
//! Owns those variables. Invariant: what the operator has set stays as it was set.

use std::{
    ffi::{OsStr, OsString},
    process::Command,
};

/// What glibc calls the room for libraries whose thread-locals are at a fixed place of each thread.
const OPTIONAL_STATIC_TLS: &str = "glibc.rtld.optional_static_tls";

/// Sets what `given`, the environment that `command` begins with, lacks.
///
/// - Errors take no backtraces of their own: each generation's standard library would map the debug
///   information of the whole executable for good (measured: 107 MB a swap with `anyhow`).
/// - mimalloc gives its memory back when the library that it is linked into is closed (measured:
///   13.7 MB a swap otherwise).
/// - There are `static_tls` bytes for libraries with initial-exec thread-locals; see glibc's manual on
///   tunables.
pub fn prepare(command: &mut Command, given: impl Fn(&str) -> Option<OsString>, static_tls: usize) {
    for (name, value) in [("RUST_LIB_BACKTRACE", "0"), ("MIMALLOC_DESTROY_ON_EXIT", "1")] {
        if given(name).is_none() {
            command.env(name, value);
        }
    }
    if let Some(tunables) = tunables(given("GLIBC_TUNABLES").as_deref(), static_tls) {
        command.env("GLIBC_TUNABLES", tunables);
    }
}

/// What is set, and the room behind it; `None`: the operator has chosen it.
fn tunables(set: Option<&OsStr>, static_tls: usize) -> Option<OsString> {
    let set = set.filter(|set| !set.is_empty());
    let chosen = set.is_some_and(|set| {
        let set = set.to_string_lossy();
        set.split(':').any(|one| one.split('=').next() == Some(OPTIONAL_STATIC_TLS))
    });
    if chosen {
        return None;
    }
    let mut tunables = set.map_or_else(OsString::new, |set| {
        let mut set = set.to_owned();
        set.push(":");
        set
    });
    tunables.push(format!("{OPTIONAL_STATIC_TLS}={static_tls}"));
    Some(tunables)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn prepared(given: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut command = Command::new("true");
        let given: BTreeMap<_, _> = given.iter().copied().collect();
        prepare(&mut command, |name| given.get(name).map(|it| (*it).into()), 8192);
        let text = |it: &OsStr| it.to_str().unwrap().to_owned();
        command.get_envs().map(|(name, value)| (text(name), text(value.unwrap()))).collect()
    }

    #[test]
    fn what_is_set_is_kept() {
        let all = prepared(&[]);
        assert_eq!(all["RUST_LIB_BACKTRACE"], "0");
        assert_eq!(all["MIMALLOC_DESTROY_ON_EXIT"], "1");
        assert_eq!(all["GLIBC_TUNABLES"], "glibc.rtld.optional_static_tls=8192");
        let given = [("RUST_LIB_BACKTRACE", "1"), ("MIMALLOC_DESTROY_ON_EXIT", "0")];
        assert_eq!(prepared(&given).len(), 1);
        let with = |set| prepared(&[("GLIBC_TUNABLES", set)]).remove("GLIBC_TUNABLES");
        let ours = "glibc.rtld.optional_static_tls";
        assert_eq!(with("a.b.c=1"), Some(format!("a.b.c=1:{ours}=8192")));
        assert_eq!(with(""), Some(format!("{ours}=8192")));
        assert_eq!(with(&format!("a.b.c=1:{ours}=64")), None);
    }
}

//! Surroundings that lack something: the host goes on without it, or its message names the cause and
//! the next step.

use std::process::Command;

use hotseat_test_support::tool::{skip, tool_or_skip};

mod addresses;
mod lacks;
mod libraries;
mod modes;
mod paths;
mod terminal;

/// Words that run a host in mounts of its own, after `prepare`; `None`: not on this machine, and the
/// test is skipped.
pub(crate) fn mounting(prepare: &str) -> Option<Vec<String>> {
    tool_or_skip("unshare", "util-linux")?;
    // Without the right to mount, an account of its own in which it has it.
    let ways: [&[&str]; 2] = [&["-m"], &["-rm"]];
    let can = |flags: &&&[&str]| {
        let mount = "mount -t tmpfs none /mnt";
        let tried = Command::new("unshare").args(**flags).args(["sh", "-c", mount]).output();
        tried.is_ok_and(|it| it.status.success())
    };
    let Some(flags) = ways.iter().find(can) else {
        skip("mounts of its own are not allowed here");
        return None;
    };
    let script = format!("{prepare} && exec \"$@\"");
    let words = [&["unshare"], *flags, &["sh", "-c", &script, "sh"]].concat();
    Some(words.into_iter().map(str::to_owned).collect())
}

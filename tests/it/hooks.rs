//! Commands of the operator and callbacks of plugins around signals.
//!
//! Owns a script that writes down who called it and when; its lines are what tests look at.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use hotseat_test_support::{Builder, Host, eventually, fault, host, procfs};
use rustix::process::Signal;

mod commands;
mod plugins;

/// Writes one line for each call, whole, then does what its second argument says.
const SCRIPT: &str = "#!/bin/sh\n\
    echo \"$HOTSEAT_PHASE $HOTSEAT_SIGNAL $1 $HOTSEAT_MASTER_PID ${HOTSEAT_WORKER_PID-none} \
    ${HOTSEAT_WORKER_NUMBER-none}\" >> \"$0.lines\"\n\
    case $2 in\n\
    fail) echo \"no, says $1\" >&2; exit 7 ;;\n\
    hang) exec tail -f /dev/null ;;\n\
    esac\n";

/// A builder whose hooks are these: `pre_hup` and the name of the call, with `fail` or `hang`.
pub(crate) fn with_hooks(mut builder: Builder, hooks: &[(&str, &str)]) -> Builder {
    let script = builder.home().write("hook", SCRIPT.as_bytes());
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (when, words) in hooks {
        builder = builder.arg(format!("--hook={when}={} {words}", script.display()));
    }
    builder
}

/// What the script has written: a line is words.
pub(crate) fn lines(host: &Host) -> Vec<Vec<String>> {
    let file: PathBuf = host.home().path().join("hook.lines");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

/// The names of the calls, in order.
pub(crate) fn calls(host: &Host) -> Vec<String> {
    lines(host).into_iter().map(|line| line[2].clone()).collect()
}

/// Settings with which an upgrade takes no longer than it has to.
pub(crate) fn quick(builder: Builder) -> Builder {
    let args = ["--soak-time=50ms", "--idle-linger=100ms"];
    args.into_iter().fold(builder, Builder::arg)
}

fn whoami(builder: Builder) -> Builder {
    builder.with(fault("whoami"), "libhandler_v1.so")
}

//! Files inside the state folder that somebody removes, or puts older ones in the place of: what was
//! acknowledged is on the disk again, and boots.

use std::process::Command;

use hotseat_test_support::{eventually, fault};

use super::watchful;

/// What is done, in the state folder (`$S`), of which an older copy is beside it (`$O`); and what
/// tells that the host has made it good.
const WAYS: [(&str, &str); 7] = [
    ("a copy laid over it", "cp -a $O/. $S/"),
    ("an older manifest", "cp -a $O/manifest.json $S/.m; mv $S/.m $S/manifest.json"),
    ("an older manifest, written in place", "cat $O/manifest.json >$S/manifest.json"),
    ("no manifest", "rm $S/manifest*.json"),
    ("no newest manifest", "rm $S/manifest.json"),
    ("no artifacts", "rm $S/artifacts/*"),
    ("no history", "rm $S/history.jsonl"),
];

#[test]
fn what_was_acknowledged_is_written_again() {
    for (what, script) in WAYS {
        let mut host = watchful().with(fault("plain_v1"), "libhandler_v1.so").start();
        let state = host.home().state();
        let older = host.home().path().join("older");
        let shell = |script: &str| {
            let mut shell = Command::new("sh");
            let names = [("S", &state), ("O", &older)];
            let done = shell.args(["-ec", script]).envs(names).status().unwrap();
            assert!(done.success(), "{what}");
        };
        shell("cp -a $S $O");
        host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
        shell(script);
        let manifest = || std::fs::read_to_string(state.join("manifest.json")).unwrap_or_default();
        let artifacts = || std::fs::read_dir(state.join("artifacts")).unwrap().count();
        let history = || std::fs::read_to_string(state.join("history.jsonl")).unwrap_or_default();
        eventually!(
            manifest().contains("\"2\"") && artifacts() >= 1 && history().contains("handler"),
            "{what}: {}\n{}",
            manifest(),
            host.log_end()
        );
        assert_eq!(host.stop().code(), Some(0), "{what}");
        host.start_again();
        host.get("/").assert_status(200).assert_contains("v2");
    }
}

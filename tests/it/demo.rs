//! What the README promises to whoever tries an upgrade, by the very script that it names.

use std::{path::Path, process::Command};

use hotseat_test_support::{host, patience, plugin};

/// A slow request, HUP, a quick request: the slow answer comes from the old process, the quick one
/// from the new one, and the host's process id stays.
#[test]
fn the_demonstration_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    assert!(readme.contains("packaging/demo.sh"), "the README names the script");
    let mut command = Command::new("timeout");
    command.arg(patience().as_secs().to_string()).arg(root.join("packaging/demo.sh")).arg("4");
    command.env("HOTSEAT", host!().binary_path()).env("PLUGIN", plugin("handler_v1"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{error}");
    let line = text.lines().last().unwrap_or_default();
    let numbers: Vec<u32> =
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    let [before, after, master] = numbers[..] else { panic!("three process ids in `{line}`") };
    assert!(before != after && before != master && after != master, "{text}");
    let answers: Vec<_> = text.lines().filter(|line| line.contains("->")).collect();
    assert_eq!(answers.len(), 2, "{text}");
    assert!(answers[0].contains("sleep=0") && answers[0].contains(&format!("pid {after})")));
    assert!(answers[1].contains("sleep=4") && answers[1].contains(&format!("pid {before})")));
}

//! The file of the running binary, and what may be done with it, changes under the host.
//!
//! Method, for each: change it; the worker crashes twice, and the next one answers the same; a deploy,
//! a rollback and an upgrade to another binary work; the status says which processes run from memory.

use std::process::Command;

use hotseat_test_support::{Host, binary, eventually, fault, wire};
use serde_json::Value;

use super::{crash, watchful};
use crate::hints::mounting;

const BINARY: &str = env!("CARGO_BIN_EXE_hotseat");

/// Has the host run a copy in `bin` of its working directory, after `prepare`.
fn copied(prepare: &str) -> String {
    format!(
        "mkdir -p bin && {prepare} && cp {BINARY} bin/hotseat && shift && \
         set -- \"$PWD/bin/hotseat\" \"$@\""
    )
}

fn start(words: &[String]) -> Host {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    watchful().through(&words).with(fault("plain_v1"), "libhandler_v1.so").start()
}

/// Runs `script` in the host's working directory, where the host sees its mounts.
fn run(host: &Host, script: &str) {
    let pid = host.pid().to_string();
    let mut command = Command::new("nsenter");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    let script = format!("cd {} && {script}", host.home().path().display());
    let status = command.args(["--mount", "--target", &pid, "sh", "-c", &script]).status();
    assert!(status.is_ok_and(|it| it.success()), "{script}");
}

/// Whether the process of that role runs from memory, as the status says.
fn from_memory(host: &Host, role: &str) -> bool {
    let status = host.status();
    let all = wire::list(&status, "/processes");
    let process = all.iter().find(|it| it["role"] == role);
    process.is_some_and(|it| it["from_memory"] == Value::Bool(true))
}

/// It comes up again, and can be changed as before.
#[track_caller]
fn goes_on(host: &Host, in_memory: bool) {
    twice(host, in_memory);
    host.upgrade(&["--wait"]).assert_code(0);
    host.get("/").assert_status(200).assert_contains("v1");
    let page = host.control().get("/").text();
    assert_eq!(page.contains(" in memory"), in_memory, "{page}");
}

#[track_caller]
fn twice(host: &Host, in_memory: bool) {
    for _ in 0..2 {
        crash(host, "v1");
        assert_eq!(from_memory(host, "serving"), in_memory, "{}", host.status());
        host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
        host.get("/").assert_status(200).assert_contains("v2");
        host.control().rollback(Some("handler"), None).swapped();
        host.get("/").assert_status(200).assert_contains("v1");
    }
}

/// Nobody has to mount anything for these.
#[test]
fn a_binary_whose_file_is_lost_goes_on() {
    let cases = [
        ("rm -r bin", false),
        ("mv bin aside && mkdir bin && echo none >bin/hotseat", false),
        ("chmod 000 bin", false),
        ("chmod 644 bin/hotseat", true),
        ("chmod 644 bin/hotseat && rm -r bin", true),
    ];
    for (change, in_memory) in cases {
        let script = format!("{} && exec \"$@\"", copied("true"));
        let words = ["sh", "-c", &script, "sh"].map(str::to_owned);
        let mut host = start(&words);
        let script = format!("cd {} && {change}", host.home().path().display());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        twice(&host, in_memory);
        if in_memory {
            host.assert_logged("its mode forbids it");
        }
        assert!(host.stop().success(), "{change}: {}", host.log_end());
    }
}

/// Its file system is mounted anew without the right to run anything, or to write; then as before.
#[test]
fn a_binary_whose_file_system_is_mounted_noexec_goes_on() {
    let prepare = copied("mount -t tmpfs none bin");
    let Some(words) = mounting(&prepare) else { return };
    let mut host = start(&words);
    run(&host, "mount -o remount,ro bin");
    goes_on(&host, false);
    run(&host, "mount -o remount,noexec bin");
    goes_on(&host, true);
    let mount = host.home().path().join("bin").display().to_string();
    host.assert_logged(&format!("remount,exec {mount}"));
    run(&host, "mount -o remount,rw,exec bin");
    goes_on(&host, false);
    run(&host, "mount -o remount,noexec bin && rm bin/hotseat");
    crash(&host, "v1");
    assert!(from_memory(&host, "serving"));
    assert!(host.stop().success(), "{}", host.log_end());
}

/// So is the state folder, which has the binary of an upgrade: before it or afterwards.
#[test]
fn a_kept_binary_on_a_file_system_that_is_mounted_noexec_goes_on() {
    let prepare = "mkdir state && mount -t tmpfs -o mode=0700 none state";
    let Some(words) = mounting(prepare) else { return };
    let mut host = start(&words);
    let other = |number: u8| {
        let path = host.home().path().join(format!("other{number}"));
        let variant = binary::variant(BINARY.as_ref(), &path, number);
        (variant.path.display().to_string(), variant.version)
    };
    let (first, version) = other(31);
    host.upgrade(&["--wait", "--binary", &first]).assert_code(0);
    // The master follows; the kernel ends whom a remount meets halfway into a program.
    eventually!(host.process("master").is_some_and(|it| it.version == version));
    run(&host, "mount -o remount,noexec state");
    goes_on(&host, true);
    assert_eq!(host.process("serving").unwrap().version, version);
    let (second, version) = other(32);
    host.upgrade(&["--wait", "--binary", &second]).assert_code(0);
    eventually!(from_memory(&host, "master"), "{}", host.status());
    goes_on(&host, true);
    for role in ["master", "serving"] {
        assert_eq!(host.process(role).unwrap().version, version, "{role}");
    }
    run(&host, "mount -o remount,exec state");
    twice(&host, false);
    assert!(from_memory(&host, "master"), "it is what it was");
    assert!(host.stop().success(), "{}", host.log_end());
}

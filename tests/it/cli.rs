//! The commands: for people, with `--json` for programs, and their exit codes.

use std::process::Output;

use hotseat_test_support::{Builder, Host, fault, host, start_host};

/// Runs a command against `host`, from another folder than the host's.
fn run(host: &Host, args: &[&str]) -> Output {
    let elsewhere = host!().env("HOTSEAT_CONTROL", host.control().address.to_string());
    elsewhere.run(args)
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[track_caller]
fn check(output: &Output, code: i32, words: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
    assert!(text(output).contains(words), "no `{words}` in: {}", text(output));
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(output)))
}

/// Deploy, look, go back, remove; paths are made absolute by the command.
#[test]
fn the_commands_do_what_they_say() {
    let host = crate::plain_host();
    let other = host!();
    other.home().place(&fault("plain_v2"), "libhandler_v2.so");
    let at = |args: &[&str]| {
        let control = host.control().address.to_string();
        Builder::new(env!("CARGO_BIN_EXE_hotseat"))
            .at(other.home())
            .env("HOTSEAT_CONTROL", control)
            .run(args)
    };
    check(&at(&["load", "./libhandler_v2.so"]), 0, "handler v2 is serving (generation 2");
    check(&at(&["load", "./libhandler_v2.so"]), 0, "already serves");
    check(&at(&["load", "--force", "./libhandler_v2.so"]), 0, "handler v2 is serving");
    check(&at(&["status"]), 0, "handler");
    check(&at(&["history"]), 0, "handler");
    check(&at(&["rollback", "--to", "1"]), 0, "handler v1 is serving");
    check(&at(&["rollback", "handler"]), 2, "");
    check(&at(&["unload", "handler"]), 0, "handler");
    check(&at(&["unload", "handler"]), 2, "");
}

/// The same for programs.
#[test]
fn json_for_programs() {
    let host = crate::plain_host();
    let status = run(&host, &["status", "--json"]);
    assert_eq!(json(&status)["pid"], host.worker_pid());
    let history = run(&host, &["history", "--json"]);
    assert!(json(&history)["history"].is_array(), "{}", text(&history));
    let path = host.home().place(&fault("plain_v2"), "libhandler_v2.so");
    let load = run(&host, &["load", "--json", path.to_str().unwrap()]);
    assert_eq!(json(&load)["generation"], 2);
    let bad = host.home().place(&fault("new_fails"), "libhandler_v3.so");
    let refused = run(&host, &["load", "--json", bad.to_str().unwrap()]);
    check(&refused, 2, "new_failed");
    assert_eq!(json(&refused)["error"]["code"], "new_failed");
}

/// Every command that asks a host finds it by `control` of its configuration file: one that is named,
/// by the variable that `serve` reads as well, or that lies where `serve` looks for it.
#[test]
fn a_host_is_found_by_its_configuration_file() {
    // Relative, as it would be for `serve` in the same folder.
    let control = "control = ['unix:control', '127.0.0.1:1']\n";
    let builder = host!().config(control).arg("--control=unix:control");
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    let library = host.home().plugins().join("libhandler_v1.so");
    // `threads` is none of a command's business.
    let file = host.home().write("named.toml", format!("threads = 'x'\n{control}").as_bytes());
    let file = file.to_str().unwrap();
    for (args, code, words) in [
        (&["status"][..], 0, "handler"),
        (&["history"], 0, "handler"),
        (&["cells"], 0, "no plugin has cells"),
        (&["load", library.to_str().unwrap()], 0, "already serves"),
        (&["rollback", "nobody"], 2, "no plugin `nobody` is known"),
        (&["unload", "nobody"], 2, "no plugin `nobody` is loaded"),
        (&["reload-config"], 0, "nothing has changed"),
        (&["lame-duck", "off", "--wait"], 0, "no lame duck"),
        (&["upgrade", "--wait", "--binary", "missing"], 3, "missing"),
    ] {
        let flag = if args[0] == "upgrade" { "--host-config" } else { "--config" };
        check(&host.command().args(args).args([flag, file]).output().unwrap(), code, words);
        let told = host.command().env("HOTSEAT_CONFIG", file).args(args).output().unwrap();
        check(&told, code, words);
        check(&host.command().args(args).output().unwrap(), code, words);
    }
    // From another folder it is another socket.
    let told = host!().run(&["status", "--config", file]);
    check(&told, 1, "named.toml`, where a relative path begins in the folder that the host was");
}

/// A file that is wrong is told with its line, and only where it is needed.
#[test]
fn a_wrong_file_keeps_nobody_from_a_host_that_is_named() {
    let host = start_host!();
    let file = host.home().write("wrong.toml", b"threads = 1\ncontrol = 'localhost:1'\n");
    let file = file.to_str().unwrap();
    let alone = host.command().args(["status", "--config", file]).output().unwrap();
    check(&alone, 64, "wrong.toml` is wrong at line 2, column ");
    check(&run(&host, &["status", "--config", file]), 0, "serving");
    let control = host.control().address.to_string();
    let flag = host!().env("HOTSEAT_CONFIG", file).env("HOTSEAT_CONTROL", "127.0.0.1:1");
    check(&flag.run(&["status", "--control", &control]), 0, "serving");
}

/// 2 refused, 1 failed, 64 usage.
#[test]
fn exit_codes() {
    let host = start_host!();
    let bad = host.home().write("libhandler_v1.so", b"no library");
    check(&run(&host, &["load", bad.to_str().unwrap()]), 2, "hint:");
    // Asked of a host, and found out here.
    check(&run(&host, &["load", bad.to_str().unwrap()]), 2, "\ncode: not_elf\n");
    check(&run(&host, &["check", bad.to_str().unwrap()]), 2, "\ncode: not_elf\n");
    check(&run(&host, &["load"]), 64, "Usage");
    check(&run(&host, &["no-such-command"]), 64, "no-such-command");
    check(&run(&host, &["status", "--no-such-option"]), 64, "no-such-option");
    check(&run(&host, &["--version"]), 0, env!("CARGO_PKG_VERSION"));
    check(&run(&host, &["--help"]), 0, "serve");
    let free = hotseat_test_support::address::free_address();
    let alone = host!().env("HOTSEAT_CONTROL", free.to_string());
    check(&alone.run(&["status"]), 1, &free.to_string());
    check(&alone.run(&["status"]), 1, "\ncode: no_host\n");
}

/// `check` runs the preflight alone, without a host.
#[test]
fn check_runs_the_preflight_alone() {
    let alone = host!();
    let good = alone.home().place(&fault("plain_v1"), "libhandler_v1.so");
    check(&alone.run(&["check", good.to_str().unwrap()]), 0, "handler");
    let bad = alone.home().place(&fault("new_panics"), "libhandler_v2.so");
    check(&alone.run(&["check", bad.to_str().unwrap()]), 2, "was asked to panic");
    let refused = alone.run(&["check", "--json", bad.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(json(&refused)["error"]["code"], "new_panicked");
    let leaks = alone.home().place(&fault("leaks_thread"), "libhandler_v3.so");
    check(&alone.run(&["check", leaks.to_str().unwrap()]), 0, "thread");
    check(&alone.run(&["check", leaks.to_str().unwrap()]), 0, " (each makes an unload harder");
    assert!(!alone.home().state().exists(), "a check keeps nothing");
}

/// `/readyz` of a lame duck says no, with the status that is wanted, wherever it is asked; everything
/// is served on, and back it goes.
#[test]
fn a_lame_duck_serves_and_asks_for_no_more() {
    let host = host!()
        .arg("--health-path=/-")
        .arg("--lame-status=404")
        .with(fault("plain_v1"), "libhandler_v1.so")
        .start();
    for (switch, status) in [("on", 404), ("on", 404), ("off", 200), ("off", 200)] {
        check(&run(&host, &["lame-duck", switch, "--wait"]), 0, "lame duck");
        host.get("/-/readyz").assert_status(status);
        host.control().get("/readyz").assert_status(status);
        host.get("/-/livez").assert_status(200);
        host.get("/").assert_status(200);
    }
    let page = run(&host, &["lame-duck", "--json", "on"]);
    assert_eq!(json(&page)["lame_duck"], true);
    check(&run(&host, &["status"]), 0, ", lame_duck, pid ");
}

/// There is nobody who could start another process.
#[test]
fn a_single_process_cannot_be_upgraded() {
    let host = host!().arg("--single").with(fault("plain_v1"), "libhandler_v1.so").start();
    check(&run(&host, &["upgrade", "--wait"]), 1, "hint: start it without `--single`");
    // As every other refusal.
    check(&run(&host, &["upgrade", "--wait"]), 1, "\ncode: upgrade_refused\n");
    let refused = run(&host, &["upgrade", "--json"]);
    check(&refused, 1, "upgrade_refused");
    assert_eq!(json(&refused)["upgrade"]["verdict"], "refused");
    check(&run(&host, &["upgrade", "--wait", "ready"]), 64, "Usage");
    host.get("/").assert_status(200);
}

/// What a host starts for itself is no command for people.
#[test]
fn hidden_commands_are_shown_nowhere() {
    let hidden = ["worker", "settings-child", "stage-child", "preflight-child"];
    // A mistyped command is answered with those that are like it.
    let mistyped = host!().run(&["stage-chil"]);
    check(&mistyped, 64, "stage-chil'");
    assert!(!text(&mistyped).contains("stage-child"), "{}", text(&mistyped));
    for args in [&["--help"][..], &["-h"], &["serve", "--help"]] {
        let output = host!().run(args);
        check(&output, 0, "serve");
        let shown = text(&output);
        let commands = shown.split("Commands:").nth(1).unwrap_or_default();
        let commands = commands.split("\n\n").next().unwrap_or_default();
        for name in hidden {
            let is_listed = commands.split_whitespace().any(|word| word == name);
            let is_named = name.contains('-') && shown.contains(name);
            assert!(!is_listed && !is_named, "{args:?} shows `{name}`: {shown}");
        }
    }
}

/// The help of every command says how it is used; where that is not plain, by example.
#[test]
fn help_has_examples() {
    let commands = [
        "serve",
        "load",
        "unload",
        "check",
        "status",
        "history",
        "rollback",
        "upgrade",
        "lame-duck",
    ];
    for command in commands {
        let output = host!().run(&[command, "--help"]);
        check(&output, 0, &format!("hotseat {command}"));
        if ["serve", "load", "check", "rollback", "upgrade", "lame-duck"].contains(&command) {
            check(&output, 0, "Examples:");
        }
    }
}

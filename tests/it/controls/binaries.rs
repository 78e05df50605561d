//! The other binaries that are offered to an upgrade: good ones are good, and each bad one is bad
//! in its own way.

use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use hotseat_test_support::{
    Builder, Home,
    binary::{self, Fault},
    eventually, fault, host, procfs,
};

/// A variant is as good, says another version, and loads the same plugins.
#[test]
fn a_variant_is_a_host() {
    let builder = host!();
    let (home, real) = (builder.home().clone(), builder.binary_path().to_owned());
    let variant = binary::variant(&real, &home.path().join("hotseat-next"), 12);
    assert_eq!(variant.version, "0.2.2");
    assert_eq!(binary::version(&real), env!("CARGO_PKG_VERSION"));
    let host = builder.binary(&variant.path).with(fault("whoami"), "libhandler_v1.so").start();
    assert!(host.ready().line.contains("0.2.2"), "{:?}", host.ready());
    assert_eq!(host.status()["version"], "0.2.2", "{}", host.status());
    host.get("/").assert_status(200);
}

fn path(home: &Home) -> PathBuf {
    home.path().join("bad")
}

/// Runs a bad binary as a worker would be, or as the checks are: how it ended.
fn run(builder: &Builder, word: &str) -> io::Result<Output> {
    Command::new(path(builder.home())).arg(word).stdin(Stdio::null()).output()
}

/// Files that are no programs cannot be started, each for its own reason.
#[test]
fn bad_files_do_not_start() {
    let builder = host!();
    let faults = [
        (Fault::Missing, 2),
        (Fault::NotExecutable, 13),
        (Fault::Empty, 8),
        (Fault::Text, 8),
        (Fault::OtherMachine, 8),
    ];
    for (fault, errno) in faults {
        binary::faulty(builder.binary_path(), &path(builder.home()), fault);
        let error = run(&builder, "--version").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno), "{fault:?}: {error}");
    }
}

/// Programs with a fault have it as a worker only, unless it is to show in the checks.
#[test]
fn bad_programs_do_what_they_say() {
    let builder = host!();
    let faults = [
        (Fault::Exits, Some(1), None, "ends with status 1"),
        (Fault::Panics, Some(101), None, "faulty: it panics"),
        (Fault::Aborts, None, Some(6), ""),
        (Fault::Segfaults, None, Some(11), ""),
        (Fault::Floods, Some(1), None, "the last line"),
    ];
    for (fault, code, signal, text) in faults {
        binary::faulty(builder.binary_path(), &path(builder.home()), fault);
        let output = run(&builder, "worker").unwrap();
        assert_eq!((output.status.code(), output.status.signal()), (code, signal), "{fault:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(text), "{fault:?}: {error}");
        assert!(fault != Fault::Floods || error.len() > 1 << 20, "{}", error.len());
        assert!(run(&builder, "--version").unwrap().status.success(), "{fault:?} is the real one");
        binary::faulty_at_check(builder.binary_path(), &path(builder.home()), fault);
        assert!(!run(&builder, "--version").unwrap().status.success(), "{fault:?} at a check");
    }
}

/// Later faults happen in the real program, in the same process.
#[test]
fn later_faults_happen_later() {
    for (fault, state) in [(Fault::AbortsLater(300), 'Z'), (Fault::StopsLater(300), 'T')] {
        let builder = host!();
        let file = path(builder.home());
        binary::faulty_at_check(builder.binary_path(), &file, fault);
        let host = builder.binary(&file).arg("--single").start();
        eventually!(procfs::state(host.pid()) == Some(state), "{fault:?}");
        let others = procfs::children(host.pid());
        let open = || others.iter().map(|pid| procfs::listeners(*pid).len()).sum::<usize>();
        assert_eq!(open(), 0, "nobody else holds the listeners");
    }
}

/// A bad host answers 500 with the `whoami` plugin.
#[test]
fn a_bad_host_answers_500() {
    let builder = host!();
    let file = path(builder.home());
    binary::faulty_at_check(builder.binary_path(), &file, Fault::Answers500);
    let host = builder.binary(&file).with(fault("whoami"), "libhandler_v1.so").start();
    host.get("/").assert_status(500);
    host.get("/?status=201").assert_status(201);
}

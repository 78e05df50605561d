//! Starting: ports, state, folder, the ready line.

use hotseat_test_support::{eventually, fault, host, procfs, start_host};

/// One line on stdout, with both addresses and the process id.
#[test]
fn one_ready_line() {
    let host = start_host!();
    let line = host.ready().line.clone();
    let version = env!("CARGO_PKG_VERSION");
    let wanted = format!(
        "hotseat {version} ready: data {} control {} pid {}",
        host.data(),
        host.control().address,
        host.pid()
    );
    assert_eq!(line, wanted);
}

/// An empty host says what to do, is alive, and is not ready.
#[test]
fn an_empty_host_is_alive_and_not_ready() {
    let host = start_host!();
    host.get("/").assert_error(503, "empty_host").assert_contains("curl");
    host.control().get("/livez").assert_status(200);
    host.control().get("/readyz").assert_status(503);
    host.deploy(&fault("plain_v1"), "libhandler_v1.so").swapped();
    host.control().get("/readyz").assert_status(200);
}

/// Without a history the highest version of each name in the folder is loaded; v10 is above v9.
#[test]
fn the_highest_version_in_the_folder_boots() {
    let host = host!()
        .with(fault("plain_v1"), "libhandler_v9.so")
        .with(fault("plain_v2"), "libhandler_v10.so")
        .with(fault("reflect"), "libreflect_v1.so")
        .start();
    host.get("/").assert_status(200).assert_contains("v2");
    host.get("/reflect/x").assert_status(200).assert_contains("path=/x");
    host.control().get("/readyz").assert_status(200);
}

/// A bad file in the folder is refused and logged; the good ones serve.
#[test]
fn a_bad_file_in_the_folder_stops_nobody() {
    let builder = host!().with(fault("plain_v1"), "libhandler_v1.so");
    builder.home().drop_in(&fault("new_panics"), "libother_v1.so");
    let host = builder.start();
    host.get("/").assert_status(200);
    eventually!(host.home().read_log().contains("new_panicked"), "the refusal in the log");
    assert_eq!(host.get("/other").status / 100, 2, "`/` takes what nobody else is mounted for");
}

/// What was committed is what boots, generation numbers go on, and the folder does not undo it.
#[test]
fn what_was_acknowledged_is_what_boots() {
    let mut host = crate::plain_host();
    let posted = host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    host.restart();
    host.get("/").assert_status(200).assert_contains("v2");
    let booted = host.active("handler");
    assert!(booted >= posted.generation, "{booted}");
    let next = host.deploy(&fault("plain_v1"), "libhandler_v3.so").swapped();
    assert!(next.generation > booted, "a generation's number is never used again");
}

/// A port that is taken is reported before anything is loaded.
#[test]
fn a_taken_port_is_reported_first() {
    let first = crate::plain_host();
    for option in ["--listen", "--control"] {
        let taken = if option == "--listen" { first.data() } else { first.control().address };
        let second = host!().arg(option).arg(taken.to_string());
        let second = second.with(fault("plain_v1"), "libhandler_v1.so");
        let (status, log) = second.start_in_vain();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(&taken.to_string()), "names the address: {log}");
        assert!(!second.home().state().join("manifest.json").exists(), "nothing was loaded");
    }
}

/// One host a state folder; the refusal names the process that has it.
#[test]
fn a_second_host_on_the_same_state_is_refused() {
    let first = crate::plain_host();
    let (status, log) = host!().at(first.home()).start_in_vain();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(&first.pid().to_string()), "{log}");
    first.get("/").assert_status(200);
}

/// An unknown key of the configuration is refused with its line and column.
#[test]
fn an_unknown_key_is_refused_with_its_place() {
    let (status, log) = host!().config("threads = 1\nno_such_key = 2\n").start_in_vain();
    assert_eq!(status.code(), Some(64), "{log}");
    assert!(log.contains("no_such_key") && log.contains("line 2"), "{log}");
}

/// Settings come from the file, the environment and the flags; the later wins.
#[test]
fn settings_come_from_file_environment_and_flags() {
    let host = host!().config("threads = 1\n").start();
    assert_eq!(cores(&host), 1);
    let host = host!().config("threads = 1\n").env("HOTSEAT_THREADS", "2").start();
    assert_eq!(cores(&host), 2);
    let host = host!().env("HOTSEAT_THREADS", "2").arg("--threads=3").start();
    assert_eq!(cores(&host), 3);
}

fn cores(host: &hotseat_test_support::Host) -> usize {
    hotseat_test_support::wire::list(&host.status(), "/cores").len()
}

/// Requests over a Unix socket, with its path in the ready line.
#[test]
fn a_unix_socket_serves() {
    use std::io::{Read as _, Write as _};

    let builder = host!();
    let path = builder.home().path().join("data.sock");
    let listen = format!("unix:{}", path.display());
    let host = builder.arg("--listen").arg(&listen).with(fault("reflect"), "libhandler_v1.so");
    let host = host.start();
    assert!(host.ready().line.contains(&listen), "{}", host.ready().line);
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("peer=unix"), "{text}");
}

/// An idle host with one plugin stays small. How much code of a debug build is in memory depends on
/// what else the machine does, so what counts is the memory of its own.
#[test]
fn an_idle_host_is_small() {
    let host = crate::plain_host();
    let own = procfs::own_kib(host.worker_pid());
    assert!(own < 6 * 1024, "{own} KiB");
}

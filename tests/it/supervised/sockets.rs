//! Sockets that a service manager has opened (`LISTEN_FDS`). # Source: sd_listen_fds(3).

use super::*;

fn inode(listener: &TcpListener) -> u64 {
    let address = listener.local_addr().unwrap();
    let port = format!(":{:04X}", address.port());
    let ours = procfs::listeners(std::process::id());
    ours.iter().find(|(local, _)| local.ends_with(&port)).unwrap().1
}

fn holds(pid: u32, inode: u64) -> bool {
    procfs::listeners(pid).iter().any(|(_, it)| *it == inode)
}

fn builder(listener: &TcpListener) -> Builder {
    let given = [("web", listener.try_clone().unwrap())];
    quick(host!()).listen_fds(given).with(fault("parent"), "libhandler_v1.so")
}

/// A socket whose address is in the settings is taken, with what waits in its queue, and stays the
/// same one over an upgrade. Nobody but the master gets the variables.
#[test]
fn given_sockets_are_taken() {
    let (web, other) = (listener(), listener());
    let address = web.local_addr().unwrap();
    let mut early = Connection::open(address).unwrap();
    early.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let builder = builder(&web).listen_fds([("other", other.try_clone().unwrap())]);
    let home = builder.home().clone();
    let hook =
        home.write("hook", b"#!/bin/sh\nenv > \"$0.env\"\nls -l /proc/$$/fd >> \"$0.env\"\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&hook, executable).unwrap();
    let builder = builder.arg(format!("--hook=pre_hup={}", hook.display()));
    let host = builder.listen(&[&address.to_string()]).start();
    assert_eq!(host.data(), address);
    early.read_answer().unwrap();
    let (web, other) = (inode(&web), inode(&other));
    let check = |host: &Host| {
        let worker = host.worker_pid();
        for pid in [host.pid(), worker] {
            assert!(holds(pid, web), "{pid} listens there");
            assert!(!holds(pid, other), "{pid} has no socket that no setting names");
        }
        assert_private(&variables(worker));
        let text = host.get("/").assert_status(200).text();
        assert!(text.contains("/dev/null"), "{text}");
        assert_foreign(&text, web);
    };
    check(&host);
    let before = host.worker_pid();
    host.upgrade(&["--wait"]).assert_code(0);
    assert_ne!(host.worker_pid(), before);
    check(&host);
    assert_foreign(&home_text(&host, "hook.env"), web);
}

fn home_text(host: &Host, name: &str) -> String {
    std::fs::read_to_string(host.home().path().join(name)).unwrap()
}

/// What a child shows of itself: no listener, no variable of the service manager.
#[track_caller]
fn assert_foreign(text: &str, inode: u64) {
    assert!(text.contains(" 0 -> "), "its descriptors are shown: {text}");
    assert!(!text.contains(&format!("socket:[{inode}]")), "no listener: {text}");
    let names: Vec<String> =
        text.lines().filter_map(|it| Some(it.split_once('=')?.0.to_owned())).collect();
    assert_private(&names);
}

/// Sockets that are meant for another process are left alone, and nobody is given them.
#[test]
fn sockets_of_others_are_left_alone() {
    let web = listener();
    let host = builder(&web).listen_pid(1).start();
    assert_ne!(host.data(), web.local_addr().unwrap());
    let inode = inode(&web);
    assert!(!holds(host.worker_pid(), inode), "no worker has it");
    assert_foreign(&host.get("/").assert_status(200).text(), inode);
    assert_private(&variables(host.worker_pid()));
}

//! In which surroundings hosts are started: sockets that are inherited, a service manager that
//! listens, process 1, supervisord.

use std::{net::TcpListener, os::unix::net::UnixDatagram};

use hotseat_test_support::{
    Builder, Host, Notify, eventually, fault, host, host::listener, procfs, supervise,
};
use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::Signal,
};

/// Says what it was started with, as a host would that is ready.
const SAYS: &str = "#!/bin/bash\n\
    fds=$(for it in 3 4; do readlink /proc/$$/fd/$it || echo -; done | tr '\\n' ' ')\n\
    echo \"it 1 ready: data 127.0.0.1:1 control 127.0.0.1:1 pid $$ ${LISTEN_FDS-none} \
    ${LISTEN_PID-none} ${LISTEN_FDNAMES-none} $fds\"\n\
    exec sleep 1000\n";

fn says(builder: Builder) -> Host {
    let file = builder.home().write("says", SAYS.as_bytes());
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&file, executable).unwrap();
    builder.binary(file).start()
}

/// Sockets are passed as systemd passes them.
#[test]
fn sockets_are_passed() {
    let (one, two): (TcpListener, TcpListener) = (listener(), listener());
    let sockets = || [("web", one.try_clone().unwrap()), ("x", two.try_clone().unwrap())];
    let host = says(host!().listen_fds(sockets()));
    let words: Vec<_> = host.ready().line.split_whitespace().skip(8).collect();
    let pid = host.pid().to_string();
    assert_eq!(words[..4], [pid.as_str(), "2", pid.as_str(), "web:x"], "{words:?}");
    assert!(words[4].starts_with("socket:") && words[5].starts_with("socket:"), "{words:?}");
    let held = procfs::listeners(host.pid());
    assert_eq!(held.len(), 2, "{held:?}");
    let ours = procfs::listeners(std::process::id());
    assert!(held.iter().all(|it| ours.contains(it)), "the same sockets: {held:?} {ours:?}");

    let host = says(host!().listen_fds(sockets()).listen_pid(1));
    assert!(host.ready().line.contains(" 2 1 web:x "), "{:?}", host.ready());
    let host = says(host!());
    assert!(host.ready().line.contains(" none none none "), "{:?}", host.ready());
}

/// What is told to a service manager comes with its sender and its descriptors.
#[test]
fn a_service_manager_listens() {
    let manager = Notify::new();
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(manager.path()).unwrap();
    socket.send(b"READY=1\nSTATUS=all is well").unwrap();
    let (place, message) = manager.wait_from(0, "READY=1");
    assert_eq!((message.pid, message.value("STATUS")), (std::process::id(), Some("all is well")));
    socket.send(b"STOPPING=1").unwrap();
    manager.wait_from(place, "STOPPING=1");
    assert_eq!((manager.count(), manager.said("READY=1"), place), (2, 1, 1));
    manager.assert_only_from(std::process::id());

    let given = listener();
    let fds = [std::os::fd::AsFd::as_fd(&given)];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let text = [std::io::IoSlice::new(b"FDSTORE=1\nFDNAME=web")];
    sendmsg(&socket, &text, &mut control, SendFlags::empty()).unwrap();
    manager.wait("FDSTORE=1");
    let store = manager.store();
    assert_eq!(store.len(), 1);
    let kept = TcpListener::from(store[0].1.try_clone().unwrap());
    assert_eq!(kept.local_addr().unwrap(), given.local_addr().unwrap());
    socket.send(b"FDSTOREREMOVE=1\nFDNAME=web").unwrap();
    manager.wait("FDSTOREREMOVE=1");
    assert!(manager.store().is_empty());
}

/// A host can be process 1, and is stopped there.
#[test]
fn a_host_is_process_one() {
    let builder = host!().with(fault("whoami"), "libhandler_v1.so");
    let Some(builder) = supervise::as_process_one(builder) else { return };
    let mut host = builder.start();
    assert!(host.ready().line.contains(" pid 1"), "{:?}", host.ready());
    host.get("/").assert_status(200);
    host.signal_process(supervise::outer_pid(&host), Signal::TERM);
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
}

/// supervisord starts a host, knows its process, and stops it.
#[test]
fn supervisord_runs_a_host() {
    let builder = host!();
    builder.home().drop_in(&fault("whoami"), "libhandler_v1.so");
    let Some(supervisor) = supervise::Supervisord::start(&builder, 30) else { return };
    eventually!(supervisor.status().contains("RUNNING"), "{}", supervisor.status());
    let pid = supervisor.host_pid().unwrap();
    assert!(supervisor.ready().unwrap().line.contains(&format!(" pid {pid}")));
    assert!(supervisor.ctl(&["stop", "hotseat"]).contains("stopped"));
    assert!(supervisor.status().contains("STOPPED"), "{}", supervisor.status());
    assert_eq!(procfs::state(pid), None);
}

//! Stopping: what is in flight ends, then the process, with 0.

use hotseat_test_support::{Connection, eventually, fault, host, plugin, wire};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// SIGTERM and SIGINT: nothing new is accepted, what is in flight is answered, status 0.
#[track_caller]
fn check_stop(signal: Signal) {
    let mut host = crate::gate_host();
    let idle = host.connect();
    let held = host.hold("/");
    let data = host.data();
    host.signal(signal);
    eventually!(Connection::open(data).is_err(), "no new connection is accepted");
    held.release().assert_status(200).assert_contains("gate 1");
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
    drop(idle);
}

/// As systemd asks.
#[test]
fn term_finishes_what_is_in_flight() {
    check_stop(Signal::TERM);
}

/// As a terminal asks.
#[test]
fn int_finishes_what_is_in_flight() {
    check_stop(Signal::INT);
}

/// A child that a plugin has forked keeps descriptors of the listeners: nobody waits in their queues,
/// and the next host gets the address.
#[test]
fn a_forked_child_keeps_no_door_open() {
    let mut host = host!().with(fault("parent"), "libhandler_v1.so").start();
    let (data, control) = (host.data(), host.control().address);
    let child = host.get("/fork").text().parse().unwrap();
    let child = Pid::from_raw(child).and_then(|it| pidfd_open(it, PidfdFlags::empty()).ok());
    host.signal(Signal::TERM);
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
    for address in [data, control] {
        assert!(Connection::open(address).is_err(), "nobody listens at {address}");
    }
    let next = host!().listen(&[&data.to_string()]);
    next.with(fault("whoami"), "libhandler_v1.so").start().get("/").assert_status(200);
    pidfd_send_signal(child.unwrap(), Signal::KILL).unwrap();
}

/// The limit on the last requests is kept.
#[test]
fn a_stop_has_a_limit() {
    let mut host = host!().arg("--stop-time=300ms").with(fault("gate"), "libhandler_v1.so").start();
    let (_connection, waiting) = host.hold("/").into_parts();
    host.signal(Signal::TERM);
    host.wait_exit();
    waiting.wait_dropped();
}

/// A second signal cuts the wait when it comes at least 1 s after the first: one sent at once is
/// taken for the same keystroke. The signal is repeated until the host ends.
#[test]
fn a_second_signal_cuts_the_wait() {
    let mut host = crate::gate_host();
    let (_connection, waiting) = host.hold("/").into_parts();
    let first = std::time::Instant::now();
    host.signal(Signal::TERM);
    let mut last = first;
    eventually!(
        {
            // Once a second and a little more, so that no two of them count as one.
            if last.elapsed() > std::time::Duration::from_millis(1100) {
                last = std::time::Instant::now();
                host.signal(Signal::TERM);
            }
            hotseat_test_support::procfs::state(host.pid()).is_none_or(|state| state == 'Z')
        },
        "the host's end"
    );
    assert!(first.elapsed() >= std::time::Duration::from_secs(1), "the first one was a request");
    host.wait_exit();
    waiting.wait_dropped();
}

/// While it stops, an update is refused and `/readyz` says no; the control plane still answers.
#[test]
fn updates_are_refused_while_it_stops() {
    let mut host = crate::gate_host();
    host.home().place(&fault("plain_v2"), "libhandler_v2.so");
    let held = host.hold("/");
    let mut events = host.events();
    host.signal(Signal::TERM);
    events.wait_phase("stopping");
    host.control().deploy("./libhandler_v2.so").assert_refused(503, "stopping");
    host.control().get("/readyz").assert_status(503);
    held.release().assert_status(200);
    assert_eq!(host.wait_exit().code(), Some(0));
}

/// A stop waits for the plugins' own `stop`: the counter's worker thread ends before the process.
#[test]
fn plugins_are_stopped() {
    let host = host!();
    let mut host = host.with(plugin("counter_v1"), "libcounter_v1.so").start();
    host.get("/counter").assert_status(200);
    assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
}

/// A head that is half sent when the stop begins is answered by the plugin, like any request.
#[test]
fn a_half_sent_head_is_answered() {
    let mut host = crate::plain_host();
    let mut connection = host.connect();
    connection.send("GET / HTTP/1.1\r\nHo").unwrap();
    let open = || {
        let cores = wire::list(&host.status(), "/cores");
        cores.iter().map(|core| wire::number(core, "/connections")).sum::<u64>()
    };
    // Each look also asks the thread of the connection: by the last one it has read what is there.
    eventually!(open() == 1 && open() == 1, "the connection is served");
    let data = host.data();
    let mut events = host.events();
    host.signal(Signal::TERM);
    events.wait_phase("stopping");
    eventually!(Connection::open(data).is_err(), "no new connection is accepted");
    assert_eq!(wire::active(&host.status(), "handler"), Some(1), "it serves who is there already");
    connection.send("st: a\r\n\r\n").unwrap();
    connection.read_answer().unwrap().assert_status(200).assert_contains("v1");
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
}

/// Endless streams are told of the stop: a WebSocket gets a close frame with 1012, a streamed body
/// its proper end, long before the stop's limit of 30 s.
#[test]
fn endless_streams_end_properly_at_a_stop() {
    let builder = host!().with(plugin("echo_v1"), "libecho_v1.so");
    let mut host = builder.with(fault("drains"), "libhandler_v1.so").start();
    let mut socket = crate::stream::Socket::open(&host, "/echo/ws");
    socket.check_echo(b"before");
    let mut connection = host.connect();
    connection.send_request("GET", "/", "").unwrap();
    let head = connection.read_head().unwrap();
    assert_eq!(connection.read_chunk().unwrap(), b"begun;");
    host.signal(Signal::TERM);
    let (opcode, payload) = socket.receive();
    assert_eq!((opcode, payload.get(..2)), (8, Some(&1012_u16.to_be_bytes()[..])));
    socket.send(8, &1012_u16.to_be_bytes());
    assert_eq!(connection.read_body(&head).unwrap(), b"ended;");
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
    assert!(!host.home().read_log().contains("the stop limit has passed"), "{}", host.log_end());
}

/// A stop while a library is still being tried: nothing is served, no ready line, status 0.
#[test]
fn a_stop_while_it_starts_ends_it() {
    let builder = host!();
    let home = builder.home();
    home.drop_in(&fault("new_hangs"), "libhandler_v1.so");
    let mut command = builder.command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
    command.arg("--plugins").arg(home.plugins()).arg("--state-dir").arg(home.state());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut starting = Starting(Some(command.spawn().unwrap()));
    let pid = rustix::process::Pid::from_child(starting.0.as_ref().unwrap());
    // The worker's folder for private copies; the first one is in it when its preflight begins.
    let begun = || {
        let workers =
            std::fs::read_dir(home.state().join("loaded")).into_iter().flatten().flatten();
        let mut copies = workers.flat_map(|worker| std::fs::read_dir(worker.path())).flatten();
        copies.next().is_some()
    };
    eventually!(begun(), "the first preflight");
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let output = starting.0.take().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "it never was ready");
}

/// Ends a host that is not waited for; its worker follows.
struct Starting(Option<std::process::Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

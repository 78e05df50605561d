//! Standard error that takes nothing: whatever it is, everything goes on.
//!
//! A table: what standard error is x whether there is a master. In each cell the host does all it can
//! do (requests that fail and print, a deploy, a refusal, an upgrade, a worker's end, a stop).

use std::{
    fs::File,
    io::{self, Read, Write as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex},
};

use hotseat_test_support::{Builder, Connection, Host, eventually, fault, host};
use rustix::{
    io::{Errno, ioctl_fionbio},
    process::{Pid, Signal, kill_process},
};

use crate::{crash::metric, hooks::quick};

/// What is left open at the other end.
type OtherEnd = Option<Box<dyn Read + Send>>;

/// Fills it until it takes no more.
fn fill(descriptor: &OwnedFd) {
    ioctl_fionbio(descriptor, true).unwrap();
    for size in [4096, 1] {
        loop {
            match rustix::io::write(descriptor, &vec![b'.'; size]) {
                Ok(_) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    ioctl_fionbio(descriptor, false).unwrap();
}

fn full_pipe() -> (OwnedFd, OtherEnd) {
    let (reader, writer) = io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    fill(&writer);
    (writer, Some(Box::new(reader)))
}

fn gone_pipe() -> (OwnedFd, OtherEnd) {
    (io::pipe().unwrap().1.into(), None)
}

fn full_device() -> (OwnedFd, OtherEnd) {
    (File::options().write(true).open("/dev/full").unwrap().into(), None)
}

fn full_socket() -> (OwnedFd, OtherEnd) {
    let (reader, writer) = UnixStream::pair().unwrap();
    let writer = OwnedFd::from(writer);
    fill(&writer);
    (writer, Some(Box::new(reader)))
}

/// Somebody has made it non-blocking, and it takes nothing.
fn full_and_impatient() -> (OwnedFd, OtherEnd) {
    let (writer, reader) = full_pipe();
    ioctl_fionbio(&writer, true).unwrap();
    (writer, reader)
}

/// Not open for writing at all.
fn read_only() -> (OwnedFd, OtherEnd) {
    (File::open("/dev/zero").unwrap().into(), None)
}

/// A host whose plugin prints and fails; its queue is full soon.
fn printing(log: OwnedFd) -> Builder {
    let host = quick(host!()).log_to(log).arg("--log-queue-bytes=8KiB");
    host.arg("--log-flush-time=100ms").with(fault("prints"), "libhandler_v1.so")
}

/// Requests that print, log and fail, more than every buffer on the way takes.
#[track_caller]
fn print_much(host: &Host) {
    for target in ["/out?200", "/err?200", "/raw?200"] {
        host.get(target).assert_status(200);
    }
    let mut connection = host.connect();
    for _ in 0..300 {
        connection.get("/log").unwrap().assert_status(200);
        connection.get("/panic").unwrap().assert_status(500);
    }
}

#[track_caller]
fn goes_on((log, reader): (OwnedFd, OtherEnd), single: bool) {
    let builder = printing(log);
    let mut host = if single { builder.arg("--single") } else { builder }.start();
    print_much(&host);
    assert!(metric(&host, "hotseat_log_lines_dropped_total ") > 0.0);
    let dropped = host.status()["log_dropped"].as_u64();
    assert!(dropped > Some(0), "{dropped:?}");
    host.deploy(&fault("new_fails"), "libhandler_v2.so").assert_refused(422, "new_failed");
    host.deploy(&fault("plain_v1"), "libother_v1.so").swapped();
    host.get("/other").assert_status(200);
    if !single {
        let before = host.worker_pid();
        host.upgrade(&[]).assert_code(0);
        print_much(&host);
        let second = host.wait_other_worker(before);
        host.signal_process(second, Signal::KILL);
        host.wait_other_worker(second);
        print_much(&host);
        assert!(metric(&host, "hotseat_log_lines_dropped_total ") > 300.0, "counted on");
    }
    host.control().get("/readyz").assert_status(200);
    host.assert_no_failed_requests();
    assert_eq!(host.stop().code(), Some(0));
    drop(reader);
}

macro_rules! sinks {
    ($($name:ident: $sink:ident, $single:literal;)*) => {$(
        #[test]
        fn $name() {
            goes_on($sink(), $single);
        }
    )*};
}

sinks! {
    a_full_pipe_stops_nobody: full_pipe, false;
    a_full_pipe_stops_nobody_without_a_master: full_pipe, true;
    a_reader_that_is_gone_stops_nobody: gone_pipe, false;
    a_reader_that_is_gone_stops_nobody_without_a_master: gone_pipe, true;
    a_full_disk_stops_nobody: full_device, false;
    a_full_disk_stops_nobody_without_a_master: full_device, true;
    a_full_socket_stops_nobody: full_socket, false;
    an_impatient_pipe_stops_nobody: full_and_impatient, false;
    a_descriptor_that_takes_nothing_stops_nobody: read_only, false;
}

/// Reads from now on; ends with whoever writes.
fn hear(reader: OtherEnd) -> Arc<Mutex<Vec<u8>>> {
    let text = Arc::new(Mutex::new(Vec::new()));
    let heard = text.clone();
    let mut reader = reader.unwrap();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut piece) {
            heard.lock().unwrap().extend_from_slice(&piece[..count]);
        }
    });
    text
}

/// A host that ends says what was dropped as well, to whoever reads by then.
#[test]
fn the_end_tells_what_was_dropped() {
    let (log, reader) = full_pipe();
    let host = quick(host!()).log_to(log).arg("--log-queue-bytes=8KiB");
    let host = host.arg("--log-flush-time=20s").with(fault("prints"), "libhandler_v1.so");
    let mut host = host.start();
    print_much(&host);
    host.signal(Signal::TERM);
    // Not before the worker is about to end.
    eventually!(Connection::open(host.data()).is_err(), "the listeners are closed");
    let text = hear(reader);
    assert_eq!(host.wait_exit().code(), Some(0));
    let all = || String::from_utf8_lossy(&text.lock().unwrap()).replace("....", "");
    eventually!(all().contains("lines of the log were dropped"), "how much: {}", all());
}

/// Once somebody reads again, what was kept comes, and a line says how much was not.
#[test]
fn a_reader_that_comes_back_hears_what_was_dropped() {
    let (log, reader) = full_pipe();
    let host = printing(log).start();
    print_much(&host);
    let dropped = metric(&host, "hotseat_log_lines_dropped_total ");
    let text = hear(reader);
    let said = |what: &str| String::from_utf8_lossy(&text.lock().unwrap()).contains(what);
    eventually!(said("lines of the log were dropped"), "how much was dropped");
    assert!(dropped > 0.0);
    host.deploy(&fault("plain_v1"), "libother_v1.so").swapped();
    eventually!(said("other v1 is serving"), "a line that comes afterwards");
}

/// Nobody reads standard output either: the ready line waits, and the host does not.
#[test]
fn a_full_standard_output_stops_nobody() {
    let (output, reader) = full_pipe();
    let builder = host!().listen(&["unix:data.sock"]).with(fault("prints"), "libhandler_v1.so");
    // Also while it is loaded.
    let builder = builder.env("HOTSEAT_TEST_PRINTS", "1");
    let mut host = builder.command().args(builder.serve_args()).stdout(output).spawn().unwrap();
    let ask = |target: &str| -> io::Result<String> {
        let mut data = UnixStream::connect(builder.home().path().join("data.sock"))?;
        write!(data, "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        data.read_to_string(&mut answer)?;
        Ok(answer)
    };
    eventually!(ask("/out?200").is_ok_and(|it| it.ends_with("printed")), "an answer");
    let pid = i32::try_from(host.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(host.wait().unwrap().code(), Some(0));
    drop(reader);
}

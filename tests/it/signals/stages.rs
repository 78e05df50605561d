//! TERM, TERM, TERM: what each adds, and how the process ends.

use super::*;

/// Two stop signals, far enough apart to be two.
fn term_again(host: &Host, last: &mut Instant) {
    eventually!(last.elapsed() > Duration::from_millis(1100));
    *last = Instant::now();
    host.signal(Signal::TERM);
}

/// Several at once are one: what is in flight is finished.
#[test]
fn a_hasty_repetition_is_no_second_one() {
    let mut host = crate::gate_host();
    let held = host.hold("/");
    for signal in [Signal::TERM, Signal::INT, Signal::TERM, Signal::QUIT] {
        host.signal(signal);
    }
    eventually!(
        host.home().read_log().contains("counts as a copy"),
        "they have come: {}",
        host.log_end()
    );
    held.release().assert_status(200);
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
}

/// The second one skips what is waited for, the third one ends everything at once, with 1.
#[test]
fn a_third_one_is_the_end() {
    let hooks = [("post_term", "stuck hang")];
    let builder = host!().arg("--hook-time=1min").with(fault("gate"), "libhandler_v1.so");
    let mut host = with_hooks(builder, &hooks).start();
    let (_connection, waiting) = host.hold("/").into_parts();
    let mut last = Instant::now();
    host.signal(Signal::TERM);
    term_again(&host, &mut last);
    waiting.wait_dropped();
    eventually!(calls(&host) == ["stuck"], "the last worker has ended: {}", host.log_end());
    let hook = procfs::children(host.pid());
    assert_eq!(hook.len(), 1, "only the hook is left");
    assert_ne!(procfs::state(host.pid()), Some('Z'), "it waits for the hook");
    term_again(&host, &mut last);
    assert_eq!(host.wait_exit().code(), Some(1), "{}", host.log_end());
    host.wait_ended(hook[0]);
}

/// A worker that does not react to the second one does not outlive the third.
#[test]
fn a_third_one_ends_what_hangs() {
    // The hook keeps the host until the third one, should the worker be killed before.
    let builder = host!().arg("--hook-time=1min").with(fault("gate"), "libhandler_v1.so");
    let mut host = with_hooks(builder, &[("post_term", "stuck hang")]).start();
    let worker = host.worker_pid();
    let (_connection, _waiting) = host.hold("/").into_parts();
    host.signal_process(worker, Signal::STOP);
    let mut last = Instant::now();
    host.signal(Signal::TERM);
    term_again(&host, &mut last);
    term_again(&host, &mut last);
    assert_eq!(host.wait_exit().code(), Some(1), "{}", host.log_end());
    host.wait_ended(worker);
}

/// TERM while the host is a lame duck before it stops: the second one skips the rest of it.
#[test]
fn a_second_one_skips_the_lame_duck() {
    let builder = host!().arg("--lame-duck=10min").with(fault("plain_v1"), "libhandler_v1.so");
    let mut host = builder.start();
    let mut idle = host.connect();
    idle.get("/").unwrap().assert_status(200);
    let mut last = Instant::now();
    host.signal(Signal::TERM);
    eventually!(host.control().get("/readyz").status == 503, "the host is a lame duck");
    host.control().get("/livez").assert_status(200);
    host.get("/").assert_status(200);
    let answer = idle.get("/").unwrap();
    assert_eq!(answer.assert_status(200).header("connection"), None, "it is kept");
    term_again(&host, &mut last);
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
}

/// A stop that had to cut requests says so by its exit code, if that is wanted.
#[test]
fn a_strict_stop_tells_of_cut_requests() {
    for (args, held, code) in [
        (&["--stop-time=200ms"][..], true, 0),
        (&["--stop-time=200ms", "--strict-exit"], true, 3),
        (&["--strict-exit"], false, 0),
    ] {
        let builder = args.iter().fold(host!(), |builder, arg| builder.arg(*arg));
        let mut host = builder.with(fault("gate"), "libhandler_v1.so").start();
        let waiting = held.then(|| host.hold("/").into_parts());
        assert_eq!(host.stop().code(), Some(code), "{args:?}: {}", host.log_end());
        if let Some((_connection, waiting)) = waiting {
            waiting.wait_dropped();
        }
    }
}

/// A worker that has to be killed cut what it had, which a strict stop tells as well.
#[test]
fn a_strict_stop_tells_of_a_killed_worker() {
    let builder = host!().arg("--strict-exit").with(fault("gate"), "libhandler_v1.so");
    let mut host = builder.start();
    let worker = host.worker_pid();
    let (_connection, waiting) = host.hold("/").into_parts();
    host.signal(Signal::TERM);
    eventually!(host.control().get("/readyz").status == 503, "the stop has begun");
    host.signal_process(worker, Signal::KILL);
    waiting.wait_dropped();
    assert_eq!(host.wait_exit().code(), Some(3), "{}", host.log_end());
}

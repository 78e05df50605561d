//! One numbering: of events, orders and generations, whatever becomes of workers and hosts.

use std::{cell::RefCell, collections::BTreeMap};

use hotseat_test_support::{EventStream, Host, eventually, fault, host, library, wire};
use rustix::process::Signal;
use serde_json::Value;

/// The same library with another content.
fn other(number: u32) -> Vec<u8> {
    [library::bytes(&fault("whoami")), number.to_le_bytes().to_vec()].concat()
}

fn soaking(time: &str) -> Host {
    let builder = host!().arg(format!("--soak-time={time}")).arg("--idle-linger=100ms");
    builder.with(fault("whoami"), "libhandler_v1.so").start()
}

/// Deploys something new: its order and its generation.
#[track_caller]
fn deploy(host: &Host, label: u32) -> (u64, u64) {
    let name = format!("libhandler_v{label}.so");
    let swapped = host.deploy_bytes(&other(label), &name).swapped();
    (wire::number(&swapped.json, "/order"), swapped.generation)
}

/// The worker ends by `kill -9`, and another one serves.
#[track_caller]
fn kill_worker(host: &Host) {
    let worker = host.worker_pid();
    host.signal_process(worker, Signal::KILL);
    host.wait_gone(worker);
    eventually!(host.process("serving").is_some_and(|it| it.pid != worker), "{}", host.log_end());
}

/// An upgrade whose new worker is taken back, after `meanwhile`.
#[track_caller]
fn take_back(host: &Host, meanwhile: impl FnOnce()) {
    let before = host.worker_pid();
    host.hup();
    let candidate = host.wait_role("soaking").pid;
    host.wait_role("parked");
    meanwhile();
    host.signal_process(candidate, Signal::KILL);
    eventually!(host.process("serving").is_some_and(|it| it.pid == before), "{}", host.log_end());
}

/// A client of `/v1/events` that comes back whenever its stream ends.
struct Follower<'a> {
    host: &'a Host,
    stream: RefCell<EventStream>,
    last: RefCell<u64>,
}

impl<'a> Follower<'a> {
    fn new(host: &'a Host) -> Self {
        // Everything that is kept.
        let stream = RefCell::new(host.control().events_after(0));
        Self { host, stream, last: RefCell::new(0) }
    }

    /// Reads on to the commit of `generation`: each event follows the one before.
    #[track_caller]
    fn follow_to(&self, generation: u64) {
        let mut returns = 0;
        loop {
            let read = self.stream.borrow_mut().read();
            let Ok(event) = read else {
                let last = *self.last.borrow();
                returns += 1;
                assert!(returns < 5, "nothing of generation {generation} behind event {last}");
                *self.stream.borrow_mut() = self.host.control().events_after(last);
                continue;
            };
            let mut last = self.last.borrow_mut();
            assert!(event.sequence == *last + 1, "{} after {last}: {}", event.sequence, event.json);
            *last = event.sequence;
            if (event.phase.as_str(), event.generation) == ("committed", generation)
                && event.order != 0
            {
                return;
            }
        }
    }
}

/// Whatever happens to workers, a client that comes back with the number of its last event misses
/// none and sees none twice; also one that is still at the worker before.
#[test]
fn events_are_neither_missed_nor_seen_twice() {
    let host = soaking("30min");
    let follower = Follower::new(&host);
    let parked = RefCell::new(None);
    follower.follow_to(deploy(&host, 2).1);
    take_back(&host, || {
        follower.follow_to(deploy(&host, 3).1);
        *parked.borrow_mut() = Some(deploy(&host, 4).1);
    });
    follower.follow_to(parked.take().unwrap());
    follower.follow_to(deploy(&host, 5).1);
    kill_worker(&host);
    follower.follow_to(deploy(&host, 6).1);
    kill_worker(&host);
    let last = deploy(&host, 7).1;
    // From the first one on, by another one.
    Follower::new(&host).follow_to(last);
    follower.follow_to(last);
}

/// The same over upgrades that are kept, the master's own included.
#[test]
fn events_go_on_behind_an_upgrade() {
    let host = soaking("50ms");
    let follower = Follower::new(&host);
    for label in 2..5 {
        follower.follow_to(deploy(&host, label).1);
        host.upgrade(&["--wait"]).assert_code(0);
        follower.follow_to(deploy(&host, 10 * label).1);
    }
}

/// After a restart the numbers go on; of what was before the client hears how much is gone, once.
#[test]
fn a_restart_says_what_is_gone() {
    let mut host = soaking("50ms");
    let follow = |host: &Host, last: u64| {
        let mut stream = host.control().events_after(last);
        let missed = stream.read().unwrap();
        let (from, to) = (wire::number(&missed.json, "/from"), wire::number(&missed.json, "/to"));
        assert_eq!((from, missed.json["missed"].as_u64()), (last + 1, Some(to - last)));
        let first = stream.read().unwrap();
        assert_eq!(first.sequence, to + 1);
        first.sequence
    };
    let mut events = host.events();
    deploy(&host, 2);
    let mut last = events.wait_phase("committed").sequence;
    for label in 3..5 {
        if label % 2 == 0 {
            host.restart()
        } else {
            kill_all(&mut host)
        }
        last = follow(&host, last);
        deploy(&host, label);
    }
    // A number of another host, or of a state folder that is gone.
    let mut foreign = host.control().events_after(1 << 40);
    assert_eq!(foreign.read().unwrap().json["missed"], Value::Null);
    deploy(&host, 9);
    let next = foreign.wait_phase("committed").sequence;
    assert!(next > last);
    host.control()
        .request("GET", "/v1/events", "Last-Event-ID: x\r\n", b"")
        .assert_error(400, "bad_event_id");
    let mut since = host.control().connect();
    since.send_request("GET", &format!("/v1/events?since={}", next - 1), "").unwrap();
    assert_eq!(since.read_head().unwrap().status, 200);
    let chunk = String::from_utf8(since.read_chunk().unwrap()).unwrap();
    assert!(chunk.starts_with(&format!("id: {next}\n")), "{chunk}");
}

fn kill_all(host: &mut Host) {
    host.kill9();
    host.start_again();
}

/// Every order has a number of its own, and `/v1/deploys/ID` says what became of it and of no other,
/// whichever worker or host carried it out.
#[test]
fn an_order_keeps_its_number() {
    let mut host = soaking("30min");
    let mut label = 1;
    let known = RefCell::new(BTreeMap::new());
    let mut more = |host: &Host| {
        for _ in 0..2 {
            label += 1;
            let (order, generation) = deploy(host, label);
            let refused = host.control().deploy(format!("./nobody{label}.so"));
            refused.assert_refused(404, "file_missing");
            let mut known = known.borrow_mut();
            let last = known.last_key_value().map_or(0, |(last, _)| *last);
            assert!(order > last, "{order} after {last}");
            known.insert(order, format!("libhandler_v{label}.so generation {generation}"));
            known.insert(order + 1, format!("nobody{label}.so"));
        }
        check(host, &known.borrow());
    };
    more(&host);
    take_back(&host, || more(&host));
    more(&host);
    kill_worker(&host);
    more(&host);
    host.restart();
    more(&host);
    kill_all(&mut host);
    more(&host);
    let last = *known.borrow().last_key_value().unwrap().0;
    assert!(last < 400, "they stay small: {last}");
    for number in [0, last + 1, 1 << 40] {
        let path = format!("/v1/deploys/{number}");
        host.control()
            .get(&path)
            .assert_error(404, "no_such_order")
            .assert_contains(&format!("the last one is {last}"));
    }
}

#[track_caller]
fn check(host: &Host, known: &BTreeMap<u64, String>) {
    for (order, what) in known {
        let shown = host.control().get_json(&format!("/v1/deploys/{order}"));
        let mut words = what.splitn(2, ' ');
        let subject = shown["subject"].as_str().unwrap();
        assert!(subject.ends_with(words.next().unwrap()), "{order} is {what}, not {shown}");
        let (state, outcome) = (shown["state"].as_str().unwrap(), shown["outcome"].to_string());
        match words.next() {
            Some(generation) => assert!(state == "done" && outcome.contains(generation), "{shown}"),
            None => assert_eq!(state, "refused", "{shown}"),
        }
    }
    let listed = wire::list(&host.control().get_json("/v1/deploys"), "/orders");
    let newest = known.last_key_value().unwrap().0;
    assert_eq!(listed[0]["order"].as_u64(), Some(*newest), "{listed:?}");
}

/// A generation that was refused has used its number up, also for the next worker and host.
#[test]
fn a_refused_generation_is_not_given_again() {
    let mut host = soaking("30min");
    let mut last = deploy(&host, 2).1;
    let mut label = 2;
    let mut next = |host: &Host, how: &str| {
        label += 1;
        let generation = deploy(host, label).1;
        assert!(generation > last + 1, "{how}: {generation} after {last} and one that was refused");
        last = generation;
    };
    let refuse = |host: &Host| {
        host.deploy(&fault("new_fails"), "libhandler_v99.so").refused();
    };
    refuse(&host);
    take_back(&host, || {
        next(&host, "upgrade");
        refuse(&host);
    });
    next(&host, "taken back");
    refuse(&host);
    kill_worker(&host);
    next(&host, "crash");
    refuse(&host);
    host.restart();
    next(&host, "restart");
    refuse(&host);
    kill_all(&mut host);
    next(&host, "kill -9");
}

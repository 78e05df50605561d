//! `/metrics` over upgrades: what only grows never goes down.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use hotseat_test_support::{Control, Host, binary, eventually, fault};

use super::{long, other, quick};

/// Every counter of a page.
fn counters(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let split = lines.filter_map(|line| line.rsplit_once(' '));
    split
        .filter(|(name, _)| name.split('{').next().is_some_and(|it| it.ends_with("_total")))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

fn scrape(control: Control) -> BTreeMap<String, f64> {
    counters(&control.get("/metrics").assert_status(200).text())
}

/// Scrapes without a pause while `act` runs; nothing may go down or away.
#[track_caller]
fn check_only_grow(host: &Host, act: impl FnOnce()) -> BTreeMap<String, f64> {
    let control = host.control();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let mut last = scrape(control);
            let mut trouble = Vec::new();
            while !ended.load(SeqCst) {
                let now = scrape(control);
                for (name, before) in &last {
                    if now.get(name).is_none_or(|now| now < before) {
                        trouble.push(format!("{name}: {before} to {:?}", now.get(name)));
                    }
                }
                last = now;
            }
            (last, trouble)
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        ended.store(true, SeqCst);
        let (last, trouble) = scraper.join().unwrap();
        assert!(done.is_ok(), "see above");
        assert!(trouble.is_empty(), "{trouble:#?}\n{}", host.log_end());
        last
    })
}

fn of(counters: &BTreeMap<String, f64>, name: &str) -> f64 {
    *counters.get(name).unwrap_or_else(|| panic!("no `{name}` in {counters:#?}"))
}

const REQUESTS: &str = "hotseat_requests_total{plugin=\"handler\"}";

#[test]
fn they_only_grow_over_upgrades() {
    let host = quick(50).with(fault("whoami"), "libhandler_v1.so").start();
    let traffic = host.traffic("/");
    traffic.wait_for(50);
    let rounds = 4;
    check_only_grow(&host, || {
        for number in 0..rounds {
            host.upgrade(&["--wait"]).assert_code(0);
            traffic.wait_for(50);
            host.deploy_bytes(&other("whoami", number), &format!("libhandler_v{}.so", number + 2));
        }
    });
    let asked = traffic.count();
    traffic.finish();
    host.assert_no_failed_requests();
    // The last one of a worker that drains comes with its last word.
    eventually!(host.processes().len() == 2, "the workers before have ended");
    eventually!(
        of(&scrape(host.control()), REQUESTS) >= asked as f64,
        "{asked} requests in {:?}",
        scrape(host.control())
    );
    let page = scrape(host.control());
    assert_eq!(of(&page, "hotseat_upgrades_total{result=\"committed\"}"), f64::from(rounds));
    assert_eq!(of(&page, "hotseat_worker_crashes_total"), 0.0);
    let deploys = of(&page, "hotseat_orders_total{verb=\"deploy\",outcome=\"swapped\"}");
    assert_eq!(deploys, f64::from(rounds + 1));
}

/// A candidate that answers with errors is taken back: what it has counted stays counted.
#[test]
fn they_only_grow_over_a_return() {
    let host = long().arg("--soak-requests-count=50").with(fault("whoami"), "libhandler_v1.so");
    let host = host.start();
    for _ in 0..20 {
        host.get("/").assert_status(200);
    }
    let before = host.worker_pid();
    let page = check_only_grow(&host, || {
        host.hup();
        host.wait_role("soaking");
        for _ in 0..60 {
            let _ = host.connect().get("/?status=500");
        }
        eventually!(
            host.process("serving").is_some_and(|it| it.pid == before),
            "the worker before\n{}",
            host.log_end()
        );
        // Whatever the candidate has to say comes with its end.
        eventually!(host.processes().len() == 2, "the candidate's end");
    });
    assert_eq!(of(&page, "hotseat_upgrades_total{result=\"rolled_back\"}"), 1.0);
    assert_eq!(of(&page, "hotseat_worker_crashes_total"), 0.0);
    assert!(of(&page, REQUESTS) >= 80.0, "{page:#?}");
}

/// A candidate that dies is a crash, and an upgrade that was rolled back.
#[test]
fn a_candidate_that_dies_is_counted() {
    let host = long().with(fault("whoami"), "libhandler_v1.so").start();
    host.get("/").assert_status(200);
    let before = host.worker_pid();
    host.hup();
    let candidate = host.wait_role("soaking").pid;
    host.get("/").assert_status(200);
    host.signal_process(candidate, rustix::process::Signal::KILL);
    eventually!(host.process("serving").is_some_and(|it| it.pid == before), "{}", host.log_end());
    eventually!(
        of(&scrape(host.control()), "hotseat_upgrades_total{result=\"rolled_back\"}") == 1.0,
        "the end of the upgrade"
    );
    let page = scrape(host.control());
    assert_eq!(of(&page, "hotseat_worker_crashes_total"), 1.0);
}

/// Waits until the master knows what was counted: it hears of that and of connections by the same
/// sign of life.
#[track_caller]
fn wait_told(host: &Host) {
    let _open: Vec<_> = (0..7).map(|_| host.connect()).collect();
    let fresh = || {
        let all = host.status()["processes"].as_array().cloned().unwrap_or_default();
        all.iter().any(|it| it["connections"]["fresh"] == 7)
    };
    eventually!(fresh(), "the connections in the master's list");
}

/// A candidate that is silent is killed: what it has told of stays counted.
#[test]
fn what_a_silent_candidate_has_told_of_stays_counted() {
    let host = long().with(fault("whoami"), "libhandler_v1.so").start();
    for _ in 0..20 {
        host.get("/").assert_status(200);
    }
    let before = host.worker_pid();
    host.hup();
    host.wait_role("parked");
    let candidate = host.wait_role("soaking").pid;
    for _ in 0..20 {
        host.get("/").assert_status(200);
    }
    wait_told(&host);
    host.signal_process(candidate, rustix::process::Signal::STOP);
    host.wait_gone(candidate);
    eventually!(host.process("serving").is_some_and(|it| it.pid == before), "{}", host.log_end());
    let requests = || of(&scrape(host.control()), REQUESTS);
    eventually!(requests() >= 40.0, "{} requests", requests());
    assert_eq!(requests(), 40.0, "each once");
}

/// A worker that is killed while another one serves: what it has told of stays counted.
#[test]
fn what_a_parked_worker_has_told_of_stays_counted() {
    let host = long().with(fault("whoami"), "libhandler_v1.so").start();
    let mut kept = host.connect();
    kept.get("/").unwrap().assert_status(200);
    host.hup();
    let before = host.wait_role("parked").pid;
    host.wait_role("soaking");
    let idle = || {
        let all = host.status()["processes"].as_array().cloned().unwrap_or_default();
        let parked = all.into_iter().find(|it| it["role"] == "parked");
        parked.and_then(|it| it["connections"]["idle"].as_u64())
    };
    for _ in 0..20 {
        kept.get("/").unwrap().assert_status(200);
    }
    eventually!(idle() == Some(1), "{}", host.status());
    drop(kept);
    eventually!(idle() == Some(0), "{}", host.status());
    host.signal_process(before, rustix::process::Signal::KILL);
    host.wait_gone(before);
    let requests = || of(&scrape(host.control()), REQUESTS);
    eventually!(requests() >= 21.0, "{} requests", requests());
    assert_eq!(requests(), 21.0, "each once");
}

/// The master that goes over to another binary takes along what it was told.
#[test]
fn they_outlive_a_crash_after_an_upgrade() {
    let builder = quick(2500).arg("--beat-time=100ms");
    let host = builder.with(fault("whoami"), "libhandler_v1.so").start();
    let next = host.home().path().join("hotseat-next");
    let _ = binary::variant(env!("CARGO_BIN_EXE_hotseat").as_ref(), &next, 12);
    host.upgrade(&["--binary", next.to_str().unwrap()]);
    // What the worker before answers until it is parked comes with its end, and later.
    host.wait_role("parked");
    host.wait_role("soaking");
    for _ in 0..20 {
        host.get("/").assert_status(200);
    }
    wait_told(&host);
    let goes_on = || host.home().read_log().contains("the master goes on in a new image");
    eventually!(goes_on(), "another image\n{}", host.log_end());
    let worker = host.worker_pid();
    host.signal_process(worker, rustix::process::Signal::KILL);
    crate::crash::next_worker(&host, worker);
    let page = scrape(host.control());
    assert!(of(&page, REQUESTS) >= 20.0, "{page:#?}");
}

/// A crash loses no more than what was counted since the last sign of life.
#[test]
fn most_of_them_outlive_a_crash() {
    let host = quick(50).with(fault("whoami"), "libhandler_v1.so").start();
    for _ in 0..20 {
        host.get("/").assert_status(200);
    }
    let worker = host.worker_pid();
    wait_told(&host);
    host.signal_process(worker, rustix::process::Signal::KILL);
    host.wait_gone(worker);
    let mut page = BTreeMap::new();
    eventually!(
        {
            let mut connection = host.control().connect();
            let answer = connection.get("/metrics");
            page = answer.map(|it| counters(&it.text())).unwrap_or_default();
            !page.is_empty()
        },
        "the next worker's page"
    );
    assert!(of(&page, REQUESTS) >= 20.0, "{page:#?}");
    assert_eq!(of(&page, "hotseat_orders_total{verb=\"deploy\",outcome=\"swapped\"}"), 1.0);
}

//! Signal actions: a plugin has its own, they go with it, and nobody dies of those that went.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use hotseat_test_support::{Builder, Gate, Host, elf, eventually, fault, host, library, wire};
use rustix::process::{Pid, Signal, kill_process};

/// As many loads of the same plugin are told apart by a byte behind their end.
fn numbered(name: &str, number: u8) -> Vec<u8> {
    [library::bytes(&fault(name)), vec![number]].concat()
}

/// A host whose plugins find `libneeded.so`.
fn with_needed() -> Builder {
    let builder = host!();
    let folder = builder.home().path().join("companions");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(fault("needed"), folder.join("libneeded.so")).unwrap();
    builder.env("LD_LIBRARY_PATH", folder)
}

/// The `needs` plugin, which the loader brings `libneeded.so` for.
fn needs(number: u8) -> Vec<u8> {
    let bytes = numbered("needs", number);
    let names = elf::section(&bytes, ".dynstr");
    let at = bytes[names].windows(13).position(|it| it == b"libneeded.so\0").unwrap();
    elf::with_dynamic_entry(bytes, elf::DT_NEEDED, u64::try_from(at).unwrap())
}

fn bytes_of(name: &str, number: u8) -> Vec<u8> {
    if name == "needs" { needs(number) } else { numbered(name, number) }
}

/// Sends the worker what it must not die of, and has it answer.
#[track_caller]
fn shake(host: &Host, worker: u32) {
    for signal in [Signal::WINCH, Signal::URG, Signal::CHILD] {
        host.signal_process(worker, signal);
    }
    host.get("/").assert_status(200);
    assert_eq!(host.worker_pid(), worker, "the same one\n{}", host.log_end());
}

/// No generation is on its way out or stays, but for the one that serves.
#[track_caller]
fn wait_alone(host: &Host) {
    let others = || wire::list(&host.status(), "/retired");
    let gone = || others().iter().all(|it| wire::text(it, "/life") == "unloaded");
    eventually!(gone() && host.loaded().len() == 1, "all unloaded: {:?}", others());
    assert_eq!(wire::number(&host.status(), "/resident_count"), 0);
}

/// Every kind of handler, and what libraries of the field make of it: swapped for itself and for
/// another, shaken after each.
#[test]
fn handlers_go_with_their_library() {
    let names = [
        "signal_handler",
        "tokio_signals",
        "signal_hook",
        "segv_chain",
        "traps",
        "timer_thread",
        "needs",
    ];
    let host = with_needed().with(fault("plain_v1"), "libhandler_v1.so").start();
    let worker = host.worker_pid();
    let mut version = 1;
    for name in names {
        for number in 0..3 {
            version += 1;
            let file = format!("libhandler_v{version}.so");
            host.deploy_bytes(&bytes_of(name, number), &file).swapped();
            shake(&host, worker);
            wait_alone(&host);
            shake(&host, worker);
        }
    }
    host.deploy(&fault("plain_v2"), "libhandler_v99.so").swapped();
    wait_alone(&host);
    shake(&host, worker);
    let maps = hotseat_test_support::procfs::maps(worker).join("\n");
    assert!(!maps.contains("libneeded"), "what it needed goes with it\n{maps}");
}

/// What came before is not called, and what came after is.
#[test]
fn a_handler_is_called_while_it_serves() {
    for name in ["tokio_signals", "signal_hook"] {
        let host = host!().with(fault("plain_v1"), "libhandler_v1.so").start();
        let worker = host.worker_pid();
        for number in 2..4_u8 {
            let file = format!("libhandler_v{number}.so");
            host.deploy_bytes(&numbered(name, number), &file).swapped();
            assert_eq!(host.get("/").text(), "0", "{name}");
            host.signal_process(worker, Signal::WINCH);
            eventually!(host.get("/").text() == "1", "{name} hears of it");
        }
    }
}

/// tokio's handler calls whom it found there: the host's would count a stop twice.
#[test]
fn what_the_host_handles_it_hears_once() {
    let mut host = host!().with(fault("tokio_signals"), "libhandler_v1.so").start();
    let worker = host.worker_pid();
    for number in 2..4_u8 {
        let file = format!("libhandler_v{number}.so");
        host.deploy_bytes(&numbered("tokio_signals", number), &file).swapped();
    }
    host.signal_process(worker, Signal::INT);
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
    let log = host.home().read_log();
    assert!(!log.contains("second"), "one signal, one stop\n{}", host.log_end());
}

/// A timer of the library's calls a function on threads of the C library's, each of which leaves a
/// thread-local: counted like its own, and stopped with it.
#[test]
fn a_timers_threads_are_the_librarys() {
    let host = host!().with(fault("timer_thread"), "libhandler_v1.so").start();
    let worker = host.worker_pid();
    let called = || host.get("/").text().parse::<u64>().unwrap();
    let before = called();
    eventually!(called() > before + 3, "the timer goes on");
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    events.wait_generation(1, "unloaded");
    shake(&host, worker);
}

/// A library that two plugins need handles signals for both: it stays with the one that stays,
/// whichever was there first, and can be asked to stop.
#[test]
fn a_library_that_others_need_keeps_its_handler() {
    for goes in ["handler", "other"] {
        let mounts = with_needed().arg("--mount=/=handler").arg("--mount=/o=other");
        let host = mounts.with(fault("plain_v1"), "libhandler_v1.so").start();
        let worker = host.worker_pid();
        host.deploy_bytes(&needs(1), "libhandler_v2.so").swapped();
        host.deploy_bytes(&needs(2), "libother_v1.so").swapped();
        let stays = if goes == "handler" { "/o" } else { "" };
        host.signal_process(worker, Signal::WINCH);
        eventually!(host.get(&format!("{stays}/")).text() == "1", "heard of at `{stays}`");
        let generation = host.active(goes);
        let mut events = host.events();
        host.deploy(&fault("plain_v2"), &format!("lib{goes}_v9.so")).swapped();
        events.wait_generation(generation, "unloaded");
        host.signal_process(worker, Signal::WINCH);
        eventually!(host.get(&format!("{stays}/")).text() == "2", "heard of at `{stays}`");
        assert_eq!(host.get(&format!("{stays}/stop")).text(), "2");
        shake(&host, worker);
        assert_eq!(host.get(&format!("{stays}/")).text(), "2", "not listened to any more");
    }
}

/// The library of a handler that has not returned stays until it has.
#[test]
fn a_handler_that_runs_keeps_its_library() {
    let gate = Gate::new();
    let host = host!().with(fault("slow_handler"), "libhandler_v1.so").start();
    let worker = host.worker_pid();
    host.get(&format!("/?{}", gate.query())).assert_status(200);
    let waiting = gate.entered();
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let reason = "a handler of SIGWINCH runs";
    eventually!(host.status().to_string().contains(reason), "`{reason}` in the status");
    shake(&host, worker);
    assert_eq!(host.loaded().len(), 2, "{:?}", host.loaded());
    waiting.release();
    events.wait_generation(1, "unloaded");
    shake(&host, worker);
}

/// Set by the kernel's own call, nobody can take it away: the library stays, and says why.
#[test]
fn a_handler_that_nobody_saw_keeps_its_library() {
    let host = host!().with(fault("raw_handler"), "libhandler_v1.so").start();
    super::check_resident(&host, "raw_handler", "signal handler of SIGWINCH");
    shake(&host, host.worker_pid());
}

/// What a program may rely on, from within a plugin of the serving process; then it goes.
#[test]
fn actions_are_what_their_manual_says() {
    let host = with_needed().with(fault("actions"), "libhandler_v1.so").start();
    let worker = host.worker_pid();
    let tried = [
        "own",
        "hosts",
        "forked",
        "started",
        "children",
        "interrupted",
        "within",
        "closed",
        "errors",
    ];
    for what in tried.iter().chain(&tried) {
        let answer = host.get(&format!("/{what}"));
        assert_eq!(answer.text(), "ok", "{what}\n{}", host.log_end());
    }
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    events.wait_generation(1, "unloaded");
    shake(&host, worker);
    assert_eq!(host.worker_pid(), worker);
}

/// Signals as fast as they go, while a hundred generations come and go, and with them a library that
/// some of them share.
#[test]
fn a_storm_of_signals_meets_a_hundred_swaps() {
    const SIGNALS: usize = 10_000;
    let names =
        ["signal_handler", "tokio_signals", "signal_hook", "segv_chain", "timer_thread", "needs"];
    let mounts = with_needed().arg("--mount=/=handler").arg("--mount=/o=other");
    let host = mounts.with(fault("plain_v1"), "libhandler_v1.so").start();
    let worker = host.worker_pid();
    let pid = i32::try_from(worker).ok().and_then(Pid::from_raw).unwrap();
    let (sent, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while sent.load(Ordering::Relaxed) < SIGNALS || !over.load(Ordering::Relaxed) {
                let signal = [Signal::WINCH, Signal::URG][sent.fetch_add(1, Ordering::Relaxed) % 2];
                if kill_process(pid, signal).is_err() {
                    return;
                }
                std::thread::yield_now();
            }
        });
        for number in 0..100_u8 {
            let name = names[usize::from(number) % names.len()];
            let plugin = if number % 3 == 0 { "other" } else { "handler" };
            let file = format!("lib{plugin}_v{}.so", u32::from(number) + 2);
            host.deploy_bytes(&bytes_of(name, number), &file).swapped();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(sent.load(Ordering::Relaxed) >= SIGNALS, "the worker lived");
    for plugin in ["other", "handler"] {
        host.deploy(&fault("plain_v2"), &format!("lib{plugin}_v200.so")).swapped();
    }
    eventually!(host.loaded().len() == 2, "all unloaded: {:?}", host.loaded());
    assert_eq!(wire::number(&host.status(), "/resident_count"), 0);
    shake(&host, worker);
}

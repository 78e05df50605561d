//! Over swaps, upgrades and kills.

use std::collections::BTreeMap;

use hotseat_test_support::{Host, eventually, procfs};
use rustix::process::Signal;

use super::{API, file, opened, version, with, writers::Writers};

fn is_slow() -> bool {
    std::env::var_os("HOTSEAT_SLOW").is_some_and(|it| it == "1")
}

/// How often each text is in the file, which is whole.
#[track_caller]
fn kept(host: &Host) -> BTreeMap<String, u64> {
    let database = opened(&file(host));
    let sound = database.query_row("pragma integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(sound.unwrap(), "ok");
    let mut texts = database.prepare("select text, count(*) from notes group by text").unwrap();
    let rows = texts.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).unwrap();
    let counted = rows.map(|row| row.map(|(text, count)| (text, count.unsigned_abs())));
    counted.collect::<Result<_, _>>().unwrap()
}

/// `HOTSEAT_SLOW=1`: three hundred times. Nobody notices, and nothing is left of them.
#[test]
fn swaps_under_load() {
    let swaps: u16 = if is_slow() { 300 } else { 60 };
    let host = with("busy_time = '10s'");
    let deploy = |number: u16| {
        host.deploy_bytes(&version(number), &format!("libnotes_v{number}.so")).swapped();
    };
    let worker = host.worker_pid();
    let figures = || (procfs::descriptors(worker), procfs::threads(worker));
    let traffic = host.traffic("/notes/api/notes?limit=3");
    let writers = Writers::start(host.data(), &[API], 1);
    let swap = |number: u16| {
        traffic.wait_for(3);
        writers.wait_for(1);
        deploy(number);
    };
    (2..12).for_each(swap);
    eventually!(host.loaded().len() == 1, "{:?}", host.loaded());
    let before = figures();
    (12..swaps + 2).for_each(swap);
    traffic.wait_for(3);
    let asked = traffic.count();
    eventually!(host.loaded().len() == 1, "{:?}", host.loaded());
    let is_as_before = |(descriptors, threads)| descriptors <= before.0 && threads <= before.1;
    eventually!(is_as_before(figures()), "{:?} are not {before:?}", figures());
    traffic.finish();
    let told = writers.finish();
    host.assert_all_unloaded("notes");
    assert_eq!(host.worker_pid(), worker);
    for (what, list) in [("503", &told.refused), ("lost", &told.unknown), ("wrong", &told.wrong)] {
        assert!(list.is_empty(), "{what}: {list:?}");
    }
    let kept = kept(&host);
    assert!(kept.len() == told.made.len() && kept.values().all(|count| *count == 1), "{kept:?}");
    eprintln!("{swaps} swaps, {asked} reads, {} notes, {before:?}", told.made.len());
}

/// Two plugins, so that there are always two copies of SQLite in one process, and for a while two
/// processes. Both are swapped, upgraded over and killed while clients write by them.
#[test]
fn a_database_is_shared_by_copies_and_processes() {
    let rounds: u16 = if is_slow() { 40 } else { 8 };
    let lines = "busy_time = '10s'\n[plugin.journal]\nbusy_time = '10s'";
    let host = with(lines);
    let deploy = |name: &str, number: u16| {
        host.deploy_bytes(&version(number), &format!("lib{name}_v{number}.so")).swapped();
    };
    deploy("journal", 1);
    let writers = Writers::start(host.data(), &[API, "/journal/api/notes"], 3);
    for round in 2..rounds + 2 {
        writers.wait_for(20);
        deploy("notes", round);
        deploy("journal", round);
        writers.wait_for(20);
        match round % 4 {
            1 => {
                let worker = host.worker_pid();
                host.signal_process(worker, Signal::KILL);
                host.wait_other_worker(worker);
            }
            3 => {
                host.upgrade(&["--wait"]).assert_code(0);
            }
            _ => {}
        }
    }
    writers.wait_for(20);
    let told = writers.finish();
    let kept = kept(&host);
    let (made, refused, unknown) = (told.made.len(), told.refused.len(), told.unknown.len());
    eprintln!("{made} made, {refused} refused, {unknown} unknown, {} kept", kept.len());
    assert!(told.wrong.is_empty(), "{:?}", told.wrong);
    let count = |text: &String| kept.get(text).copied().unwrap_or(0);
    assert!(told.made.iter().all(|it| count(it) == 1), "each that was acknowledged is there once");
    assert!(told.refused.iter().all(|it| count(it) == 0), "none that was refused is there");
    assert!(told.unknown.iter().all(|it| count(it) <= 1), "none is there twice");
    assert!(unknown > 0, "somebody was killed at work");
    assert_eq!(kept.values().sum::<u64>(), u64::try_from(kept.len()).unwrap());
}

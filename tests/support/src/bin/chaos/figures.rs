//! What is printed in the end, and what of it is a promise.

use std::time::Duration;

use hotseat_test_support::{load::Report, procfs};

use crate::{drive::Driver, fate::Blame, seat::Seat};

/// Descriptors that a master, or a worker, may have more at the end than at the start.
const DESCRIPTORS_MORE: usize = 24;
/// Resident memory that a master may have more. Units: KiB.
const MASTER_MORE: u64 = 16 << 10;
/// Files of the state folder: the versions that are kept of two plugins, what is loaded, the rest.
/// Units: bytes.
const STATE_BYTES: u64 = 64 << 20;
/// For an answer. A worker that was killed is there again at once, whatever else is wrong; one that
/// stands still is given up after `stuck_time`.
const ANSWER_TIME: Duration = Duration::from_secs(8);
/// Losses that are told.
const TOLD: usize = 12;

/// A look at a host that rests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    master: (u64, usize),
    worker: (u64, usize),
    zombies: usize,
    state_bytes: u64,
}

impl Figures {
    pub(crate) fn of(seat: &Seat) -> Self {
        let of = |pid| (procfs::rss_kib(pid), procfs::descriptors(pid));
        let all = procfs::descendants(std::process::id());
        let zombies = all.into_iter().filter(|pid| procfs::state(*pid) == Some('Z')).count();
        let files = seat.home().state_files();
        Self {
            master: of(seat.pid()),
            worker: seat.worker().map(of).unwrap_or_default(),
            zombies,
            state_bytes: files.iter().map(|(_, bytes)| bytes).sum(),
        }
    }
}

/// Lines of the log that were dropped in this life of the host, where it counts them.
pub(crate) fn dropped(seat: &Seat) -> Option<u64> {
    let page = seat.ask("GET", "/metrics", "").ok()?.text();
    let lines = page.lines().filter(|line| line.starts_with("hotseat_log_"));
    let counts = lines
        .filter(|line| line.contains("dropped"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    counts.reduce(|sum, count| sum + count)
}

fn requests(driver: &mut Driver, report: &Report) {
    let mut outside = Vec::new();
    let (mut worker, mut master) = (0, 0);
    for lost in &report.lost {
        match driver.fate.blame(lost) {
            Blame::Worker => worker += 1,
            Blame::Master => master += 1,
            Blame::Host => outside.push(driver.tell(lost)),
        }
    }
    println!(
        "requests  {} by clients that never retry, slowest {:.1?}",
        report.requests, report.slowest
    );
    println!("failed    {} outside a killed worker", outside.len());
    outside.iter().take(TOLD).for_each(|text| println!("          {text}"));
    println!(
        "          {worker} in flight in {} workers that were ended; {master} while {} masters \
         were dead",
        driver.fate.deaths(),
        driver.masters
    );
    if report.slowest > ANSWER_TIME {
        driver.breaks(format!("somebody has waited {:.1?} for an answer", report.slowest));
    }
    if !outside.is_empty() {
        driver.breaks(format!("{} requests failed outside a killed worker", outside.len()));
    }
}

/// Prints all, and says which promises are broken.
pub(crate) fn judge(
    driver: &mut Driver,
    report: &Report,
    [first, last]: [Figures; 2],
    serves: Option<String>,
) {
    requests(driver, report);
    let is_last = serves.as_ref().is_some_and(|label| driver.allowed.contains(label));
    println!(
        "orders    {} acknowledged, {} refused; final version = last acknowledged: {}",
        driver.acknowledged,
        driver.refused,
        if is_last { "yes" } else { "no" }
    );
    println!(
        "master    RSS {} to {} KiB, descriptors {} to {}",
        first.master.0, last.master.0, first.master.1, last.master.1
    );
    println!(
        "worker    RSS {} to {} KiB, descriptors {} to {}",
        first.worker.0, last.worker.0, first.worker.1, last.worker.1
    );
    driver.count_dropped();
    println!(
        "left      {} zombies; state folder {} KiB; log lines dropped: {}; starts in vain: {}, \
         of which waited for a disk or a reader: {}",
        last.zombies,
        last.state_bytes >> 10,
        driver.dropped,
        driver.seat.vain,
        driver.starved
    );
    if !is_last {
        let allowed = driver.allowed.clone();
        driver.breaks(format!("version {serves:?} serves in the end; acknowledged: {allowed:?}"));
    }
    let grown = |(now, was): (usize, usize)| now > was + DESCRIPTORS_MORE;
    for (who, now, was) in
        [("master", last.master.1, first.master.1), ("worker", last.worker.1, first.worker.1)]
    {
        if grown((now, was)) {
            driver.breaks(format!("descriptors of the {who}: {was} to {now}"));
        }
    }
    if last.master.0 > first.master.0 + MASTER_MORE {
        driver.breaks(format!("RSS of the master: {} to {} KiB", first.master.0, last.master.0));
    }
    if last.zombies > 0 {
        driver.breaks(format!("{} zombies", last.zombies));
    }
    if last.state_bytes > STATE_BYTES {
        driver.breaks(format!("the state folder has {} KiB", last.state_bytes >> 10));
    }
}

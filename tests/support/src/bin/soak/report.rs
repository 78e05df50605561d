//! The figures of a soak and what is asked of them.
//!
//! Owns the targets. # Source: the project's targets, "Swapping".

use std::time::Duration;

use hotseat_test_support::procfs;

use crate::load::Tally;

/// Resident memory may differ by this much between the first look and the end, in a longer run between
/// [`FULL_SWAPS`] and the end. Units: KiB.
const RSS_GROWTH_MAX_KIB: u64 = 1024;
/// Swaps after which what the host keeps of the past is as large as it ever gets: 1,024 events (four a
/// swap), 256 rows of history, and what was said of each generation in the last ten seconds.
pub(crate) const FULL_SWAPS: u32 = 1000;
/// Resident memory may differ by this much between the first look and the end of a longer run: all of
/// that is filled meanwhile, and the allocator's row of it in each thread. Units: KiB.
const RSS_FILLING_MAX_KIB: u64 = 1536;
/// Anonymous mappings may differ by this much: glibc splits and merges its heaps as it likes, and
/// makes an arena once; a library that stays would add five for each swap.
const ANONYMOUS_GROWTH_MAX: usize = 8;
/// The last swaps may take this much longer than the first: the scatter of a shared machine
/// within minutes, while a real leak made peers five times slower.
const SLOWDOWN_MAX: f64 = 1.3;
/// Units: swaps. Twice the thousand whose medians are compared.
const SLOWDOWN_SWAPS_MIN: usize = 2000;

/// A look at the host without load.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    swaps: u32,
    rss_kib: u64,
    file_maps: usize,
    anonymous_maps: usize,
    libraries: usize,
    descriptors: usize,
    threads: u64,
    resident: u64,
}

impl Sample {
    pub(crate) fn read(pid: u32, swaps: u32, resident: u64) -> Self {
        let maps = procfs::maps(pid);
        let file_maps = maps.iter().filter(|line| line.contains('/')).count();
        Self {
            swaps,
            rss_kib: procfs::rss_kib(pid),
            file_maps,
            anonymous_maps: maps.len() - file_maps,
            libraries: procfs::loaded(pid).len(),
            descriptors: settled_descriptors(pid),
            threads: procfs::threads(pid),
            resident,
        }
    }
}

/// The fewest of a few looks: the control connection that asked for the status before may still be
/// closing.
fn settled_descriptors(pid: u32) -> usize {
    let look = |_| {
        hotseat_test_support::patience::breathe(Duration::from_millis(20));
        procfs::descriptors(pid)
    };
    (0..10).map(look).min().unwrap_or_default()
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) times: Vec<Duration>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) tally: Tally,
}

/// p50, p99 and worst, in milliseconds.
fn quantiles(times: &[Duration]) -> [f64; 3] {
    let mut millis: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    millis.sort_by(f64::total_cmp);
    let last = millis.len() - 1;
    [millis[last / 2], millis[last * 99 / 100], millis[last]]
}

impl Report {
    /// The first and the last swaps: a thousand each, less in a short run.
    fn ends(&self) -> [[f64; 3]; 2] {
        let part = (self.times.len() / 4).min(1000);
        let last = self.times.len() - part;
        [quantiles(&self.times[..part]), quantiles(&self.times[last..])]
    }

    pub(crate) fn print(&self) {
        let Tally { requests, failed, closed, wrong, examples } = &self.tally;
        let all: u64 = requests.values().sum();
        println!("requests  {all}  {requests:?}");
        println!("failed    {failed}   connections closed unannounced {closed}   mixed {wrong}");
        for example in examples {
            println!("          {example}");
        }
        for (name, [p50, p99, worst]) in ["first", "last"].iter().zip(self.ends()) {
            println!("swaps     {name:5}  p50 {p50:.2} ms  p99 {p99:.2} ms  worst {worst:.2} ms");
        }
        println!("   swaps  RSS KiB  file maps  other maps  libraries  fds  threads  resident");
        for it in &self.samples {
            println!(
                "{:>8}  {:>7}  {:>9}  {:>10}  {:>9}  {:>3}  {:>7}  {:>8}",
                it.swaps,
                it.rss_kib,
                it.file_maps,
                it.anonymous_maps,
                it.libraries,
                it.descriptors,
                it.threads,
                it.resident
            );
        }
    }

    fn first_and_last(&self) -> Option<(&Sample, &Sample)> {
        Some((self.samples.first()?, self.samples.last()?))
    }

    fn missed_requests(&self) -> Vec<String> {
        let tally = &self.tally;
        let mut missed = Vec::new();
        for (what, count) in
            [("failed", tally.failed), ("closed", tally.closed), ("mixed", tally.wrong)]
        {
            if count > 0 {
                missed.push(format!("{count} requests or connections {what}"));
            }
        }
        let idle = tally.requests.iter().filter(|(_, count)| **count == 0);
        missed.extend(idle.map(|(kind, _)| format!("no {kind} request was answered")));
        missed
    }

    /// The targets of a host that unloads.
    pub(crate) fn missed(&self) -> Vec<String> {
        let mut missed = self.missed_requests();
        let [[first, ..], [last, ..]] = self.ends();
        // A short run says nothing about growth: its two ends are seconds apart.
        if self.times.len() >= SLOWDOWN_SWAPS_MIN && last > first * SLOWDOWN_MAX {
            missed.push(format!("the last swaps take {last:.2} ms, the first took {first:.2} ms"));
        }
        let Some((early, end)) = self.first_and_last() else { return missed };
        let mut check = |good: bool, text: String| {
            if !good {
                missed.push(text);
            }
        };
        let full = self.samples.iter().find(|it| it.swaps == FULL_SWAPS && it.swaps < end.swaps);
        let bounds = match full {
            None => vec![(early, RSS_GROWTH_MAX_KIB)],
            Some(full) => vec![(early, RSS_FILLING_MAX_KIB), (full, RSS_GROWTH_MAX_KIB)],
        };
        for (from, most) in bounds {
            let Sample { swaps, rss_kib, .. } = from;
            let text = format!(
                "resident memory went from {rss_kib} KiB at {swaps} swaps to {} KiB",
                end.rss_kib
            );
            check(end.rss_kib <= rss_kib + most, text);
        }
        check(
            end.file_maps <= early.file_maps,
            format!("file mappings went from {} to {}", early.file_maps, end.file_maps),
        );
        check(
            end.anonymous_maps <= early.anonymous_maps + ANONYMOUS_GROWTH_MAX,
            format!("other mappings went from {} to {}", early.anonymous_maps, end.anonymous_maps),
        );
        check(end.libraries == 1, format!("{} libraries are mapped", end.libraries));
        check(
            end.descriptors <= early.descriptors,
            format!("descriptors went from {} to {}", early.descriptors, end.descriptors),
        );
        check(end.resident == 0, format!("{} generations stay resident", end.resident));
        missed
    }

    /// What must be seen when unloading is switched off.
    pub(crate) fn missed_growth(&self, swaps: u32) -> Vec<String> {
        let mut missed = self.missed_requests();
        let Some((early, end)) = self.first_and_last() else { return missed };
        if end.libraries < swaps as usize {
            missed.push(format!("only {} libraries are mapped: no growth", end.libraries));
        }
        if end.rss_kib <= early.rss_kib + RSS_GROWTH_MAX_KIB {
            missed.push(format!("{} to {} KiB: no growth", early.rss_kib, end.rss_kib));
        }
        missed
    }
}

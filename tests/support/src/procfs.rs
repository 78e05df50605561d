//! What the kernel says about a host: memory, mappings, descriptors, threads, processor time.
//!
//! Owns the reading of `/proc/PID`. # Source: proc(5).

use std::{fs, time::Duration};

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

fn status_number(pid: u32, key: &str) -> u64 {
    let text = read(pid, "status");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Resident memory. Units: KiB. 0 when the process is gone.
#[must_use]
pub fn rss_kib(pid: u32) -> u64 {
    status_number(pid, "VmRSS:")
}

/// Threads.
#[must_use]
pub fn threads(pid: u32) -> u64 {
    status_number(pid, "Threads:")
}

/// Every mapping, as a line of `maps`.
#[must_use]
pub fn maps(pid: u32) -> Vec<String> {
    read(pid, "maps").lines().map(ToOwned::to_owned).collect()
}

/// The distinct files under a `loaded/` folder that are mapped: one for each library.
#[must_use]
pub fn loaded(pid: u32) -> Vec<String> {
    let mut files: Vec<String> = maps(pid)
        .iter()
        .filter_map(|line| line.find('/').map(|at| line[at..].to_owned()))
        .filter(|path| path.contains("/loaded/"))
        .collect();
    files.sort();
    files.dedup();
    files
}

/// Open descriptors.
#[must_use]
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Children that were started and not yet waited for.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = tasks.map(|task| fs::read_to_string(task.path().join("children")));
    texts
        .flatten()
        .flat_map(|text| {
            text.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

/// Processor time of all living threads.
#[must_use]
pub fn processor_time(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The state letter of `stat` (`R`, `S`, `Z`, ..), `None` when the process is gone.
#[must_use]
pub fn state(pid: u32) -> Option<char> {
    let text = read(pid, "stat");
    text.rsplit_once(") ")?.1.chars().next()
}

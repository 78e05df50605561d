//! What the kernel says about a host: memory, mappings, descriptors, threads, processor time.
//!
//! Owns the reading of `/proc/PID`. # Source: proc(5).

use std::{fs, path::Path, time::Duration};

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

/// Resident memory of its own, without the pages of files, which come and go. Units: KiB.
#[must_use]
pub fn own_kib(pid: u32) -> u64 {
    status_number(pid, "RssAnon:")
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

/// Whether it has the file of this path open.
#[must_use]
pub fn has_open(pid: u32, path: &Path) -> bool {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    all.filter_map(|it| fs::read_link(it.path()).ok()).any(|open| open == path)
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

/// Children, their children, and so on.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut all = children(pid);
    let mut at = 0;
    while let Some(pid) = all.get(at) {
        all.extend(children(*pid));
        at += 1;
    }
    all
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

/// Inodes of the listening TCP sockets that a process has open, with their local addresses as
/// `/proc/net/tcp` writes them (`0100007F:1F90`).
#[must_use]
pub fn listeners(pid: u32) -> Vec<(String, u64)> {
    let held: Vec<u64> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect();
    let text = read(pid, "net/tcp") + &read(pid, "net/tcp6");
    let mut all: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let inode = words.get(9)?.parse().ok()?;
            // 0A: TCP_LISTEN.
            (words[3] == "0A" && held.contains(&inode)).then(|| (words[1].to_owned(), inode))
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

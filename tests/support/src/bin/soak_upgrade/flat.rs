//! Upgrades in a row, with two plugins: what has grown in the end.

use hotseat_test_support::{Host, fault, procfs};

use crate::{Options, host, mixed::Master, wait_committed};

/// By how much a figure may grow. Units: percent.
const GROWTH_MAX: u64 = 5;

/// A look at a host that rests.
#[derive(Clone, Copy, Debug)]
struct Sample {
    upgrades: u32,
    master: Master,
    worker_rss: u64,
    files: usize,
    bytes: u64,
}

impl Sample {
    fn of(host: &Host, upgrades: u32) -> Self {
        let master = Master::of(host);
        let files = host.home().state_files();
        Self {
            upgrades,
            master,
            worker_rss: procfs::rss_kib(host.worker_pid()),
            files: files.len(),
            bytes: files.iter().map(|(_, bytes)| bytes).sum(),
        }
    }

    fn figures(&self) -> [(&'static str, u64); 4] {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        [
            ("master RSS KiB", self.master.rss),
            ("master descriptors", count(self.master.descriptors)),
            ("state files", count(self.files)),
            ("state KiB", self.bytes >> 10),
        ]
    }
}

/// The targets that were missed.
pub(crate) fn run(options: &Options) -> anyhow::Result<Vec<String>> {
    let args = ["--soak-time=0s", "--upgrade-drain=5s"];
    let host = host(options, &args)?.with(fault("plain_v1"), "libother_v1.so").start();
    let mut samples: Vec<Sample> = Vec::new();
    // The first few warm up; then ten looks.
    let warm = 20.min(options.flat / 2);
    let step = (options.flat / 10).max(1);
    let mut old = host.worker_pid();
    for number in 1..=options.flat {
        host.hup();
        let new = wait_committed(&host, old);
        host.wait_gone(old);
        old = new;
        if number == warm || number % step == 0 {
            samples.push(Sample::of(&host, number));
        }
    }
    println!("upgrades  master KiB  descriptors  worker KiB  state files  state KiB");
    for it in &samples {
        println!(
            "{:>8}  {:>10}  {:>11}  {:>10}  {:>11}  {:>9}",
            it.upgrades,
            it.master.rss,
            it.master.descriptors,
            it.worker_rss,
            it.files,
            it.bytes >> 10
        );
    }
    let (early, late) = samples.split_at(samples.len() / 2);
    let (Some(last), Some(_)) = (late.last(), early.first()) else { return Ok(Vec::new()) };
    // The most of the first half: a machine that is short of memory takes pages away for a while.
    let grown = last.figures().into_iter().enumerate().filter_map(|(at, (what, is))| {
        let was = early.iter().map(|it| it.figures()[at].1).max()?;
        let grows = is * 100 > was * (100 + GROWTH_MAX);
        grows.then(|| format!("{what} grew from {was} to {is}"))
    });
    Ok(grown.collect())
}

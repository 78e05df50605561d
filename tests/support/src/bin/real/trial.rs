//! One plugin on a host of its own: swapped under load, then signalled.
//!
//! Owns what counts as flat. A refusal in the middle ends the trial and is told, since a truthful
//! refusal is an answer too.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use hotseat_test_support::{Builder, Host, Load, LoadPlan, patience, procfs, wire};
use rustix::process::Signal;

/// The first figures are taken after so many swaps: until then caches fill.
const WARM: u32 = 20;

/// By this much memory may differ at the end. Units: KiB.
const GROWTH_MAX_KIB: i64 = 2048;

/// Signals whose default does nothing: whoever dies of one of them runs what is not there.
const SIGNALS: [Signal; 4] = [Signal::WINCH, Signal::URG, Signal::CHILD, Signal::CONT];

/// What was seen.
#[derive(Debug)]
pub(crate) struct Trial {
    /// Loads that were acknowledged, the first one too.
    pub(crate) loads: u32,
    /// Good answers.
    pub(crate) answered: u64,
    /// Requests without one.
    pub(crate) failed: u64,
    /// Why a load was refused.
    pub(crate) refused: Option<String>,
    /// The same worker at the end as at the beginning, signals included.
    pub(crate) worker_lives: bool,
    /// Libraries that stay, and the reason of one of them.
    pub(crate) resident: Option<(u64, String)>,
    /// From `WARM` swaps to the end.
    pub(crate) growth_kib: i64,
    /// The same, of descriptors.
    pub(crate) descriptors: i64,
    /// The same, of threads.
    pub(crate) threads: i64,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Unmapped each time, and nothing grows.
    Flat,
    /// Unmapped each time; memory, descriptors or threads grow.
    Grows,
    /// It stays, or was refused, for a reason that is told.
    Told,
    /// A request failed, or the worker ended.
    Bad,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    rss_kib: i64,
    descriptors: i64,
    threads: i64,
}

impl Sample {
    fn read(host: &Host) -> anyhow::Result<Self> {
        at_rest(host)?;
        let pid = host.worker_pid();
        Ok(Self {
            rss_kib: procfs::rss_kib(pid).cast_signed(),
            descriptors: i64::try_from(procfs::descriptors(pid))?,
            threads: procfs::threads(pid).cast_signed(),
        })
    }
}

/// Waits until no generation is on its way out.
fn at_rest(host: &Host) -> anyhow::Result<()> {
    let end = Instant::now() + patience();
    loop {
        let status = host.status();
        let retired = wire::list(&status, "/retired");
        if !retired.iter().any(|it| it["life"] == "draining" || it["life"] == "pending") {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("a generation neither goes nor stays: {status}");
        }
        hotseat_test_support::patience::breathe(Duration::from_millis(20));
    }
}

impl Trial {
    /// Swaps the library under load, `swaps` times.
    pub(crate) fn run(binary: &Path, library: &Path, swaps: u32) -> anyhow::Result<Self> {
        let host = Builder::new(binary).env("HOTSEAT_LOG", "warn").start();
        let bytes = std::fs::read(library).context("read the plugin")?;
        let paths = [1_u8, 2].map(|label| {
            let name = format!("libreal_v{label}.so");
            host.home().write(&name, &[&*bytes, &[label]].concat());
            format!("./{name}")
        });
        let (mut loads, mut refused) = (0, None);
        let mut deploy = |count: u32| {
            let answer = host.control().post(&paths[count as usize % 2]);
            if answer.status == 200 {
                loads += 1;
            } else {
                refused = Some(answer.text().trim().to_owned());
            }
            answer.status == 200
        };
        if !deploy(0) {
            bail!("the first load is refused: {}", refused.unwrap_or_default());
        }
        let worker = host.worker_pid();
        let think = Duration::ZERO..=Duration::from_millis(20);
        let plan = LoadPlan {
            kept: 6,
            fresh: 2,
            think,
            get: "/real".to_owned(),
            post: "/real".to_owned(),
            post_percent: 20,
            ..LoadPlan::default()
        };
        let load = Load::start(host.data(), plan);
        load.wait_for(20);
        let mut warm = None;
        for count in 1..=swaps {
            if !deploy(count) {
                break;
            }
            if count == WARM.min(swaps / 2) {
                warm = Some(Sample::read(&host)?);
            }
        }
        load.wait_for(20);
        for signal in SIGNALS {
            if procfs::threads(worker) > 0 {
                host.signal_process(worker, signal);
            }
        }
        load.wait_for(20);
        let report = load.stop();
        let end = Sample::read(&host)?;
        let warm = warm.unwrap_or(end);
        let status = host.status();
        Ok(Self {
            loads,
            answered: report.answered,
            failed: report.failed(),
            refused,
            worker_lives: host.worker_pid() == worker,
            resident: resident(&status),
            growth_kib: end.rss_kib - warm.rss_kib,
            descriptors: end.descriptors - warm.descriptors,
            threads: end.threads - warm.threads,
        })
    }

    /// What it comes to.
    pub(crate) fn verdict(&self) -> Verdict {
        if self.failed > 0 || !self.worker_lives || self.answered == 0 {
            return Verdict::Bad;
        }
        if self.refused.is_some() || self.resident.is_some() {
            return Verdict::Told;
        }
        let flat = self.growth_kib <= GROWTH_MAX_KIB && self.descriptors <= 2 && self.threads <= 1;
        if flat { Verdict::Flat } else { Verdict::Grows }
    }
}

fn resident(status: &serde_json::Value) -> Option<(u64, String)> {
    let count = wire::number(status, "/resident_count");
    let why = wire::list(status, "/retired").into_iter().rev();
    let mut why = why.filter(|it| it["life"] == "resident");
    let why = why.find_map(|it| Some(it.get("why")?.as_str()?.to_owned()));
    (count > 0).then(|| (count, why.unwrap_or_default()))
}

//! One plugin on a host of its own: swapped under load, then signalled.
//!
//! A refusal in the middle ends the trial and is told, since a truthful refusal is an answer too.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use hotseat_test_support::{Builder, Host, Load, LoadPlan, patience, procfs, wire};
use rustix::process::Signal;
use serde_json::Value;

use crate::growth::{Growth, Sample};

/// The first figures are taken after so many swaps: until then caches fill.
const WARM: u32 = 20;
/// So often is one swapped that the preflight has found to stay.
const STAYS: u32 = 60;
/// Figures are taken so often afterwards.
const SAMPLES: u32 = 20;

/// How notes begin that tell of the names under which a trial loads, and nothing of the plugin.
const OF_FILES: [&str; 2] = ["the file name says", "downgrade"];

/// Signals whose default does nothing: whoever dies of one of them runs what is not there.
const SIGNALS: [Signal; 4] = [Signal::WINCH, Signal::URG, Signal::CHILD, Signal::CONT];

/// How the host is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// As it comes.
    Plain,
    /// With `recycle = "auto"`.
    Renewing,
}

/// Why a load was refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) text: String,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    /// Loads that were acknowledged, the first one too.
    pub(crate) loads: u32,
    /// Good answers.
    pub(crate) answered: u64,
    /// Requests without one.
    pub(crate) failed: u64,
    /// What ended it early.
    pub(crate) refused: Option<Refusal>,
    /// Workers that ended by themselves.
    pub(crate) crashes: u64,
    /// Workers that were renewed because they were worn out.
    pub(crate) renewals: u64,
    /// What the host says of the last load.
    pub(crate) notes: Vec<String>,
    /// Libraries that stay.
    pub(crate) resident_count: u64,
    /// Why most of them do.
    pub(crate) resident: Option<String>,
    /// `None`: too few swaps to say.
    pub(crate) growth: Option<Growth>,
    /// The host's own warning about growth.
    pub(crate) warning: Option<String>,
    /// What kept it from being tried at all.
    pub(crate) broken: Option<String>,
}

impl Trial {
    /// One that came to nothing.
    pub(crate) fn broken(why: String) -> Self {
        Self { broken: Some(why), ..Self::default() }
    }

    /// Swaps the library under load, `swaps` times.
    pub(crate) fn run(
        binary: &Path,
        library: &Path,
        swaps: u32,
        course: Course,
    ) -> anyhow::Result<Self> {
        // A machine that is busy is no plugin's fault.
        let mut builder =
            Builder::new(binary).env("HOTSEAT_LOG", "warn").arg("--preflight-time=60s");
        if course == Course::Renewing {
            builder = builder.arg("--recycle=auto");
        }
        let host = builder.start();
        let bytes = std::fs::read(library).context("read the plugin")?;
        let paths = [1_u8, 2].map(|label| {
            let name = format!("libreal_v{label}.so");
            host.home().write(&name, &[&*bytes, &[label]].concat());
            format!("./{name}")
        });
        let mut trial = Self::default();
        if !trial.deploy(&host, &paths[0]) {
            return Ok(trial);
        }
        let load = Load::start(host.data(), plan());
        load.wait_for(20);
        let mut samples = Vec::new();
        let stays = trial.notes.iter().any(|note| note.contains("stay resident after"));
        // Each of them takes its preflight half a second, and the process its memory.
        let swaps = if stays { swaps.min(STAYS) } else { swaps };
        let step = (swaps.saturating_sub(WARM) / SAMPLES).max(1);
        for count in 1..=swaps {
            if !trial.deploy(&host, &paths[count as usize % 2]) {
                break;
            }
            if count >= WARM.min(swaps / 2) && count % step == 0 {
                // One that stays is called so after seconds only.
                let _ = at_rest(&host, Duration::from_millis(300));
                samples.push(Sample::read(host.worker_pid(), count));
            }
        }
        load.wait_for(20);
        let worker = host.worker_pid();
        for signal in SIGNALS {
            if procfs::threads(worker) > 0 {
                host.signal_process(worker, signal);
            }
        }
        load.wait_for(20);
        let report = load.stop();
        at_rest(&host, patience())?;
        trial.answered = report.answered;
        trial.failed = report.failed();
        // Each renewal begins anew.
        trial.growth = if course == Course::Plain { Growth::of(&samples) } else { None };
        trial.read_status(&host);
        Ok(trial)
    }

    /// Whether the library serves then.
    fn deploy(&mut self, host: &Host, path: &str) -> bool {
        let deploy = host.control().deploy(path);
        if deploy.answer.status == 200 {
            let notes = wire::list(&deploy.swapped().json, "/notes");
            let notes = notes.iter().filter_map(|it| it.as_str());
            let of_plugin = |note: &&str| !OF_FILES.iter().any(|about| note.starts_with(about));
            self.notes = notes.filter(of_plugin).map(ToOwned::to_owned).collect();
            self.loads += 1;
            return true;
        }
        let refused = deploy.refused();
        self.refused = Some(Refusal { code: refused.code, text: refused.text });
        false
    }

    fn read_status(&mut self, host: &Host) {
        let status = host.status();
        self.resident_count = wire::number(&status, "/resident_count");
        let groups = wire::list(&status, "/residents");
        let count = |group: &&Value| group["generations"].as_array().map(Vec::len);
        self.resident = groups.iter().max_by_key(count).map(resident);
        self.warning = status["growth"]["warning"].as_str().map(ToOwned::to_owned);
        let metrics = host.control().get("/metrics").text().to_owned();
        self.renewals = counted(&metrics, "hotseat_renewed_workers_total");
        self.crashes = counted(&metrics, "hotseat_worker_crashes_total");
    }

    /// Nothing failed and nobody died.
    pub(crate) fn is_good(&self) -> bool {
        self.broken.is_none() && self.failed == 0 && self.crashes == 0 && self.answered > 0
    }

    /// Swapped as often as asked for, unmapped each time, and nothing grows.
    pub(crate) fn is_flat(&self) -> bool {
        self.refused.is_none()
            && self.resident_count == 0
            && self.growth.is_none_or(|growth| growth.is_flat())
    }
}

fn plan() -> LoadPlan {
    LoadPlan {
        kept: 6,
        fresh: 2,
        think: Duration::ZERO..=Duration::from_millis(20),
        get: "/real".to_owned(),
        post: "/real".to_owned(),
        post_percent: 20,
        ..LoadPlan::default()
    }
}

fn counted(metrics: &str, family: &str) -> u64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(family));
    value.and_then(|it| it.trim().parse().ok()).unwrap_or(0)
}

/// One group of libraries that stay for one reason, with their threads.
fn resident(group: &Value) -> String {
    let why = group["why"].as_str().unwrap_or_default();
    let threads = group["threads"].as_object();
    let names: Vec<_> =
        threads.into_iter().flatten().map(|(name, _)| format!("`{name}`")).collect();
    if names.is_empty() { why.to_owned() } else { format!("{why}: {}", names.join(", ")) }
}

/// Waits until no generation is on its way out.
fn at_rest(host: &Host, time: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + time;
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

//! A library of somebody's, swapped under clients that never ask twice.
//!
//! Owns what is asked of one that takes room which no unload gives back (allocators with initial-exec
//! thread-locals): with `recycle = "auto"` no deploy is refused and no request fails, whatever becomes
//! of the workers; without, the first refusal says what is full and what helps.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hotseat_test_support::{Builder, Load, LoadPlan, Report};

/// What a refusal has to say.
const TRUTH: [&str; 2] = ["static TLS", "hotseat upgrade"];

/// What was seen.
pub(crate) struct Outcome {
    recycle: bool,
    accepted: u32,
    wanted: u32,
    refusal: Option<String>,
    workers: usize,
    slowest: Duration,
    took: Duration,
    report: Report,
}

/// Deploys the library `deploys` times, as versions of other bytes, or until it is refused.
pub(crate) fn run(
    host: &Path,
    library: &Path,
    deploys: u32,
    recycle: bool,
) -> anyhow::Result<Outcome> {
    let bytes = std::fs::read(library).context("read the library")?;
    let mut builder = Builder::new(host.canonicalize().context("find the host's binary")?);
    builder = builder.env("HOTSEAT_LOG", "warn");
    if recycle {
        builder = builder.arg("--recycle=auto");
    }
    let host = builder.start();
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    let (mut accepted, mut refusal, mut load) = (0, None, None);
    let mut workers = BTreeSet::new();
    for number in 0..deploys {
        let name = format!("libhandler_v{}.so", 1 + number % 2);
        host.home().write(&name, &[&*bytes, &number.to_le_bytes()].concat());
        let asked = Instant::now();
        let answer = host.control().post(format!("./{name}"));
        slowest = slowest.max(asked.elapsed());
        if answer.status != 200 {
            refusal = Some(answer.text().trim().to_owned());
            break;
        }
        accepted += 1;
        workers.insert(host.worker_pid());
        load.get_or_insert_with(|| Load::start(host.data(), plan())).wait_for(4);
    }
    let report = load.map(Load::stop).unwrap_or_default();
    let (wanted, took, workers) = (deploys, began.elapsed(), workers.len());
    Ok(Outcome { recycle, accepted, wanted, refusal, workers, slowest, took, report })
}

fn plan() -> LoadPlan {
    LoadPlan {
        kept: 6,
        fresh: 2,
        think: Duration::ZERO..=Duration::from_millis(20),
        post_percent: 20,
        ..LoadPlan::default()
    }
}

impl Outcome {
    /// The figures.
    pub(crate) fn print(&self) {
        println!(
            "{} of {} deploys accepted in {:.0} s, the slowest in {:.1} s; {} workers; {} requests, {} \
             failed",
            self.accepted,
            self.wanted,
            self.took.as_secs_f64(),
            self.slowest.as_secs_f64(),
            self.workers,
            self.report.answered,
            self.report.failed(),
        );
        if let Some(refusal) = &self.refusal {
            println!("refused: {refusal}");
        }
    }

    /// Where a target is missed.
    pub(crate) fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        if self.report.failed() > 0 {
            missed.push(format!("{} requests failed: {}", self.report.failed(), self.report));
        }
        match &self.refusal {
            Some(refusal) if self.recycle => missed.push(format!("refused: {refusal}")),
            Some(refusal) if !TRUTH.iter().all(|it| refusal.contains(it)) => {
                missed.push(format!(
                    "the refusal does not say what is full and what helps: {refusal}"
                ));
            }
            None if !self.recycle => {
                missed.push("nothing was refused: it takes no room".to_owned())
            }
            Some(_) | None => {}
        }
        missed
    }
}

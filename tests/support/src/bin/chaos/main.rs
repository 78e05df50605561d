//! `chaos`: everything at once against one host, under clients that never retry.
//!
//! Owns the verdict: it ends with 1 when a promise is broken. What is done follows from the seed
//! ([`schedule`]); which losses are nobody's fault is in [`fate`].

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Parser;
use hotseat_test_support::{Home, Idle, Load, LoadPlan, patience::breathe};
use rustix::process::{Pid, set_child_subreaper};

use drive::Driver;
use figures::Figures;
use schedule::Act;

mod acts;
mod drive;
mod fate;
mod figures;
mod reader;
mod schedule;
mod seat;
mod space;

/// Swaps, kills, full and read-only disks, readers of the log that stop, plugins that crash: nobody
/// may notice more than what was in flight in a worker that was killed.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// The binary to drive.
    #[arg(long, default_value = "target/release/hotseat")]
    host: PathBuf,
    /// How long.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// What is done follows from it; without, another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Things that are not done, by their names in the list of what was done.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Tells each act when it begins.
    #[arg(long)]
    verbose: bool,
    /// Where the log of a run with a broken promise is kept.
    #[arg(long, default_value = "target/chaos")]
    keep: PathBuf,
}

/// What is later than this is left out.
const LATE: Duration = Duration::from_secs(3);

fn plan(seed: u64) -> LoadPlan {
    let think = Duration::ZERO..=Duration::from_millis(80);
    LoadPlan { kept: 12, fresh: 4, think, idle: Idle::Watched, seed, ..LoadPlan::default() }
}

fn start(options: &Options, inside: bool) -> anyhow::Result<Driver> {
    let binary = options.host.canonicalize().context("find the host's binary")?;
    let home = Arc::new(Home::new());
    let disk = inside.then(|| space::Disk::mount(&home.state())).transpose()?;
    let seat = seat::Seat::start(binary, home)?;
    let mut driver = Driver::new(seat, disk, options.verbose);
    driver.perform(Act::Swap)?;
    anyhow::ensure!(
        driver.allowed.len() == 1,
        "the first version does not serve: {:?}",
        driver.broken
    );
    Ok(driver)
}

/// What of the schedule is done here.
fn acts(options: &Options, driver: &Driver, seed: u64) -> VecDeque<(Duration, Act)> {
    let mut all = schedule::schedule(seed, Duration::from_secs(options.seconds));
    all.retain(|(_, act)| {
        let disk = matches!(act, Act::Begin(it) | Act::End(it) if it.needs_disk());
        !options.without.iter().any(|name| name == act.name()) && (driver.disk.is_some() || !disk)
    });
    all.into()
}

/// An act that comes late because one before it took its time is left out; what holds ends in time
/// in any case, and does not begin any more once its end is due.
fn run(options: &Options, driver: &mut Driver, seed: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut acts = acts(options, driver, seed);
    while let Some(&(at, _)) = acts.front() {
        while let Some(rest) = at.checked_sub(begun.elapsed()).filter(|rest| !rest.is_zero()) {
            breathe(rest);
        }
        let now = begun.elapsed();
        for end in due_ends(&mut acts, now) {
            driver.perform(end)?;
        }
        if acts.front().is_none_or(|(at, _)| *at > now) {
            continue;
        }
        match acts.pop_front() {
            Some((at, act)) if now < at + LATE => driver.perform(act)?,
            Some((_, act)) => driver.note(format!("{act:?} is left out: it is late")),
            None => {}
        }
    }
    Ok(())
}

/// Takes out the ends that are due, each with its begin where that has not been done yet.
fn due_ends(acts: &mut VecDeque<(Duration, Act)>, now: Duration) -> Vec<Act> {
    let mut ends = Vec::new();
    let is_due = |(at, act): &(Duration, Act)| *at <= now && matches!(act, Act::End(_));
    while let Some(place) = acts.iter().position(is_due) {
        let Some((_, Act::End(condition))) = acts.remove(place) else { break };
        let begin = Act::Begin(condition);
        match acts.iter().take(place).position(|(_, act)| *act == begin) {
            Some(begin) => drop(acts.remove(begin)),
            None => ends.push(Act::End(condition)),
        }
    }
    ends
}

/// Copies what tells of the cause to where it stays.
fn keep(folder: &Path, driver: &Driver) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::copy(driver.seat.home().log(), folder.join("host.log"))?;
    for name in ["manifest.json", "history.jsonl"] {
        let _ = std::fs::copy(driver.seat.home().state().join(name), folder.join(name));
    }
    std::fs::write(folder.join("events.txt"), driver.events.join("\n"))
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let inside = space::enter()?;
    set_child_subreaper(Pid::from_raw(1)).context("adopt orphans")?;
    let seed = options.seed.unwrap_or_else(|| rand::random::<u32>().into());
    println!("chaos     seed {seed}, {} s", options.seconds);
    let mut driver = start(&options, inside)?;
    let first = Figures::of(&driver.seat);
    let load = Load::start(driver.seat.data, plan(seed));
    load.wait_for(100);
    if let Err(error) = run(&options, &mut driver, seed).and_then(|()| driver.calm()) {
        driver.breaks(format!("it cannot go on: {error:#}"));
    }
    if !driver.settle() {
        driver.breaks("the host does not come to rest".to_owned());
    }
    let report = load.stop();
    let last = Figures::of(&driver.seat);
    let serves = driver.serves();
    figures::judge(&mut driver, &report, [first, last], serves);
    let good = driver.broken.is_empty();
    if !good {
        println!("---- the workers that were ended\n{}", driver.ends().join("\n"));
        let skip = driver.events.len().saturating_sub(60);
        println!("---- the last events\n{}", driver.events[skip..].join("\n"));
        println!("---- the end of the log\n{}", driver.seat.log_end());
        match keep(&options.keep, &driver) {
            Ok(()) => println!("---- log, events and state are in `{}`", options.keep.display()),
            Err(error) => println!("---- the log cannot be kept: {error}"),
        }
        println!("---- again: make chaos SEED={seed} SECONDS={}", options.seconds);
    }
    for line in &driver.broken {
        println!("BROKEN    {line}");
    }
    println!("{}", if good { "every promise is kept" } else { "a promise is broken" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! `soak`: thousands of swaps under every kind of client, with the figures that `targets.md` asks.
//!
//! Owns the verdict: it ends with 1 when a target is missed. With `--unload off` the targets turn
//! round: memory must grow, or the check could not fail.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, ValueEnum};
use hotseat_test_support::{Builder, Host, fault, patience, plugin, wire};
use load::Load;
use report::{FULL_SWAPS, Report, Sample};

mod http2;
mod library;
mod load;
mod report;
mod unread;

/// Swaps a plugin under load and holds the figures against the targets.
#[derive(Debug, Parser)]
struct Options {
    /// The binary to drive.
    #[arg(long, default_value = "target/release/hotseat")]
    host: PathBuf,
    /// How many swaps.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(200..))]
    swaps: u32,
    /// What is swapped.
    #[arg(long, value_enum, default_value_t = Kind::Plain)]
    plugin: Kind,
    /// `off` is the negative control: nothing is unmapped, and that must show.
    #[arg(long, value_enum, default_value_t = Unload::Allow)]
    unload: Unload,
    /// Instead of swaps: so many POSTs over HTTP/2 whose bodies nobody reads, and large ones over
    /// HTTP/1.
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..))]
    posts: Option<u64>,
    /// Instead of a plugin of the tests': this library, which takes room that no unload gives back.
    #[arg(long)]
    library: Option<PathBuf>,
    /// With `--library`: the host renews its worker, and nothing may be refused.
    #[arg(long)]
    recycle: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Answers a text.
    Plain,
    /// Thread-locals with Drop, threads, random numbers, a caught panic in every request.
    Hostile,
    /// Links OpenSSL.
    Openssl,
    /// Keeps 1 MiB in a static.
    Hoarding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Unload {
    Allow,
    Require,
    Off,
}

impl Unload {
    fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Require => "require",
            Self::Off => "off",
        }
    }
}

/// Both versions stand in the host's working directory afterwards. They are the same code with a
/// byte more at the end, so that each has a digest of its own; the label makes their bodies differ.
fn place(host: &Host, library: &Path) -> anyhow::Result<[String; 2]> {
    let mut bytes = std::fs::read(library).context("read the plugin")?;
    let mut names = Vec::new();
    for label in 1..=2_u8 {
        bytes.push(label);
        let name = format!("libhandler_v{label}.so");
        host.home().write(&name, &bytes);
        names.push(format!("./{name}"));
    }
    names.try_into().map_err(|_| anyhow::anyhow!("two versions"))
}

fn swap(host: &Host, path: &str) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let answer = host.control().post(path);
    let took = started.elapsed();
    ensure!(answer.status == 200, "swap refused: {} {}", answer.status, answer.text());
    Ok(took)
}

/// Waits until no retired generation is on its way out any more, then reads the figures.
fn sample(host: &Host, load: &Load, swaps: u32) -> anyhow::Result<Sample> {
    load.pause();
    let end = Instant::now() + patience();
    loop {
        let status = host.status();
        let retired = wire::list(&status, "/retired");
        let busy = retired.iter().filter(|it| it["life"] == "draining" || it["life"] == "pending");
        let busy = busy.count();
        if busy == 0 {
            let sample =
                Sample::read(host.worker_pid(), swaps, wire::number(&status, "/resident_count"));
            load.resume();
            return Ok(sample);
        }
        if Instant::now() > end {
            bail!("{busy} generations are still there without load: {status}");
        }
        hotseat_test_support::patience::breathe(Duration::from_millis(20));
    }
}

fn run(options: &Options) -> anyhow::Result<Report> {
    let library = match options.plugin {
        Kind::Plain => fault("versioned"),
        Kind::Hostile => fault("hostile"),
        Kind::Openssl => plugin("openssl_user"),
        Kind::Hoarding => fault("hoarding"),
    };
    let builder = Builder::new(options.host.canonicalize().context("find the host's binary")?);
    let host =
        builder.arg("--unload").arg(options.unload.as_str()).env("HOTSEAT_LOG", "warn").start();
    let paths = place(&host, &library)?;
    swap(&host, &paths[1])?;
    let load = Load::start(host.data());
    load.warm_up();

    let mut samples = Vec::new();
    let mut times = Vec::new();
    for count in 1..=options.swaps {
        let path = &paths[usize::from(count % 2 == 0)];
        times.push(swap(&host, path)?);
        if [100, FULL_SWAPS, options.swaps / 2, options.swaps].contains(&count) {
            samples.push(sample(&host, &load, count)?);
        }
    }
    let tally = load.finish();
    Ok(Report { times, samples, tally })
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    if let Some(posts) = options.posts {
        let outcome = unread::run(&options.host, posts)?;
        outcome.print();
        return Ok(end(&outcome.missed()));
    }
    if let Some(library) = &options.library {
        let recycle = if options.recycle { "auto" } else { "off" };
        println!("soak: {} deploys of {}, recycle {recycle}", options.swaps, library.display());
        let outcome = library::run(&options.host, library, options.swaps, options.recycle)?;
        outcome.print();
        return Ok(end(&outcome.missed()));
    }
    println!(
        "soak: {} swaps of the {:?} plugin, unload {}",
        options.swaps,
        options.plugin,
        options.unload.as_str()
    );
    let report = run(&options)?;
    report.print();
    let missed = match options.unload {
        Unload::Allow | Unload::Require => report.missed(),
        Unload::Off => report.missed_growth(options.swaps),
    };
    Ok(end(&missed))
}

/// The verdict.
fn end(missed: &[String]) -> ExitCode {
    for line in missed {
        println!("MISSED  {line}");
    }
    println!("{}", if missed.is_empty() { "every target is met" } else { "a target is missed" });
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

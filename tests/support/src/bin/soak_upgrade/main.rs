//! `soak_upgrade`: hundreds of upgrades under every kind of client, and what they cost.
//!
//! Owns the verdict: it ends with 1 when a target is missed. Parts, each of which can be left out:
//! mixed load across upgrades; the same kept connections across nginx's own upgrade, to compare;
//! bodies of a GiB across one upgrade; a thousand upgrades in a row, after which nothing has grown.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use hotseat_test_support::{
    Builder, Host, eventually, fault,
    transfer::{Download, Upload, pattern_sum},
};

mod flat;
mod mixed;
mod nginx;

/// Upgrades a host under load and holds the figures against the targets.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// The binary to drive.
    #[arg(long, default_value = "target/release/hotseat")]
    host: PathBuf,
    /// Upgrades under mixed load.
    #[arg(long, default_value_t = 100)]
    upgrades: u32,
    /// Upgrades of nginx under the kept connections of that load.
    #[arg(long, default_value_t = 20)]
    nginx: u32,
    /// Length of a body up and one down across an upgrade. Units: MiB.
    #[arg(long, default_value_t = 1024)]
    bodies: u64,
    /// Upgrades in a row, without load.
    #[arg(long, default_value_t = 1000)]
    flat: u32,
}

/// A host of the binary under test whose `handler` says which process answers.
fn host(options: &Options, args: &[&str]) -> anyhow::Result<Builder> {
    let binary = options.host.canonicalize().context("find the host's binary")?;
    let builder = Builder::new(binary).env("HOTSEAT_LOG", "warn");
    let builder = args.iter().fold(builder, |builder, arg| builder.arg(*arg));
    Ok(builder.with(fault("whoami"), "libhandler_v1.so"))
}

/// Waits until another worker than `old` serves, and is past being watched.
fn wait_committed(host: &Host, old: u32) -> u32 {
    let mut new = old;
    eventually!(
        {
            new = host.process("serving").map_or(old, |it| it.pid);
            new != old
        },
        "a worker after {old} in {:?}\n{}",
        host.processes(),
        host.log_end()
    );
    new
}

/// Waits until nobody drains any more.
fn settle(host: &Host) {
    eventually!(host.processes().len() == 2, "master and worker: {:?}", host.processes());
}

/// A body each way, half of it before an upgrade and half of it after.
fn bodies(options: &Options) -> anyhow::Result<()> {
    let length = options.bodies << 20;
    let host = host(options, &["--soak-time=200ms", "--upgrade-drain=30min"])?.start();
    let begun = Instant::now();
    let mut upload = Upload::begin(host.data(), "/", length)?;
    upload.send_up_to(length / 2)?;
    let mut download = Download::begin(host.data(), &format!("/?bytes={length}"))?;
    download.read_up_to(length / 2)?;
    let old = host.worker_pid();
    host.hup();
    wait_committed(&host, old);
    let pid = |answer: &hotseat_test_support::Answer| {
        answer.header("x-pid").and_then(|pid| pid.parse::<u32>().ok())
    };
    ensure!(pid(&download.head) == Some(old), "the download is the old worker's");
    let (got, sum) = download.finish()?;
    ensure!((got, sum) == (length, pattern_sum(length)), "{got} bytes of {length} came down");
    let answer = upload.finish()?;
    ensure!(pid(&answer) == Some(old), "the upload is the old worker's");
    settle(&host);
    println!(
        "bodies    {} MiB up and down across an upgrade, sums right, in {:.1?}",
        options.bodies,
        begun.elapsed()
    );
    Ok(())
}

/// p50, p99 and worst, in milliseconds.
fn quantiles(times: &[Duration]) -> String {
    let mut millis: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    millis.sort_by(f64::total_cmp);
    let Some(last) = millis.len().checked_sub(1) else { return "none".to_owned() };
    let [p50, p99, worst] = [last / 2, last * 99 / 100, last].map(|at| millis[at]);
    format!("p50 {p50:.0} ms  p99 {p99:.0} ms  max {worst:.0} ms")
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    println!("soak_upgrade: {} upgrades under load", options.upgrades);
    let mut missed = Vec::new();
    if options.upgrades > 0 {
        missed.extend(mixed::run(&options)?);
    }
    if options.nginx > 0 {
        nginx::run(&options)?;
    }
    if options.bodies > 0 {
        bodies(&options)?;
    }
    if options.flat > 0 {
        missed.extend(flat::run(&options)?);
    }
    for line in &missed {
        println!("MISSED  {line}");
    }
    println!("{}", if missed.is_empty() { "every target is met" } else { "a target is missed" });
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

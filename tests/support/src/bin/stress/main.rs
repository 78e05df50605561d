//! `stress`: plugins that do real work, under clients that do everything at once and break off
//! wherever they like, while versions, settings and workers change.
//!
//! Owns the command line and what is printed; all else is the library's `stress`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use hotseat_test_support::{
    Builder,
    stress::{Plan, run},
};

/// Services, streams, WebSockets, events, cells, topics, tasks, blocking code and deadlines, asked for
/// by clients of which a fifth break off, while versions, settings and workers change: no answer may be
/// wrong, and nothing may be left.
#[derive(Debug, Parser)]
struct Options {
    /// The binary to drive.
    #[arg(long, default_value = "target/release/hotseat")]
    host: PathBuf,
    /// How long, about.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What clients do follows from it; without, another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// How many there are; every second one speaks HTTP/2.
    #[arg(long, default_value_t = 6)]
    clients: u64,
    /// Where the log of a run with a broken promise is kept.
    #[arg(long, default_value = "target/stress")]
    keep: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let binary = options.host.canonicalize().context("find the host's binary")?;
    let seed = options.seed.unwrap_or_else(|| rand::random::<u32>().into());
    println!("stress: seed {seed}, {} s, {} clients", options.seconds, options.clients);
    let builder = Builder::new(binary);
    let home = builder.home().clone();
    let outcome = run(builder, &Plan { seconds: options.seconds, seed, clients: options.clients });
    outcome.lines.iter().for_each(|line| println!("{line}"));
    if outcome.is_good() {
        println!("every promise is kept");
        return Ok(ExitCode::SUCCESS);
    }
    outcome.broken.iter().for_each(|line| println!("BROKEN {line}"));
    let log = options.keep.join(format!("{seed}.log"));
    let kept = std::fs::create_dir_all(&options.keep);
    match kept.and_then(|()| std::fs::copy(home.log(), &log)) {
        Ok(_) => println!("the log is in `{}`", log.display()),
        Err(error) => println!("the log cannot be kept: {error}"),
    }
    println!("{} promises are broken; again: make stress SEED={seed}", outcome.broken_count);
    Ok(ExitCode::FAILURE)
}

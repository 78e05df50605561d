//! `fuzz`: conversations made by seeds against a real host, until one goes wrong.
//!
//! Owns the rounds and the search for the case that a fault belongs to: a host that is not well
//! after a batch is started anew and given the batch's cases one by one. What is found is printed
//! as the text that `tests/data/fuzz/` keeps.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Context as _;
use clap::Parser;
use hotseat_test_support::{Builder, Host, fault, fuzz};

/// Cases between two looks at the host.
const BATCH: u64 = 200;
/// What every data thread is asked for.
const ALIVE: &str = "/edge?read=all&id=alive";

/// Throws seeded conversations of HTTP/1 and HTTP/2 at a host.
#[derive(Debug, Parser)]
struct Options {
    /// The binary to drive.
    #[arg(long, default_value = "target/release/hotseat")]
    host: PathBuf,
    /// How many batches of 200 cases.
    #[arg(long, default_value_t = 50)]
    rounds: u64,
    /// The first case's seed; the others follow it.
    #[arg(long)]
    seed: Option<u64>,
}

fn start(options: &Options) -> anyhow::Result<Host> {
    let binary = options.host.canonicalize().context("find the host's binary")?;
    let builder = Builder::new(binary).arg("--threads=2").env("HOTSEAT_LOG", "error");
    Ok(builder.with(fault("edge"), "libedge_v1.so").start())
}

/// What is not as it should be after some cases.
fn look(host: &Host) -> Result<(), String> {
    host.ask_threads(ALIVE)?;
    host.nobody_held()
}

/// Prints a case as it can be kept.
fn tell(seed: u64, text: &str) {
    println!("seed {seed}: {text}");
    println!("---- a file of tests/data/fuzz/");
    println!("# Seed {seed}.\n{}----", fuzz::Case::made_by(seed));
}

/// The cases of a batch one by one, each with a look behind it; starts a new host after each fault.
fn search(options: &Options, first: u64) -> anyhow::Result<bool> {
    let mut host = start(options)?;
    let mut found = false;
    for seed in first..first + BATCH {
        let played = fuzz::Case::made_by(seed).play(host.data());
        if let Err(text) = played.and_then(|()| look(&host)) {
            tell(seed, &text);
            (host, found) = (start(options)?, true);
        }
    }
    Ok(found)
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("fuzz: {} rounds of {BATCH} cases from seed {seed}", options.rounds);
    let begun = Instant::now();
    let host = start(&options)?;
    for round in 0..options.rounds {
        let first = seed + round * BATCH;
        let cases: Vec<_> = (first..first + BATCH).map(fuzz::Case::made_by).collect();
        let failed = fuzz::play_all(&cases, host.data());
        for (at, text) in &failed {
            tell(first + u64::try_from(*at)?, text);
        }
        if let Err(text) = look(&host) {
            println!("after the cases from seed {first}: {text}");
            if !search(&options, first)? {
                println!("none of them does it alone");
            }
            return Ok(ExitCode::FAILURE);
        }
        if !failed.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
    }
    let count = options.rounds * BATCH;
    println!("{count} cases in {:.1?}: every thread turns, nobody is held", begun.elapsed());
    Ok(ExitCode::SUCCESS)
}

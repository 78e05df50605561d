//! `real`: swaps plugins with real dependencies under load, one host each, and tells what became of
//! them; `--table` writes `docs/dependencies.md`.
//!
//! Owns the verdict: it ends with 1 where a request failed, a worker ended, or a plugin is neither
//! unmapped and flat nor resident with a reason.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, ensure};
use clap::Parser;
use trial::{Trial, Verdict};

mod source;
mod table;
mod trial;

/// Swaps plugins with real dependencies and tells what became of them.
#[derive(Debug, Parser)]
struct Options {
    /// The binary to drive.
    #[arg(long, default_value = "target/release/hotseat")]
    host: PathBuf,
    /// Where the sources of the plugins are: each folder is tried, one file a plugin.
    #[arg(long, default_values = ["tests/real", "tests/real/heavy"])]
    sources: Vec<PathBuf>,
    /// Where the libraries of those folders are, in the same order.
    #[arg(long, default_values = ["target/release/examples", "target/real/release/examples"])]
    libraries: Vec<PathBuf>,
    /// How often each is swapped.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..))]
    swaps: u32,
    /// Only those whose names contain this.
    #[arg(long, default_value = "")]
    only: String,
    /// Writes the table there.
    #[arg(long)]
    table: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    ensure!(options.sources.len() == options.libraries.len(), "a folder of libraries for each");
    let host = options.host.canonicalize().context("find the host's binary")?;
    let folders = options.sources.iter().zip(&options.libraries);
    let mut plugins = Vec::new();
    for (sources, libraries) in folders {
        plugins.extend(source::all(sources, libraries)?);
    }
    plugins.retain(|it| it.name.contains(&options.only));
    plugins.sort_by(|one, other| one.name.cmp(&other.name));
    ensure!(!plugins.is_empty(), "no plugin is called `{}`", options.only);

    println!("real: {} plugins, {} swaps each", plugins.len(), options.swaps);
    let mut rows = Vec::new();
    for plugin in plugins {
        let trial = Trial::run(&host, &plugin.library, options.swaps)
            .with_context(|| format!("try {}", plugin.name))?;
        println!("{}", table::line(&plugin, &trial));
        rows.push((plugin, trial));
    }
    if let Some(path) = &options.table {
        std::fs::write(path, table::document(&rows, options.swaps)).context("write the table")?;
    }
    let bad = rows.iter().filter(|(_, trial)| trial.verdict() == Verdict::Bad).count();
    println!("{} passed, {bad} failed", rows.len() - bad);
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

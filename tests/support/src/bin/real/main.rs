//! `real`: swaps plugins with real dependencies under load, one host each, and tells what became of
//! them; `--table` writes `docs/dependencies.md`.
//!
//! Owns the verdict: it ends with 1 where a request failed or a worker ended, and where a plugin is
//! not unmapped and flat and its source has no note of why.

use std::{
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use source::Plugin;
use trial::{Course, Trial};

mod growth;
mod machine;
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
    /// Writes the table there; with `only`, those rows of it.
    #[arg(long)]
    table: Option<PathBuf>,
}

/// A plugin and what became of it.
#[derive(Debug)]
struct Row {
    plugin: Plugin,
    trial: Trial,
    /// The same in a host that renews its worker, where the first one ran out of room.
    renewing: Option<Trial>,
}

impl Row {
    fn try_out(options: &Options, plugin: Plugin) -> Self {
        let run = |course: Course| {
            let run = || Trial::run(&options.host, &plugin.library, options.swaps, course);
            // What is shared with the tests panics where a host does not answer.
            match panic::catch_unwind(AssertUnwindSafe(run)) {
                Ok(Ok(trial)) => trial,
                Ok(Err(error)) => Trial::broken(format!("{error:#}")),
                Err(_) => Trial::broken("An order was not answered: the worker ended.".to_owned()),
            }
        };
        let trial = run(Course::Plain);
        let is_full = trial.refused.as_ref().is_some_and(|it| it.code == "static_tls_full");
        let renewing = is_full.then(|| run(Course::Renewing));
        Self { plugin, trial, renewing }
    }

    /// Whether it came out as it should, or as its source says that it does.
    fn passed(&self) -> bool {
        let trials = || [Some(&self.trial), self.renewing.as_ref()].into_iter().flatten();
        let is_good = trials().all(Trial::is_good);
        is_good && (self.plugin.note.is_some() || self.trial.is_flat())
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let mut options = Options::parse();
    ensure!(options.sources.len() == options.libraries.len(), "a folder of libraries for each");
    options.host = options.host.canonicalize().context("find the host's binary")?;
    let mut plugins = Vec::new();
    for (sources, libraries) in options.sources.iter().zip(&options.libraries) {
        plugins.extend(source::all(sources, libraries)?);
    }
    plugins.retain(|it| it.name.contains(&options.only));
    plugins.sort_by(|one, other| one.name.cmp(&other.name));
    ensure!(!plugins.is_empty(), "no plugin is called `{}`", options.only);
    for it in plugins.iter().map(|it| &it.library) {
        ensure!(it.is_file(), "`{}` is not built: run `make real-plugins`", it.display());
    }

    println!("real: {} plugins, {} swaps each", plugins.len(), options.swaps);
    let mut rows = Vec::new();
    for plugin in plugins {
        let row = Row::try_out(&options, plugin);
        println!("{}", table::lines(&row));
        rows.push(row);
    }
    if let Some(path) = &options.table {
        let text = if options.only.is_empty() {
            table::document(&machine::describe(&options.host, options.swaps)?, &rows)
        } else {
            let known = std::fs::read_to_string(path).context("read the table")?;
            table::renew(&known, &rows).context("the table has another form: write it anew")?
        };
        std::fs::write(path, text).context("write the table")?;
    }
    let failed: Vec<_> = rows.iter().filter(|row| !row.passed()).collect();
    for row in &failed {
        println!("failed: {}", row.plugin.name);
    }
    println!("{} passed, {} failed", rows.len() - failed.len(), failed.len());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

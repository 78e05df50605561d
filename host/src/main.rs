//! The `hotseat` binary: hands the command line what it needs, and nothing else.

use std::process::ExitCode;

use hotseat::{
    cli::{self, Work, trial},
    config::Config,
    plugin::preflight,
    process,
    sys::process::exit_now,
};

fn main() -> ExitCode {
    let work = Work { serve, check: trial::run, preflight_child: preflight::child::main };
    cli::run(std::env::args_os(), &work)
}

fn serve(config: Config) -> anyhow::Result<()> {
    process::serve(config)?;
    // Not by returning: a library that could not be unloaded may hang the normal end.
    exit_now(0)
}

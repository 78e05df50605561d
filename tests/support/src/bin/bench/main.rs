//! `bench`: what a request and a swap cost, against the same greeting served otherwise.
//!
//! Owns the comparison. Only ratios within one run count: rounds are interleaved, because small
//! machines drift by a fifth within minutes.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

mod cores;
mod load;
mod peers;
mod serving;
mod swaps;

/// What every server answers.
const GREETING: &str = "v1";

/// Compares hotseat with its peers.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Requests: plugin in hotseat, axum, hyper, nginx; needs wrk.
    Serving {
        /// The binary to drive.
        #[arg(long, default_value = "target/release/hotseat")]
        host: PathBuf,
        /// Interleaved rounds.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// Whole seconds of each measurement.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
        seconds: u32,
    },
    /// Requests to an axum application: as a plugin, served by axum, served by hyper; needs wrk.
    Services {
        /// The binary to drive.
        #[arg(long, default_value = "target/release/hotseat")]
        host: PathBuf,
        /// The application as a program of its own.
        #[arg(long, default_value = "target/release/stock_app")]
        program: PathBuf,
        /// Interleaved rounds.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// Whole seconds of each measurement.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
        seconds: u32,
    },
    /// 200 swaps without load, from the POST to its answer.
    Swaps {
        /// The binary to drive.
        #[arg(long, default_value = "target/release/hotseat")]
        host: PathBuf,
        /// How many.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        count: u32,
    },
    /// Serves the greeting until its stdin ends; prints its address.
    #[command(hide = true)]
    Peer {
        /// How.
        #[arg(value_enum)]
        kind: peers::Kind,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Options::parse().what {
        What::Serving { host, rounds, seconds } => serving::run(&host, rounds, seconds),
        What::Services { host, program, rounds, seconds } => {
            serving::run_services(&host, &program, rounds, seconds)
        }
        What::Swaps { host, count } => swaps::run(&host, count),
        What::Peer { kind } => peers::serve(kind).map(|()| ExitCode::SUCCESS),
    }
}

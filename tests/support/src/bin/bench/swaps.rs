//! Swaps without load: from the POST to its acknowledgement, preflight included.

use std::{path::Path, process::ExitCode, time::Instant};

use anyhow::{Context as _, ensure};
use hotseat_test_support::{Builder, fault};

/// p50 at most. Units: milliseconds. # Source: the project's targets, "Swapping".
const TARGET_MS: f64 = 5.0;

pub(crate) fn run(host: &Path, count: u32) -> anyhow::Result<ExitCode> {
    let binary = host.canonicalize().context("find the host's binary")?;
    let host = Builder::new(binary).env("HOTSEAT_LOG", "warn").start();
    for label in ["1", "2"] {
        host.home().place(&fault(&format!("plain_v{label}")), &format!("libhandler_v{label}.so"));
    }
    let mut millis = Vec::new();
    for number in 0..=count {
        let path = if number % 2 == 0 { "./libhandler_v1.so" } else { "./libhandler_v2.so" };
        let started = Instant::now();
        let answer = host.control().post(path);
        let took = started.elapsed();
        ensure!(answer.status == 200, "swap refused: {} {}", answer.status, answer.text());
        // The first one is a start, not a swap.
        if number > 0 {
            millis.push(took.as_secs_f64() * 1e3);
        }
    }
    millis.sort_by(f64::total_cmp);
    let last = millis.len() - 1;
    let (p50, p99, worst) = (millis[last / 2], millis[last * 99 / 100], millis[last]);
    println!(
        "{count} swaps, post to acknowledgement: p50 {p50:.2} ms, p99 {p99:.2} ms, worst {worst:.2} ms"
    );
    println!("target: p50 at most {TARGET_MS} ms");
    Ok(if p50 <= TARGET_MS { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! One run of wrk and what the server paid for it.

use std::{io::Write as _, net::SocketAddr, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use hotseat_test_support::procfs;
use tempfile::NamedTempFile;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) connections: u32,
    /// More header fields.
    pub(crate) headers: u32,
    pub(crate) target: &'static str,
    /// Of a POST; 0: it is a GET. Units: bytes.
    pub(crate) body: usize,
}

impl Shape {
    /// A GET of `target` on 32 connections.
    pub(crate) const fn get(name: &'static str, target: &'static str) -> Self {
        Self { name, connections: 32, headers: 0, target, body: 0 }
    }
}

/// Writes the script by which wrk sends a POST.
fn script(body: usize) -> anyhow::Result<NamedTempFile> {
    let mut file = NamedTempFile::new().context("make a script for wrk")?;
    let text = "x".repeat(body);
    writeln!(file, "wrk.method = 'POST'\nwrk.body = '{text}'").context("write it")?;
    Ok(file)
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// A process and those it has started: nginx's workers, no preflight child at rest.
fn processor_time(pid: u32) -> Duration {
    let children = procfs::children(pid).into_iter().map(procfs::processor_time);
    procfs::processor_time(pid) + children.sum::<Duration>()
}

/// `1.23ms` in microseconds.
fn micros(text: &str) -> Option<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..at].parse().ok()?;
    let scale = match &text[at..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some(number * scale)
}

pub(crate) fn measure(
    address: SocketAddr,
    pid: u32,
    shape: Shape,
    (seconds, threads): (u32, u32),
) -> anyhow::Result<Figures> {
    let threads = threads.min(shape.connections);
    let mut wrk = Command::new("wrk");
    wrk.args(["--latency", &format!("-t{threads}"), &format!("-c{}", shape.connections)]);
    wrk.arg(format!("-d{seconds}s"));
    for number in 0..shape.headers {
        wrk.args(["-H", &format!("X-Bench-{number}: value-{number}-of-some-length")]);
    }
    let script = (shape.body > 0).then(|| script(shape.body)).transpose()?;
    if let Some(script) = &script {
        wrk.arg("-s").arg(script.path());
    }
    let before = processor_time(pid);
    let output =
        wrk.arg(format!("http://{address}{}", shape.target)).output().context("start wrk")?;
    let spent = processor_time(pid).saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "wrk failed: {text}");
    ensure!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "errors: {text}");

    let words: Vec<&str> = text.split_whitespace().collect();
    let after = |word: &str| {
        let at = words.iter().position(|it| *it == word)?;
        words.get(at + 1).copied()
    };
    let at = words.iter().position(|it| *it == "requests").context("find the count")?;
    let requests: f64 = words[at - 1].parse().context("read the count")?;
    Ok(Figures {
        per_second: after("Requests/sec:").and_then(|it| it.parse().ok()).context("requests/s")?,
        cpu_us: spent.as_secs_f64() * 1e6 / requests,
        p50_us: after("50%").and_then(micros).context("p50")?,
        p99_us: after("99%").and_then(micros).context("p99")?,
    })
}

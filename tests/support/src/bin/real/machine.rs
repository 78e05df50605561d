//! Where and with what the figures were taken, for the head of the table.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};

/// One line each.
pub(crate) fn describe(host: &Path, swaps: u32) -> anyhow::Result<Vec<String>> {
    let host = host.to_string_lossy();
    let processor = first_after("/proc/cpuinfo", "model name\t: ").unwrap_or_default();
    let system = first_after("/etc/os-release", "PRETTY_NAME=").unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    let kernel = said(&["uname", "-sm"])?;
    let version = said(&[&host, "--version"])?;
    Ok(vec![
        format!("{} by `make real-plugins SWAPS={swaps}`, with {version}", said(&["date", "+%F"])?),
        format!("{processor}, {cores} cores; {}, {kernel}", system.trim_matches('"')),
        format!("{}; {}", said(&["getconf", "GNU_LIBC_VERSION"])?, said(&["rustc", "--version"])?),
    ])
}

fn first_after(path: &str, mark: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(mark)).map(|it| it.trim().to_owned())
}

fn said(command: &[&str]) -> anyhow::Result<String> {
    let (program, arguments) = command.split_first().context("a command")?;
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("run {program}"))?;
    ensure!(output.status.success(), "{program}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

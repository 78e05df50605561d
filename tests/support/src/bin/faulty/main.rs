//! A new binary that is no good: what it does stands behind the end of its own file.
//!
//! Owns the faults of a binary upgrade. A copy of this program with a line behind it (see
//! `hotseat_test_support::binary`) is what a test offers as the new `hotseat`. Where the fault is
//! to show later, or not at all, it becomes the real program in the same process.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hotseat_test_support::binary::{FLAG, Orders};
use rustix::process::{Signal, getpid, getppid, kill_process};

/// What this program is called with by itself, to end or stop its parent later.
const LATER: &str = "later";

fn main() -> anyhow::Result<()> {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|first| first == LATER) {
        return later(&args);
    }
    let itself = fs::read("/proc/self/exe").context("read this program")?;
    let orders = Orders::read(&itself).context("nothing says what to do")?;
    if orders.fault == "other-protocol" && args.first().is_some_and(|it| it == "settings-child") {
        return misreport(&orders, &args);
    }
    let is_worker = args.first().is_some_and(|first| first == "worker");
    if is_worker || orders.at_check {
        act(&orders)?;
    }
    let program = std::env::args_os().next().unwrap_or_default();
    let mut real = Command::new(&orders.real);
    real.arg0(program).args(args.drain(..)).envs(&orders.env);
    Err(real.exec()).context("become the real program")
}

fn act(orders: &Orders) -> anyhow::Result<()> {
    match orders.fault.as_str() {
        "exits" => anyhow::bail!("faulty: it ends with status 1"),
        "panics" => panic!("faulty: it panics"),
        "aborts" => std::process::abort(),
        "segfaults" => raise(Signal::SEGV),
        "floods" => flood(),
        "hangs" => hang(),
        "" | "other-protocol" => Ok(()),
        "exits-if" => {
            let flag = orders.env.get(FLAG).context("no file is named")?;
            anyhow::ensure!(!fs::exists(flag)?, "faulty: it ends with status 1 from now on");
            Ok(())
        }
        name => start_later(name, &orders.after_ms.to_string()),
    }
}

/// What the real program says of itself, but for one number.
fn misreport(orders: &Orders, args: &[OsString]) -> anyhow::Result<()> {
    let mut real = Command::new(&orders.real);
    let checked = real.args(args).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8(checked.stdout)?;
    anyhow::ensure!(said.contains("\"proto\":1,"), "the real program says: {said}");
    io::stdout().write_all(said.replace("\"proto\":1,", "\"proto\":99,").as_bytes())?;
    Ok(())
}

/// More than once: the runtime's own handler of SIGSEGV lets the first one pass.
fn raise(signal: Signal) -> anyhow::Result<()> {
    loop {
        kill_process(getpid(), signal).context("signal itself")?;
    }
}

/// 1 MiB of lines on standard error, then the end.
fn flood() -> anyhow::Result<()> {
    let mut error = io::stderr().lock();
    for number in 0..1 << 15 {
        writeln!(error, "faulty: line {number:05} of very many, padded to a length of 64.....")?;
    }
    anyhow::bail!("faulty: the last line")
}

fn hang() -> anyhow::Result<()> {
    loop {
        std::thread::park();
    }
}

/// Starts a process that signals this one later. It keeps no descriptor of ours, least of all
/// sockets: the ends of those tell of this process.
fn start_later(signal: &str, after_ms: &str) -> anyhow::Result<()> {
    const CLOSE: &str = "for it in /proc/$$/fd/*; do it=${it##*/}; \
                         [ \"$it\" -gt 2 ] && eval \"exec $it>&-\"; done; exec \"$@\"";
    let program = fs::read_link("/proc/self/exe").context("find this program")?;
    let mut command = Command::new("bash");
    command.args(["-c", CLOSE, "bash"]).arg(program).args([LATER, signal, after_ms]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("start what signals later")?;
    Ok(())
}

/// Signals its parent after a while, if that is still there then.
fn later(args: &[OsString]) -> anyhow::Result<()> {
    let [_, signal, after_ms] = args else { anyhow::bail!("`later SIGNAL MILLIS`") };
    let signal = match signal.to_str() {
        Some("aborts-later") => Signal::ABORT,
        Some("killed-later") => Signal::KILL,
        Some("segfaults-later") => Signal::SEGV,
        Some("stops-later") => Signal::STOP,
        _ => anyhow::bail!("no such fault: {signal:?}"),
    };
    let millis = after_ms.to_str().and_then(|text| text.parse().ok()).context("MILLIS")?;
    let parent = getppid();
    let end = Instant::now() + Duration::from_millis(millis);
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(rest);
    }
    while parent.is_some() && getppid() == parent {
        parent.map_or(Ok(()), |pid| kill_process(pid, signal)).context("signal the parent")?;
        if signal != Signal::SEGV {
            break;
        }
        // The runtime's own handler of SIGSEGV lets the first one pass.
        std::thread::park_timeout(Duration::from_millis(10));
    }
    Ok(())
}

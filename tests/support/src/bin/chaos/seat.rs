//! The host, and the part that a supervisor has in its life: it is started again when it has ended.
//!
//! Owns the child process and its addresses, which stay over all its lives.

use std::{
    io::{self, BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use hotseat_test_support::{Answer, Connection, Home, patience::breathe, procfs, wire};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::reader::Reader;

/// For one answer of the control plane: longer than any step that it may have to wait for.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// For a host that a supervisor starts, until it serves.
pub(crate) const START_TIME: Duration = Duration::from_secs(30);

const ARGS: [&str; 11] = [
    "--threads=2",
    "--soak-time=300ms",
    "--idle-linger=500ms",
    "--upgrade-drain=4s",
    "--generation-drain=4s",
    "--stop-time=4s",
    "--stuck-time=4s",
    "--preflight-time=1s",
    "--load-time=1s",
    "--plugin-time=10s",
    "--draining-count=30",
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Seat {
    binary: PathBuf,
    home: Arc<Home>,
    pub(crate) reader: Reader,
    child: Child,
    pub(crate) data: SocketAddr,
    pub(crate) control: SocketAddr,
    /// How often it did not come up at the first try.
    pub(crate) vain: u64,
}

/// An address that stays free while the host is down: no client's connection gets such a port.
fn address(from: u16) -> anyhow::Result<SocketAddr> {
    let mut ports = from..32_000;
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    Ok(SocketAddr::from(([127, 0, 0, 1], free.context("find a free port")?)))
}

impl Seat {
    pub(crate) fn start(binary: PathBuf, home: Arc<Home>) -> anyhow::Result<Self> {
        // Several runs at a time begin their search at different places.
        let from = 20_000 + u16::try_from(std::process::id() % 5000)?;
        let data = address(from)?;
        let control = address(data.port() + 1)?;
        let reader = Reader::start(home.path(), &home.log())?;
        let child = spawn(&binary, &home, &reader, [data, control])?;
        let mut seat = Self { binary, home, reader, child, data, control, vain: 0 };
        if !seat.up(START_TIME)? {
            bail!("the host does not come up:\n{}", seat.log_end());
        }
        Ok(seat)
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(status.to_string())
    }

    /// Waits for the ready line. `false`: it ended before, or it takes too long.
    fn up(&mut self, time: Duration) -> anyhow::Result<bool> {
        let output = self.child.stdout.take().context("its stdout is a pipe")?;
        let (lines, first) = mpsc::sync_channel(1);
        // Also keeps the pipe empty; it ends with the child.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = lines.try_send(line);
            }
        });
        Ok(first.recv_timeout(time).is_ok_and(|line| line.contains(" ready: ")))
    }

    /// As a supervisor does, until it serves again.
    pub(crate) fn start_again(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        loop {
            let _ = self.child.kill();
            self.child.wait()?;
            let addresses = [self.data, self.control];
            self.child = spawn(&self.binary, &self.home, &self.reader, addresses)?;
            if self.up(time)? {
                return Ok(());
            }
            self.vain += 1;
            if Instant::now() > end {
                bail!("started again and again in vain for {time:?}");
            }
            breathe(Duration::from_millis(100));
        }
    }

    /// SIGKILL to the master alone.
    pub(crate) fn kill_master(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// One request to the control plane.
    pub(crate) fn ask(&self, method: &str, target: &str, body: &str) -> io::Result<Answer> {
        let mut connection = Connection::open(self.control)?;
        connection.bound(ANSWER_TIME)?;
        connection.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.control,
            body.len()
        ))?;
        connection.read_answer()
    }

    pub(crate) fn status(&self) -> Option<Value> {
        let answer = self.ask("GET", "/v1/status", "").ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// The worker that serves, as the status says.
    pub(crate) fn worker(&self) -> Option<u32> {
        let status = self.status()?;
        let serving =
            wire::list(&status, "/processes").into_iter().find(|it| it["role"] == "serving");
        u32::try_from(serving?["pid"].as_u64()?).ok()
    }

    /// Sends a signal to one of its processes.
    pub(crate) fn signal(&self, pid: u32, signal: Signal) -> anyhow::Result<()> {
        let ours = pid == self.pid() || procfs::descendants(self.pid()).contains(&pid);
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| ours);
        Ok(kill_process(pid.context("a process of the host")?, signal)?)
    }

    pub(crate) fn log_end(&self) -> String {
        let log = self.home.read_log();
        let skip = log.lines().count().saturating_sub(30);
        log.lines().skip(skip).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let all = procfs::descendants(self.pid());
        let _ = self.child.kill();
        let _ = self.child.wait();
        let pids = all.into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        for pid in pids {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn spawn(
    binary: &PathBuf,
    home: &Home,
    reader: &Reader,
    [data, control]: [SocketAddr; 2],
) -> anyhow::Result<Child> {
    let mut command = Command::new(binary);
    command.arg("serve").args(ARGS).current_dir(home.path()).stdin(Stdio::null());
    command.arg(format!("--listen={data}")).arg(format!("--control={control}"));
    command.arg("--plugins").arg(home.plugins()).arg("--state-dir").arg(home.state());
    for name in ["STATE_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"] {
        command.env_remove(name);
    }
    // Enough lines to fill the pipe whenever nobody reads.
    command.env("HOTSEAT_LOG", "debug");
    command.stdout(Stdio::piped()).stderr(reader.writer().context("open the log's pipe")?);
    command.spawn().context("start the host")
}

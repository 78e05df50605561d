//! The child that serves.
//!
//! Invariant: it ends with its owner, by its process id alone.

use std::{
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Error, Result};

/// How long a child may take for an end in good order when it is dropped.
const LAST: Duration = Duration::from_secs(5);
/// Lines of a log that are shown.
const LINES: usize = 40;

/// What the ready line says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) data: SocketAddr,
    pub(crate) control: SocketAddr,
}

impl Ready {
    /// Reads `hotseat 0.1.0 ready: data A,B control C pid N`.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |word: &str| {
            let at = words.iter().position(|it| *it == word)?;
            words.get(at + 1)?.split(',').find_map(|it| it.parse().ok())
        };
        words.iter().position(|it| *it == "ready:")?;
        Some(Self { data: after("data")?, control: after("control")? })
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    pub(crate) ready: Ready,
}

impl Process {
    /// Starts it and waits for its ready line.
    pub(crate) fn start(
        binary: &Path,
        args: &[String],
        home: &Path,
        patience: Duration,
    ) -> Result<Self> {
        let log = home.join("hotseat.log");
        let mut command = Command::new(binary);
        // Settings of whoever runs the test, and what a service manager has passed to that.
        let foreign = ["STATE_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"];
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("HOTSEAT") || foreign.contains(&&*text) {
                command.env_remove(&name);
            }
        }
        command.arg("serve").args(args).current_dir(home).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(File::create(&log)?);
        let child = command.spawn();
        let child =
            child.map_err(|error| Error::new(format!("start `{}`: {error}", binary.display())))?;
        let unready = ([0, 0, 0, 0], 0).into();
        let mut process = Self { child, log, ready: Ready { data: unready, control: unready } };
        let line = process.first_line(patience);
        match line.as_deref().and_then(Ready::parse) {
            Some(ready) => process.ready = ready,
            None => {
                let said = line.map_or_else(|| "nothing".to_owned(), |line| format!("`{line}`"));
                let text = format!("`{}` did not come up, and said {said}", binary.display());
                // It may have ended by itself, which its log tells of.
                process.end();
                return Err(Error::new(text).with(&process.log_end()));
            }
        }
        Ok(process)
    }

    fn first_line(&mut self, patience: Duration) -> Option<String> {
        let output = self.child.stdout.take()?;
        let (lines, first) = mpsc::sync_channel(1);
        // It also keeps the pipe empty, and ends with the child.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                // Whoever waits for the first one has it.
                let _ = lines.try_send(line);
            }
        });
        first.recv_timeout(patience).ok()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn log_end(&self) -> String {
        let log = self.log();
        let skip = log.lines().count().saturating_sub(LINES);
        log.lines().skip(skip).collect::<Vec<_>>().join("\n")
    }

    /// SIGTERM and its end, or SIGKILL.
    pub(crate) fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Until it was waited for, the number is its own.
        if let Some(pid) = pid.filter(|_| matches!(self.child.try_wait(), Ok(None))) {
            // It may end by itself at this moment.
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::park_timeout(Duration::from_millis(2));
        }
        self.child.kill()?;
        self.child.wait()?;
        Err(Error::new(format!("it has not ended within {patience:?} and was killed")))
    }

    fn end(&mut self) {
        // There is nobody to tell, and nothing else to do.
        let _ = self.stop(LAST);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("---- the host's log ends with\n{}", self.log_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ready;

    #[test]
    fn ready_line_is_read() {
        let line = "hotseat 0.2.0 ready: data 127.0.0.1:4,/run/x control 127.0.0.1:5 pid 6";
        let ready = Ready::parse(line).expect("a ready line");
        assert_eq!((ready.data.port(), ready.control.port()), (4, 5));
        assert!(Ready::parse("hotseat: error").is_none());
    }
}

//! Children that do one thing and end: staging, checking, hooks.
//!
//! Owns their output, bounded, and their time limit. The event loop feeds it; nothing here waits.

use std::{
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitStatus, kill_process_group};

use hotseat_unload::action::signal_name;

use crate::{config::raw::file::FILE_BYTES, sys::program};

/// What a child may answer. Units: bytes; a configuration file travels in it, and JSON has two bytes
/// for some that TOML takes.
const ANSWER_BYTES: usize = 2 * FILE_BYTES + (1 << 20);
/// How much of what a child complains is kept: its end. Units: bytes.
const TAIL_BYTES: usize = 4096;

/// A child that runs.
#[derive(Debug)]
pub(super) struct Task {
    pid: Pid,
    out: Option<OwnedFd>,
    err: Option<OwnedFd>,
    answer: Vec<u8>,
    tail: Vec<u8>,
    deadline: Instant,
    time: Duration,
    late: bool,
    /// It answered more than is taken.
    too_long: bool,
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// What it printed.
    pub(super) answer: Vec<u8>,
    /// Empty: it ended well. Else how, and the end of what it complained.
    pub(super) trouble: String,
}

impl Task {
    /// Starts `command` in a process group of its own.
    pub(super) fn start(mut command: Command, time: Duration) -> io::Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        program::ready(&mut command, true)?;
        let mut child = command.spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let quiet = |pipe: OwnedFd| -> io::Result<OwnedFd> {
            rustix::io::ioctl_fionbio(&pipe, true)?;
            Ok(pipe)
        };
        Ok(Self {
            pid: Pid::from_child(&child),
            out: out.map(OwnedFd::from).map(quiet).transpose()?,
            err: err.map(OwnedFd::from).map(quiet).transpose()?,
            answer: Vec::new(),
            tail: Vec::new(),
            deadline: Instant::now() + time,
            time,
            late: false,
            too_long: false,
        })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// What the event loop waits for.
    pub(super) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.out.iter().chain(&self.err).map(|pipe| pipe.as_fd())
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Ends it, with everything that it has started.
    pub(super) fn kill(&self) {
        // It may have ended by itself.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// Ends it if its time is up.
    pub(super) fn tick(&mut self, now: Instant) {
        if !self.late && now >= self.deadline {
            self.late = true;
            self.kill();
            // Its end is reaped like any other.
            self.deadline = now + Duration::from_secs(3600);
        }
    }

    /// Takes what is in the pipes.
    pub(super) fn listen(&mut self) {
        let mut piece = [0; 8192];
        for (pipe, into, keep_tail) in
            [(&mut self.out, &mut self.answer, false), (&mut self.err, &mut self.tail, true)]
        {
            while let Some(open) = pipe.as_ref() {
                match rustix::io::read(open, &mut piece) {
                    Ok(0) => *pipe = None,
                    Ok(count) if keep_tail => {
                        into.extend_from_slice(&piece[..count]);
                        let over = into.len().saturating_sub(TAIL_BYTES);
                        into.drain(..over);
                    }
                    Ok(count) if into.len() + count <= ANSWER_BYTES => {
                        into.extend_from_slice(&piece[..count]);
                    }
                    Ok(_) => self.too_long = true,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(_) => *pipe = None,
                }
            }
        }
    }

    /// Puts everything together, once it was reaped.
    pub(super) fn end(mut self, status: WaitStatus) -> Ended {
        self.listen();
        let tail = String::from_utf8_lossy(&self.tail).trim().to_owned();
        let how = if self.late {
            format!("it did not end within {:?}", self.time)
        } else if self.too_long {
            format!("it answers more than {} MiB", ANSWER_BYTES >> 20)
        } else {
            describe(status).unwrap_or_default()
        };
        let trouble = match (how.is_empty(), tail.is_empty()) {
            (true, _) => String::new(),
            (false, true) => how,
            (false, false) => format!("{how}: {tail}"),
        };
        Ended { answer: self.answer, trouble }
    }
}

/// How a process ended, unless well.
pub(super) fn describe(status: WaitStatus) -> Option<String> {
    if let Some(signal) = status.terminating_signal() {
        return Some(format!("it died on {}", signal_name(signal)));
    }
    match status.exit_status() {
        Some(0) => None,
        Some(code) => Some(format!("it ended with exit code {code}")),
        None => Some("it ended".to_owned()),
    }
}

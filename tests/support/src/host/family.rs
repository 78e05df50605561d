//! A host's processes: the master, its workers, and how all of them are ended.
//!
//! Owns what makes sure that no worker outlives its test. A process is signalled through a
//! descriptor that was opened while it was known to be ours, so that no stranger can be hit.

use std::os::fd::OwnedFd;

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::Host;
use crate::{eventually, patience::patience, procfs, wire};

/// One entry of `processes` in `/v1/status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// `master`, `booting`, `soaking`, `serving`, `parked`, `draining`, `stopping`.
    pub role: String,
    /// Counts workers up from 1; 0 for the master.
    pub number: u64,
    /// The version it runs.
    pub version: String,
}

/// Processes that are signalled as one.
#[derive(Debug, Default)]
pub(super) struct Family(Vec<OwnedFd>);

impl Family {
    /// `pid` and all that descend from it.
    pub(super) fn of(pid: u32) -> Self {
        let all = std::iter::once(pid).chain(procfs::descendants(pid));
        let pids = all.filter_map(|pid| i32::try_from(pid).ok().and_then(Pid::from_raw));
        Self(pids.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).collect())
    }

    /// SIGKILL to all; returns when the last of them has ended.
    pub(super) fn kill(self) {
        for process in &self.0 {
            // It may have ended by itself.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        let time = Timespec::try_from(patience()).ok();
        for process in &self.0 {
            let mut set = [PollFd::new(process, PollFlags::IN)];
            let _ = rustix::io::retry_on_intr(|| poll(&mut set, time.as_ref()));
        }
    }
}

impl Host {
    /// Every process, the master first, as the status lists them; none without a master.
    #[must_use]
    #[track_caller]
    pub fn processes(&self) -> Vec<Process> {
        let status = self.status();
        let list = status["processes"].as_array().cloned().unwrap_or_default();
        let process = |it: &serde_json::Value| Process {
            pid: u32::try_from(wire::number(it, "/pid")).expect("a process id"),
            role: wire::text(it, "/role"),
            number: wire::number(it, "/number"),
            version: wire::text(it, "/version"),
        };
        list.iter().map(process).collect()
    }

    /// The one whose role this is.
    #[must_use]
    #[track_caller]
    pub fn process(&self, role: &str) -> Option<Process> {
        self.processes().into_iter().find(|it| it.role == role)
    }

    /// The worker that takes new requests; without a master, the host itself.
    ///
    /// # Panics
    /// When there is none within patience: between a crash and the next start there may be none
    /// for a moment.
    #[must_use]
    #[track_caller]
    pub fn worker_pid(&self) -> u32 {
        let mut found = None;
        eventually!(
            {
                let all = self.processes();
                let serving = |role: &str| all.iter().find(|it| it.role == role);
                // While the newest one is watched, it is the one that takes new requests.
                let worker = serving("soaking").or_else(|| serving("serving"));
                found = match worker {
                    None if all.is_empty() => Some(self.pid()),
                    worker => worker.map(|it| it.pid),
                };
                found.is_some()
            },
            "a worker that serves"
        );
        found.expect("it was found")
    }

    /// Waits until another worker than `before` takes new requests: its process id.
    ///
    /// # Panics
    /// When none does within patience.
    #[track_caller]
    pub fn wait_other_worker(&self, before: u32) -> u32 {
        eventually!(self.worker_pid() != before, "a worker after {before}");
        self.worker_pid()
    }

    /// Waits until the host has a process in this role.
    ///
    /// # Panics
    /// When it has none within patience.
    #[track_caller]
    pub fn wait_role(&self, role: &str) -> Process {
        let mut found = None;
        eventually!(
            {
                found = self.process(role);
                found.is_some()
            },
            "`{role}` in {:?}",
            self.processes()
        );
        found.expect("it was found")
    }

    /// Waits until a process is gone, and waited for.
    ///
    /// # Panics
    /// When it is still there after patience.
    #[track_caller]
    pub fn wait_gone(&self, pid: u32) {
        eventually!(procfs::state(pid).is_none(), "the end of {pid}");
    }

    /// Waits until a process has ended; whoever is its parent may not have waited for it yet.
    ///
    /// # Panics
    /// When it has not ended within patience.
    #[track_caller]
    pub fn wait_ended(&self, pid: u32) {
        let ended = || procfs::state(pid).is_none_or(|state| state == 'Z');
        eventually!(ended(), "the end of {pid}");
    }

    /// Sends a signal to one of this host's processes.
    ///
    /// # Panics
    /// When it is none of them, or gone.
    #[track_caller]
    pub fn signal_process(&self, pid: u32, signal: Signal) {
        let ours = pid == self.pid() || procfs::descendants(self.pid()).contains(&pid);
        assert!(ours, "{pid} is no process of this host");
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("signal a process of the host");
    }

    /// SIGHUP to the master: an upgrade to whatever is on disk.
    #[track_caller]
    pub fn hup(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGKILL to the master alone; its workers see that they have none any more.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn kill_master(&mut self) {
        // What Drop has to end, should the workers not.
        let family = Family::of(self.pid());
        self.orphans.0.extend(family.0);
        let _ = self.child.kill();
        self.child.wait().expect("wait for the master");
    }
}

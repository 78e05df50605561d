//! What each signal means to the host. Source: the table of nginx(8), HAProxy's and beego's habits.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::{Signal, kill_process},
};

use super::{Master, Role, hooks::Then, upgrade::Pending};
use crate::{
    config::HookPhase,
    ids::Peer,
    link::Order,
    sys::{process::session_leader, signals::Taken},
    upgrade::Request,
};

/// The signals that the master takes.
pub(super) const TAKEN: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    libc::SIGCHLD,
];

/// A stop signal that follows another one sooner is taken for a copy of it.
pub(super) const COPY_TIME: Duration = Duration::from_secs(1);

/// How long workers may take to pass a signal on that has reached other processes too: at once, but
/// for a busy machine.
const PASSED_ON_TIME: Duration = Duration::from_secs(3);

/// The master among the processes that signals reach; workers have their numbers.
const MASTER: u64 = 0;

/// Which processes of the host a signal has reached.
///
/// Whoever signals a whole process group, or every process of a service, means the host once: each
/// process gets the signal, and workers pass it on. From the same process it is another one.
#[derive(Debug, Default)]
pub(super) struct Reached(BTreeMap<String, (Instant, BTreeSet<u64>)>);

impl Reached {
    fn is_copy(&mut self, name: &str, process: u64, now: Instant) -> bool {
        if let Some((begun, reached)) = self.0.get_mut(name)
            && now.duration_since(*begun) < PASSED_ON_TIME
            && reached.insert(process)
        {
            return true;
        }
        self.0.insert(name.to_owned(), (now, BTreeSet::from([process])));
        false
    }
}

/// The terminal that a host was started in, if it was: its end is told by the same signal as a wish
/// for an upgrade.
#[derive(Debug)]
pub(super) struct Terminal {
    had_one: bool,
}

impl Terminal {
    /// That of this process.
    pub(super) fn look() -> Self {
        Self { had_one: is_there() }
    }

    /// Whether this HUP says that the terminal has gone: it comes from the kernel, or from the shell
    /// that leads the session, which passes it on to what it has started.
    fn has_ended(&self, taken: Taken) -> bool {
        let from_leader = session_leader() == Some(taken.sender)
            && taken.sender != std::process::id()
            && self.had_one
            && !is_there();
        taken.signal == libc::SIGHUP && (taken.by_kernel || from_leader)
    }
}

/// Whether this process has a terminal. Source: tty(4), ENXIO.
fn is_there() -> bool {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open("/dev/tty", flags, Mode::empty()).is_ok()
}

fn name_of(signal: i32) -> &'static str {
    match signal {
        libc::SIGHUP => "HUP",
        libc::SIGTERM => "TERM",
        libc::SIGINT => "INT",
        libc::SIGQUIT => "QUIT",
        libc::SIGUSR1 => "USR1",
        libc::SIGUSR2 => "USR2",
        libc::SIGTSTP => "TSTP",
        _ => "",
    }
}

impl Master {
    /// Acts on the signals that have come.
    pub(super) fn take_signals(&mut self) {
        while let Some(taken) = self.signals.next() {
            if self.terminal.has_ended(taken) {
                tracing::info!("HUP: the terminal has gone, and nothing else changes");
                continue;
            }
            let (pid, uid) = (taken.sender, taken.user);
            let by = (pid != 0).then_some(Peer { pid, uid });
            self.signalled(name_of(taken.signal), MASTER, by);
        }
    }

    /// A worker has got a signal that was meant for the host.
    pub(super) fn told_of(&mut self, worker: u64, name: &str) {
        self.signalled(name, worker, None);
    }

    fn signalled(&mut self, name: &str, process: u64, by: Option<Peer>) {
        match name {
            // These have a rule of their own.
            "TERM" | "INT" | "QUIT" => self.told_to_stop(name, process == MASTER, by),
            "" => {}
            _ if self.reached.is_copy(name, process, Instant::now()) => {
                tracing::debug!(name, process, "a copy of a signal that was acted on");
            }
            "HUP" if self.stop.is_some() => tracing::info!("HUP: ignored, the host is stopping"),
            "HUP" => self.ask(Pending {
                request: Request { by, ..Request::default() },
                asker: None,
                began: Instant::now(),
            }),
            "USR2" => self.run_hooks(name, HookPhase::Pre, Then::Hammer),
            "USR1" => self.run_hooks(name, HookPhase::Pre, Then::Post),
            "TSTP" if self.plan.settings.hooks.iter().any(|hook| hook.signal == name) => {
                self.run_hooks(name, HookPhase::Pre, Then::Post);
            }
            // Ctrl-Z stops the master as it would any process; the workers serve on.
            "TSTP" => {
                let _ = kill_process(rustix::process::getpid(), Signal::STOP);
            }
            _ => {}
        }
    }

    /// Ends at once what drains; what serves only if the host stops.
    pub(super) fn hammer(&mut self) {
        let stopping = self.stop.is_some();
        let mut count = 0;
        for worker in &mut self.workers {
            if worker.role == Role::Draining || stopping && worker.role == Role::Stopping {
                count += 1;
                worker.kill_at = Some(Instant::now() + super::upgrade::KILL_MARGIN);
                worker.tell(&Order::Hammer, &[]);
            }
        }
        tracing::info!(workers = count, "USR2: ending what drains");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_come_from_other_processes_and_soon() {
        let begun = Instant::now();
        let after = |ms| begun + Duration::from_millis(ms);
        let mut reached = Reached::default();
        assert!(!reached.is_copy("HUP", 2, begun), "the first one, wherever it came");
        assert!(reached.is_copy("HUP", MASTER, after(1)));
        assert!(reached.is_copy("HUP", 1, after(2)));
        assert!(!reached.is_copy("USR1", 1, after(2)), "another signal");
        assert!(!reached.is_copy("HUP", MASTER, after(3)), "sent to the master once more");
        assert!(reached.is_copy("HUP", 1, after(4)));
        assert!(!reached.is_copy("HUP", 2, after(3003)), "too late for a copy");
    }
}

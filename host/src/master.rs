//! The master: keeps the process id, the listeners, the pinned binary and what is in traffic.
//!
//! One thread around one `poll`; it loads no plugin, sees no request and waits for nobody. Workers
//! do the work: `led` is one as seen from here. Everything that may be slow or fail in odd ways
//! (reading a binary, parsing settings, commands of the operator) is a child (`child`).
//!
//! # Invariants
//! - A worker that serves is left alone until its successor has proven itself.
//! - A listening socket is closed only when its address was removed from the settings, or at the
//!   end, by then without anything in its queue.
//! - No error of an upgrade ends the master or changes what serves.
//!
//! # Order of the files
//! Each imports only from those before it, which `tests/it/tidy` reads here; the state itself,
//! defined below, is everybody's.
//! - `binary` `child` `complaints` `crash` `notify` `origin` `pid_file` `probe` `sockets`: parts
//! - `led`: a worker
//! - `happened` `deeds` `cells`: what outlives workers
//! - `blame` `upgrade` `hooks` `signals` `inbox` `spawn` `stop` `stuck`: what moves the host on
//! - `memory` `launch`: what an image leaves and begins with

mod binary;
mod blame;
mod cells;
mod child;
mod complaints;
mod crash;
mod deeds;
mod happened;
mod hooks;
mod inbox;
mod launch;
mod led;
mod memory;
mod notify;
mod origin;
mod pid_file;
mod probe;
mod signals;
mod sockets;
mod spawn;
mod stop;
mod stuck;
mod upgrade;

use std::{
    cell::RefCell,
    ffi::OsString,
    os::fd::OwnedFd,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

pub use self::launch::{launch, resume};
use self::{
    binary::Pinned,
    crash::Crashes,
    happened::Row,
    hooks::HookRun,
    led::{Cargo, Led, Role, Text},
    origin::Origin,
    pid_file::PidFile,
    signals::{Reached, Terminal},
    sockets::Sockets,
    stop::Stopping,
    upgrade::{Pending, Upgrade},
};
use crate::{
    link::{ConfigFile, Order, Settings, Veiled},
    log,
    state::StateDir,
    status::{Classes, ProcessStatus, Totals},
    sys::{process::forget_code, program, signals::Signals},
    upgrade::Outcome,
};

/// What workers are started by.
#[derive(Debug)]
struct Plan {
    /// What follows `serve`.
    args: Vec<OsString>,
    settings: Settings,
    file: ConfigFile,
    /// What workers have made of the plugins' settings in `file`: reloads, and the values of secrets.
    standing: RefCell<Option<Veiled>>,
    binary: Rc<Pinned>,
    /// The host version of the binary.
    version: String,
    /// The working directory that the settings were checked in, by descriptor: a name may lead
    /// elsewhere when the next worker is started.
    workdir: Rc<OwnedFd>,
}

/// See the module.
#[derive(Debug)]
pub struct Master {
    origin: Origin,
    plan: Rc<Plan>,
    /// What the plan was before the last commit, in case the binary turns out bad.
    previous: Option<Rc<Plan>>,
    state: StateDir,
    pid_file: Option<PidFile>,
    sockets: Sockets,
    signals: Signals,
    workers: Vec<Led>,
    upgrade: Option<Upgrade>,
    /// One request that waits for the running upgrade to end.
    latched: Option<Pending>,
    hooks: Vec<HookRun>,
    /// Which processes a signal has reached.
    reached: Reached,
    /// What it was started in.
    terminal: Terminal,
    stop: Option<Stopping>,
    crashes: Crashes,
    /// When the next worker is started, after one that has ended unasked.
    respawn: Option<Instant>,
    /// What the next worker must take out of traffic, and why; kept until one has come up.
    withdraw: Vec<(u64, String)>,
    /// The bytes of generations that have ended workers while they were loaded, as long.
    contents: Vec<(u64, String)>,
    /// What is in traffic, with its bytes.
    cargo: Cargo,
    /// The manifest of the worker that has it in traffic.
    manifest: Option<Text>,
    /// What plugins keep beyond their versions and workers; `None`: no worker was given any.
    cells: Option<OwnedFd>,
    /// What was counted when the last worker was frozen.
    counters: Option<String>,
    lame_duck: bool,
    /// Numbers workers.
    next_number: u64,
    /// How the last upgrade ended.
    last: Option<Outcome>,
    /// What was counted.
    totals: Totals,
    /// What the workers were last told of the host.
    told: Vec<ProcessStatus>,
    /// The same, of the lines that this image has dropped.
    told_dropped: u64,
    /// Events, and numbers that are not given again.
    row: Row,
    began: SystemTime,
    /// The same on the clock that nobody sets.
    up_from: Duration,
    /// The ready line was printed.
    announced: bool,
    /// How the process ends, once that is decided.
    exit: Option<u8>,
    /// The binary has changed: the master is to go over to it too.
    wants_image: bool,
    /// Memory is to be given back when there is time.
    forgets: bool,
    /// Requests that were cut by the stop.
    aborted: usize,
}

impl Master {
    /// Leads until the host has ended; the exit code.
    fn run(mut self) -> u8 {
        loop {
            self.wait();
            self.take_signals();
            self.reap();
            self.listen();
            self.tick(Instant::now());
            self.tell_deeds();
            self.publish();
            self.forget();
            if let Some(code) = self.exit {
                let tasks = self.upgrade.iter().filter_map(Upgrade::task);
                tasks.chain(self.hooks.iter().map(HookRun::task)).for_each(child::Task::kill);
                self.sockets.end();
                self.sockets.remove_files();
                notify::settle();
                return code;
            }
        }
    }

    /// Sleeps until something happens or is due.
    fn wait(&mut self) {
        let due = self.due();
        let mut list = vec![PollFd::new(&self.signals, PollFlags::IN)];
        for worker in &self.workers {
            if let Some(pipe) = worker.complaints.pipe() {
                list.push(PollFd::from_borrowed_fd(pipe, PollFlags::IN));
            }
            if worker.closed {
                continue;
            }
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, worker.wants_room());
            list.push(PollFd::from_borrowed_fd(worker.socket(), flags));
        }
        let tasks = self.upgrade.iter().filter_map(Upgrade::task);
        let tasks = tasks.chain(self.hooks.iter().map(HookRun::task));
        for pipe in tasks.flat_map(child::Task::pipes) {
            list.push(PollFd::from_borrowed_fd(pipe, PollFlags::IN));
        }
        if let Some((socket, flags)) = self.upgrade.as_ref().and_then(Upgrade::probe_wait) {
            list.push(PollFd::from_borrowed_fd(socket, flags));
        }
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        let time = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut list, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {
                if let Some(due) = due {
                    self.overslept(due);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the master cannot wait");
                // Without memory for the list; it is asked again soon.
                std::thread::park_timeout(Duration::from_millis(50));
            }
        }
    }

    /// When something has to be done even if nothing happens.
    fn due(&self) -> Option<Instant> {
        let workers = self.workers.iter().flat_map(|it| [it.kill_at, it.stalled]).flatten();
        let hooks = self.hooks.iter().map(|run| run.task().deadline());
        let respawn = self.respawn.filter(|_| self.stop.is_none());
        let upgrade = self.upgrade.as_ref().map(Upgrade::due);
        let silence = self.silence_due();
        workers.chain(hooks).chain(respawn).chain(upgrade).chain(silence).min()
    }

    /// Does what is due.
    fn tick(&mut self, now: Instant) {
        for worker in &mut self.workers {
            worker.flush();
            if worker.kill_at.is_some_and(|at| at <= now) {
                tracing::warn!(
                    worker = worker.number,
                    worker_pid = worker.id(),
                    "killed: its time was up"
                );
                worker.kill_at = None;
                if matches!(worker.role, Role::Booting | Role::Soaking | Role::Serving) {
                    worker.trouble.get_or_insert_with(|| "it was not up in time".to_owned());
                    worker.end();
                } else {
                    worker.kill();
                }
            }
        }
        self.tick_silence(now);
        self.tick_hooks(now);
        self.tick_upgrade(now);
        self.guard(now);
        self.tick_respawn(now);
        self.tick_stop();
        self.tick_image();
    }

    /// Sees to it that somebody serves, or is about to: whatever has gone wrong before.
    fn guard(&mut self, now: Instant) {
        let idle = self.upgrade.is_none() && self.stop.is_none() && self.respawn.is_none();
        let serves = |it: &Led| {
            !it.dismissed && matches!(it.role, Role::Booting | Role::Soaking | Role::Serving)
        };
        if idle && self.announced && self.exit.is_none() && !self.workers.iter().any(serves) {
            tracing::error!("no worker serves: one is started");
            self.respawn = Some(now);
        }
    }

    /// Gives back what a start or an upgrade has taken, once it is over.
    fn forget(&mut self) {
        if self.forgets && self.announced && self.upgrade.is_none() {
            self.forgets = false;
            forget_code();
        }
    }

    fn worker(&mut self, number: u64) -> Option<&mut Led> {
        self.workers.iter_mut().find(|worker| worker.number == number)
    }

    /// The worker that serves, and is not merely being watched.
    fn serving(&mut self) -> Option<&mut Led> {
        self.workers.iter_mut().find(|worker| worker.role == Role::Serving)
    }

    /// Every process, the master first, then the workers, newest first.
    fn processes(&self) -> Vec<ProcessStatus> {
        let master = ProcessStatus {
            pid: std::process::id(),
            role: "master".to_owned(),
            number: 0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            binary: self.plan.binary.digest.clone(),
            from_memory: program::is_in_memory(),
            since: self.began,
            up_from: Some(self.up_from),
            connections: Classes::default(),
        };
        let workers = self.workers.iter().rev().map(Led::status);
        std::iter::once(master).chain(workers).collect()
    }

    /// Tells the workers what the status is to show, when it has changed.
    fn publish(&mut self) {
        let (list, dropped) = (self.processes(), log::dropped());
        if list == self.told && dropped == self.told_dropped {
            return;
        }
        self.told.clone_from(&list);
        self.told_dropped = dropped;
        self.tell_processes(list);
    }

    fn tell_processes(&mut self, list: Vec<ProcessStatus>) {
        let mut totals = self.totals.clone();
        totals.worker_crashes = self.crashes.total;
        totals.log_dropped += log::dropped();
        let order = Order::Processes { list, upgrade: self.last.clone(), totals };
        for worker in &mut self.workers {
            worker.tell(&order, &[]);
        }
    }
}

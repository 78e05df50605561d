//! The start of an image: from a command line that was parsed, or from the image before, to a master
//! that leads.
//!
//! Parsing leaves its marks on a process (code and memory that a master never needs again), so the
//! master is a fresh image of the same process: the same way on which it later goes over to
//! another binary.

use std::{
    cell::RefCell,
    ffi::OsString,
    path::Path,
    rc::Rc,
    time::{Instant, SystemTime},
};

use anyhow::Context as _;
use rustix::io::fcntl_dupfd_cloexec;

use super::{
    Master, Plan, Sockets,
    binary::Pinned,
    crash::Crashes,
    happened::Row,
    memory::{self, Memory, PlanMemory},
    notify,
    origin::{Origin, open_workdir},
    pid_file::PidFile,
    signals::{Reached, TAKEN, Terminal},
    upgrade::BINARIES,
};
use crate::{
    config::raw::file::warn_of_passed_over,
    error::Coded as _,
    link::{ConfigFile, Deed, Settings},
    log,
    serve::Socket,
    state::StateDir,
    status::Totals,
    sys::{self, clock::since_boot, inherited, mount::forbids_running, signals::Signals},
    worker::{advice, whole},
};

/// Becomes the master of a host with these settings; `args` followed `serve`. Comes back only when
/// that cannot be.
pub fn launch(args: Vec<OsString>, settings: Settings, file: ConfigFile) -> anyhow::Error {
    let become_master = || -> anyhow::Result<std::convert::Infallible> {
        let origin = Origin::of_this_process(args).context("find the working directory")?;
        let binary = Pinned::own(&origin.binary, None).context("open the binary itself")?;
        let plan = PlanMemory::new(&origin.args, settings, file, &binary);
        let memory = Memory::first(origin, plan);
        Err(memory::exec(&memory, &binary, &[]).into())
    };
    match become_master() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// Leads a host, from what the image before has written down; the exit code.
#[must_use]
pub fn resume(number: &str) -> u8 {
    match recall(number) {
        Ok(master) => master.run(),
        Err(error) => {
            tracing::error!(hint = advice(&error), "{}", whole(&error));
            1
        }
    }
}

fn recall(number: &str) -> anyhow::Result<Master> {
    let Memory { origin, plan, running, .. } = memory::read(number)?;
    // A master holds descriptors for every worker and every version in traffic.
    let raised = sys::process::raise_descriptor_limit();
    let logs = plan.settings.logging().and_then(|how| log::start(&how, "master"));
    if running.is_none() {
        // A host that runs already goes on without a log: nobody has asked for its end.
        logs?;
    }
    // The file that is run has no name of its own.
    let _ = rustix::thread::set_name(c"hotseat");
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit on descriptors could not be raised");
    }
    match running {
        None => begin(origin, plan),
        Some(running) => Ok(memory::go_on(origin, plan, running)?),
    }
}

/// What a master begins with: the state, the sockets, the first worker on its way.
fn begin(origin: Origin, plan: PlanMemory) -> anyhow::Result<Master> {
    let signals = Signals::take(&TAKEN).context("take the signals")?;
    // Sockets that were meant for another process are in nobody's way.
    inherited::keep_all();
    let mut given = given_sockets();
    let state = StateDir::open(&plan.settings.state_dir)?;
    let mut sockets = Sockets::default();
    let bound = sockets.bind_missing(&plan.settings, &mut given)?;
    sockets.join(bound);
    for socket in &given {
        let address = socket.address().map_or_else(|error| error.to_string(), |it| it.to_string());
        tracing::warn!(address, "a socket was given that the settings do not name: it is closed");
    }
    drop(given);
    let pid_file = plan.settings.pid_file.as_deref().map(PidFile::write).transpose()?;
    warn_of_noexec(&state);
    warn_of_passed_over(plan.file.path.as_deref());
    let binary = Pinned::own(&origin.binary, plan.digest.clone()).context("open the binary")?;
    let plan = Rc::new(Plan {
        args: plan.args,
        settings: plan.settings,
        file: plan.file,
        standing: RefCell::new(plan.standing),
        binary: Rc::new(binary),
        version: plan.version,
        workdir: Rc::new(open_workdir(Path::new(".")).context("open the working directory")?),
    });
    let row = Row::begin(state.path());
    let mut master = Master {
        origin,
        plan: plan.clone(),
        previous: None,
        state,
        pid_file,
        sockets,
        signals,
        workers: Vec::new(),
        upgrade: None,
        latched: None,
        hooks: Vec::new(),
        reached: Reached::default(),
        terminal: Terminal::look(),
        stop: None,
        crashes: Crashes::default(),
        respawn: None,
        withdraw: Vec::new(),
        contents: Vec::new(),
        cargo: Vec::new(),
        manifest: None,
        cells: None,
        counters: None,
        lame_duck: false,
        next_number: 1,
        last: None,
        totals: Totals::default(),
        told: Vec::new(),
        told_dropped: 0,
        row,
        began: SystemTime::now(),
        up_from: since_boot(),
        announced: false,
        exit: None,
        wants_image: false,
        forgets: true,
        aborted: 0,
    };
    notify::status("booting");
    master.spawn(&plan, &Sockets::default()).context("start a worker")?;
    Ok(master)
}

/// Says so where nothing in the state folder can be run.
fn warn_of_noexec(state: &StateDir) {
    if let Some(mount) = forbids_running(state.path()) {
        let folder = state.path().join(BINARIES);
        tracing::warn!(
            folder = %folder.display(), mount = %mount.display(),
            "the state folder is on a file system that is mounted noexec: plugins are loaded from \
             memory, and another binary is run from there; give another `--state-dir`, or run `mount -o \
             remount,exec {}`", mount.display()
        );
    }
}

/// Sockets that a service manager has opened. Source: sd_listen_fds(3).
fn given_sockets() -> Vec<Socket> {
    let numbers = match sd_notify::listen_fds() {
        Ok(numbers) => numbers,
        Err(error) => {
            tracing::warn!(%error, "LISTEN_FDS is not understood");
            return Vec::new();
        }
    };
    let socket =
        |number| -> std::io::Result<Socket> { super::sockets::guess(inherited::take(number)?) };
    let mut sockets = Vec::new();
    for number in numbers {
        match socket(number) {
            Ok(socket) => sockets.push(socket),
            Err(error) => tracing::warn!(number, %error, "a given descriptor is no listener"),
        }
    }
    sockets
}

impl Master {
    /// The one line that says that the host serves, for people and for whoever started it.
    pub(super) fn announce(&mut self) {
        if std::mem::replace(&mut self.announced, true) {
            return;
        }
        let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
        let text = format!("hotseat {version} has started, pid {pid}");
        self.note(Deed::new("host", "start", "started", text));
        let line = format!(
            "hotseat {} ready: data {} control {} pid {}",
            env!("CARGO_PKG_VERSION"),
            self.sockets.shown(0),
            self.sockets.shown(1),
            std::process::id(),
        );
        match fcntl_dupfd_cloexec(std::io::stdout(), 3) {
            Ok(out) => sys::process::say_aside(out, format!("{line}\n")),
            Err(error) => tracing::warn!(%error, "the ready line could not be written"),
        }
    }

    /// Writes the pid file that the settings now want, and removes the one before.
    pub(super) fn follow_pid_file(&mut self) {
        let wanted = self.plan.settings.pid_file.as_deref();
        let wanted = wanted.map(|path| self.origin.workdir.join(path));
        if wanted.as_deref() == self.pid_file.as_ref().map(PidFile::path) {
            return;
        }
        self.pid_file = None;
        if let Some(path) = wanted {
            match PidFile::write(&path) {
                Ok(file) => self.pid_file = Some(file),
                Err(error) => tracing::error!(hint = error.hint(), "{error}"),
            }
        }
    }

    /// Returns to the plan before, whose binary is known to come up.
    pub(super) fn go_back_to(&mut self, previous: Rc<Plan>) {
        match self.sockets.bind_missing(&previous.settings, &mut Vec::new()) {
            Ok(missing) => self.sockets.join(missing),
            Err(error) => tracing::error!("an address of before cannot be bound again: {error}"),
        }
        let surplus = self.sockets.take_surplus(&previous.settings);
        surplus.remove_files();
        // Else the next upgrade would find the bad one again.
        self.origin.args.clone_from(&previous.args);
        self.origin.binary.clone_from(&previous.binary.source);
        // A master that has gone over to it already comes back.
        self.wants_image = previous.settings.master_reexec;
        self.plan = previous;
        self.follow_pid_file();
    }

    /// Goes over to the binary that the workers run, once nothing else is going on.
    pub(super) fn tick_image(&mut self) {
        let coming = |it: &super::Led| it.dismissed || it.role == super::Role::Booting;
        let busy = self.upgrade.is_some()
            || self.stop.is_some()
            || self.exit.is_some()
            || !self.hooks.is_empty()
            || self.respawn.is_some()
            || self.workers.iter().any(coming);
        if !self.wants_image || busy || self.workers.iter().any(super::Led::has_mail) {
            return;
        }
        self.wants_image = false;
        let begun = Instant::now();
        // Only comes back when it cannot be done.
        let error = memory::change_image(self);
        tracing::error!(
            %error, seconds = begun.elapsed().as_secs_f64(),
            "the master stays with the image it has"
        );
    }
}

//! What a master knows, written down for its own next image.
//!
//! The process stays: its id, its children, its descriptors, the signals that wait for it. Only
//! the code changes. Owns the form in which everything is written down; [`SCHEMA`] says which.

use std::{
    cell::RefCell,
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::fcntl_dupfd_cloexec,
    process::Pid,
};
use serde::{Deserialize, Serialize};

use super::{
    Led, Master, Plan, Role, Sockets,
    binary::{Pinned, Stamp},
    complaints::Complaints,
    crash::Crashes,
    happened::Row,
    led::Text,
    notify,
    origin::{Origin, open_workdir},
    pid_file::PidFile,
    signals::{Reached, TAKEN, Terminal},
    sockets::{Bound, descriptor},
};
use crate::{
    config::Listen,
    link::{
        Beat, Channel, ConfigFile, MASTER_FD, MEMORY_SCHEMA as SCHEMA, Settings, Veiled, Version,
    },
    log,
    serve::Socket,
    state::StateDir,
    status::Totals,
    sys::{self, clock::since_boot, inherited, program, signals::Signals},
    upgrade::Outcome,
};

/// A plan, written down.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PlanMemory {
    pub(super) args: Vec<OsString>,
    pub(super) settings: Settings,
    pub(super) file: ConfigFile,
    #[serde(default)]
    pub(super) standing: Option<Veiled>,
    pub(super) version: String,
    pub(super) digest: Option<String>,
    source: PathBuf,
    stamp: Option<Stamp>,
    /// The pinned binary, when it is not the one of this image.
    binary: Option<RawFd>,
    /// The working directory; an image of before it was held has left none.
    #[serde(default)]
    workdir: Option<RawFd>,
}

/// Everything, written down.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    schema: u16,
    pub(super) origin: Origin,
    pub(super) plan: PlanMemory,
    /// Nothing: the host begins.
    pub(super) running: Option<Running>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Running {
    previous: Option<PlanMemory>,
    lock: RawFd,
    /// An image of before it was written down has left it to be found by its name.
    #[serde(default)]
    state_dir: Option<PathBuf>,
    /// As [`Place::token`](crate::link::Place::token).
    #[serde(default)]
    token: Option<String>,
    pid_file: Option<PathBuf>,
    sockets: [Vec<(Listen, RawFd, bool)>; 3],
    workers: Vec<WorkerMemory>,
    cargo: Vec<(Version, Option<RawFd>)>,
    #[serde(default)]
    manifest: Option<(String, RawFd)>,
    #[serde(default)]
    cells: Option<RawFd>,
    counters: Option<String>,
    lame_duck: bool,
    next_number: u64,
    last: Option<Outcome>,
    totals: Totals,
    began: SystemTime,
    #[serde(default)]
    up_from: Option<Duration>,
    crashes: u64,
    respawn: bool,
    #[serde(default)]
    withdraw: Vec<(u64, String)>,
    /// A master of before kept none.
    #[serde(default)]
    row: Option<Row>,
    #[serde(default)]
    contents: Vec<(u64, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WorkerMemory {
    number: u64,
    pid: i32,
    role: Role,
    version: String,
    digest: Option<String>,
    #[serde(default)]
    from_memory: bool,
    since: SystemTime,
    #[serde(default)]
    up_from: Option<Duration>,
    channel: RawFd,
    page: RawFd,
    kill_in: Option<Duration>,
    served: bool,
    /// It tells them only when they change.
    #[serde(default)]
    counted: Option<String>,
    #[serde(default)]
    handed: Option<String>,
    beat: Beat,
    base: Beat,
    #[serde(default)]
    hears: bool,
    #[serde(default)]
    told: u64,
}

impl PlanMemory {
    pub(super) fn new(
        args: &[OsString],
        settings: Settings,
        file: ConfigFile,
        binary: &Pinned,
    ) -> Self {
        Self {
            args: args.to_vec(),
            settings,
            file,
            standing: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            digest: binary.digest.clone(),
            source: binary.source.clone(),
            stamp: binary.stamp,
            binary: None,
            workdir: None,
        }
    }

    fn of(plan: &Plan, leave: &mut Leave) -> io::Result<Self> {
        let mut memory =
            Self::new(&plan.args, plan.settings.clone(), plan.file.clone(), &plan.binary);
        memory.version.clone_from(&plan.version);
        memory.standing.clone_from(&plan.standing.borrow());
        memory.binary = Some(leave.descriptor(plan.binary.descriptor())?);
        memory.workdir = Some(leave.descriptor(plan.workdir.as_fd())?);
        Ok(memory)
    }

    fn recall(self) -> io::Result<Plan> {
        let Self {
            args,
            settings,
            file,
            standing,
            version,
            digest,
            source,
            stamp,
            binary,
            workdir,
        } = self;
        let binary = match binary {
            Some(number) => Pinned::remembered(inherited::take(number)?, digest, source, stamp),
            None => Pinned::own(&source, digest)?,
        };
        let workdir = match workdir {
            Some(number) => inherited::take(number)?,
            None => open_workdir(Path::new("."))?,
        };
        let (binary, workdir) = (Rc::new(binary), Rc::new(workdir));
        let standing = RefCell::new(standing);
        Ok(Plan { args, settings, file, standing, binary, version, workdir })
    }
}

impl Memory {
    /// That of a host which has not begun.
    pub(super) fn first(origin: Origin, plan: PlanMemory) -> Self {
        Self { schema: SCHEMA, origin, plan, running: None }
    }
}

/// Descriptors that the next image gets: copies, each for one owner there, which are closed with
/// the value when there is no next image.
#[derive(Default)]
struct Leave(Vec<OwnedFd>);

impl Leave {
    fn descriptor(&mut self, descriptor: BorrowedFd<'_>) -> io::Result<RawFd> {
        let copy = fcntl_dupfd_cloexec(descriptor, 3)?;
        let number = inherited::leave(copy.as_fd())?;
        self.0.push(copy);
        Ok(number)
    }
}

/// Goes on as `binary` with `memory`. Comes back only when that is not possible.
pub(super) fn exec(memory: &Memory, binary: &Pinned, args: &[OsString]) -> io::Error {
    let replace = || -> io::Result<io::Error> {
        let mut file = File::from(memfd_create("hotseat-master", MemfdFlags::CLOEXEC)?);
        // As a whole: else each piece of JSON is a write of its own.
        file.write_all(&serde_json::to_vec(memory)?)?;
        file.rewind()?;
        let number = inherited::leave(file.as_fd())?;
        let name = std::env::args_os().next().unwrap_or_else(|| "hotseat".into());
        let mut command = Command::new(program::of_descriptor(binary.descriptor()));
        command.arg0(name).arg("serve");
        command.args(if args.is_empty() { &memory.plan.args } else { args });
        command.env(MASTER_FD, number.to_string());
        program::ready(&mut command, true)?;
        Ok(command.exec())
    };
    replace().unwrap_or_else(|error| error)
}

/// Goes over to the binary of the plan. Comes back only when that is not possible; everything is
/// as it was then.
pub(super) fn change_image(master: &mut Master) -> io::Error {
    let mut leave = Leave::default();
    tracing::info!(version = master.plan.version, "the master goes over to the new binary");
    // The next image has a queue of its own: what this one's has is written, or counted.
    notify::settle();
    log::flush();
    let memory = match write_down(master, &mut leave) {
        Ok(memory) => memory,
        Err(error) => return error,
    };
    let error = exec(&memory, &master.plan.binary.clone(), &[]);
    // What prepares for another image restores this.
    sys::signals::ignore_broken_pipes();
    error
}

fn write_down(master: &mut Master, leave: &mut Leave) -> io::Result<Memory> {
    let mut sockets: [Vec<(Listen, RawFd, bool)>; 3] = Default::default();
    for (plane, list) in master.sockets.0.iter().enumerate() {
        for bound in list {
            let number = leave.descriptor(descriptor(&bound.socket))?;
            sockets[plane].push((bound.listen.clone(), number, bound.given));
        }
    }
    let now = Instant::now();
    let workers = master.workers.iter().map(|worker| WorkerMemory::of(worker, now, leave));
    let workers = workers.collect::<io::Result<_>>()?;
    let mut cargo = Vec::new();
    for (version, bytes) in &master.cargo {
        let number = bytes.as_ref().map(|bytes| leave.descriptor(bytes.as_fd())).transpose()?;
        cargo.push((version.clone(), number));
    }
    let previous = master.previous.as_ref();
    let previous = previous.map(|plan| PlanMemory::of(plan, leave)).transpose()?;
    let plan = PlanMemory::of(&master.plan, leave)?;
    let lock = master.state.lock()?.ok_or(io::ErrorKind::NotFound)?;
    let lock = leave.descriptor(lock.as_fd())?;
    let manifest = master.manifest.as_ref();
    let manifest = manifest.map(|(digest, text)| {
        Ok::<_, io::Error>((digest.clone(), leave.descriptor(text.as_fd())?))
    });
    let cells = master.cells.as_ref().map(|cells| leave.descriptor(cells.as_fd()));
    Ok(Memory {
        schema: SCHEMA,
        origin: master.origin.clone(),
        plan,
        running: Some(Running {
            previous,
            lock,
            pid_file: master.pid_file.as_ref().map(|file| file.path().to_owned()),
            sockets,
            workers,
            cargo,
            manifest: manifest.transpose()?,
            cells: cells.transpose()?,
            state_dir: Some(master.state.path().to_owned()),
            token: master.state.token().map(str::to_owned),
            counters: master.counters.clone(),
            lame_duck: master.lame_duck,
            next_number: master.next_number,
            last: master.last.clone(),
            totals: Totals {
                log_dropped: master.totals.log_dropped + log::lost(),
                ..master.totals.clone()
            },
            began: master.began,
            up_from: Some(master.up_from),
            crashes: master.crashes.total,
            respawn: master.respawn.is_some(),
            withdraw: master.withdraw.clone(),
            row: Some(master.row.clone()),
            contents: master.contents.clone(),
        }),
    })
}

/// Reads what the image before has written down.
pub(super) fn read(number: &str) -> anyhow::Result<Memory> {
    let mut file = File::from(inherited::take(number.parse()?)?);
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let memory: Memory = serde_json::from_slice(&text)?;
    let schema = memory.schema;
    anyhow::ensure!(schema == SCHEMA, "a master of another kind has left schema {schema}");
    Ok(memory)
}

/// Goes on with what ran under the image before.
pub(super) fn go_on(origin: Origin, plan: PlanMemory, running: Running) -> io::Result<Master> {
    // The signals are blocked since the image before: none was lost.
    let signals = Signals::take(&TAKEN)?;
    let mut sockets = Sockets::default();
    for (plane, list) in running.sockets.into_iter().enumerate() {
        for (listen, number, given) in list {
            let socket = Socket::adopt(inherited::take(number)?, &listen)?;
            sockets.0[plane].push(Bound { listen, socket, given });
        }
    }
    let mut cargo = Vec::new();
    for (version, number) in running.cargo {
        cargo.push((version, number.map(inherited::take).transpose()?));
    }
    let manifest = running
        .manifest
        .map(|(digest, number)| Ok::<_, io::Error>((digest, Rc::new(inherited::take(number)?))));
    let manifest = manifest.transpose()?;
    let cells = running.cells.map(inherited::take).transpose()?;
    let mut workers = Vec::new();
    for memory in running.workers {
        workers.extend(memory.recall(&cargo, manifest.as_ref())?);
    }
    let plan = Rc::new(plan.recall()?);
    let previous = running.previous.map(PlanMemory::recall).transpose()?.map(Rc::new);
    let found = || origin.workdir.join(&plan.settings.state_dir);
    let place = running.state_dir.unwrap_or_else(found);
    let state = StateDir::remembered(place, inherited::take(running.lock)?, running.token);
    let row = running.row.unwrap_or_else(|| Row::begin(state.path()));
    // What a master of another version has left besides is nobody's.
    inherited::keep_all();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the master goes on in a new image");
    let mut master = Master {
        pid_file: running.pid_file.map(PidFile::remembered),
        origin,
        plan,
        previous,
        state,
        sockets,
        signals,
        workers,
        upgrade: None,
        latched: None,
        hooks: Vec::new(),
        reached: Reached::default(),
        terminal: Terminal::look(),
        stop: None,
        crashes: Crashes::remembered(running.crashes),
        respawn: running.respawn.then(Instant::now),
        withdraw: running.withdraw,
        contents: running.contents,
        cargo,
        manifest,
        cells,
        counters: running.counters,
        lame_duck: running.lame_duck,
        next_number: running.next_number,
        last: running.last,
        totals: running.totals,
        told: Vec::new(),
        told_dropped: 0,
        row,
        began: running.began,
        up_from: up_from(running.up_from, running.began),
        announced: true,
        exit: None,
        wants_image: false,
        forgets: true,
        aborted: 0,
    };
    master.ask_for_cells();
    Ok(master)
}

/// A master of before did not say it: then the time of day is trusted once more.
fn up_from(known: Option<Duration>, since: SystemTime) -> Duration {
    known.unwrap_or_else(|| since_boot().saturating_sub(since.elapsed().unwrap_or_default()))
}

impl WorkerMemory {
    fn of(worker: &Led, now: Instant, leave: &mut Leave) -> io::Result<Self> {
        Ok(Self {
            number: worker.number,
            pid: worker.pid.as_raw_nonzero().get(),
            role: worker.role,
            version: worker.version.clone(),
            digest: worker.digest.clone(),
            from_memory: worker.from_memory,
            since: worker.since,
            up_from: Some(worker.up_from),
            channel: leave.descriptor(worker.channel.as_fd())?,
            page: leave.descriptor(worker.page.as_fd())?,
            kill_in: worker.kill_at.map(|at| at.saturating_duration_since(now)),
            served: worker.served,
            counted: worker.counted.clone(),
            handed: worker.handed.clone(),
            beat: worker.beat,
            base: worker.base,
            hears: worker.hears,
            told: worker.told,
        })
    }

    /// The worker, unless its number makes no sense.
    fn recall(
        self,
        cargo: &[(Version, Option<OwnedFd>)],
        manifest: Option<&Text>,
    ) -> io::Result<Option<Led>> {
        let channel = Channel::adopt(inherited::take(self.channel)?)?;
        let page = inherited::take(self.page)?;
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let serves = self.role == Role::Serving;
        let copy = |(version, bytes): &(Version, Option<OwnedFd>)| {
            (version.clone(), bytes.as_ref().and_then(|bytes| bytes.try_clone().ok()))
        };
        Ok(Some(Led {
            number: self.number,
            pid,
            role: self.role,
            version: self.version,
            digest: self.digest,
            from_memory: self.from_memory,
            since: self.since,
            up_from: up_from(self.up_from, self.since),
            cargo: if serves { cargo.iter().map(copy).collect() } else { Vec::new() },
            manifest: manifest.filter(|_| serves).cloned(),
            beat: self.beat,
            base: self.base,
            heard: Instant::now(),
            stuck: Vec::new(),
            blamed: Vec::new(),
            retry_at: None,
            refusals: 0,
            ending: false,
            withdraws: 0,
            hears: self.hears,
            deeds: 0,
            told: self.told,
            trouble: None,
            said: Vec::new(),
            served: self.served,
            counted: self.counted,
            handed: self.handed,
            dismissed: matches!(self.role, Role::Draining | Role::Stopping),
            kill_at: self.kill_in.map(|left| Instant::now() + left),
            channel,
            outbox: std::collections::VecDeque::new(),
            stalled: None,
            closed: false,
            born: Instant::now(),
            complaints: Complaints::default(),
            page,
            memory_kills: sys::memory::out_of_memory_kills(),
        }))
    }
}

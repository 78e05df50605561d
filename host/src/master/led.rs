//! A worker as its master sees it.
//!
//! Owns the channel, what waits to be sent on it, and what the worker last said of itself.

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, kill_process},
};

use super::{
    Plan,
    complaints::Complaints,
    origin::{self, open_workdir},
};
use crate::{
    link::{
        Beat, Channel, Order, Received, Report, StuckThread, Version, WORKER,
        channel::{DESCRIPTORS_MAX, Packet},
    },
    status::ProcessStatus,
    sys::{clock::since_boot, fault, memory::out_of_memory_kills, program, upbringing},
};

/// What a worker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Role {
    /// It comes up.
    Booting,
    /// It serves and is watched.
    Soaking,
    /// It serves.
    Serving,
    /// It accepts no more, and may be called back.
    Parked,
    /// It finishes what it has.
    Draining,
    /// It stops with the host.
    Stopping,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Booting => "booting",
            Self::Soaking => "soaking",
            Self::Serving => "serving",
            Self::Parked => "parked",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        }
    }
}

/// Before another attempt when the system has no room for a message.
const STALL_TIME: Duration = Duration::from_millis(50);

/// How long a worker may live without its channel.
const CLOSED_TIME: Duration = Duration::from_secs(5);

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

/// A version in traffic, and its bytes.
pub(super) type Cargo = Vec<(Version, Option<OwnedFd>)>;

/// The digest, in hex, of a text in memory, and the text.
pub(super) type Text = (String, Rc<OwnedFd>);

/// A worker.
#[derive(Debug)]
pub(super) struct Led {
    pub(super) number: u64,
    pub(super) pid: Pid,
    pub(super) role: Role,
    /// The host version that it runs.
    pub(super) version: String,
    /// The content of its binary, in hex, as far as known.
    pub(super) digest: Option<String>,
    /// It runs from a copy of that in memory.
    pub(super) from_memory: bool,
    pub(super) since: SystemTime,
    /// The same on the clock that nobody sets.
    pub(super) up_from: Duration,
    /// What it has in traffic.
    pub(super) cargo: Cargo,
    /// What it remembers besides.
    pub(super) manifest: Option<Text>,
    pub(super) beat: Beat,
    /// The beat when it began to accept: what it has inherited.
    pub(super) base: Beat,
    pub(super) heard: Instant,
    /// Its data threads that are stuck.
    pub(super) stuck: Vec<StuckThread>,
    /// The generations that were blamed for that.
    pub(super) blamed: Vec<u64>,
    /// When it may be tried again to replace it.
    pub(super) retry_at: Option<Instant>,
    /// How often it did not let itself be replaced.
    pub(super) refusals: u32,
    /// It is being killed.
    pub(super) ending: bool,
    /// How many withdrawals it was told of.
    pub(super) withdraws: usize,
    /// It shows events of others, and gets the numbers of its own.
    pub(super) hears: bool,
    /// How many lines of the history it was given to begin with.
    pub(super) deeds: usize,
    /// The number of the last event that it was told.
    pub(super) told: u64,
    /// Why it cannot go on, in its own words.
    pub(super) trouble: Option<String>,
    /// What it has said of each plugin while it came up.
    pub(super) said: Vec<String>,
    /// It has served at some time.
    pub(super) served: bool,
    /// Its counters, as it last told them.
    pub(super) counted: Option<String>,
    /// What of them others have as well: what it began with, or what it has handed on. `None`:
    /// everything, as far as known.
    pub(super) handed: Option<String>,
    /// It is expected to end: nobody is to blame.
    pub(super) dismissed: bool,
    /// When it is killed, if it is still there.
    pub(super) kill_at: Option<Instant>,
    pub(super) channel: Channel,
    pub(super) outbox: VecDeque<Packet>,
    /// Sending has failed for a reason that passes: tried again then.
    pub(super) stalled: Option<Instant>,
    /// It has ended its side of the channel, and will end itself.
    pub(super) closed: bool,
    /// When it was started.
    pub(super) born: Instant,
    /// What it complains until it could serve; then it writes where the master does.
    pub(super) complaints: Complaints,
    /// Where its fault handler leaves a note.
    pub(super) page: OwnedFd,
    /// What the kernel had ended for want of memory when it was started, as far as it says.
    pub(super) memory_kills: Option<u64>,
}

impl Led {
    /// Starts a worker by `plan`; nothing is said to it yet.
    pub(super) fn spawn(number: u64, plan: &Plan) -> io::Result<Self> {
        let (channel, theirs) = Channel::pair()?;
        let page = fault::page()?;
        let theirs = theirs.into_socket();
        // Both streams: what a plugin prints while it is loaded must not wait for who reads them.
        let (complaints, streams) = pipe_with(PipeFlags::CLOEXEC)?;
        let start = |workdir: Option<String>| {
            let mut command = plan.binary.command();
            command.arg(WORKER).args(&plan.args).process_group(0);
            command.stdin(theirs.try_clone()?);
            command.stdout(streams.try_clone()?).stderr(streams.try_clone()?);
            workdir.into_iter().for_each(|it| _ = command.current_dir(it));
            let room = plan.settings.limits.static_tls;
            upbringing::prepare(&mut command, |name| std::env::var_os(name), room);
            let from_memory = program::ready(&mut command, true)?;
            Ok::<_, io::Error>((command.spawn()?, from_memory))
        };
        let (here, there) = (open_workdir(Path::new(".")), plan.workdir.as_fd());
        let elsewhere = here.map_or(true, |here| !origin::same(here.as_fd(), there));
        let way = elsewhere.then(|| format!("/proc/self/fd/{}", there.as_raw_fd()));
        // A folder that nobody may enter any more is no reason not to serve.
        let (child, from_memory) = start(way).or_else(|_| start(None))?;
        drop(streams);
        let complaints = Complaints::of(complaints)?;
        Ok(Self {
            number,
            pid: Pid::from_child(&child),
            role: Role::Booting,
            version: plan.version.clone(),
            digest: plan.binary.digest.clone(),
            from_memory,
            since: SystemTime::now(),
            up_from: since_boot(),
            cargo: Vec::new(),
            manifest: None,
            beat: Beat::default(),
            base: Beat::default(),
            heard: Instant::now(),
            stuck: Vec::new(),
            blamed: Vec::new(),
            retry_at: None,
            refusals: 0,
            ending: false,
            withdraws: 0,
            hears: false,
            deeds: 0,
            told: 0,
            trouble: None,
            said: Vec::new(),
            served: false,
            counted: None,
            handed: None,
            dismissed: false,
            kill_at: None,
            channel,
            outbox: VecDeque::new(),
            stalled: None,
            closed: false,
            born: Instant::now(),
            complaints,
            page,
            memory_kills: out_of_memory_kills(),
        })
    }

    /// Tells it something; later, if it does not listen now. Without a descriptor to spare it is
    /// not told: whatever waits for its answer has a limit, and a worker that serves goes on.
    pub(super) fn tell(&mut self, order: &Order, descriptors: &[BorrowedFd<'_>]) {
        if let Err(error) = self.try_tell(order, descriptors) {
            tracing::error!(worker = self.number, %error, order = order.name(), "a worker could not be told");
        }
    }

    /// As [`tell`](Self::tell).
    ///
    /// # Errors
    /// No descriptor is left; it was told nothing.
    pub(super) fn try_tell(
        &mut self,
        order: &Order,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.outbox.push_back(Packet::new(order, descriptors)?);
        self.flush();
        Ok(())
    }

    /// Hands on the bytes of what is in traffic, and the manifest.
    ///
    /// # Errors
    /// As [`try_tell`](Self::try_tell); it has a part of it at most.
    pub(super) fn carry(
        &mut self,
        cargo: &Cargo,
        manifest: Option<&(String, Rc<OwnedFd>)>,
    ) -> io::Result<()> {
        let bytes = cargo
            .iter()
            .filter_map(|(version, bytes)| Some((version.digest.clone(), bytes.as_ref()?)));
        let manifest = manifest.map(|(digest, text)| (digest.clone(), &**text));
        let carried: Vec<_> = bytes.chain(manifest).collect();
        for some in carried.chunks(DESCRIPTORS_MAX) {
            let digests = some.iter().map(|(digest, _)| digest.clone()).collect();
            let bytes: Vec<_> = some.iter().map(|(_, bytes)| bytes.as_fd()).collect();
            self.try_tell(&Order::Carry { digests }, &bytes)?;
        }
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        self.stalled = None;
        while let Some(packet) = self.outbox.front() {
            match self.channel.try_send(packet) {
                Ok(true) => {
                    self.outbox.pop_front();
                }
                Ok(false) => return,
                // Its end will be reaped.
                Err(error) if is_gone(&error) => self.outbox.clear(),
                Err(error) => {
                    tracing::warn!(worker = self.number, %error, "telling a worker is put off");
                    self.stalled = Some(Instant::now() + STALL_TIME);
                    return;
                }
            }
        }
    }

    pub(super) fn has_mail(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether there is mail that room in the channel would help.
    pub(super) fn wants_room(&self) -> bool {
        self.has_mail() && self.stalled.is_none()
    }

    /// The next thing that it says.
    pub(super) fn hear(&mut self) -> Option<(Report, Vec<OwnedFd>)> {
        loop {
            match self.channel.receive() {
                Ok(Received::Message(report, descriptors)) => {
                    self.heard = Instant::now();
                    return Some((report, descriptors));
                }
                Ok(Received::Garbled(error)) => {
                    tracing::warn!(
                        worker = self.number,
                        error,
                        "a worker says what is not understood"
                    );
                }
                Ok(Received::Nothing) => return None,
                Ok(Received::Closed) => {
                    if !std::mem::replace(&mut self.closed, true) {
                        // It ends by itself, and is helped if it does not.
                        let at = Instant::now() + CLOSED_TIME;
                        self.kill_at = Some(self.kill_at.map_or(at, |due| due.min(at)));
                    }
                    return None;
                }
                Err(error) => {
                    tracing::warn!(worker = self.number, %error, "a worker cannot be heard");
                    return None;
                }
            }
        }
    }

    /// Ends it at once; its end is reaped like any other, and nobody is to blame.
    pub(super) fn kill(&mut self) {
        self.dismissed = true;
        self.ending = true;
        self.end();
    }

    /// Ends it at once, because it is of no use; that counts as its own end.
    pub(super) fn end(&self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }

    /// Its process, for a line of the log.
    pub(super) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// What it has answered by itself: all, and in percent what ended badly.
    pub(super) fn answered(&self) -> (u64, u64) {
        let requests = self.beat.requests.saturating_sub(self.base.requests);
        let failures = self.beat.failures.saturating_sub(self.base.failures);
        (requests, 100 * failures / requests.max(1))
    }

    /// What it has said of a plugin that it should have in traffic: that, or nothing.
    pub(super) fn said_of(&self, plugin: &str) -> Option<&str> {
        let of = |text: &&String| text.strip_prefix(plugin).is_some_and(|it| it.starts_with(' '));
        let said = self.said.iter().rev().find(|text| of(text))?;
        Some(&said[plugin.len() + 1..])
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    pub(super) fn status(&self) -> ProcessStatus {
        ProcessStatus {
            pid: self.pid.as_raw_nonzero().get().unsigned_abs(),
            role: self.role.as_str().to_owned(),
            number: self.number,
            version: self.version.clone(),
            binary: self.digest.clone(),
            from_memory: self.from_memory,
            since: self.since,
            up_from: Some(self.up_from),
            connections: self.beat.connections,
        }
    }

    /// What it has in traffic, in an order that can be compared.
    pub(super) fn manifest(&self) -> Vec<&Version> {
        let mut list: Vec<_> = self.cargo.iter().map(|(version, _)| version).collect();
        list.sort();
        list
    }
}

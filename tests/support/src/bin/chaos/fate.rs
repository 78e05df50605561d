//! Which lost requests nobody has promised to keep.
//!
//! Owns the one definition. A worker that is killed, or that a plugin ends or stops, takes the
//! requests with it that are in flight on its connections at its end: they end by a reset, a close
//! or in the middle of an answer. A master that is killed takes the listeners with it until it is
//! started again. Everything else is a broken promise; above all a connection that is refused while
//! a master lives.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hotseat_test_support::{Failure, load::Lost, patience::breathe};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// A client that lost its connection knows of it at once, on a machine that is busy a little later.
const NOTICE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(1);

/// A worker whose end was brought about.
#[derive(Debug)]
struct Doom {
    pid: u32,
    /// Gone where it has ended before.
    process: Option<OwnedFd>,
    from: Instant,
    /// When it was found to have ended: a little after it did.
    to: Option<Instant>,
}

impl Doom {
    /// Its last thread has ended, and with it its connections; `stat` says so of the first one.
    fn is_over(&self) -> bool {
        let Some(process) = &self.process else { return true };
        let mut set = [PollFd::new(process, PollFlags::IN)];
        poll(&mut set, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }
}

#[derive(Debug, Default)]
struct Inside {
    dooms: Vec<Doom>,
    /// Times without a master.
    outages: Vec<(Instant, Option<Instant>)>,
    /// When each worker was first seen.
    seen: BTreeMap<u32, Instant>,
}

/// What has happened, and a thread that notes the ends.
#[derive(Debug)]
pub(crate) struct Fate {
    inside: Arc<Mutex<Inside>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// In flight in a worker that was ended.
    Worker,
    /// There was no master.
    Master,
    /// The host's.
    Host,
}

fn edit<T>(inside: &Mutex<Inside>, change: impl FnOnce(&mut Inside) -> T) -> T {
    change(&mut inside.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Fate {
    pub(crate) fn start() -> Self {
        let (inside, ended) = (Arc::<Mutex<Inside>>::default(), Arc::<AtomicBool>::default());
        let (theirs, over) = (inside.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(SeqCst) {
                edit(&theirs, |inside| {
                    for doom in inside.dooms.iter_mut().filter(|doom| doom.to.is_none()) {
                        if doom.is_over() {
                            doom.to = Some(Instant::now());
                        }
                    }
                });
                breathe(LOOK);
            }
        });
        Self { inside, ended, thread: Some(thread) }
    }

    /// This worker is about to be ended.
    pub(crate) fn doom(&self, pid: u32) {
        let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = known.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let from = Instant::now();
        let doom = Doom { pid, process, from, to: None };
        edit(&self.inside, |it| {
            // Nobody may have seen it yet: then it is the newest, and what others had is its.
            it.seen.entry(pid).or_insert(from);
            it.dooms.push(doom);
        });
    }

    /// It lives on: it was replaced in good order, or nothing came of it.
    pub(crate) fn spare(&self, pid: u32) {
        edit(&self.inside, |it| it.dooms.retain(|doom| doom.pid != pid || doom.to.is_some()));
    }

    pub(crate) fn is_over(&self, pid: u32) -> bool {
        edit(&self.inside, |it| it.dooms.iter().any(|doom| doom.pid == pid && doom.to.is_some()))
    }

    /// How many workers were ended.
    pub(crate) fn deaths(&self) -> usize {
        edit(&self.inside, |inside| inside.dooms.len())
    }

    /// The master is about to be killed.
    pub(crate) fn outage(&self) {
        edit(&self.inside, |inside| inside.outages.push((Instant::now(), None)));
    }

    /// Another one serves.
    pub(crate) fn outage_over(&self) {
        edit(&self.inside, |inside| {
            if let Some((_, to)) = inside.outages.last_mut() {
                *to = Some(Instant::now());
            }
        });
    }

    /// A worker is there.
    pub(crate) fn see(&self, pid: u32) {
        edit(&self.inside, |inside| {
            inside.seen.entry(pid).or_insert_with(Instant::now);
        });
    }

    /// The workers that were ended: process, and from when to when.
    pub(crate) fn ends(&self) -> Vec<(u32, Instant, Option<Instant>)> {
        edit(&self.inside, |it| it.dooms.iter().map(|it| (it.pid, it.from, it.to)).collect())
    }

    pub(crate) fn blame(&self, lost: &Lost) -> Blame {
        edit(&self.inside, |inside| inside.blame(lost))
    }
}

impl Inside {
    fn blame(&self, lost: &Lost) -> Blame {
        use Failure::{Closed, Refused, Reset, Short};
        let overlaps = |from: Instant, to: Option<Instant>| {
            to.is_none_or(|to| lost.begun <= to) && lost.at >= from
        };
        let noticed = |to: Option<Instant>| to.is_none_or(|to| lost.at <= to + NOTICE);
        let of_worker = |doom: &Doom| {
            // Who answered before may have handed the connection on to this one.
            let before = |pid: &u32| {
                let seen = |pid: u32| self.seen.get(&pid);
                *pid == doom.pid || seen(*pid) <= seen(doom.pid)
            };
            lost.pid.as_ref().is_none_or(before) && overlaps(doom.from, doom.to) && noticed(doom.to)
        };
        if matches!(lost.failure, Reset | Closed | Short) && self.dooms.iter().any(of_worker) {
            return Blame::Worker;
        }
        let without = |(from, to): &(Instant, Option<Instant>)| overlaps(*from, *to);
        let out = self.outages.iter().any(without);
        if matches!(lost.failure, Refused | Reset | Closed) && out {
            return Blame::Master;
        }
        Blame::Host
    }
}

impl Drop for Fate {
    fn drop(&mut self) {
        self.ended.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

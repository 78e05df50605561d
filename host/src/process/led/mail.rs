//! What the threads of a worker want the master to know, and what they want to know of it.
//!
//! Owns the questions that are not answered yet. Nobody who puts something here ever waits.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rustix::fs::{MemfdFlags, memfd_create};
use tokio::sync::{Notify, oneshot};

use super::{InTraffic, WORD_TIME};
use crate::{
    event::{EVENTS_COUNT, Events},
    ids::Generation,
    link::{
        Asked, Channel, Happened, Past, Report, StuckThread, Veiled, Version,
        channel::{DESCRIPTORS_MAX, Packet},
        wire::LOADER_HELD,
    },
    serve::Stuck,
    status::{ProcessStatus, Totals},
    upgrade::{Outcome, Request, Verdict},
    worker::Lead,
};

type Letter = (Report, Vec<OwnedFd>);

#[derive(Default)]
struct Inside {
    letters: VecDeque<Letter>,
    /// One of them is on its way, and nothing may overtake it.
    posting: bool,
    asked: BTreeMap<u64, oneshot::Sender<Outcome>>,
    next: u64,
    list: Vec<ProcessStatus>,
    upgrade: Option<Outcome>,
    totals: Totals,
    stuck: Vec<StuckThread>,
    /// Whose constructor holds the loader, which lasts as long as this process.
    held: Option<StuckThread>,
}

/// See the module.
pub(super) struct Mail {
    channel: Channel,
    /// Which reading of the configuration this worker began with.
    read: Option<String>,
    inside: Mutex<Inside>,
    news: Notify,
}

impl Mail {
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new(channel: &Channel, read: Option<String>) -> std::io::Result<Arc<Self>> {
        let channel = Channel::adopt(channel.try_clone()?)?;
        Ok(Arc::new(Self { channel, read, inside: Mutex::default(), news: Notify::new() }))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends at once, if there is room: what was said is heard then, however soon this process ends.
    fn put(&self, letter: Letter) {
        let mut inside = self.inside();
        if inside.letters.is_empty() && !inside.posting && self.send_now(&letter) {
            return;
        }
        inside.letters.push_back(letter);
        drop(inside);
        self.news.notify_one();
    }

    fn send_now(&self, (report, given): &Letter) -> bool {
        let given: Vec<_> = given.iter().map(|it| it.as_fd()).collect();
        let packet = Packet::new(report, &given);
        packet.and_then(|packet| self.channel.try_send(&packet)).unwrap_or(false)
    }

    /// Waits until there is something to send.
    pub(super) async fn arrives(&self) {
        self.news.notified().await;
    }

    /// Sends everything.
    pub(super) fn post(&self) {
        loop {
            let next = {
                let mut inside = self.inside();
                let next = inside.letters.pop_front();
                inside.posting = next.is_some();
                next
            };
            let Some((report, given)) = next else { return };
            let given: Vec<_> = given.iter().map(|it| it.as_fd()).collect();
            if let Err(error) = self.channel.send(&report, &given, WORD_TIME) {
                tracing::debug!(%error, "the master does not hear");
            }
        }
    }

    /// What is in traffic, in as many letters as the descriptors need.
    pub(super) fn serving(&self, InTraffic { carried, manifest, standing }: InTraffic) {
        // One is left for the manifest.
        let most = DESCRIPTORS_MAX - 1;
        let parts = carried.len().div_ceil(most).max(1);
        let mut memory = in_memory(&manifest);
        let mut standing = self.read.clone().map(|read| (read, Veiled(standing.to_text())));
        let mut carried = carried.into_iter();
        for part in 0..parts {
            let mut given = Vec::new();
            let mut list = Vec::new();
            for it in carried.by_ref().take(most) {
                let version = Version {
                    plugin: it.plugin.to_string(),
                    generation: it.generation.0,
                    digest: it.digest.to_string(),
                };
                list.push((version, it.bytes.is_some()));
                given.extend(it.bytes);
            }
            let (begins, ends) = (part == 0, part + 1 == parts);
            let (digest, memory) = memory.take_if(|_| ends).unzip();
            given.extend(memory);
            let (manifest, standing) = (digest, standing.take_if(|_| ends));
            self.put((Report::Serving { begins, ends, list, manifest, standing }, given));
        }
    }

    /// Events that get their numbers from the master; `past`: those so far.
    pub(super) fn events(self: &Arc<Self>, past: Past) -> Events {
        let Past { last, list } = past;
        let before = list.front().map_or(last, |first| first.sequence.saturating_sub(1));
        let mail = self.clone();
        let events = Events::led(EVENTS_COUNT, before, move |event| {
            mail.put((Report::Happened { event: event.into() }, Vec::new()));
        });
        list.into_iter().filter_map(Happened::event).for_each(|event| events.add(event));
        events
    }

    /// Which data threads are stuck.
    fn stuck(&self, threads: Vec<(usize, Stuck)>) {
        let thread = |(core, stuck): (usize, Stuck)| StuckThread {
            core,
            generation: stuck.generation.map(|it| it.0),
            doing: match stuck.request {
                Some((request, path)) => format!("{} {request}, {path}", stuck.doing),
                None => stuck.doing.to_owned(),
            },
        };
        self.inside().stuck = threads.into_iter().map(thread).collect();
        self.put((self.stuck_report(), Vec::new()));
    }

    /// The loader is held for good: no thread is safe from that.
    fn held(&self, generation: Generation) {
        let doing = LOADER_HELD.to_owned();
        let held = StuckThread { core: 0, generation: Some(generation.0), doing };
        self.inside().held = Some(held);
        self.put((self.stuck_report(), Vec::new()));
    }

    fn stuck_report(&self) -> Report {
        let inside = self.inside();
        Report::Stuck { threads: inside.stuck.iter().chain(&inside.held).cloned().collect() }
    }

    /// To be told again: a master that could not act on it at once may be able to now.
    pub(super) fn still_stuck(&self) -> Option<Report> {
        let report = self.stuck_report();
        matches!(&report, Report::Stuck { threads } if !threads.is_empty()).then_some(report)
    }

    pub(super) fn processes(
        &self,
        list: Vec<ProcessStatus>,
        upgrade: Option<Outcome>,
        totals: Totals,
    ) {
        let mut inside = self.inside();
        (inside.list, inside.upgrade, inside.totals) = (list, upgrade, totals);
    }

    /// The master has answered a question.
    pub(super) fn answered(&self, id: u64, outcome: Outcome) {
        if let Some(asker) = self.inside().asked.remove(&id) {
            // The client may have gone.
            let _ = asker.send(outcome);
        }
    }

    /// Whether somebody waits for an answer of the master.
    pub(super) fn is_asked(&self) -> bool {
        self.inside().asked.values().any(|asker| !asker.is_closed())
    }

    fn ask(&self, request: Request) -> oneshot::Receiver<Outcome> {
        let (answer, answered) = oneshot::channel();
        let mut inside = self.inside();
        inside.next += 1;
        let id = inside.next;
        inside.asked.insert(id, answer);
        drop(inside);
        self.put((Report::Asked(Asked { id, request }), Vec::new()));
        answered
    }

    /// How the worker reaches the master.
    pub(super) fn lead(self: &Arc<Self>) -> Lead {
        let this = || self.clone();
        let (asks, switches, shows) = (this(), this(), this());
        let (serves, progresses, renews) = (this(), this(), this());
        let (stands, holds, wears) = (this(), this(), this());
        Lead {
            upgrade: Arc::new(move |request| {
                let answered = asks.ask(request);
                Box::pin(async move { answered.await.unwrap_or_else(|_| no_answer()) })
            }),
            lame_duck: Arc::new(move |on| switches.put((Report::LameDuck { on }, Vec::new()))),
            processes: Arc::new(move || {
                let inside = shows.inside();
                (inside.list.clone(), inside.upgrade.clone(), inside.totals.clone())
            }),
            serving: Arc::new(move |what| serves.serving(what)),
            renewed: Arc::new(move |lock| renews.put((Report::Renewed, vec![lock]))),
            progress: Arc::new(move |text| {
                progresses.put((Report::Progress { text: text.to_owned() }, Vec::new()));
            }),
            stuck: Arc::new(move |threads| stands.stuck(threads)),
            held: Arc::new(move |generation| {
                holds.held(generation);
                true
            }),
            renew: Some(Arc::new(move |why| {
                wears.put((Report::Worn { why: why.to_owned() }, Vec::new()));
            })),
        }
    }
}

/// A text with its digest. `None`: there is no room; then the folder has to do.
fn in_memory(text: &[u8]) -> Option<(String, OwnedFd)> {
    let memory = || -> io::Result<OwnedFd> {
        let mut file = File::from(memfd_create("hotseat-manifest", MemfdFlags::CLOEXEC)?);
        file.write_all(text)?;
        Ok(file.into())
    };
    let memory = memory().inspect_err(|error| tracing::warn!(%error, "the manifest stays here"));
    Some((crate::artifact::digest(text).to_string(), memory.ok()?))
}

fn no_answer() -> Outcome {
    Outcome {
        verdict: Verdict::Refused,
        text: "the worker ends before the master has answered".to_owned(),
        hint: Some("`hotseat status` shows how the upgrade went".to_owned()),
        old_pid: None,
        new_pid: None,
        binary: None,
        took: Duration::ZERO,
        at: SystemTime::now(),
    }
}

//! A worker process: does what its master says, and says what becomes of it.
//!
//! Owns the channel to the master and the order of the start. Decides nothing.
//! Invariant: when the master is gone, the listeners are let go at once, what is in flight is
//! finished, and the process ends.

mod birth;
mod exit;
mod mail;
mod signals;

use std::{collections::VecDeque, ffi::OsString, os::fd::OwnedFd, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::unix::AsyncFd,
    sync::oneshot,
    time::{Interval, MissedTickBehavior},
};

use self::{
    birth::{
        Newborn, keep_place, listen_to_master, settings_of, sockets_of, take_manifest, take_named,
    },
    exit::Way,
    mail::Mail,
    signals::Signals,
};
use hotseat_unload::running_tag;

use super::keeper::Keeper;
use crate::{
    config::{
        Limits,
        raw::{Loaded, file::FileText},
    },
    deploy::{Withdrawal, desk::Refusal},
    event::Events,
    ids::{Digest, Generation},
    link::{self, Beat, Channel, ConfigFile, Deed, Happened, Order, PROTO, Received, Report},
    log,
    serve::Socket,
    state::{Numbers, StateDir, history::Entry},
    sys::{self, inherited, marks::Marks, process::exit_now},
    worker::{
        Birth, Halt, InTraffic, Legacy, Numbering, Regained, Worker, advice, prepare_process, whole,
    },
};

/// How long a word may take to the master, which always listens.
const WORD_TIME: Duration = Duration::from_secs(5);

/// Understands the settings of `hotseat serve ARGS` with a file that somebody else has read; without one
/// it is read anew.
pub type Parse = fn(&[OsString], Option<FileText>) -> Result<(Loaded, FileText), Refusal>;

/// Runs a worker until its master, or the end of it, says that it is to end; then ends the process.
///
/// # Errors
/// There is no master; the worker cannot come up.
pub fn run(args: &[OsString], parse: Parse) -> anyhow::Result<()> {
    let channel = Channel::adopt(inherited::standard_input()?).context("find the master")?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let hello = Report::Hello { proto: PROTO, version, events: true };
    channel.send(&hello, &[], WORD_TIME).context("greet the master")?;
    match come_up(args, parse, &channel) {
        Ok(()) => {
            log::flush();
            exit_now(0)
        }
        Err(error) => {
            let hint = advice(&error).map_or_else(String::new, |hint| format!("; {hint}"));
            let text = format!("{}{hint}", whole(&error));
            tracing::error!("{text}");
            // It may be gone; then nobody has to know.
            let _ = channel.send(&Report::Failed { text }, &[], WORD_TIME);
            log::flush();
            exit_now(1)
        }
    }
}

fn come_up(args: &[OsString], parse: Parse, channel: &Channel) -> anyhow::Result<()> {
    let Newborn { boot, sockets, page, stderr, mut carried } = listen_to_master(channel)?;
    let ConfigFile { path, text, read } = boot.file;
    let file = FileText { path, text };
    // The master's error; a worker is started only with settings that were checked.
    let parsed = parse(args, Some(file.clone())).map_err(|error| anyhow::anyhow!("{error}"));
    let mut loaded = parsed?.0;
    log::start(&loaded.log, &format!("worker-{}", boot.number))?;
    let origin = (read.clone(), file);
    let settings = settings_of(&mut loaded.config, boot.standing, (args, parse), origin);
    let mut config = loaded.config;
    // The file that is run has no name of its own.
    let _ = rustix::thread::set_name(c"hotseat");
    prepare_process(&mut config);
    let marks = Marks::new(page.try_clone().context("copy the page for notes")?);
    keep_place(&mut config, boot.place.as_ref())?;
    sys::fault::install(page, running_tag, log::flush_in_signal).context("prepare for faults")?;
    // What plugins print at the start is known as theirs, too.
    log::take_streams().context("take the standard streams")?;
    let sockets = sockets_of(sockets, &boot.listen)?;
    let copies: std::io::Result<Vec<_>> = sockets.data.iter().map(Socket::try_clone).collect();
    let given = boot.given.clone();
    let door = copies.context("copy the listeners")?;
    let place = boot.place.as_ref();
    let (lock, token) = place.map(|it| (it.lock, it.token.clone())).unwrap_or_default();
    let state = StateDir::held_by_master(config.state_dir.clone(), lock, token);
    let mail = Mail::new(channel, read).context("copy the channel")?;
    let events = boot.past.map(|past| mail.events(past));
    let next = boot.numbers.map(numbers_of);
    let numbering = Numbering { events: events.clone(), next, marks: Some(marks) };
    let manifest = take_manifest(&mut carried, boot.manifest.as_deref());
    let cells = take_named(&mut carried, boot.cells.as_deref());
    let deeds = boot.deeds.into_iter().map(entry_of).collect();
    let birth = Birth {
        lead: mail.lead(),
        legacy: Legacy { carried, manifest, numbering, cells, deeds },
        settings,
        withdraw: withdrawals_of(boot.withdraw, &boot.contents),
        counters: boot.counters.clone(),
        lame_duck: boot.lame_duck,
        first: boot.first,
    };
    let limits = config.limits.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let signals = Signals::new().context("install the signal handlers")?;
        let socket = channel.try_clone().context("copy the channel")?;
        let socket = sys::readiness::readable(socket).context("wait for the master")?;
        let keeper = Keeper::start()?;
        let halt = Halt::default();
        let told = halt.clone();
        let started =
            keeper.run(move || Worker::start(config, sockets, state, birth, &told).map(Arc::new));
        let led = Led {
            channel,
            socket,
            mail,
            events,
            keeper,
            signals,
            door,
            given,
            told: String::new(),
            kept: None,
            carried: Vec::new(),
            handed: boot.counters.unwrap_or_default(),
            beat: beats(limits.beat_time),
            limits,
            halt,
            later: VecDeque::new(),
        };
        led.lead(started, stderr).await
    })
}

/// What is to be taken out of traffic, with the contents of those that died of being loaded.
fn withdrawals_of(list: Vec<(u64, String)>, contents: &[(u64, String)]) -> Vec<Withdrawal> {
    let content = |number| {
        let content = contents.iter().find(|(of, _)| *of == number)?;
        content.1.parse().ok()
    };
    let withdrawal = |(number, why)| {
        let generation = Generation(number);
        Withdrawal { content: content(number), generation, why }
    };
    list.into_iter().map(withdrawal).collect()
}

/// A worker and its master's channel.
struct Led<'a> {
    channel: &'a Channel,
    socket: AsyncFd<OwnedFd>,
    mail: Arc<Mail>,
    /// Of a master that gives them their numbers.
    events: Option<Events>,
    keeper: Keeper,
    signals: Signals,
    limits: Limits,
    beat: Interval,
    /// The data listeners, for the end.
    door: Vec<Socket>,
    /// The places of those that are not ours to empty.
    given: Vec<usize>,
    /// Those that nobody but this parked worker accepts from; `None`: it is not parked.
    kept: Option<Vec<Socket>>,
    /// What the master has carried here since.
    carried: Vec<(Digest, OwnedFd)>,
    /// What the master knows of the counters.
    handed: String,
    /// The counters that it was told last.
    told: String,
    halt: Halt,
    /// What the master has said while something else was done.
    later: VecDeque<News>,
}

/// What comes from the master; `None`: it is gone.
type News = Option<(Order, Vec<OwnedFd>)>;

impl Led<'_> {
    async fn lead(
        mut self,
        started: oneshot::Receiver<anyhow::Result<Arc<Worker>>>,
        stderr: OwnedFd,
    ) -> anyhow::Result<()> {
        let Some(worker) = self.until_started(started).await? else { return Ok(()) };
        // What is complained from here on is no reason why it does not come up.
        log::redirect(stderr);
        self.say(&Report::Ready);
        loop {
            let news = tokio::select! {
                news = next(&self.socket, self.channel, &mut self.later) => news,
                name = self.signals.next() => {
                    self.say(&Report::Told { name: name.to_owned() });
                    continue;
                }
                () = self.mail.arrives() => {
                    self.post();
                    continue;
                }
                _ = self.beat.tick() => {
                    self.say_beat(&worker);
                    continue;
                }
            };
            match news {
                None => {
                    tracing::error!("the master is gone: finishing what is in flight");
                    return self.orphaned(worker).await;
                }
                Some((Order::Stop, _)) if self.kept.is_some() => {
                    worker.drain(None, self.limits.stop_time);
                    return self.leave(worker, Way::Retire).await;
                }
                Some((Order::Stop, _)) => return self.leave(worker, Way::Stop).await,
                Some((Order::Drain, mut given)) => {
                    worker.drain(given.pop(), self.limits.upgrade_drain);
                    return self.leave(worker, Way::Drain).await;
                }
                Some((Order::Hammer | Order::Hurry, _)) => {
                    return self.leave(worker, Way::Cut).await;
                }
                Some((order, given)) => self.obey(&worker, order, given).await,
            }
        }
    }

    /// Waits for the start. `None`: it was given up.
    async fn until_started(
        &mut self,
        mut started: oneshot::Receiver<anyhow::Result<Arc<Worker>>>,
    ) -> anyhow::Result<Option<Arc<Worker>>> {
        loop {
            tokio::select! {
                worker = &mut started => {
                    let worker = worker.context("the start has ended by a panic")??;
                    // What is in traffic goes before the news that it is.
                    self.post();
                    return Ok(Some(worker));
                }
                name = self.signals.next() => self.say(&Report::Told { name: name.to_owned() }),
                () = self.mail.arrives() => self.post(),
                news = next(&self.socket, self.channel, &mut self.later) => match news {
                    None | Some((Order::Stop | Order::Hammer | Order::Hurry, _)) => {
                        self.halt.tell();
                        return Ok(None);
                    }
                    Some((Order::Processes { list, upgrade, totals }, _)) => {
                        self.mail.processes(list, upgrade, totals);
                    }
                    Some((Order::Happened { event }, _)) => happened(self.events.as_ref(), event),
                    Some((order, _)) => {
                        tracing::warn!(order = order.name(), "the worker is not up yet: not done");
                    }
                },
            }
        }
    }

    /// Does one of the orders after which the worker goes on.
    async fn obey(&mut self, worker: &Arc<Worker>, order: Order, mut given: Vec<OwnedFd>) {
        match order {
            Order::Accept => {
                // From here on the master counts.
                self.say(&Report::Beat(beat_of(worker)));
                // Before the first request can end it.
                sys::fault::serves();
                let done = self.with(worker, |worker| worker.accept()).await;
                self.answer(done, &Report::Accepting);
            }
            Order::Freeze => self.freeze(worker).await,
            Order::Thaw => {
                self.with(worker, |worker| {
                    worker.thaw();
                    Ok(())
                })
                .await
                .unwrap_or_else(|error| tracing::error!("{error:#}"));
            }
            Order::Park { keep } => self.park(worker, &keep).await,
            Order::Carry { digests } => {
                let known = digests.iter().map(|it| it.parse().ok()).zip(given);
                self.carried.extend(known.filter_map(|(digest, bytes)| Some((digest?, bytes))));
            }
            Order::Resume { numbers, manifest } => {
                self.resume(worker, numbers.map(numbers_of), manifest.as_deref()).await;
            }
            Order::TakeOver => {
                if let Some(socket) = given.pop()
                    && let Err(error) = worker.take_over(socket)
                {
                    tracing::error!(%error, "connections cannot be taken over");
                }
            }
            Order::Serve => {
                if let Some(socket) = given.pop()
                    && let Err(error) = worker.serve_one(socket, "probe")
                {
                    tracing::error!(%error, "a connection cannot be served");
                }
            }
            Order::LameDuck { on } => {
                let _ = worker.lame_duck(on);
            }
            Order::Processes { list, upgrade, totals } => {
                self.mail.processes(list, upgrade, totals);
            }
            Order::Answer { id, outcome } => self.mail.answered(id, outcome),
            Order::Happened { event } => happened(self.events.as_ref(), event),
            Order::Note { deed } => note(&self.keeper, worker, deed),
            Order::Inherit { counters } => worker.add_counters(&counters),
            Order::Signal { name, phase } => worker.signal(&name, phase),
            Order::Cells => {
                if let Some(number) = worker.cells_number() {
                    self.say(&Report::Cells { number });
                }
            }
            order @ (Order::Boot(_)
            | Order::Start
            | Order::Drain
            | Order::Stop
            | Order::Hurry
            | Order::Hammer) => tracing::warn!(order = order.name(), "an order at the wrong time"),
        }
    }

    /// Runs `job` where it may take its time; the master is heard again afterwards, and hears
    /// meanwhile that this process lives.
    async fn with<T: Send + 'static>(
        &mut self,
        worker: &Arc<Worker>,
        job: impl FnOnce(&Worker) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let theirs = worker.clone();
        let mut done = self.keeper.run(move || job(&theirs));
        // Orders wait; events do not.
        let (mut hears, mut no_more) = (true, VecDeque::new());
        loop {
            tokio::select! {
                done = &mut done => return done.context("the worker's keeper is gone")?,
                () = self.mail.arrives() => self.post(),
                news = next(&self.socket, self.channel, &mut no_more), if hears => match news {
                    Some((Order::Happened { event }, _)) => happened(self.events.as_ref(), event),
                    news => {
                        hears = news.is_some();
                        self.later.push_back(news);
                    }
                },
                _ = self.beat.tick() => self.say_beat(worker),
            }
        }
    }

    fn say_beat(&mut self, worker: &Worker) {
        self.say_counters(worker);
        self.say(&Report::Beat(beat_of(worker)));
        if let Some(report) = self.mail.still_stuck() {
            self.say(&report);
        }
    }

    fn answer(&self, done: anyhow::Result<()>, report: &Report) {
        match done {
            Ok(()) => self.say(report),
            Err(error) => self.say(&Report::Failed { text: format!("{error:#}") }),
        }
    }

    async fn park(&mut self, worker: &Arc<Worker>, keep: &[usize]) {
        let sockets = keep.iter().filter_map(|at| self.door.get(*at)).map(Socket::try_clone);
        let kept = sockets.collect::<std::io::Result<Vec<_>>>().and_then(|keep| {
            self.kept = Some(keep.iter().map(Socket::try_clone).collect::<Result<_, _>>()?);
            Ok(keep)
        });
        let done = match kept {
            Ok(keep) => self.with(worker, move |worker| worker.park(&keep)).await,
            Err(error) => Err(error.into()),
        };
        self.answer(done, &Report::Parked);
    }

    /// Takes over again; `manifest` is the digest of the one that was carried here, if one was.
    async fn resume(
        &mut self,
        worker: &Arc<Worker>,
        next: Option<Numbers>,
        manifest: Option<&str>,
    ) {
        self.kept = None;
        let mut carried = std::mem::take(&mut self.carried);
        let manifest = take_manifest(&mut carried, manifest);
        let regained = Regained { next, manifest, carried };
        let done = self.with(worker, move |worker| worker.resume(regained)).await;
        self.answer(done, &Report::Resumed);
    }

    async fn freeze(&mut self, worker: &Arc<Worker>) {
        let frozen = self.with(worker, |worker| Ok(worker.freeze()?)).await;
        match frozen {
            Ok(carried) => {
                self.mail.serving(carried);
                self.post();
                self.handed = worker.counters();
                self.say(&Report::Frozen { counters: self.handed.clone() });
            }
            Err(error) => self.say(&Report::Failed { text: format!("{error:#}") }),
        }
    }

    /// Tells what was counted, when it has changed.
    fn say_counters(&mut self, worker: &Worker) {
        let counters = worker.counters();
        if counters != self.told {
            self.told.clone_from(&counters);
            self.say(&Report::Counted { counters });
        }
    }

    fn say(&self, report: &Report) {
        say(self.channel, report);
    }

    /// Sends what others of this process have to say.
    fn post(&self) {
        self.mail.post();
    }
}

/// Writes something into the history, where that may take its time.
fn note(keeper: &Keeper, worker: &Arc<Worker>, deed: Deed) {
    let worker = worker.clone();
    // Nobody waits for it.
    drop(keeper.run(move || worker.note(entry_of(deed))));
}

/// What the master says of numbers, in words of the state.
fn numbers_of(numbers: link::Numbers) -> Numbers {
    let link::Numbers { order: orders, generation: generations } = numbers;
    Numbers { orders, generations, events: 0 }
}

/// What was done to the host, as a line of the history.
fn entry_of(deed: Deed) -> Entry {
    let Deed { at, source, by, verb, outcome, text, took, generation, order, .. } = deed;
    let Deed { plugin, label, digest, .. } = deed;
    Entry {
        order,
        plugin: plugin.and_then(|it| it.parse().ok()),
        label: label.and_then(|it| it.parse().ok()),
        digest: digest.and_then(|it| it.parse().ok()),
        at,
        by,
        generation: generation.map(Generation),
        ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        ..Entry::of_host(&source, &verb, &outcome, text)
    }
}

/// An event has its number.
fn happened(events: Option<&Events>, event: Happened) {
    if let Some((events, event)) = events.zip(event.event()) {
        events.add(event);
    }
}

/// When a sign of life is due.
fn beats(time: Duration) -> Interval {
    let mut beats = tokio::time::interval(time);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

fn say(channel: &Channel, report: &Report) {
    if let Err(error) = channel.send(report, &[], WORD_TIME) {
        // Its end is noticed where it is listened to.
        tracing::debug!(%error, "the master does not hear");
    }
}

/// The next thing that the master says; `later` first.
async fn next(socket: &AsyncFd<OwnedFd>, channel: &Channel, later: &mut VecDeque<News>) -> News {
    if let Some(news) = later.pop_front() {
        return news;
    }
    loop {
        match channel.receive() {
            Ok(Received::Message(order, given)) => return Some((order, given)),
            Ok(Received::Garbled(error)) => {
                tracing::warn!(error, "the master says what is not understood");
            }
            Ok(Received::Closed) => return None,
            Err(error) => {
                tracing::error!(%error, "the master cannot be heard");
                return None;
            }
            Ok(Received::Nothing) => match socket.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return None,
            },
        }
    }
}

fn beat_of(worker: &Worker) -> Beat {
    let (requests, failures) = worker.answered();
    Beat { requests, failures, connections: worker.classes() }
}

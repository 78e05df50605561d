//! Does what the schedule says, and knows what must serve afterwards.
//!
//! Owns the ledger: the label that was acknowledged last, and those that may serve as well because
//! nobody has said how it went.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use hotseat_test_support::{
    Answer, Connection, fault, library,
    load::Lost,
    patience::{breathe, patience},
    procfs, wire,
};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use serde_json::json;

use crate::{
    fate::Fate,
    figures,
    reader::Reads,
    schedule::{Act, Condition},
    seat::{START_TIME, Seat},
    space::Disk,
};

/// For one answer of the data plane in which nothing is to be waited for.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(10);
/// For an end, or a start, that was brought about.
pub(crate) const TURN_TIME: Duration = Duration::from_secs(10);
/// For a start while something is in its way.
const VAIN_TIME: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Driver {
    verbose: bool,
    pub(crate) seat: Seat,
    pub(crate) fate: Fate,
    pub(crate) disk: Option<Disk>,
    begun: Instant,
    /// The plugin at `/`, and how many versions of it and of others there were.
    pub(crate) library: Vec<u8>,
    pub(crate) number: u64,
    /// What may serve at `/`.
    pub(crate) allowed: BTreeSet<String>,
    pub(crate) conditions: Vec<Condition>,
    /// Connections whose answers nobody waits for.
    pub(crate) held: VecDeque<Connection>,
    pub(crate) events: Vec<String>,
    pub(crate) broken: Vec<String>,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) masters: u64,
    /// Starts that waited for a condition to end.
    pub(crate) starved: u64,
    /// Lines of the log that were dropped, as far as known, and how many of them in this life.
    pub(crate) dropped: u64,
    dropped_now: u64,
}

impl Driver {
    pub(crate) fn new(seat: Seat, disk: Option<Disk>, verbose: bool) -> Self {
        Self {
            verbose,
            seat,
            fate: Fate::start(),
            disk,
            begun: Instant::now(),
            library: library::bytes(&fault("whoami")),
            number: 0,
            allowed: BTreeSet::new(),
            conditions: Vec::new(),
            held: VecDeque::new(),
            events: Vec::new(),
            broken: Vec::new(),
            acknowledged: 0,
            refused: 0,
            masters: 0,
            starved: 0,
            dropped: 0,
            dropped_now: 0,
        }
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let at = self.begun.elapsed().as_secs_f64();
        let line = format!("{at:>7.2} s  {}", text.into());
        if self.verbose {
            println!("{line}");
        }
        self.events.push(line);
    }

    /// A loss on the clock of the events.
    pub(crate) fn tell(&self, lost: &Lost) -> String {
        let at = |at: Instant| at.duration_since(self.begun).as_secs_f64();
        let worker = lost.pid.map_or_else(|| "nobody".to_owned(), |pid| format!("worker {pid}"));
        format!(
            "{:.3} to {:.3} s, where {worker} had answered: {:?}: {}",
            at(lost.begun),
            at(lost.at),
            lost.failure,
            lost.text
        )
    }

    /// The ends that were brought about, for whoever looks for the cause of a loss.
    pub(crate) fn ends(&self) -> Vec<String> {
        let at = |at: Instant| at.duration_since(self.begun).as_secs_f64();
        let line = |(pid, from, to): (u32, Instant, Option<Instant>)| {
            let to = to.map_or_else(|| "later".to_owned(), |to| format!("{:.3} s", at(to)));
            format!("worker {pid} from {:.3} s, ended by {to}", at(from))
        };
        self.fate.ends().into_iter().map(line).collect()
    }

    pub(crate) fn breaks(&mut self, text: String) {
        self.note(format!("BROKEN: {text}"));
        self.broken.push(text);
    }

    /// Does one thing, and looks at what serves then.
    pub(crate) fn perform(&mut self, act: Act) -> anyhow::Result<()> {
        self.note(format!("{act:?}"));
        match act {
            Act::Swap => self.swap()?,
            Act::Again => self.again(false)?,
            Act::Force => self.again(true)?,
            Act::Drop => self.drop_in()?,
            Act::Rollback => {
                let body = json!({ "plugin": "handler" }).to_string();
                self.order("/v1/rollback", &body, None);
            }
            Act::Bad(name) => self.bad(name)?,
            Act::Hup => self.seat.signal(self.seat.pid(), Signal::HUP)?,
            Act::Upgrade => self.upgrade(),
            Act::KillWorker => self.kill_worker(),
            Act::KillMaster => self.kill_master()?,
            Act::Crash(how) => self.crash(how)?,
            Act::Hang => self.hang()?,
            Act::Stand => self.stand()?,
            Act::Begin(condition) => self.turn(condition, true)?,
            Act::End(condition) => self.turn(condition, false)?,
        }
        self.look()
    }

    /// Starts it until it serves. What it cannot start with ends after a while, as such things do.
    pub(crate) fn supervise(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut up = self.seat.start_again(VAIN_TIME);
        if up.is_err() && !self.conditions.is_empty() {
            let held = self.conditions.clone();
            self.note(format!("it does not start while this holds: {held:?}"));
            self.starved += 1;
            self.calm()?;
        }
        if up.is_err() {
            up = self.seat.start_again(START_TIME);
        }
        self.fate.outage_over();
        if let Err(error) = up {
            self.breaks(format!("after a killed master: {error:#}"));
            anyhow::bail!("the host does not come up again");
        }
        self.note(format!("serves again after {:.2?}", begun.elapsed()));
        Ok(())
    }

    fn turn(&mut self, condition: Condition, begins: bool) -> anyhow::Result<()> {
        // It was ended early, or cannot be had here.
        if self.conditions.contains(&condition) == begins {
            return Ok(());
        }
        match (condition, begins) {
            (Condition::Unread, true) => self.seat.reader.turn(Reads::Nothing),
            (Condition::Unheard, true) => self.seat.reader.turn(Reads::Away),
            (Condition::Unread | Condition::Unheard, false) => self.seat.reader.turn(Reads::All),
            (Condition::Full | Condition::ReadOnly, _) => {
                let Some(disk) = &self.disk else { return Ok(()) };
                match (condition, begins) {
                    (Condition::Full, true) => disk.fill()?,
                    (Condition::Full, false) => disk.free()?,
                    (_, true) => disk.lock()?,
                    (_, false) => disk.unlock()?,
                }
            }
        }
        if !begins && !condition.needs_disk() {
            self.count_dropped();
        }
        self.conditions.retain(|it| *it != condition);
        if begins {
            self.conditions.push(condition);
        }
        Ok(())
    }

    /// The count begins anew with each life of the host.
    pub(crate) fn count_dropped(&mut self) {
        if let Some(now) = figures::dropped(&self.seat) {
            self.dropped += now.checked_sub(self.dropped_now).unwrap_or(now);
            self.dropped_now = now;
        }
    }

    /// Ends every condition.
    pub(crate) fn calm(&mut self) -> anyhow::Result<()> {
        for condition in self.conditions.clone() {
            self.note(format!("End({condition:?})"));
            self.turn(condition, false)?;
        }
        self.held.clear();
        Ok(())
    }

    fn get(&self) -> std::io::Result<Answer> {
        let mut connection = Connection::open(self.seat.data)?;
        connection.bound(ANSWER_TIME.min(patience()))?;
        connection.get("/")
    }

    /// The label that answers now.
    pub(crate) fn serves(&self) -> Option<String> {
        let answer = self.get().ok().filter(|answer| answer.status == 200)?;
        answer.header("x-label").map(ToOwned::to_owned)
    }

    /// What serves is what was acknowledged, and a master is there.
    pub(crate) fn look(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.seat.ended() {
            self.breaks(format!("the host has ended by itself: {status}"));
            self.fate.outage();
            self.supervise()?;
        }
        for pid in procfs::children(self.seat.pid()) {
            self.fate.see(pid);
        }
        self.reap();
        match self.serves() {
            None => self.note("a request of its own has no good answer"),
            Some(label) if self.allowed.contains(&label) => {}
            Some(label) => {
                let allowed = self.allowed.clone();
                self.breaks(format!("version {label} serves; acknowledged: {allowed:?}"));
                self.allowed = BTreeSet::from([label]);
            }
        }
        Ok(())
    }

    /// Workers whose master was killed are ours.
    fn reap(&self) {
        for pid in procfs::children(std::process::id()) {
            let orphan = pid != self.seat.pid() && procfs::state(pid) == Some('Z');
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| orphan) {
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }

    /// Waits until the host rests: master and one worker, ready.
    pub(crate) fn settle(&mut self) -> bool {
        let _ = self.seat.ask("DELETE", "/v1/plugins/bad", "");
        let end = Instant::now() + 3 * TURN_TIME;
        while Instant::now() < end {
            let _ = self.look();
            let processes = self.seat.status().map(|it| wire::list(&it, "/processes").len());
            let serving = self.seat.worker().is_some();
            let ready = self.seat.ask("GET", "/readyz", "").is_ok_and(|it| it.status == 200);
            let orphans = procfs::children(std::process::id()).len() > 1;
            if processes == Some(2) && serving && ready && !orphans {
                return true;
            }
            breathe(Duration::from_millis(100));
        }
        false
    }
}

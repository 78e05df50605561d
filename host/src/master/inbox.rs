//! What workers say, and what follows from it.

use std::{collections::BTreeMap, os::fd::OwnedFd, rc::Rc};

use super::{
    Led, Master, Role, notify,
    upgrade::{Pending, Upgrade},
};
use crate::{
    link::{Order, PROTO, Report, Veiled, Version},
    metrics,
};

/// So much is kept of what a worker says while it comes up: a line for each of many plugins.
const SAID_COUNT: usize = 256;

impl Master {
    /// Takes everything that the workers have said.
    pub(super) fn listen(&mut self) {
        let numbers: Vec<u64> = self.workers.iter().map(|worker| worker.number).collect();
        self.workers.iter_mut().for_each(|worker| worker.complaints.relay());
        for number in numbers {
            self.hear(number);
        }
    }

    /// Takes everything that one worker has said.
    pub(super) fn hear(&mut self, number: u64) {
        while let Some((report, descriptors)) = self.worker(number).and_then(Led::hear) {
            self.heard(number, report, descriptors);
        }
    }

    fn heard(&mut self, number: u64, report: Report, descriptors: Vec<OwnedFd>) {
        match report {
            Report::Hello { proto, version, events } => {
                self.greeted(number, proto, &version);
                if events {
                    self.begins_to_hear(number);
                }
            }
            Report::Happened { event } => self.happened(event),
            Report::Progress { text } => self.comes_up(number, text),
            Report::Failed { text } => self.cannot(number, text),
            Report::Serving { begins, ends, list, manifest, standing } => {
                if let Some((read, text)) = standing {
                    self.keep_standing(&read, text);
                }
                self.serves(number, begins, list, descriptors, manifest);
                let front = self.front().map(|worker| worker.number);
                if ends && front == Some(number) {
                    self.adopt_cargo(number);
                }
            }
            Report::Renewed => {
                if let Some(lock) = descriptors.into_iter().next() {
                    tracing::info!(worker = number, "the state folder was made again");
                    self.state.follow(lock);
                }
            }
            Report::Ready => self.ready(number),
            Report::Accepting => {
                if let Some(worker) = self.worker(number) {
                    worker.base = worker.beat;
                }
                self.accepts(number);
            }
            Report::Frozen { counters } => self.frozen_with(number, counters),
            Report::Counted { counters } => {
                if let Some(worker) = self.worker(number) {
                    worker.counted = Some(counters);
                }
            }
            Report::Parked => self.parked(number),
            Report::Resumed => self.resumed(number),
            Report::Beat(beat) => {
                if let Some(worker) = self.worker(number) {
                    worker.beat = beat;
                }
            }
            Report::Stuck { threads } => self.told_stuck(number, threads),
            Report::Worn { why } => self.told_worn(number, why),
            Report::Asked(asked) => self.ask(Pending {
                request: asked.request,
                asker: Some((number, asked.id)),
                began: std::time::Instant::now(),
            }),
            Report::LameDuck { on } => {
                self.lame_duck = on;
                notify::status(if on { "lame duck" } else { "serving" });
            }
            Report::Cells { number: descriptor } => self.told_of_cells(number, descriptor),
            Report::Told { name } => self.told_of(number, &name),
            // Its queue is empty; whoever listens there next shall find it free.
            Report::Shut => self.sockets.0[0].drain(..).for_each(|it| it.end()),
            Report::Ended { counters, aborted } => self.ended(number, counters, aborted),
        }
    }

    /// A worker has done a step of its start.
    fn comes_up(&mut self, number: u64, text: String) {
        tracing::debug!(worker = number, text, "a worker comes up");
        self.progressed(number);
        if let Some(worker) = self.worker(number)
            && worker.said.len() < SAID_COUNT
        {
            worker.said.push(text);
        }
    }

    /// A worker is frozen, and hands its counts on.
    fn frozen_with(&mut self, number: u64, counters: String) {
        self.returns_counters(number, &counters);
        if let Some(worker) = self.worker(number) {
            worker.handed = Some(counters.clone());
        }
        self.counters = Some(counters);
        self.frozen(number);
    }

    /// A worker cannot come up, or do what it was told.
    fn cannot(&mut self, number: u64, text: String) {
        if self.not_frozen(number, &text) {
            return;
        }
        self.not_parked(number);
        let candidate = self.upgrade.is_some();
        let Some(worker) = self.worker(number) else { return };
        worker.trouble = Some(text);
        if worker.role == Role::Booting && !candidate {
            // It is of no use; another one is started.
            worker.end();
        }
    }

    /// A worker could serve.
    fn ready(&mut self, number: u64) {
        self.took_deeds(number);
        let comes_up = |it: &mut Led| it.role == Role::Booting && !it.dismissed;
        if !self.worker(number).is_some_and(comes_up) || self.candidate_ready(number) {
            return;
        }
        self.told_withdrawals(number);
        self.adopt_cargo(number);
        if let Some(worker) = self.worker(number) {
            worker.tell(&Order::Accept, &[]);
        }
    }

    /// What a worker was told to take out of traffic is so, on the disk too.
    pub(super) fn told_withdrawals(&mut self, number: u64) {
        let told = self.worker(number).map_or(0, |worker| std::mem::take(&mut worker.withdraws));
        // Others may have been added since.
        self.withdraw.drain(..told.min(self.withdraw.len()));
        if self.withdraw.is_empty() {
            self.contents.clear();
        }
    }

    fn greeted(&mut self, number: u64, proto: u16, version: &str) {
        let Some(worker) = self.worker(number) else { return };
        tracing::debug!(worker = number, version, "a worker says hello");
        if proto != PROTO {
            worker.trouble = Some(format!("it speaks protocol {proto}, this master {PROTO}"));
            // Its end counts as one that was not asked for.
            worker.end();
        }
    }

    fn serves(
        &mut self,
        number: u64,
        begins: bool,
        list: Vec<(Version, bool)>,
        descriptors: Vec<OwnedFd>,
        manifest: Option<String>,
    ) {
        self.took_deeds(number);
        let known: Vec<_> = self.cargo.iter().filter_map(handed_on).collect();
        let Some(worker) = self.worker(number) else { return };
        let mut known: BTreeMap<_, _> = known.into_iter().collect();
        if begins {
            let before = std::mem::take(&mut worker.cargo);
            known.extend(before.iter().filter_map(handed_on));
        }
        let mut descriptors = descriptors.into_iter();
        for (version, open) in list {
            let bytes = if open { descriptors.next() } else { None };
            // Somebody may have removed the file; what was opened once is as good.
            let bytes = bytes.or_else(|| known.get(&version.digest)?.try_clone().ok());
            worker.cargo.push((version, bytes));
        }
        if begins {
            worker.manifest = None;
        }
        if let Some(text) = manifest.zip(descriptors.next()) {
            worker.manifest = Some((text.0, Rc::new(text.1)));
        }
    }

    /// What has become of the plugins' settings of one reading of the file is what the next worker of
    /// the same reading begins with, whichever worker says so.
    fn keep_standing(&self, read: &str, text: Veiled) {
        let candidate = self.upgrade.as_ref().and_then(Upgrade::plan);
        let plans = [Some(&self.plan), self.previous.as_ref(), candidate];
        let of_it =
            plans.into_iter().flatten().find(|plan| plan.file.read.as_deref() == Some(read));
        if let Some(plan) = of_it {
            plan.standing.replace(Some(text));
        }
    }

    /// What `number` has in traffic is what the next worker begins with.
    pub(super) fn adopt_cargo(&mut self, number: u64) {
        let Some(worker) = self.worker(number) else { return };
        let copy = |(version, bytes): &(Version, Option<OwnedFd>)| {
            (version.clone(), bytes.as_ref().and_then(|bytes| bytes.try_clone().ok()))
        };
        let manifest = worker.manifest.clone();
        self.cargo = worker.cargo.iter().map(copy).collect();
        self.manifest = manifest;
    }

    fn accepts(&mut self, number: u64) {
        if self.candidate_accepts(number) {
            return;
        }
        let Some(worker) = self.worker(number) else { return };
        if worker.role != Role::Booting || worker.dismissed {
            return;
        }
        worker.role = Role::Serving;
        worker.served = true;
        worker.kill_at = None;
        let text = format!("worker {number} serves");
        tracing::info!(worker = number, worker_pid = worker.id(), "a worker serves");
        notify::ready(&text);
        self.tell_deeds();
        self.announce();
        self.begin_latched();
    }

    /// A worker's last word.
    fn ended(&mut self, number: u64, counters: String, aborted: usize) {
        if self.stop.is_some() {
            self.aborted += aborted;
        }
        if let Some(worker) = self.worker(number) {
            // One that serves was not to end.
            worker.dismissed = matches!(worker.role, Role::Draining | Role::Stopping);
        }
        let heir = self.workers.iter_mut().find(|worker| {
            worker.number != number && matches!(worker.role, Role::Serving | Role::Soaking)
        });
        let Some(heir) = heir else { return };
        heir.tell(&Order::Inherit { counters }, &[]);
        if let Some(worker) = self.worker(number) {
            worker.handed = None;
        }
    }

    /// What a worker has counted beyond what it has `handed` on goes to `heir`.
    pub(super) fn bequeath(&mut self, counters: &str, handed: &str, heir: u64) {
        let handed = metrics::Totals::parse(handed);
        let counters = metrics::Totals::parse(counters).since(&handed).to_text();
        if let Some(heir) = self.worker(heir) {
            heir.tell(&Order::Inherit { counters }, &[]);
        }
    }

    /// The worker that accepts new connections.
    pub(super) fn front(&mut self) -> Option<&mut Led> {
        let accepts = |it: &&mut Led| matches!(it.role, Role::Serving | Role::Soaking);
        self.workers.iter_mut().rev().find(accepts)
    }
}

/// The bytes of a version by their content, if they are here.
fn handed_on((version, bytes): &(Version, Option<OwnedFd>)) -> Option<(String, OwnedFd)> {
    Some((version.digest.clone(), bytes.as_ref()?.try_clone().ok()?))
}

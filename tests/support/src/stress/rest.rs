//! What is left when all clients have gone: nothing.
//!
//! Owns the looks at a host at rest, the bounds of what may grow, and the lines of its log that are
//! no fault.

use serde_json::Value;

use super::{
    house::{House, wait},
    truth::Truth,
};
use crate::{procfs, stream::ServerEvents, wire};

/// Descriptors that a worker may have more of at the end.
const DESCRIPTORS_MORE: usize = 3;
/// Threads that it may have more of: those of the host's pool are made when they are needed.
const THREADS_MORE: u64 = 2;
/// Memory of its own that it may have more of, whatever was done, and for each swap. Units: KiB.
const MEMORY_MORE: u64 = 6 << 10;
const MEMORY_MORE_EACH: u64 = 24;
/// Ticks that are heard.
const TICKS: usize = 3;

/// A look at the worker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) worker: u32,
    swaps: u64,
    descriptors: usize,
    threads: u64,
    own_kib: u64,
    mappings: usize,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} descriptors, {} threads, {} KiB, {} mappings",
            self.descriptors, self.threads, self.own_kib, self.mappings
        )
    }
}

/// The sum of a number of `/metrics` over all its series.
fn metric(page: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let is_it = rest.starts_with([' ', '{']);
        rest.rsplit_once(' ').filter(|_| is_it)?.1.parse::<u64>().ok()
    };
    page.lines().filter_map(value).sum()
}

fn left(status: &Value) -> Vec<Value> {
    let retired = wire::list(status, "/retired");
    retired.into_iter().filter(|it| it["life"] != "unloaded").collect()
}

impl House {
    /// Waits for rest, and looks whether all of it is as promised. The versions that serve are new and
    /// the same each time, so that two looks can be held against each other.
    pub(super) fn rest(&mut self, truth: &Truth) -> Figures {
        self.swap_to_first(truth);
        self.swap_blocking(truth);
        if let Err(text) = self.host.nobody_held() {
            truth.breaks(text);
        }
        if !wait(|| left(&self.host.status()).is_empty()) {
            truth.breaks(format!("generations are left: {:#?}", left(&self.host.status())));
        }
        if !wait(|| self.host.processes().len() == 2) {
            truth.breaks(format!("processes are left: {:?}", self.host.processes()));
        }
        let status = self.host.status();
        let residents = wire::number(&status, "/resident_count");
        let loaded = self.host.loaded();
        if residents > 0 || loaded.len() != 2 {
            truth.breaks(format!("{residents} libraries are resident: {loaded:#?}"));
        }
        self.look_at_metrics(truth);
        self.look_at_cells(truth);
        if let Err(text) = self.hear_ticks() {
            truth.breaks(format!("who ticks: {text}"));
        }
        self.figures()
    }

    fn figures(&self) -> Figures {
        let worker = self.worker();
        Figures {
            worker,
            swaps: self.done.swaps + self.done.rollbacks + self.done.reloads,
            descriptors: procfs::descriptors(worker),
            threads: procfs::threads(worker),
            own_kib: procfs::own_kib(worker),
            mappings: procfs::maps(worker).len(),
        }
    }

    fn look_at_metrics(&self, truth: &Truth) {
        let page = || self.host.control().get("/metrics").text();
        // Periodic work, and a run of it.
        if !wait(|| metric(&page(), "hotseat_tasks") <= 2) {
            truth.breaks(format!("{} tasks are left", metric(&page(), "hotseat_tasks")));
        }
        if !wait(|| metric(&page(), "hotseat_topic_subscribers") == 0) {
            let left = metric(&page(), "hotseat_topic_subscribers");
            truth.breaks(format!("{left} subscribers are left"));
        }
        let page = page();
        for name in [
            "hotseat_panics_total",
            "hotseat_task_panics_total",
            "hotseat_blocking_rejected_total",
            "hotseat_log_lines_dropped_total",
        ] {
            let count = metric(&page, name);
            if count > 0 {
                truth.breaks(format!("{name} is {count}"));
            }
        }
    }

    /// What the cells have at least what was acknowledged, and no more than was tried.
    pub(super) fn look_at_cells(&self, truth: &Truth) {
        for (key, counter) in truth.counters() {
            let text = self.host.get(&format!("/count/{key}")).text();
            let (least, most) = (counter.acknowledged, counter.tried);
            let value = if text.is_empty() { Ok(0) } else { text.parse::<u64>() };
            if !value.as_ref().is_ok_and(|value| (least..=most).contains(value)) {
                truth.breaks(format!("the cell `{key}` is `{text}`, not from {least} to {most}"));
            }
        }
    }

    /// Only the version that serves has periodic work.
    fn hear_ticks(&self) -> Result<(), String> {
        let told = |error: std::io::Error| error.to_string();
        let target = "/events?topic=news&capacity=64&stays=false";
        let must = format!("tick {} {} ", self.worker(), self.host.active("stress"));
        let mut events = ServerEvents::open(self.host.data(), target).map_err(told)?;
        let mut heard = 0;
        while heard < TICKS {
            let event = events.receive().map_err(told)?.ok_or("the stream has ended")?;
            match &*event.event {
                "message" if event.data.starts_with(&must) => heard += 1,
                // The first one, and comments.
                "ready" | "" => {}
                _ => return Err(format!("{event:?}, and not `{must}`")),
            }
        }
        Ok(())
    }

    /// Two looks at one worker.
    pub(super) fn compare(&self, truth: &Truth, first: &Figures, last: &Figures) {
        if first.worker != last.worker {
            return truth.breaks(format!("worker {} is another one now", first.worker));
        }
        let swaps = last.swaps - first.swaps;
        let memory = first.own_kib + MEMORY_MORE + MEMORY_MORE_EACH * swaps;
        if last.descriptors > first.descriptors + DESCRIPTORS_MORE
            || last.threads > first.threads + THREADS_MORE
            || last.own_kib > memory
        {
            truth.breaks(format!("over {swaps} swaps the worker went from {first} to {last}"));
        }
    }

    /// Lines of the log that tell of a fault.
    pub(super) fn look_at_log(&self, truth: &Truth) {
        for line in self.host.home().read_log().lines().filter(|line| is_fault(line)) {
            truth.breaks(format!("the log: {line}"));
        }
    }
}

const TORN: &str = "the client's body broke off";

/// Whatever warns, but for what is asked for: answers that come too late, bodies that clients break off
/// while they are sent back, and a way back where there is none.
fn is_fault(line: &str) -> bool {
    let told = line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("panicked");
    let late = line.contains("the plugin's time was up") && line.contains("path=\"/quick/");
    let torn = line.contains("a response body ended early") && line.contains(TORN);
    let back = line.contains("outcome=\"nothing_to_roll_back\"");
    // A tenth of a second is soon over on a busy machine; one that is really held up has another line.
    let busy = line.contains("a blocked data thread lets go of the listeners when it is free");
    told && !(late || torn || back || busy)
}

//! `stress`: plugins that do real work, under clients that do everything at once and break off
//! wherever they like, while versions, settings and workers change.
//!
//! Owns the phases and the verdict. What clients do follows from the seed (`client`); what an answer
//! has to be stands in `ask` and `talk`, what may be left in `rest`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};

use crate::Builder;

mod ask;
mod body;
mod client;
mod house;
mod link;
mod rest;
mod talk;
mod truth;

use client::Client;
use house::{Drive, House};
use rest::Figures;
use truth::Truth;

/// The time that the mount `/quick` allows.
const QUICK_TIME: Duration = Duration::from_millis(150);
/// A round begins with what a worker has to get used to, and with other workers. Units: seconds.
const ROUND: u64 = 30;
/// Of the requests so many may have met a connection at its end: a hundredth, and a few.
const UNSENT_FEW: u64 = 20;

/// Kinds of acts, of which each must have come where there were many.
const KINDS: usize = 28;
const MANY: u64 = 3000;
/// Good answers, at least.
const FEW: u64 = 50;
/// The one that is always broken off.
const BROKEN_OFF: &str = "torn body";

/// What is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// For how long, about. Units: seconds.
    pub seconds: u64,
    /// What clients do follows from it.
    pub seed: u64,
    /// How many there are: every second one speaks HTTP/2.
    pub clients: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was done, in lines.
    pub lines: Vec<String>,
    /// How many promises were broken.
    pub broken_count: u64,
    /// The first of them, in words.
    pub broken: Vec<String>,
}

impl Outcome {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.broken_count == 0
    }
}

/// Clients and orders for a time; returns when all clients have gone.
fn phase(house: &mut House, truth: &Arc<Truth>, plan: &Plan, number: u64, drive: &Drive) {
    let ended = Arc::<AtomicBool>::default();
    let address = house.host.data();
    let clients: Vec<_> = (0..plan.clients)
        .map(|client| {
            let (truth, ended) = (truth.clone(), ended.clone());
            // No two clients of a run have the same number.
            let client = Client::new(truth, address, plan.seed, number * plan.clients + client);
            std::thread::spawn(move || client.run(&ended))
        })
        .collect();
    let mut random = StdRng::seed_from_u64(plan.seed ^ (number << 32));
    house.drive(truth, &mut random, drive);
    ended.store(true, SeqCst);
    for client in clients {
        if client.join().is_err() {
            truth.breaks("a client panicked");
        }
    }
}

fn rounds(house: &mut House, truth: &Arc<Truth>, plan: &Plan) -> Vec<[Figures; 2]> {
    let count = plan.seconds.div_ceil(ROUND).max(1);
    let time = |percent: u64| Duration::from_millis(plan.seconds * 10 * percent / count);
    let mut figures = Vec::new();
    for round in 0..count {
        let drive = Drive { time: time(40), upgrades: true };
        phase(house, truth, plan, 2 * round, &drive);
        let first = house.rest(truth);
        let drive = Drive { time: time(60), upgrades: false };
        phase(house, truth, plan, 2 * round + 1, &drive);
        let last = house.rest(truth);
        house.compare(truth, &first, &last);
        figures.push([first, last]);
    }
    figures
}

fn table(truth: &Truth) -> Vec<String> {
    let all = truth.all_ends();
    let sum = |end: usize| all.values().map(|it| it[end]).sum::<u64>();
    let line = |kind: &str, [good, aborted, unsent, failed]: [u64; 4]| {
        format!(
            "{kind:<16}{good:>8} good {aborted:>7} broken off {unsent:>5} unsent {failed:>5} failed"
        )
    };
    let mut lines: Vec<_> = all.iter().map(|(kind, ends)| line(kind, *ends)).collect();
    let sums = [sum(0), sum(1), sum(2), sum(3)];
    lines.push(line("all", sums));
    let idle = all.iter().find(|(kind, ends)| ends[0] == 0 && **kind != BROKEN_OFF);
    if sums[0] > MANY && (idle.is_some() || all.len() < KINDS) {
        truth.breaks(format!("not each of the {KINDS} kinds has come to its end"));
    }
    if sums[0] < FEW {
        truth.breaks(format!("there were only {} answers", sums[0]));
    }
    if sums[2] > UNSENT_FEW + sums[0] / 100 {
        truth.breaks(format!("{} requests met a connection at its end", sums[2]));
    }
    lines
}

/// Starts a host, and puts it under stress.
#[must_use]
pub fn run(builder: Builder, plan: &Plan) -> Outcome {
    let truth = Arc::<Truth>::default();
    let work = AssertUnwindSafe(|| {
        let mut house = House::start(builder, &truth);
        let figures = rounds(&mut house, &truth, plan);
        house.restart();
        house.look_at_cells(&truth);
        house.look_at_log(&truth);
        let done = house.done;
        let mut lines = table(&truth);
        lines.push(format!(
            "{} swaps, {} rollbacks, {} reloads, {} upgrades, {} orders that an upgrade did not take",
            done.swaps, done.rollbacks, done.reloads, done.upgrades, done.refused
        ));
        for [first, last] in figures {
            lines.push(format!("worker {}: {first}; then {last}", first.worker));
        }
        lines
    });
    let lines = catch_unwind(work).unwrap_or_else(|_| {
        truth.breaks("it cannot go on");
        table(&truth)
    });
    let (broken_count, broken) = truth.broken();
    Outcome { lines, broken_count, broken }
}

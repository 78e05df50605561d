//! Bounded fuzzing of the edge: conversations made by a seed, and what has to come of them.
//!
//! Owns the making of cases, their text (so that one that failed can be kept and read), and their
//! playing against a host. A generator knows what it has made: which requests are valid and whole,
//! which part is malformed, what may never be answered. Needs the `edge` test plugin at `/edge` and
//! nothing at `/nowhere`.
//!
//! Invariant: a seed means the same case as long as the generators do not change; what is kept is
//! kept as text.
//! Entry points: [`Case::made_by`], [`Case::parse`], [`play_all`].

use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

mod case;
mod http1;
mod http2;
mod play;

pub use case::{Case, Protocol, Step};

/// Cases at a time.
const CLIENTS: usize = 8;
/// More failures than this say nothing more.
const FAILURES_MAX: usize = 16;
/// Of a hundred cases: changed at random places, so that nobody knows what must come of them.
const MUTATED_PERCENT: u32 = 20;
/// What may never be answered names itself so.
pub(crate) const NEVER: &str = "never";

impl Case {
    /// The case that `seed` makes.
    #[must_use]
    pub fn made_by(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let case =
            if random.random() { http1::case(&mut random) } else { http2::case(&mut random) };
        if random.random_ratio(MUTATED_PERCENT, 100) { mutated(case, &mut random) } else { case }
    }
}

/// What is sent, with a few bytes changed, lost, doubled or moved; then the client ends its side.
fn mutated(case: Case, random: &mut StdRng) -> Case {
    let sends = case.steps.into_iter().filter_map(|step| match step {
        Step::Send(bytes) => Some(bytes),
        _ => None,
    });
    let mut all: Vec<u8> = sends.collect::<Vec<_>>().concat();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..all.len().max(1)).min(all.len().saturating_sub(1));
        let length = random.random_range(0..16).min(all.len() - at);
        match random.random_range(0..4) {
            0 => all[at..at + length].iter_mut().for_each(|byte| *byte = random.random()),
            1 => drop(all.drain(at..at + length)),
            2 => {
                let again = all[at..at + length].to_vec();
                all.splice(at..at, again);
            }
            _ => {
                let moved: Vec<u8> = all.drain(at..at + length).collect();
                let to = random.random_range(0..=all.len());
                all.splice(to..to, moved);
            }
        }
    }
    let mut steps: Vec<Step> = pieces(&all, random).into_iter().map(Step::Send).collect();
    steps.extend([Step::HalfClose, Step::Anyhow]);
    Case { protocol: case.protocol, steps }
}

/// `bytes` in a few writes, cut where it may hurt.
fn pieces(bytes: &[u8], random: &mut StdRng) -> Vec<Vec<u8>> {
    let mut cuts = vec![0, bytes.len()];
    for _ in 0..random.random_range(0..6) {
        cuts.push(random.random_range(0..=bytes.len()));
    }
    cuts.sort_unstable();
    let pieces = cuts.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec());
    pieces.filter(|piece| !piece.is_empty()).collect()
}

/// Plays them, some at a time, until too many have failed: the places of those, and how.
#[must_use]
pub fn play_all(cases: &[Case], address: SocketAddr) -> Vec<(usize, String)> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    let Some(case) = cases.get(at) else { return };
                    if let Err(text) = case.play(address) {
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.push((at, text));
                        if failed.len() >= FAILURES_MAX {
                            next.store(cases.len(), Relaxed);
                        }
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

//! What the data threads are asked while they serve.
//!
//! Invariant: no answer is waited for longer than its limit; a thread that does not turn is not
//! asked at all, and not waited for.

use std::{
    collections::BTreeMap,
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use super::DataPlane;
use crate::{
    ids::Generation,
    serve::mail::Message,
    status::{Classes, Holder},
};

/// How long a thread may take to answer, before whoever asked goes on without it.
pub(super) const ANSWER_TIME: Duration = Duration::from_millis(500);

/// Between two looks at whether those who are asked still turn.
const LOOK: Duration = Duration::from_millis(20);

impl DataPlane {
    /// Who is in flight, by generation. A thread that does not answer is left out.
    #[must_use]
    pub fn holders(&self) -> Vec<(Generation, Holder)> {
        self.ask(ANSWER_TIME, Message::Holders).into_iter().flatten().collect()
    }

    /// What the connections are at. Those of a thread that does not answer are counted as busy:
    /// it does not turn.
    #[must_use]
    pub fn classes(&self) -> Classes {
        let mut all = Classes::default();
        for Classes { fresh, head, idle, busy, h2, upgraded } in
            self.ask(ANSWER_TIME, Message::Classes)
        {
            all.fresh += fresh;
            all.head += head;
            all.idle += idle;
            all.busy += busy;
            all.h2 += h2;
            all.upgraded += upgraded;
        }
        all.busy += self.connection_count().saturating_sub(all.total());
        all
    }

    /// Ends whatever is in flight now: by 503 where no head was sent, by an early end of the body
    /// where it promised no length, by breaking the connection off otherwise. Each is logged. Returns how many it was; what blocks its thread is not among
    /// them, because only the end of the process ends it.
    pub fn cut_all(&self) -> usize {
        self.ask(ANSWER_TIME, Message::CutAll).into_iter().sum()
    }

    /// A function that ends whatever still holds a generation.
    pub fn cutter(&self) -> impl Fn(Generation) + Send + 'static {
        let balance = self.balance.clone();
        move |generation| balance.tell(|| Message::Cut(generation))
    }

    /// Idle connections that were closed for newcomers.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.balance.evicted()
    }

    /// Requests that were served past hyper.
    #[must_use]
    pub fn thin(&self) -> u64 {
        self.thin_counts.iter().map(|count| count.get()).sum()
    }

    /// How often the host has answered by itself, by the answer's code.
    #[must_use]
    pub fn own_answers(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (code, count) in self.owns.iter().flat_map(|owns| owns.read()) {
            *all.entry(code).or_default() += count;
        }
        all
    }

    /// Open connections.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.balance.connection_count()
    }

    /// Connections that have come so far, from listeners and from elsewhere. Wraps.
    #[must_use]
    pub fn come_count(&self) -> usize {
        self.balance.come()
    }

    /// The answers of the threads that gave one within `time`.
    pub(super) fn ask<T>(
        &self,
        time: Duration,
        question: impl Fn(SyncSender<T>) -> Message,
    ) -> Vec<T> {
        let (answer, answers) = sync_channel(self.balance.cores());
        let turns = |core: &usize| !self.balance.seats()[*core].pulse().is_blocked();
        let asked: Vec<usize> = (0..self.balance.cores())
            // One that does not turn would not answer before it does.
            .filter(turns)
            .filter(|core| self.balance.send(*core, question(answer.clone())).is_ok())
            .collect();
        drop(answer);
        let until = Instant::now() + time;
        let mut given = Vec::with_capacity(asked.len());
        // Nor does one answer that stops turning meanwhile.
        while given.len() < asked.iter().filter(|core| turns(core)).count() {
            let left = until.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left.min(LOOK)) {
                Ok(answer) => given.push(answer),
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(_) => break,
            }
        }
        given
    }
}

//! Events get their numbers here, and the numbers of orders and generations are kept.
//!
//! Owns the row of events that all workers show, so that a client that goes from one to the other
//! neither misses an event nor sees it twice, and the last numbers of workers that have ended.

use std::collections::VecDeque;

use super::{Led, Master};
use crate::{
    error::Coded as _,
    event::EVENTS_COUNT,
    link::{Deed, Happened, Numbers, Order, Past},
    state,
    sys::marks::{self, Series},
};

/// What outlives workers.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Row {
    past: Past,
    next: Numbers,
    /// What is still to be written into the history.
    #[serde(default)]
    pub(super) deeds: VecDeque<Deed>,
}

impl Row {
    /// That of a host which goes on behind what its state folder says.
    pub(super) fn begin(folder: &std::path::Path) -> Self {
        let mut row = Self::default();
        row.follow(folder);
        row
    }

    /// Goes on behind what is written there, should that be more.
    pub(super) fn follow(&mut self, folder: &std::path::Path) {
        let written = state::Numbers::read(folder).unwrap_or_else(|error| {
            tracing::error!(
                %error, hint = error.hint(),
                "the numbers that were given before cannot be read"
            );
            state::Numbers::default()
        });
        let last = written.events.saturating_sub(1);
        if last > self.past.last {
            self.past = Past { last, list: VecDeque::new() };
        }
        self.next.order = self.next.order.max(written.orders);
        self.next.generation = self.next.generation.max(written.generations);
    }

    fn add(&mut self, mut event: Happened) {
        self.past.last += 1;
        event.sequence = self.past.last;
        self.past.list.push_back(event);
        if self.past.list.len() > EVENTS_COUNT {
            self.past.list.pop_front();
        }
    }

    /// What `worker` has given is not given again.
    pub(super) fn count(&mut self, worker: &Led) {
        let given = |series| marks::read(&worker.page, series) + 1;
        self.next.order = self.next.order.max(given(Series::Order));
        self.next.generation = self.next.generation.max(given(Series::Generation));
    }
}

impl Master {
    /// The numbers that come next.
    pub(super) fn next_numbers(&mut self) -> Numbers {
        self.workers.iter().for_each(|worker| self.row.count(worker));
        self.row.next
    }

    /// What a worker begins with that is started now.
    pub(super) fn past(&mut self) -> Past {
        if self.workers.iter().any(|worker| !worker.hears) {
            // It numbers its own events, and says in the state folder how far it is.
            self.row.follow(self.state.path());
        }
        self.row.past.clone()
    }

    /// The host ends in good order: the last worker has said in the state folder which numbers come
    /// next, but for events of others that ended after it.
    pub(super) fn settle_numbers(&self) {
        let folder = self.state.path();
        let next = self.row.past.last + 1;
        let written = state::Numbers::read(folder).and_then(|written| {
            let behind = written.events < next;
            if behind {
                state::Numbers { events: next, ..written }.write(folder).map(drop)
            } else {
                Ok(())
            }
        });
        if let Err(error) = written {
            tracing::warn!(%error, hint = error.hint(), "the last numbers could not be written");
        }
    }

    /// Something has happened: all workers show it.
    pub(super) fn happened(&mut self, event: Happened) {
        self.row.add(event);
        let Self { workers, row, .. } = self;
        workers.iter_mut().filter(|worker| worker.hears).for_each(|worker| row.tell(worker));
    }

    /// A worker wants to know of events, also of those that came since it was started.
    pub(super) fn begins_to_hear(&mut self, number: u64) {
        let Self { workers, row, .. } = self;
        if let Some(worker) = workers.iter_mut().find(|worker| worker.number == number) {
            worker.hears = true;
            row.tell(worker);
        }
    }
}

impl Row {
    fn tell(&self, worker: &mut Led) {
        let fresh = self.past.list.iter().rev().take_while(|it| it.sequence > worker.told);
        let fresh = fresh.count();
        for event in self.past.list.iter().skip(self.past.list.len() - fresh) {
            worker.tell(&Order::Happened { event: event.clone() }, &[]);
        }
        worker.told = self.past.last;
    }
}

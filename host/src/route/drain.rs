//! The end of a generation's patience: a notice at once, a last call, then the cut.
//!
//! Owns the thread that has plugins told to end their endless streams and, at `generation_drain`
//! or at the stop's own limit, has the data threads end what is left. Nobody waits for it: neither
//! a deploy nor the stop. Invariant: no code of a plugin runs on it, so one that hangs in its
//! notice delays nobody's cut.

mod notice;

use std::{
    collections::{BTreeSet, VecDeque},
    mem::take,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use hotseat_plugin_api::abi;

use self::notice::Notices;
use hotseat_unload::purge_thread;

use super::{Loaded, callback::Callbacks};
use crate::{
    ids::Generation,
    thread::{Inbox, Side},
};

/// Between the last call and the cut, for close frames and their answers; at most half the limit.
const LAST_CALL_MAX: Duration = Duration::from_secs(5);

/// How long the end of the host waits for the thread, which waits for nobody.
const JOIN_TIME: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct News {
    /// As many as the pipeline retires between two looks; handing over must never wait.
    arrived: VecDeque<Arc<Loaded>>,
    stop: Option<Limit>,
    ended: bool,
}

impl News {
    fn has_news(&self) -> bool {
        !self.arrived.is_empty() || self.stop.is_some() || self.ended
    }
}

/// When a generation is called for the last time, and when it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    last_call: Instant,
    cut: Instant,
}

impl Limit {
    fn after(time: Duration) -> Self {
        let cut = Instant::now() + time;
        Self { last_call: cut - LAST_CALL_MAX.min(time / 2), cut }
    }

    fn sooner(self, other: Option<Self>) -> Self {
        other.filter(|other| other.cut < self.cut).unwrap_or(self)
    }
}

/// The handle of the thread.
#[derive(Debug)]
pub struct Drains {
    inbox: Arc<Inbox<News>>,
    thread: Side<()>,
    callbacks: Callbacks,
}

struct Draining {
    loaded: Weak<Loaded>,
    generation: Generation,
    limit: Limit,
    called: bool,
}

impl Drains {
    /// Starts the thread; `cut` ends whatever still holds a generation.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub fn start(
        limit: Duration,
        cut: impl Fn(Generation) + Send + 'static,
    ) -> std::io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let notices = Notices::start()?;
        let theirs = inbox.clone();
        let thread = Side::start("drain", move || run(&theirs, limit, &notices, &cut), drop)?;
        Ok(Self { inbox, thread, callbacks: Callbacks::start()? })
    }

    /// Tells everything in `serving` of a signal: a number of `abi::signal` at one of
    /// `abi::signal_phase`'s. One that takes longer than `limit` is logged. Never waits.
    pub fn signal(
        &self,
        serving: impl IntoIterator<Item = Arc<Loaded>>,
        (signal, phase): (u32, u32),
        limit: Duration,
    ) {
        let mut told = BTreeSet::new();
        for loaded in serving {
            let about = loaded.version.generation;
            // It may have several mounts.
            if told.insert(about) {
                self.callbacks.put(about, limit, move || {
                    let instance = loaded.instance();
                    instance.signal(signal, phase);
                    // No registry knows this thread, and it ends here.
                    purge_thread(instance.library());
                });
            }
        }
    }

    /// Watches over a generation that has just left the table. Never waits.
    pub fn watch(&self, loaded: Arc<Loaded>) {
        self.inbox.tell(|news| news.arrived.push_back(loaded));
    }

    /// The host stops within `time`: everything that serves is told, and nothing that drains has
    /// longer than that. Never waits.
    pub fn stop(&self, serving: impl IntoIterator<Item = Arc<Loaded>>, time: Duration) {
        self.inbox.tell(|news| {
            news.arrived.extend(serving);
            news.stop = Some(Limit::after(time));
        });
    }
}

impl Drop for Drains {
    fn drop(&mut self) {
        self.inbox.tell(|news| news.ended = true);
        // It may wait for the loader, which a library that hangs there holds.
        let _ = self.thread.wait(JOIN_TIME);
    }
}

fn run(inbox: &Inbox<News>, limit: Duration, notices: &Notices, cut: &dyn Fn(Generation)) {
    let mut draining: Vec<Draining> = Vec::new();
    let mut stop: Option<Limit> = None;
    loop {
        let due = draining.iter().map(Draining::due).min();
        let news = inbox.wait_until(due, |news| news.has_news().then(|| take(news)));
        let News { arrived, stop: told, ended } = news.unwrap_or_default();
        if ended {
            return;
        }
        if told.is_some() {
            stop = told;
            draining.iter_mut().for_each(|it| it.limit = it.limit.sooner(stop));
        }
        for loaded in arrived {
            let generation = loaded.version.generation;
            // What stops and is replaced meanwhile comes twice.
            if draining.iter().all(|it| it.generation != generation) {
                let limit = Limit::after(limit).sooner(stop);
                let weak = Arc::downgrade(&loaded);
                draining.push(Draining { loaded: weak, generation, limit, called: false });
                notices.give(loaded, abi::drain::REQUESTED);
            }
        }
        let now = Instant::now();
        draining.retain_mut(|it| it.advance(now, notices, cut));
    }
}

impl Draining {
    fn due(&self) -> Instant {
        if self.called { self.limit.cut } else { self.limit.last_call }
    }

    /// Does what is due; false once there is nothing left to watch.
    fn advance(&mut self, now: Instant, notices: &Notices, cut: &dyn Fn(Generation)) -> bool {
        let Some(loaded) = self.loaded.upgrade() else { return false };
        if !self.called && self.limit.last_call <= now {
            self.called = true;
            notices.give(loaded, abi::drain::LAST_CALL);
        }
        let over = self.limit.cut <= now;
        if over {
            cut(self.generation);
        }
        !over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_call_leaves_half_the_limit_and_at_most_five_seconds() {
        let long = Limit::after(Duration::from_secs(600));
        assert_eq!(long.cut - long.last_call, LAST_CALL_MAX);
        let short = Limit::after(Duration::from_secs(4));
        assert_eq!(short.cut - short.last_call, Duration::from_secs(2));
    }

    #[test]
    fn a_stop_only_shortens() {
        let (long, short) = (Limit::after(LAST_CALL_MAX * 9), Limit::after(LAST_CALL_MAX));
        assert_eq!(long.sooner(Some(short)), short);
        assert_eq!(short.sooner(Some(long)), short);
        assert_eq!(short.sooner(None), short);
    }
}

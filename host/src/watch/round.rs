//! One look at the folder, and what is done about it.
//!
//! Owns what the watching thread remembers between two looks. Everything that outlives it is in
//! the [`SeenStore`].
//! Invariant: a file is remembered as ordered before its order can begin, and as done with once the
//! order has ended; it is forgotten again when the order is turned away because the host stops.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{
    SETTING, WatchConfig,
    heard::{Heard, News},
    how::{How, Sight, how, is_as_seen},
    listing::{self, Listed},
    plan::{self, Action, Arrival, Found, What},
    probe,
    reads::Reads,
    settling::Settling,
    waiting::Waiting,
};
use crate::{
    artifact::stage::Stamp,
    deploy::desk::{Desk, Ticket},
    event::Events,
    state::{Fate, Seen, SeenStore},
    sys::path::remedy,
};

mod orders;
mod say;

pub(super) struct Round {
    config: WatchConfig,
    heard: Arc<Heard>,
    desk: Desk,
    store: Arc<dyn SeenStore>,
    events: Events,
    /// Symlinks that were warned about, and how.
    symlinks: BTreeMap<PathBuf, &'static str>,
    settling: Settling,
    /// Files whose events may be on their way still.
    late: Settling,
    reads: Reads,
    waiting: Waiting,
    /// Orders that were not answered yet; at most the queue's bound and the running one.
    ordered: Vec<Ordered>,
    /// Mode and owner of the folder at the last look.
    folder: Option<(u32, u32)>,
    /// The folder could not be read the last time; it was said.
    unreadable: bool,
}

struct Ordered {
    path: PathBuf,
    seen: Seen,
    ticket: Ticket,
}

/// One look.
struct Look {
    now: Instant,
    seen: BTreeMap<PathBuf, Seen>,
    news: News,
    /// Whether the kernel has told everything since the last look.
    kernel: bool,
    /// Files about which something has changed, whatever their content.
    nudged: BTreeSet<PathBuf>,
    /// Files that somebody may be writing.
    unsettled: BTreeSet<PathBuf>,
}

impl Round {
    pub(super) fn new(
        config: WatchConfig,
        heard: Arc<Heard>,
        desk: Desk,
        store: Arc<dyn SeenStore>,
        events: Events,
    ) -> Self {
        let waiting = Waiting::new(config.debounce, config.rescan);
        Self {
            config,
            heard,
            desk,
            store,
            events,
            symlinks: BTreeMap::new(),
            settling: Settling::default(),
            late: Settling::default(),
            reads: Reads::default(),
            waiting,
            ordered: Vec::new(),
            folder: None,
            unreadable: false,
        }
    }

    pub(super) fn config(&self) -> &WatchConfig {
        &self.config
    }

    /// Looks once; `kernel`: events are heard. Says when to look again at the latest, where it is
    /// sooner than the rescan.
    pub(super) fn run(&mut self, now: Instant, kernel: bool) -> Option<Instant> {
        self.hear_answers(now, false);
        // Before the look: what is heard from here on is a reason for another one.
        let news = self.heard.take();
        let Some(listed) = self.list() else {
            self.heard.put_all_back(news);
            return None;
        };
        let kernel = kernel && !news.gap;
        let seen = self.store.seen();
        let (nudged, unsettled) = Default::default();
        let mut look = Look { now, seen, news, kernel, nudged, unsettled };
        let found = self.look_into(listed, &mut look);
        self.settling.keep(&found);
        self.late.keep(&found);
        self.reads.keep(&found);
        self.symlinks.retain(|path, _| {
            let is_link = |it: &Found| it.path == *path && matches!(it.what, What::Symlink(_));
            let stays = found.iter().any(is_link);
            if !stays {
                self.store.note(path, None);
            }
            stays
        });
        let store = Arc::clone(&self.store);
        let standing = |plugin: &_, digest| store.standing(plugin, digest);
        for action in plan::plan(&self.config.dir, found, &look.seen, &standing) {
            self.act(action, &look);
        }
        self.attend_to_waiting(&look);
        self.next_look(now)
    }

    /// What is there; `None`: nothing can be done about it now.
    fn list(&mut self) -> Option<Vec<Listed>> {
        let listed =
            listing::list(&self.config.dir, self.config.follow_links).inspect_err(|error| {
                // Nothing is forgotten: the folder may be on a disk that is mounted again.
                if !std::mem::replace(&mut self.unreadable, true) {
                    let folder = self.config.dir.display();
                    let hint = remedy(&self.config.dir, error, SETTING);
                    tracing::warn!(%folder, %error, hint, "cannot read the plugins folder");
                }
            });
        let listed = listed.ok()?;
        self.unreadable = false;
        // Said by whoever cannot write. Before any file is looked at: what lies here is found again
        // as if this look had not been.
        self.store.may_remember().then_some(listed)
    }

    fn next_look(&self, now: Instant) -> Option<Instant> {
        let busy = !self.settling.is_empty()
            || !self.late.is_empty()
            || !self.ordered.is_empty()
            || self.waiting.is_trying();
        let soon = busy.then(|| now + self.config.debounce);
        soon.into_iter().chain(self.waiting.next_due(|path| self.is_ordered(path))).min()
    }

    fn is_ordered(&self, path: &Path) -> bool {
        self.ordered.iter().any(|it| it.path == path)
    }

    /// Between two looks: what became of the orders is remembered.
    pub(super) fn take_answers(&mut self, now: Instant) {
        self.hear_answers(now, false);
    }

    /// The host stops: what was ordered and never carried out is forgotten.
    pub(super) fn end(&mut self) {
        self.hear_answers(Instant::now(), true);
    }

    fn look_into(&mut self, listed: Vec<Listed>, look: &mut Look) -> Vec<Found> {
        let mut found = Vec::with_capacity(listed.len());
        for listed in listed {
            match listed {
                Listed::File(path, stamp, link) => {
                    if let Some(what) = self.look_at(&path, stamp, link, look) {
                        if matches!(what, What::Unsettled) {
                            look.unsettled.insert(path.clone());
                        }
                        found.push(Found { path, what });
                    }
                }
                Listed::Symlink(path, why) => {
                    found.push(Found { path, what: What::Symlink(why) });
                }
            }
        }
        found
    }

    /// What was heard of a file counts at the next look, as does that something may have been missed.
    fn hear_later(&self, path: &Path, news: &News) {
        if let Some(mark) = news.marks.get(path) {
            self.heard.put_back(path, *mark);
        }
        if news.gap {
            self.heard.gap();
        }
    }

    /// What the file at `path` is; `None`: it is gone.
    fn look_at(&mut self, path: &Path, stamp: Stamp, link: bool, look: &mut Look) -> Option<What> {
        let mark = look.news.marks.get(path).copied();
        let known = look.seen.get(path);
        let as_seen = known.is_some_and(|seen| is_as_seen(stamp, seen));
        let is_ordered = self.is_ordered(path);
        if is_ordered && as_seen {
            // What was heard meanwhile counts once the order has ended.
            self.hear_later(path, &look.news);
            return Some(What::Known);
        }
        if mark.is_some() || known.is_some() && !as_seen {
            look.nudged.insert(path.to_owned());
        }
        let begun = known.is_some_and(|seen| matches!(seen.fate, Fate::Ordered(_)));
        if as_seen && !begun && mark.is_none() && !self.reads.wants(path, stamp, look.now) {
            return Some(What::Known);
        }
        let began = Instant::now();
        let (settling, now, debounce) = (&mut self.settling, look.now, self.config.debounce);
        let is_settled = |stamp| settling.is_settled(path, stamp, now, debounce);
        let what = probe::probe(path, link, self.config.library_bytes, is_settled)?;
        let What::Whole(mut arrival) = what else {
            self.hear_later(path, &look.news);
            return Some(what);
        };
        let stamp = arrival.stamp();
        let first = self.reads.is_first(path);
        if let Some(before) = known.filter(|before| before.digest == arrival.seen.digest) {
            let sight = Sight { first, kernel: look.kernel, mark, link, local: arrival.local };
            arrival.how = how(before, stamp, sight);
            let doubtful = matches!(arrival.how, How::Unclear | How::Touched);
            // Some events of what has just been done may come a moment after the look.
            let waits = doubtful && look.kernel && !first;
            if waits && !self.late.is_settled(path, stamp, now, debounce) {
                self.hear_later(path, &look.news);
                return Some(What::Unsettled);
            }
        }
        if is_ordered && known.is_some_and(|known| known.digest == arrival.seen.digest) {
            // Whatever was done to it counts once the order has ended.
            self.hear_later(path, &look.news);
            return Some(What::Known);
        }
        self.reads.note(path, (stamp, arrival.local), (began, Instant::now()));
        if arrival.how == How::Untouched && !begun {
            self.note_held(path, look.seen.get(path));
            return Some(What::Known);
        }
        Some(What::Whole(arrival))
    }

    fn act(&mut self, action: Action, look: &Look) {
        match action {
            Action::Forget(path) => {
                self.store.remember(&path, None);
                self.store.note(&path, None);
            }
            Action::Gone(path) => {
                let held = look.seen.get(&path).filter(|seen| seen.fate == Fate::Held).cloned();
                if let Some(seen) = held {
                    self.store.remember(&path, Some(Seen { fate: Fate::Ended, ..seen }));
                }
                self.store.note(&path, None);
            }
            Action::Symlink(path, why) => {
                if self.symlinks.insert(path.clone(), why) != Some(why) {
                    self.say_link(&path, why);
                }
            }
            Action::Remember(path, arrival) => {
                let fate = look.seen.get(&path).map(|seen| seen.fate.clone()).unwrap_or_default();
                self.remember(&path, &arrival, fate, look);
            }
            Action::Same(path, arrival) => {
                self.remember(&path, &arrival, Fate::Ended, look);
                self.say_same(&path, &arrival);
            }
            Action::Serves(path, arrival) => {
                self.remember(&path, &arrival, Fate::Ended, look);
                self.say_serves(&path, &arrival);
            }
            Action::Held(path, arrival) => {
                self.remember(&path, &arrival, Fate::Held, look);
                self.say_held(&path, &arrival);
            }
            Action::Superseded(path, arrival, by) => {
                self.remember(&path, &arrival, Fate::Ended, look);
                self.say_superseded(&path, &arrival, &by);
            }
            Action::GivenUp(path, arrival) => {
                self.remember(&path, &arrival, Fate::Ended, look);
                self.say_given_up(&path, &arrival);
            }
            Action::Deploy(path, arrival, count) => {
                self.waiting.forget(&path);
                if self.order(&path, Seen { fate: Fate::Ordered(count), ..arrival.seen }).is_err() {
                    // The next look is to see what this one saw.
                    self.hear_later(&path, &look.news);
                }
            }
        }
    }

    /// Keeps how a file looks now. A rescan that finds nothing writes nothing.
    fn remember(&self, path: &Path, arrival: &Arrival, fate: Fate, look: &Look) {
        let seen = Seen { fate, ..arrival.seen.clone() };
        if look.seen.get(path) != Some(&seen) {
            if seen.fate != Fate::Held {
                self.store.note(path, None);
            }
            self.store.remember(path, Some(seen));
        }
    }
}

#[cfg(test)]
mod tests;

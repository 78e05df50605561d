//! One look at the folder, and what is done about it.
//!
//! Owns what the watching thread remembers between two looks. Everything that outlives it is in
//! the [`SeenStore`].
//! Invariant: a file is remembered only once its order is queued, and forgotten again when that
//! order is turned away because the host stops.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use tokio::sync::oneshot::error::TryRecvError;

use super::{
    WatchConfig,
    listing::{self, Listed},
    plan::{self, Action, Arrival, Found, UNREAD, What},
    probe,
    settling::Settling,
};
use crate::{
    artifact::{quoted, shown, stage::Stamp},
    deploy::{
        condition::Condition,
        desk::{Desk, DeskError, Ticket},
        order::{Order, Source},
    },
    error::Kind,
    event::{Events, Phase},
    state::{Seen, SeenStore},
};

pub(super) struct Round {
    config: WatchConfig,
    desk: Desk,
    store: Arc<dyn SeenStore>,
    events: Events,
    /// Symlinks that were warned about.
    symlinks: BTreeSet<PathBuf>,
    settling: Settling,
    /// Orders that were not answered yet; at most the queue's bound and the running one.
    ordered: Vec<(PathBuf, Seen, Ticket)>,
    /// The folder could not be read the last time; it was said.
    unreadable: bool,
}

impl Round {
    pub(super) fn new(
        config: WatchConfig,
        desk: Desk,
        store: Arc<dyn SeenStore>,
        events: Events,
    ) -> Self {
        Self {
            config,
            desk,
            store,
            events,
            symlinks: BTreeSet::new(),
            settling: Settling::default(),
            ordered: Vec::new(),
            unreadable: false,
        }
    }

    /// Looks once. Says when to look again at the latest, where it is sooner than the rescan.
    pub(super) fn run(&mut self, now: Instant) -> Option<Instant> {
        self.hear_answers(false);
        let listed = match listing::list(&self.config.dir) {
            Ok(listed) => listed,
            Err(error) => {
                // Nothing is forgotten: the folder may be on a disk that is mounted again.
                if !std::mem::replace(&mut self.unreadable, true) {
                    let folder = self.config.dir.display();
                    tracing::warn!(%folder, %error, "cannot read the plugins folder");
                }
                return None;
            }
        };
        self.unreadable = false;
        let seen = self.store.seen();
        let found = self.look_into(listed, &seen, now);
        self.settling.keep(&found);
        self.symlinks.retain(|path| {
            found.iter().any(|found| found.path == *path && matches!(found.what, What::Symlink))
        });
        for action in plan::plan(&self.config.dir, found, &seen) {
            self.act(action);
        }
        (!self.settling.is_empty()).then(|| now + self.config.debounce)
    }

    /// The host stops: what was ordered and never carried out is forgotten.
    pub(super) fn end(&mut self) {
        self.hear_answers(true);
    }

    fn look_into(
        &mut self,
        listed: Vec<Listed>,
        seen: &BTreeMap<PathBuf, Seen>,
        now: Instant,
    ) -> Vec<Found> {
        let mut found = Vec::with_capacity(listed.len());
        for listed in listed {
            let (path, stamp) = match listed {
                Listed::File(path, stamp) => (path, stamp),
                Listed::Symlink(path) => {
                    found.push(Found { path, what: What::Symlink });
                    continue;
                }
            };
            let known = seen.get(&path).filter(|seen| is_as_seen(stamp, seen));
            if known.is_some_and(|seen| seen.digest != UNREAD) {
                found.push(Found { path, what: What::Known });
                continue;
            }
            let (settling, debounce) = (&mut self.settling, self.config.debounce);
            let what = probe::probe(&path, self.config.library_bytes, |stamp| {
                settling.is_settled(&path, stamp, now, debounce)
            });
            match what {
                None => {}
                // Still as unreadable as it was when its refusal was heard.
                Some(What::Whole(arrival)) if known == Some(&arrival.seen) => {
                    found.push(Found { path, what: What::Known });
                }
                Some(what) => found.push(Found { path, what }),
            }
        }
        found
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Forget(path) => self.store.remember(&path, None),
            Action::Symlink(path) => {
                if self.symlinks.insert(path.clone()) {
                    tracing::warn!(path = %path.display(), "a symlink is not followed");
                    let why = "a symlink is not followed: copy the library itself".to_owned();
                    self.ignored(&path, None, &why);
                }
            }
            Action::Same(path, arrival) => {
                self.store.remember(&path, Some(arrival.seen));
                let command = format!("hotseat load --force {}", quoted(&path));
                tracing::info!(path = %path.display(), command, "the same content again");
                let why = format!("the same content again: `{command}` deploys it");
                self.ignored(&path, Some(&arrival), &why);
            }
            Action::Superseded(path, arrival, by) => {
                self.store.remember(&path, Some(arrival.seen));
                tracing::info!(path = %path.display(), %by, "superseded by a higher version");
                let command = format!("hotseat load {}", quoted(&path));
                let why = format!("superseded by {by}: `{command}` deploys it");
                self.ignored(&path, Some(&arrival), &why);
            }
            Action::Deploy(path, arrival) => self.order(path, arrival.seen),
        }
    }

    fn order(&mut self, path: PathBuf, seen: Seen) {
        let order = Order::Deploy {
            path: path.clone(),
            force: false,
            source: Source::Folder,
            condition: Condition::None,
        };
        match self.desk.submit(order) {
            Ok(ticket) => {
                self.store.remember(&path, Some(seen));
                self.ordered.push((path, seen, ticket));
            }
            Err(error @ (DeskError::Busy { .. } | DeskError::Frozen)) => {
                tracing::info!(path = %path.display(), %error, "ordered again at the next look");
            }
            Err(DeskError::Stopping | DeskError::Broken) => {}
        }
    }

    /// Forgets files whose order was never begun: the next start finds them again.
    fn hear_answers(&mut self, ending: bool) {
        let store = &self.store;
        self.ordered.retain_mut(|(path, as_seen, ticket)| {
            let turned_away = match ticket.answer.try_recv() {
                Ok(Err(refusal)) => refusal.kind() == Kind::Stopping,
                Ok(Ok(_)) => false,
                Err(TryRecvError::Closed) => true,
                Err(TryRecvError::Empty) => return !ending,
            };
            if turned_away && store.seen().get(path) == Some(as_seen) {
                store.remember(path, None);
            }
            false
        });
    }

    fn ignored(&self, path: &Path, arrival: Option<&Arrival>, why: &str) {
        self.events.publish(Phase::Ignored, |event| {
            event.detail = Some(format!("`{}`: {why}", shown(path)));
            if let Some(arrival) = arrival {
                event.digest = Some(arrival.seen.digest).filter(|digest| *digest != UNREAD);
                if let Some((plugin, label)) = arrival.named.clone() {
                    (event.plugin, event.label) = (Some(plugin), Some(label));
                }
            }
        });
    }
}

fn is_as_seen(stamp: Stamp, seen: &Seen) -> bool {
    (stamp.inode, stamp.size, stamp.mtime_ns) == (seen.inode, seen.size, seen.mtime_ns)
}

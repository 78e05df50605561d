//! What to do about the files that were found: a pure function of what is there and what was seen.
//!
//! Owns the rules of arrival. Touches no file.
//! Invariant: of several arrivals of one plugin, one is deployed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    ids::{Digest, Label, PluginName},
    state::Seen,
};

/// The digest of a file that could not be read: no content has it.
pub(super) const UNREAD: Digest = Digest([0; 32]);

/// A file that was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) what: What,
}

/// What it is.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// Not followed.
    Symlink,
    /// As it was seen last; not even opened.
    Known,
    /// Somebody writes it, or it cannot be told yet.
    Unsettled,
    /// Whole, and new or changed.
    Whole(Arrival),
}

/// A file that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) seen: Seen,
    /// `None` when neither its name nor its content tell: the pipeline says why.
    pub(super) named: Option<(PluginName, Label)>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It is gone.
    Forget(PathBuf),
    /// Say that it is not followed.
    Symlink(PathBuf),
    /// The same content again: remember how it looks now, say what deploys it.
    Same(PathBuf, Arrival),
    /// A higher version arrived together with it: remember it, say so.
    Superseded(PathBuf, Arrival, Label),
    /// Order its deployment; remember it once that is queued.
    Deploy(PathBuf, Arrival),
}

/// Decides about everything found in `dir`, given what was `seen` before.
pub(super) fn plan(dir: &Path, found: Vec<Found>, seen: &BTreeMap<PathBuf, Seen>) -> Vec<Action> {
    let is_file = |found: &&Found| !matches!(found.what, What::Symlink);
    let files: BTreeSet<_> = found.iter().filter(is_file).map(|found| &found.path).collect();
    // What was seen in another folder belongs to another configuration; it may come back.
    let gone = |path: &&PathBuf| path.parent() == Some(dir) && !files.contains(path);
    let mut actions: Vec<_> = seen.keys().filter(gone).cloned().map(Action::Forget).collect();
    let mut named: BTreeMap<PluginName, Vec<(PathBuf, Arrival, Label)>> = BTreeMap::new();
    let mut nameless = Vec::new();
    for Found { path, what } in found {
        match what {
            What::Known | What::Unsettled => {}
            What::Symlink => actions.push(Action::Symlink(path)),
            What::Whole(arrival) => {
                let before = seen.get(&path).map(|seen| seen.digest);
                if before == Some(arrival.seen.digest) && arrival.seen.digest != UNREAD {
                    actions.push(Action::Same(path, arrival));
                } else if let Some((plugin, label)) = arrival.named.clone() {
                    named.entry(plugin).or_default().push((path, arrival, label));
                } else {
                    nameless.push(Action::Deploy(path, arrival));
                }
            }
        }
    }
    for mut arrivals in named.into_values() {
        // The highest version last; of equal ones the newest file.
        arrivals.sort_by(|(path_a, a, label_a), (path_b, b, label_b)| {
            let by_age = a.seen.mtime_ns.cmp(&b.seen.mtime_ns);
            label_a.cmp(label_b).then(by_age).then_with(|| path_a.cmp(path_b))
        });
        let Some((path, arrival, highest)) = arrivals.pop() else { continue };
        let superseded = |(path, arrival, _)| Action::Superseded(path, arrival, highest.clone());
        actions.extend(arrivals.into_iter().map(superseded));
        actions.push(Action::Deploy(path, arrival));
    }
    actions.extend(nameless);
    actions
}

#[cfg(test)]
mod tests;

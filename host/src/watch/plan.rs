//! What to do about the files that were found: a pure function of what is there and what was seen.
//!
//! Owns the rules of arrival. Touches no file.
//! Invariant: of several arrivals of one plugin, one is deployed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::how::How;
use crate::{
    artifact::stage::Stamp,
    ids::{Digest, Label, PluginName},
    state::{Fate, Seen, Standing},
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
    /// A symlink that is not followed, or that leads to no file; one line that says why.
    Symlink(&'static str),
    /// As it was seen last.
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
    /// For the content that was seen last: how it came to look otherwise.
    pub(super) how: How,
    /// Its file system moves its times.
    pub(super) local: bool,
}

impl Arrival {
    /// How it looked when it was read.
    pub(super) fn stamp(&self) -> Stamp {
        let Seen { inode, size, mtime_ns, ctime_ns, .. } = self.seen;
        Stamp { inode, size, mtime_ns, ctime_ns: ctime_ns.unwrap_or_default() }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It is gone, and its order never ended, or too many others are gone: whatever comes to its
    /// place is new.
    Forget(PathBuf),
    /// It is gone: say no more of it, and know it when it comes back.
    Gone(PathBuf),
    /// Say that it is not followed, and why.
    Symlink(PathBuf, &'static str),
    /// The content that was seen: remember how it looks now.
    Remember(PathBuf, Arrival),
    /// The same content again: remember how it looks now, say what deploys it.
    Same(PathBuf, Arrival),
    /// The same again, and it serves: say what makes a fresh instance.
    Serves(PathBuf, Arrival),
    /// The same again, which a rollback or a withdrawal has left: say so, and keep saying it.
    Held(PathBuf, Arrival),
    /// A higher version arrived together with it: remember it, say so.
    Superseded(PathBuf, Arrival, Label),
    /// Its order was begun time and again and never ended: say so.
    GivenUp(PathBuf, Arrival),
    /// Order its deployment, for the how-manieth time.
    Deploy(PathBuf, Arrival, u32),
}

/// Orders for one file that a process may have died over.
const ORDERED_MAX: u32 = 3;

/// One that takes part in the choice of the highest version.
struct Entrant {
    path: PathBuf,
    arrival: Arrival,
    label: Label,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Content that was not there before.
    New,
    /// The same content, written again.
    Again,
    /// The same, and it stays what it is.
    Stays,
}

/// Decides about everything found in `dir`, given what was `seen` before and what each content is to
/// its plugin.
pub(super) fn plan(
    dir: &Path,
    found: Vec<Found>,
    seen: &BTreeMap<PathBuf, Seen>,
    standing: &dyn Fn(&PluginName, Digest) -> Standing,
) -> Vec<Action> {
    let is_file = |found: &&Found| !matches!(found.what, What::Symlink(_));
    let files: BTreeSet<_> = found.iter().filter(is_file).map(|found| &found.path).collect();
    // What was seen in another folder belongs to another configuration; it may come back.
    let gone = |path: &&PathBuf| path.parent() == Some(dir) && !files.contains(path);
    let gone: Vec<_> = seen.iter().filter(|(path, _)| gone(path)).collect();
    let mut actions = part(gone);
    let mut named: BTreeMap<PluginName, Vec<Entrant>> = BTreeMap::new();
    let mut nameless = Vec::new();
    for Found { path, what } in found {
        let arrival = match what {
            What::Known | What::Unsettled => continue,
            What::Symlink(why) => {
                actions.push(Action::Symlink(path, why));
                continue;
            }
            What::Whole(arrival) => arrival,
        };
        let before = seen.get(&path).filter(|before| is_same(before, &arrival));
        let begun = begun(before);
        let Some((plugin, label)) = arrival.named.clone() else {
            if begun >= ORDERED_MAX {
                actions.push(Action::GivenUp(path, arrival));
            } else if before.is_none() || begun > 0 || arrival.how == How::Written {
                nameless.push(Action::Deploy(path, arrival, begun + 1));
            } else {
                actions.push(Action::Remember(path, arrival));
            }
            continue;
        };
        let role = match before {
            None => Role::New,
            Some(_) if begun >= ORDERED_MAX => {
                actions.push(Action::GivenUp(path, arrival));
                continue;
            }
            Some(_) if begun > 0 => Role::New,
            Some(_) => {
                let is = standing(&plugin, arrival.seen.digest);
                let (told, role) = the_same(path.clone(), arrival.clone(), is);
                actions.extend(told);
                let Some(role) = role else { continue };
                role
            }
        };
        named.entry(plugin).or_default().push(Entrant { path, arrival, label, role });
    }
    for entrants in named.into_values() {
        choose(entrants, seen, &mut actions);
    }
    actions.extend(nameless);
    actions
}

/// Files that are gone and still known. A folder that is mounted late or moved away, and a file that
/// comes back, is not written anew: what was rolled back would serve again.
const GONE_COUNT: usize = 64;

/// What becomes of files that are gone: those that changed last are known on.
fn part(mut gone: Vec<(&PathBuf, &Seen)>) -> Vec<Action> {
    gone.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.ctime_ns));
    let ended = |seen: &Seen| matches!(seen.fate, Fate::Ended | Fate::Held);
    let (kept, forgotten): (Vec<_>, Vec<_>) = gone.into_iter().partition(|(_, seen)| ended(seen));
    let beyond = kept.iter().skip(GONE_COUNT);
    let forgotten = forgotten.iter().chain(beyond).map(|(path, _)| Action::Forget((*path).clone()));
    let known = kept.iter().take(GONE_COUNT).map(|(path, _)| Action::Gone((*path).clone()));
    forgotten.chain(known).collect()
}

/// How often an order for it was begun that has not ended.
fn begun(before: Option<&Seen>) -> u32 {
    match before.map(|before| &before.fate) {
        Some(Fate::Ordered(count)) => *count,
        Some(Fate::Ended | Fate::Waits(_) | Fate::Held) | None => 0,
    }
}

/// Content that could not be read is the same only as long as it is waited for, or lies untouched.
fn is_same(before: &Seen, arrival: &Arrival) -> bool {
    let waits = matches!(before.fate, Fate::Waits(_) | Fate::Ordered(_));
    let touched = matches!(arrival.how, How::Untouched | How::Touched);
    before.digest == arrival.seen.digest && (before.digest != UNREAD || waits || touched)
}

/// What becomes of the content that was seen, and whether it competes with others.
fn the_same(path: PathBuf, arrival: Arrival, is: Standing) -> (Option<Action>, Option<Role>) {
    match (arrival.how, is) {
        (How::Untouched | How::Touched, _) | (How::Unclear, Standing::Serves) => {
            (Some(Action::Remember(path, arrival)), None)
        }
        (How::Unclear, Standing::Left | Standing::Free) => {
            (Some(Action::Same(path, arrival)), None)
        }
        (How::Written, Standing::Serves) => {
            (Some(Action::Serves(path, arrival)), Some(Role::Stays))
        }
        (How::Written, Standing::Left) => (Some(Action::Held(path, arrival)), Some(Role::Stays)),
        (How::Written, Standing::Free) => (None, Some(Role::Again)),
    }
}

/// Of one plugin the highest version is deployed. What was written again and is not the highest of
/// all says nothing about what is to serve; what is new does, unless something higher is deployed.
fn choose(mut entrants: Vec<Entrant>, seen: &BTreeMap<PathBuf, Seen>, actions: &mut Vec<Action>) {
    // The highest version last; of equal ones the newest file.
    entrants.sort_by(|a, b| {
        let by_age = a.arrival.seen.mtime_ns.cmp(&b.arrival.seen.mtime_ns);
        a.label.cmp(&b.label).then(by_age).then_with(|| a.path.cmp(&b.path))
    });
    let Some(highest) = entrants.last().map(|entrant| entrant.label.clone()) else { return };
    let chosen = match entrants.last().map(|entrant| entrant.role) {
        Some(Role::Stays) => entrants.iter().rposition(|entrant| entrant.role == Role::New),
        _ => Some(entrants.len() - 1),
    };
    let mut deployed = None;
    let by = chosen.map_or(highest, |at| entrants[at].label.clone());
    for (at, Entrant { path, arrival, role, .. }) in entrants.into_iter().enumerate() {
        if chosen == Some(at) {
            let before = seen.get(&path).filter(|before| is_same(before, &arrival));
            deployed = Some(Action::Deploy(path, arrival, begun(before) + 1));
        } else if role != Role::Stays {
            actions.push(Action::Superseded(path, arrival, by.clone()));
        }
    }
    actions.extend(deployed);
}

#[cfg(test)]
mod tests;

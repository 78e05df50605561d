//! What is said about files that are not deployed.
//!
//! Owns the words, in the log, the events and the status. Each line is said once, and names the
//! command that deploys the file.

use std::path::Path;

use super::{Arrival, Round, plan::UNREAD};
use crate::{
    artifact::{quoted, shown},
    event::Phase,
    ids::Label,
    state::{Fate, Note, Seen},
};

const HELD: &str = "these bytes were rolled back or withdrawn";

impl Round {
    pub(super) fn say_link(&self, path: &Path, why: &'static str) {
        tracing::warn!(path = %path.display(), "{why}");
        self.store.note(path, Some(Note { text: why.to_owned(), digest: None }));
        self.ignored(path, None, why);
    }

    pub(super) fn say_same(&self, path: &Path, arrival: &Arrival) {
        let command = format!("hotseat load {}", quoted(path));
        tracing::info!(path = %path.display(), command, "the same content, perhaps written again");
        let why = format!("the same content, perhaps written again: `{command}` deploys it");
        let digest = Some(arrival.seen.digest);
        self.store.note(path, Some(Note { text: why.clone(), digest }));
        self.ignored(path, Some(arrival), &why);
    }

    pub(super) fn say_serves(&self, path: &Path, arrival: &Arrival) {
        let command = format!("hotseat load --force {}", quoted(path));
        tracing::info!(path = %path.display(), command, "the same content again");
        let why = format!("the same content again: `{command}` makes a fresh instance");
        self.ignored(path, Some(arrival), &why);
    }

    pub(super) fn say_held(&self, path: &Path, arrival: &Arrival) {
        let command = format!("hotseat load {}", quoted(path));
        tracing::warn!(path = %path.display(), command, "written again, but {HELD}");
        self.note_held(path, Some(&Seen { fate: Fate::Held, ..arrival.seen.clone() }));
        let why = format!("written again, but {HELD}: `{command}` deploys them");
        self.ignored(path, Some(arrival), &why);
    }

    /// Has the status go on saying it, also after a restart.
    pub(super) fn note_held(&self, path: &Path, seen: Option<&Seen>) {
        let Some(Seen { fate: Fate::Held, digest, .. }) = seen else { return };
        let text =
            format!("written again, but {HELD}: `hotseat load {}` deploys them", quoted(path));
        self.store.note(path, Some(Note { text, digest: Some(*digest) }));
    }

    pub(super) fn say_superseded(&self, path: &Path, arrival: &Arrival, by: &Label) {
        tracing::info!(path = %path.display(), %by, "superseded by a higher version");
        let command = format!("hotseat load {}", quoted(path));
        let why = format!("superseded by {by}: `{command}` deploys it");
        self.ignored(path, Some(arrival), &why);
    }

    pub(super) fn say_given_up(&self, path: &Path, arrival: &Arrival) {
        let command = format!("hotseat load {}", quoted(path));
        let why = "its order was begun several times and the process never lived to its end";
        tracing::error!(path = %path.display(), command, "given up: {why}");
        let text = format!("given up: {why}; `{command}` tries it again");
        let digest = Some(arrival.seen.digest);
        self.ignored(path, Some(arrival), &text);
        self.store.note(path, Some(Note { text, digest }));
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

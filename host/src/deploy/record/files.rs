//! What is remembered of the files in the plugins folder, for the watcher and the status.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{MutexGuard, PoisonError},
};

use super::Record;
use crate::{
    artifact::quoted,
    error::Coded as _,
    ids::{Digest, PluginName},
    state::{Fate, Manifest, Note, Seen, SeenStore, Standing},
};

impl Record {
    /// Files whose orders were under way when a process died of loading one of `contents`: those with
    /// such a content are not ordered again, and say why; the others had nothing to do with it, and
    /// are found anew.
    pub fn orders_died_of(&self, contents: &BTreeMap<Digest, String>) {
        let mut culprits = Vec::new();
        let changed = self.change(|manifest| {
            manifest.seen.retain(|path, seen| {
                let why = contents.get(&seen.digest);
                let under_way = matches!(seen.fate, Fate::Ordered(_));
                if let Some(why) = why {
                    // Also what an earlier process has died of, which nobody has said since.
                    culprits.push((path.clone(), why, seen.digest));
                    seen.fate = Fate::Ended;
                }
                why.is_some() || !under_way
            });
        });
        if let Err(error) = changed {
            tracing::error!(
                %error, hint = error.hint(),
                "files that end the process may be tried again"
            );
        }
        for (path, why, digest) in culprits {
            let command = format!("hotseat load {}", quoted(&path));
            tracing::error!(path = %path.display(), command, "not tried again: {why}");
            let text = format!("{why}: `{command}` tries it again");
            SeenStore::note(self, &path, Some(Note { text, digest: Some(digest) }));
        }
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files of the plugins folder that are not deployed, and why.
    #[must_use]
    pub fn noted(&self) -> BTreeMap<PathBuf, String> {
        self.notes().iter().map(|(path, note)| (path.clone(), note.text.clone())).collect()
    }
}

impl SeenStore for Record {
    fn may_remember(&self) -> bool {
        self.unwritable().is_none()
    }

    fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        self.book().manifest.seen.clone()
    }

    fn remember(&self, path: &Path, seen: Option<Seen>) {
        if self.is_sealed() {
            return;
        }
        let apply = |manifest: &mut Manifest| match &seen {
            Some(seen) => drop(manifest.seen.insert(path.to_owned(), seen.clone())),
            None => drop(manifest.seen.remove(path)),
        };
        if let Err(error) = self.change(apply) {
            tracing::error!(
                %error, hint = error.hint(), path = %path.display(),
                "a file is remembered in memory only"
            );
            // Else it would be ordered again at every look. It is written with what comes next.
            let _pen = self.pen();
            let mut book = self.book();
            apply(&mut book.manifest);
            book.manifest.serial += 1;
            book.behind = true;
        }
    }

    fn standing(&self, plugin: &PluginName, digest: Digest) -> Standing {
        let book = self.book();
        let Some(versions) = book.manifest.plugins.get(plugin) else { return Standing::Free };
        if versions.serving().is_some_and(|entry| entry.digest == digest) {
            Standing::Serves
        } else if versions.left().contains(&digest) {
            Standing::Left
        } else {
            Standing::Free
        }
    }

    fn note(&self, path: &Path, note: Option<Note>) {
        let mut notes = self.notes();
        match note {
            Some(note) => drop(notes.insert(path.to_owned(), note)),
            None => drop(notes.remove(path)),
        }
    }
}

//! Versions that must not be returned to by themselves, because they have ended processes or kept a
//! start waiting.
//!
//! Owns what is done about them in the manifest. It is so in memory also when the disk fails.

use std::{collections::BTreeMap, time::SystemTime};

use super::{Record, Withdrawal};
use crate::{
    error::Coded as _,
    ids::{Digest, Generation, Label, PluginName},
    state::{Manifest, ManifestFile, VersionEntry, Versions},
};

/// What a row of withdrawals says at most before the last one. Units: bytes.
const TOLD_BYTES: usize = 2048;

/// A version that was taken out of traffic because it ended its process.
#[derive(Debug)]
pub struct Withdrawn {
    /// Whose.
    pub plugin: PluginName,
    /// What was taken out.
    pub was: VersionEntry,
    /// What is active instead. `None`: nothing was committed before it.
    pub now: Option<VersionEntry>,
    /// All of it, for people.
    pub text: String,
}

impl Record {
    /// No withdrawal leads to one of `contents`: processes have died of loading them. Their numbers
    /// say less: one that was given to a rollback which never reached the disk is not known here.
    pub fn shun(&self, contents: impl IntoIterator<Item = Digest>) {
        self.book().deadly.extend(contents);
    }

    /// Takes a generation out of what boots, if it is active: what a rollback would bring back is
    /// active then, under a number of its own. `None`: it is not active, and will be avoided where it
    /// would stand in for one that is.
    ///
    /// It is so in memory also when the disk fails: whatever ended a process is not loaded again.
    pub fn withdraw(&self, withdrawal: &Withdrawal) -> Option<Withdrawn> {
        let Withdrawal { generation, why, .. } = withdrawal;
        let mut file = self.pen();
        let mut book = self.book();
        // Also that of an attempt which nothing was committed of: else another one would get it,
        // and the blame with it.
        book.manifest.use_up(*generation);
        let mut next = book.manifest.clone();
        let active = next.plugins.iter().find_map(|(plugin, versions)| {
            let active = versions.active().filter(|entry| entry.generation == *generation)?;
            Some((plugin.clone(), active.clone()))
        });
        let Some((plugin, was)) = active else {
            book.avoided.push(withdrawal.clone());
            return None;
        };
        let versions = next.plugins.get_mut(&plugin)?;
        book.deadly.iter().for_each(|content| versions.give_up_content(*content));
        drop(book);
        let target = versions.rollback_target(&plugin, None).ok().cloned();
        let number = target.as_ref().map(|_| next.take_generation());
        if let Some(number) = number {
            self.generation_given(number);
        }
        let versions = next.plugins.get_mut(&plugin)?;
        match target.zip(number) {
            Some((target, number)) => {
                versions.commit_rollback(&target, number, SystemTime::now());
            }
            None => {
                versions.withdraw();
                versions.touch(SystemTime::now());
            }
        }
        let now = versions.active().cloned();
        let instead = match &now {
            Some(now) => format!("generation {} ({}) is active instead", now.generation, now.label),
            None => "there is no version before it".to_owned(),
        };
        let label = &was.label;
        let text = format!("generation {generation} ({label}) was withdrawn: {why}; {instead}");
        // Of several in a row nobody is to miss the first: that is the one that somebody has deployed.
        let text = match versions.withdrawn().filter(|before| before.len() < TOLD_BYTES) {
            Some(before) => format!("{before}; {text}"),
            None => text,
        };
        versions.set_withdrawn(text.clone());
        next.changed_last = Some(plugin.clone());
        self.save_withdrawal(&mut file, next);
        self.book().changes.note(&plugin);
        self.warn(&plugin, text.clone());
        Some(Withdrawn { plugin, was, now, text })
    }

    fn save_withdrawal(&self, file: &mut ManifestFile, mut next: Manifest) {
        next.serial += 1;
        let saved = file.save(&next);
        if let Err(error) = &saved {
            tracing::error!(
                %error, hint = error.hint(),
                "a withdrawn version is not written down yet"
            );
            self.not_written(error);
        }
        let mut book = self.book();
        (book.manifest, book.behind) = (next, saved.is_err());
    }

    /// Why a version of `plugin` that would stand in for the active one must not: it has ended
    /// processes. From then on it is not returned to unless it is named.
    pub fn avoid(&self, plugin: &PluginName, generation: Generation) -> Option<String> {
        let mut file = self.pen();
        let book = self.book();
        let known = book.avoided.iter().find(|it| it.generation == generation)?;
        let text = format!("generation {generation} was withdrawn: {}", known.why);
        let mut next = book.manifest.clone();
        drop(book);
        if let Some(versions) = next.plugins.get_mut(plugin) {
            versions.give_up(generation);
            versions.set_withdrawn(text.clone());
        }
        self.save_withdrawal(&mut file, next);
        Some(text)
    }

    /// Every plugin that serves nothing because all that was committed of it was withdrawn.
    #[must_use]
    pub fn without_a_version(&self) -> Vec<PluginName> {
        let book = self.book();
        let none = |(_, versions): &(&PluginName, &Versions)| {
            !versions.is_active() && versions.withdrawn().is_some()
        };
        book.manifest.plugins.iter().filter(none).map(|(plugin, _)| plugin.clone()).collect()
    }

    /// Whose `generation` was, if it was left for an older one or for nothing.
    #[must_use]
    pub fn withdrawn_before(&self, generation: Generation) -> Option<(PluginName, Label)> {
        let book = self.book();
        book.manifest.plugins.iter().find_map(|(plugin, versions)| {
            let entries = versions.list().iter();
            let mut left = entries.filter(|it| it.generation == generation && it.rolled_back);
            left.next().map(|entry| (plugin.clone(), entry.label.clone()))
        })
    }
}

/// What the status says of plugins until their next commit.
pub(super) fn withdrawals(manifest: &Manifest) -> BTreeMap<PluginName, String> {
    let told = |(plugin, versions): (&PluginName, &Versions)| {
        Some((plugin.clone(), versions.withdrawn()?))
    };
    manifest.plugins.iter().filter_map(told).collect()
}

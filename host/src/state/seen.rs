//! What is remembered of the files in the plugins folder.
//!
//! Owns the words only; the manifest keeps them across restarts, the watcher decides.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::ids::{Digest, PluginName};

/// A file of the plugins folder as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its inode's number; behind a link, what it leads to.
    pub inode: u64,
    /// Units: bytes.
    pub size: u64,
    /// Units: nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Units: nanoseconds since the epoch. `None`: remembered by a release that did not look at it.
    pub ctime_ns: Option<i64>,
    /// Its content.
    pub digest: Digest,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// Whatever there was to do about it is done.
    #[default]
    Ended,
    /// Its order is under way, for the how-manieth time: a process that finds this when it starts
    /// comes after one that did not live to the order's end.
    Ordered(u32),
    /// Refused, with this code, for a reason that may go away without another content.
    Waits(String),
    /// Bytes that were left by a rollback or a withdrawal were written again: somebody has to say
    /// that they are meant.
    Held,
}

/// What a content is to its plugin at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It serves.
    Serves,
    /// A rollback or a withdrawal left it, and it was not committed since.
    Left,
    /// Neither.
    Free,
}

/// One line about a file that is not deployed, for the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The line.
    pub text: String,
    /// It is of no account any more once this content is committed.
    pub digest: Option<Digest>,
}

/// Which files were looked at; kept in the manifest, across restarts.
pub trait SeenStore: Send + Sync {
    /// All of them, by absolute path.
    fn seen(&self) -> BTreeMap<PathBuf, Seen>;
    /// Whether something can be remembered at all; what cannot be is not to be ordered.
    fn may_remember(&self) -> bool {
        true
    }
    /// Remembers one file, or forgets it.
    fn remember(&self, path: &Path, seen: Option<Seen>);
    /// What a content is to a plugin.
    fn standing(&self, plugin: &PluginName, digest: Digest) -> Standing;
    /// Has the status say something about a file, or nothing more. Of this process alone.
    fn note(&self, path: &Path, note: Option<Note>);
}

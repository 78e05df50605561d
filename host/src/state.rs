//! What outlives a process: what boots, what was kept, what happened.
//!
//! Owns the state folder (with `artifact::Store`): its lock, `manifest.json`, `numbers.json`,
//! `history.jsonl`, `cells/`.
//! Knows nothing of libraries being loaded or routed. Entry points: [`StateDir::open`],
//! [`ManifestFile`], [`History::open`].
//! Invariant: kill -9 at any moment leaves a folder that boots; a power cut does from the moment
//! that [`Syncer`] has caught up.

pub mod cells;
mod folder;
pub mod history;
pub mod manifest;
pub mod numbers;
pub mod rollback;
mod seen;
mod sync;
pub mod versions;
mod wire;

pub use self::{
    folder::{StateDir, StateError},
    history::History,
    manifest::{Loaded, Manifest, ManifestError, ManifestFile, Witness},
    numbers::Numbers,
    rollback::RollbackError,
    seen::{Fate, Note, Seen, SeenStore, Standing},
    sync::Syncer,
    versions::{VersionEntry, Versions},
};

//! The way out of a generation: what it is to the engine that unloads it.
//!
//! Whoever drops the last lease of a generation hands its instance over ([`retire`]) and goes on.
//! Knows nothing of drains: they are over.

use std::{io, sync::Arc};

pub use hotseat_unload::reaper::{GRACE, ReaperRules, Report, Unloading};
use hotseat_unload::{
    Library, Record,
    reaper::{self, Ended, Retire},
};

use super::instance::Instance;
use crate::{ids::Generation, sys::private::PrivateFile};

/// What leaves the process.
#[derive(Debug)]
pub enum Leaving {
    /// A generation.
    Instance(Instance),
    /// All that there is of a load that failed.
    Library(Library),
}

impl Retire for Leaving {
    fn record(&self) -> &Arc<Record> {
        match self {
            Self::Instance(instance) => instance.record(),
            Self::Library(library) => library.record(),
        }
    }

    fn end(self, freeing: impl FnOnce()) -> Ended<Self> {
        match self {
            Self::Instance(instance) => match instance.end(freeing) {
                Ended::Freed(library) => Ended::Freed(library),
                Ended::Running(instance) => Ended::Running(Self::Instance(instance)),
            },
            Self::Library(library) => Ended::Freed(library),
        }
    }

    fn free(self) -> Library {
        match self {
            Self::Instance(instance) => instance.free(),
            Self::Library(library) => library,
        }
    }
}

/// The thread that unloads.
pub type Reaper = reaper::Reaper<Leaving>;

/// Hands over what leaves; clones reach the same reaper.
pub type ReaperHandle = reaper::ReaperHandle<Leaving>;

/// Hands a generation over, by whose number it is reported. Its private copy is removed once it is
/// unmapped.
pub fn retire(to: &ReaperHandle, generation: Generation, (leaving, file): (Leaving, PrivateFile)) {
    let unmapped = Box::new(move || remove(file));
    to.retire(reaper::Retired { tag: generation.0, instance: leaving, unmapped });
}

fn remove(file: PrivateFile) {
    let path = file.path().display().to_string();
    match file.remove() {
        // With the whole folder, by somebody else.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(
            file = path, %error, "the private copy of an unloaded library stays"
        ),
        Ok(()) => {}
    }
}

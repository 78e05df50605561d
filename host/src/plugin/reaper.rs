//! The way out of a generation: what it is to the engine that unloads it.
//!
//! Whoever drops the last lease of a generation hands its instance over ([`retire`]) and goes on.
//! Knows nothing of drains: they are over.

use std::io;

pub use hotseat_unload::reaper::{GRACE, ReaperRules, Report, Unloading};
use hotseat_unload::{figures::Figures, reaper};

use super::instance::Instance;
use crate::{ids::Generation, sys::private::PrivateFile};

/// The thread that unloads.
pub type Reaper = reaper::Reaper<Instance>;

/// Hands retired generations over; clones reach the same reaper.
pub type ReaperHandle = reaper::ReaperHandle<Instance>;

/// Hands a generation over, by whose number it is reported. Its private copy is removed once it is
/// unmapped; `before` is what the process had before it was loaded.
pub fn retire(
    to: &ReaperHandle,
    generation: Generation,
    (instance, file): (Instance, PrivateFile),
    before: Figures,
) {
    let unmapped = Box::new(move || remove(file));
    to.retire(reaper::Retired { tag: generation.0, instance, before, unmapped });
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

//! Brings the cells of some plugins to the disk, behind the changes.
//!
//! Owns one thread, which copies what has changed and hands it to the record. It is told of changes
//! of its own process and looks for those of others, which drain. Only the worker that writes the
//! state writes these.
//! Invariant: nobody who changes a cell waits for the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use super::record::Record;
use crate::{cells::Cells, error::Coded as _, ids::PluginName, thread::Inbox};

/// Between two looks at what other processes have changed, and two tries where it cannot be written.
const PACE: Duration = Duration::from_secs(1);
/// How long changes are gathered before they are written.
const GATHER: Duration = Duration::from_millis(20);
/// At most one part in so many of all time is spent on it.
const SHARE: u32 = 10;
/// How long the end of a worker waits for the last round.
const END_TIME: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Told {
    changed: bool,
    ending: bool,
    ended: bool,
}

/// The thread. Dropping it ends it, without waiting.
#[derive(Debug)]
pub struct Keeping(Option<Arc<Inbox<Told>>>);

impl Keeping {
    /// Keeps the cells of `plugins`; without any there is no thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        record: &Arc<Record>,
        cells: &Arc<Cells>,
        plugins: &BTreeSet<PluginName>,
    ) -> io::Result<Self> {
        if plugins.is_empty() {
            return Ok(Self(None));
        }
        let told = Arc::new(Inbox::new(Told::default()));
        let (hears, kept) = (told.clone(), plugins.clone());
        cells.on_change(move |plugin| {
            // Who is told already looks at everything.
            if kept.contains(plugin) && !hears.lock().changed {
                hears.tell(|told| told.changed = true);
            }
        });
        let mut keeper = Keeper {
            record: record.clone(),
            cells: cells.clone(),
            written: plugins.iter().map(|it| (it.clone(), None)).collect(),
            complained: false,
        };
        let theirs = told.clone();
        let thread = std::thread::Builder::new().name("hotseat-cells".to_owned());
        thread.spawn(move || {
            loop {
                let ending = next(&theirs, Duration::ZERO);
                let began = Instant::now();
                keeper.round();
                if ending {
                    break;
                }
                next(&theirs, GATHER.max(began.elapsed() * SHARE));
            }
            theirs.tell(|told| told.ended = true);
        })?;
        Ok(Self(Some(told)))
    }

    /// Writes what is not written yet, and ends. Waits, but not for ever.
    pub fn end(&self) {
        let Some(told) = &self.0 else { return };
        told.tell(|told| told.ending = true);
        if !told.wait_for(END_TIME, |told| told.ended) {
            tracing::warn!("the cells of plugins may not be on the disk");
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if let Some(told) = &self.0 {
            told.tell(|told| told.ending = true);
        }
    }
}

/// Waits for `pause`, or else for a change or the next look; whether it is the end, which is not
/// waited for.
fn next(told: &Inbox<Told>, pause: Duration) -> bool {
    let due = Instant::now() + if pause.is_zero() { PACE } else { pause };
    told.wait(|told| {
        let changed = told.changed && pause.is_zero();
        if told.ending || changed || Instant::now() >= due {
            told.changed = told.changed && !changed;
            return ControlFlow::Break(told.ending);
        }
        ControlFlow::Continue(Some(due))
    })
}

struct Keeper {
    record: Arc<Record>,
    cells: Arc<Cells>,
    /// Which version of each plugin's cells the disk has; `None`: not known.
    written: BTreeMap<PluginName, Option<u64>>,
    complained: bool,
}

impl Keeper {
    fn round(&mut self) {
        let usage = self.cells.usage().unwrap_or_default();
        for usage in usage {
            let Some(written) = self.written.get_mut(&usage.plugin) else { continue };
            let gone = usage.count > 0 && !self.record.has_cells(&usage.plugin);
            if *written == Some(usage.version) && !gone {
                continue;
            }
            let copied = match self.cells.copy(&usage.plugin) {
                Ok(copied) => copied,
                Err(error) => {
                    // The file stays as it is, and the next round looks again.
                    tracing::warn!(
                        plugin = usage.plugin.as_str(),
                        "cells are not written to the disk: {error}"
                    );
                    continue;
                }
            };
            match self.record.keep_cells(&usage.plugin, &copied) {
                Ok(true) => {
                    *written = Some(copied.version);
                    if std::mem::take(&mut self.complained) {
                        tracing::info!("cells of plugins can be written to the disk again");
                    }
                }
                // Another worker writes, and this one may be that again.
                Ok(false) => *written = None,
                Err(error) => {
                    *written = None;
                    if !std::mem::replace(&mut self.complained, true) {
                        tracing::error!(
                            plugin = usage.plugin.as_str(),
                            hint = error.hint(),
                            "cells stay in memory until they can be written: {error}"
                        );
                    }
                }
            }
        }
    }
}

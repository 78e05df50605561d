//! Takes in what the disk has, once in the life of the file.

use std::collections::BTreeSet;

use super::{
    CellError, Cells, Copied, Value, When,
    area::Change,
    check_key,
    layout::{SEEDED, SEEDED_AT, SEEDED_IN_PART},
    lock,
    region::Region,
};
use crate::ids::PluginName;

impl Cells {
    /// Takes in what `saved` gives of each of these plugins, if nobody has done so since the file was
    /// made; `None`: it cannot be had. Whoever dies within it leaves it to the next one. Those of
    /// which the disk has more than is here, as long as the file lives: nobody may write over that.
    ///
    /// # Errors
    /// That may be any of them, then.
    pub fn seed(
        &self,
        plugins: &BTreeSet<PluginName>,
        saved: impl Fn(&PluginName) -> Option<Copied>,
    ) -> Result<BTreeSet<PluginName>, CellError> {
        let region = self.region()?;
        if region.word(SEEDED_AT)? == 0 {
            match self.seeding.take(region, lock::due()) {
                Ok(_held) if region.word(SEEDED_AT)? == 0 => {
                    let mut how = SEEDED;
                    for plugin in plugins {
                        if let Err(error) = self.take_in(region, plugin, saved(plugin)) {
                            tracing::error!(
                                plugin = plugin.as_str(),
                                "no place for cells: {error}"
                            );
                            how = SEEDED_IN_PART;
                        }
                    }
                    region.write_word(SEEDED_AT, how)?;
                }
                Ok(_) => {}
                // Plugins begin without, and nobody sets their values back in the midst of it.
                Err(_) => region.write_word(SEEDED_AT, SEEDED_IN_PART)?,
            }
        }
        if region.word(SEEDED_AT)? != SEEDED {
            return Ok(plugins.clone());
        }
        let mut left_out = BTreeSet::new();
        for plugin in plugins {
            if let Some(area) = self.find(plugin)?
                && area.is_left_out(region)?
            {
                left_out.insert(plugin.clone());
            }
        }
        Ok(left_out)
    }

    /// What the disk has of a plugin. What of it cannot be taken in is left out.
    fn take_in(
        &self,
        region: &Region,
        plugin: &PluginName,
        saved: Option<Copied>,
    ) -> Result<(), CellError> {
        if saved.as_ref().is_some_and(|it| it == &Copied::default()) {
            return Ok(());
        }
        let area = self.place(plugin, lock::due())?;
        area.leave_out(region, true)?;
        let Some(Copied { version, values }) = saved else { return Ok(()) };
        let take = || {
            for (key, Value { version, bytes }) in &values {
                check_key(key)?;
                let (when, to, version) = (When::Always, Some(&**bytes), Some(*version));
                let change = Change { key, when, to, version, due: lock::due() };
                area.change(region, &change, |_, _, begin| Ok(begin()?))?;
            }
            // The last changes before a machine went down may never have been written.
            area.skip_versions(region, version)
        };
        match take() {
            Ok(()) => Ok(area.leave_out(region, false)?),
            Err(error) => {
                tracing::error!(plugin = plugin.as_str(), "cells are not taken in whole: {error}");
                Ok(())
            }
        }
    }
}

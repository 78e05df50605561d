//! Plugins hear of the signals of the host.

use hotseat_plugin_api::abi::{signal, signal_phase};

use super::Worker;
use crate::config::HookPhase;

impl Worker {
    /// Tells every plugin that serves of the signal `name` (without `SIG`). Never waits: one that
    /// takes longer than `hook_time` is logged and keeps nobody waiting. A name that plugins have
    /// no word for is told nobody.
    pub fn signal(&self, name: &str, phase: HookPhase) {
        let Some(signal) = number(name) else {
            tracing::debug!(name, "plugins have no word for this signal");
            return;
        };
        let phase = match phase {
            HookPhase::Pre => signal_phase::PRE,
            HookPhase::Post => signal_phase::POST,
        };
        let table = self.picture.routes.load();
        let serving = table.mounts().iter().filter_map(|mount| mount.loaded.clone());
        self.drains.signal(serving, (signal, phase), self.config.limits.hook_time);
    }
}

/// The plugins' number of a signal.
fn number(name: &str) -> Option<u32> {
    Some(match name {
        "HUP" => signal::HUP,
        "USR1" => signal::USR1,
        "USR2" => signal::USR2,
        "INT" => signal::INT,
        "TERM" => signal::TERM,
        "QUIT" => signal::QUIT,
        "TSTP" => signal::TSTP,
        _ => return None,
    })
}

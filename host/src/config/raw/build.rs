//! From what was typed to what it means.
//!
//! Owns the step from [`RawConfig`] to [`Config`]: defaults where nothing was said. Everything was
//! checked when it was parsed, so nothing can fail here.

use super::{
    LogSettings, RawConfig, RawRecycle, RawUnload, RawWatch,
    address::{Account, ControlAt, ListenAt, Name, Prefix, RawMount},
    file::Surroundings,
    lifecycle::{LameStatus, Probe, RawHook, RawReexec},
    plugin::RawPlugin,
};
use crate::config::{Config, Recycle, UnloadPolicy, Watch, plugin::PluginTable};

impl RawConfig {
    /// These over the defaults.
    pub(super) fn build(self, around: &Surroundings) -> (Config, LogSettings) {
        let mut config = Config::default();
        let plain = |at: Vec<ListenAt>| at.into_iter().map(|ListenAt(at)| at).collect();
        if let Some(listen) = self.listen {
            config.listen = plain(listen);
        }
        if let Some(control) = self.control {
            config.control = control.into_iter().map(|ControlAt(at)| at).collect();
        }
        config.health_listen = self.health_listen.map_or_else(Vec::new, plain);
        config.health_path = self.health_path.map(|Prefix(path)| path);
        config.plugins_dir = self.plugins_dir.or(config.plugins_dir);
        match self.watch {
            None | Some(RawWatch::Events) => config.watch = Watch::Events,
            Some(RawWatch::Polling) => config.watch = Watch::Polling,
            Some(RawWatch::Off) => config.plugins_dir = None,
        }
        config.follow_links = self.follow_links.unwrap_or(config.follow_links);
        config.mounts = self.mount.unwrap_or_default().into_iter().map(|RawMount(m)| m).collect();
        for (Name(name), RawPlugin { memory, log, table }) in self.plugin {
            let table = PluginTable { table, memory, log, places: None };
            config.plugins.insert(name, table);
        }
        let accounts = self.trusted_owners.unwrap_or_default();
        config.trusted_owners = accounts.into_iter().map(|Account(id)| id).collect();
        config.unload = match self.unload {
            None | Some(RawUnload::Allow) => UnloadPolicy::Allow,
            Some(RawUnload::Require) => UnloadPolicy::Require,
            Some(RawUnload::Off) => UnloadPolicy::Off,
        };
        config.recycle = match self.recycle {
            None | Some(RawRecycle::Off) => Recycle::Off,
            Some(RawRecycle::Auto) => Recycle::Auto,
        };
        let kept = self.cells_on_disk.unwrap_or_default();
        config.cells_on_disk = kept.into_iter().map(|Name(name)| name).collect();
        if let Some(state_dir) = self.state_dir.or_else(|| around.state_directory.clone()) {
            config.state_dir = state_dir;
        }
        config.threads = self.threads.map_or(config.threads, Into::into);
        config.half_close = self.half_close.unwrap_or(config.half_close);
        config.thin = self.thin.unwrap_or(config.thin);
        config.single = self.single.unwrap_or(config.single);
        config.pid_file = self.pid_file;
        config.lame_status = self.lame_status.map_or(config.lame_status, |LameStatus(it)| it);
        config.probes = self.probes.unwrap_or_default().into_iter().map(|Probe(it)| it).collect();
        config.hooks = self.hooks.unwrap_or_default().into_iter().map(|RawHook(it)| it).collect();
        config.strict_exit = self.strict_exit.unwrap_or(config.strict_exit);
        config.master_reexec = self.master_reexec != Some(RawReexec::Never);
        self.limits.apply(&mut config.limits);
        let (filter, format) = (self.log.unwrap_or_default(), self.log_format.unwrap_or_default());
        let bounds = config.limits.of_log();
        (config, LogSettings { filter, format, bounds })
    }
}

//! What was typed: flags, environment and TOML, each a [`RawConfig`], laid over each other.
//!
//! Owns names, syntax and precedence of the settings (default < file < environment < flag) and
//! the way to a validated [`Config`]. The only place that reads an environment variable or a
//! configuration file.
//! Invariant: flag `--a-b`, variable `HOTSEAT_A_B` and key `a_b` are one field here, so none of
//! them can be missing. Probes and hooks are plural in a file, and commands never come from the
//! environment.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer};

use self::{
    address::{Account, ControlAt, ListenAt, Name, Prefix, RawMount},
    file::{FileText, Surroundings},
    lifecycle::{LIST_COUNT, LameStatus, Probe, RawHook, RawReexec},
    limits::RawLimits,
    plugin::RawPlugin,
    values::Count,
};
pub use self::{changed::changed_keys, refusal::ConfigError};
use super::Config;
use crate::log::{Filter, LogFormat, LogSettings};

pub mod address;
mod build;
mod changed;
pub mod control;
pub mod file;
pub mod lifecycle;
pub mod limits;
mod places;
pub mod plugin;
mod refusal;
pub mod values;

/// How the folder is watched, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawWatch {
    /// Kernel events, and a slow rescan as a net
    Events,
    /// The rescan alone, for file systems without events
    Polling,
    /// Not at all
    Off,
}

/// What to do with a library that cannot be unmapped, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawUnload {
    /// What cannot be unmapped stays, counted and explained
    Allow,
    /// What would stay is refused before it is loaded
    Require,
    /// Nothing is ever unmapped
    Off,
}

/// When the host renews its worker by itself, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawRecycle {
    /// When the next library has no room in it, or too many cannot be unloaded
    Auto,
    /// Never
    Off,
}

/// Each plugin's own table in the file.
type Tables = BTreeMap<Name, RawPlugin>;

/// Every setting as typed; `None` where nothing was said.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where requests are served; may be given several times [default: 127.0.0.1:8080]
    #[arg(long, env = "HOTSEAT_LISTEN", hide_env_values = true, value_name = "ADDRESS")]
    #[arg(value_delimiter = ',', help_heading = "Addresses (IP:PORT, unix:PATH or unix:@NAME)")]
    #[serde(deserialize_with = "some_addresses")]
    pub listen: Option<Vec<ListenAt>>,
    /// Where the host is updated and asked: loopback or unix:PATH only [default: 127.0.0.1:28000]
    #[arg(long, env = "HOTSEAT_CONTROL", hide_env_values = true, value_name = "ADDRESS")]
    #[arg(value_delimiter = ',', help_heading = "Addresses (IP:PORT, unix:PATH or unix:@NAME)")]
    pub control: Option<Vec<ControlAt>>,
    /// Where `/livez` and `/readyz` alone answer, for load balancers elsewhere [default: nowhere]
    #[arg(long, env = "HOTSEAT_HEALTH_LISTEN", hide_env_values = true, value_name = "ADDRESS")]
    #[arg(value_delimiter = ',', help_heading = "Addresses (IP:PORT, unix:PATH or unix:@NAME)")]
    pub health_listen: Option<Vec<ListenAt>>,
    /// A path of the data plane under which `/livez` and `/readyz` answer [default: none]
    #[arg(long, env = "HOTSEAT_HEALTH_PATH", hide_env_values = true, value_name = "PATH")]
    #[arg(help_heading = "Addresses (IP:PORT, unix:PATH or unix:@NAME)")]
    pub health_path: Option<Prefix>,

    /// The folder whose libraries are deployed as they arrive [default: ./plugins]
    #[arg(long, env = "HOTSEAT_PLUGINS_DIR", hide_env_values = true, value_name = "DIR")]
    #[arg(visible_alias = "plugins", help_heading = "Plugins")]
    pub plugins_dir: Option<PathBuf>,
    /// How the folder is watched [default: events]
    #[arg(long, env = "HOTSEAT_WATCH", hide_env_values = true, value_name = "HOW")]
    #[arg(help_heading = "Plugins")]
    pub watch: Option<RawWatch>,
    /// A library may be a symlink, as in a mounted ConfigMap or a Nix profile; owner and mode are
    /// checked at each step it leads over [default: false]
    #[arg(long, env = "HOTSEAT_FOLLOW_LINKS", hide_env_values = true, value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(help_heading = "Plugins")]
    pub follow_links: Option<bool>,
    /// Where a plugin is mounted, instead of its default mount; may be given several times
    #[arg(long, env = "HOTSEAT_MOUNT", hide_env_values = true, value_name = "[HOST]PREFIX=PLUGIN")]
    #[arg(value_delimiter = ',', help_heading = "Plugins")]
    #[serde(deserialize_with = "distinct_mounts")]
    pub mount: Option<Vec<RawMount>>,
    /// What each plugin's `Context::config` returns: the tables `[plugin.NAME]` of the file.
    #[arg(skip)]
    pub plugin: Tables,
    /// Accounts besides root and the host's own whose libraries are accepted [default: none]
    #[arg(long, env = "HOTSEAT_TRUSTED_OWNERS", hide_env_values = true, value_name = "ACCOUNT")]
    #[arg(value_delimiter = ',', help_heading = "Plugins")]
    pub trusted_owners: Option<Vec<Account>>,
    /// What to do with a library that cannot be unmapped [default: allow]
    #[arg(long, env = "HOTSEAT_UNLOAD", hide_env_values = true, value_name = "HOW")]
    #[arg(help_heading = "Plugins")]
    pub unload: Option<RawUnload>,
    /// Whether the host renews its worker by itself, as in an upgrade to what it runs already, when
    /// the loader has no room for the next library, or too many stay resident [default: off]
    #[arg(long, env = "HOTSEAT_RECYCLE", hide_env_values = true, value_name = "WHEN")]
    #[arg(help_heading = "Plugins")]
    pub recycle: Option<RawRecycle>,
    /// Plugins whose cells are kept on the disk as well, so that they outlive the whole host; may be
    /// given several times [default: none]
    #[arg(long, env = "HOTSEAT_CELLS_ON_DISK", hide_env_values = true, value_name = "PLUGIN")]
    #[arg(value_delimiter = ',', help_heading = "Plugins")]
    pub cells_on_disk: Option<Vec<Name>>,

    /// Where state is kept, one host a folder [default: $STATE_DIRECTORY, else ./.hotseat]
    #[arg(long, env = "HOTSEAT_STATE_DIR", hide_env_values = true, value_name = "DIR")]
    #[arg(help_heading = "Process")]
    pub state_dir: Option<PathBuf>,
    /// Threads that serve requests, from 1 to 1024 [default: one a core]
    #[arg(long, env = "HOTSEAT_THREADS", hide_env_values = true, value_name = "COUNT")]
    #[arg(help_heading = "Process")]
    pub threads: Option<Count<1, 1024>>,
    /// A client that shuts its writing side still gets its answer [default: true]
    #[arg(long, env = "HOTSEAT_HALF_CLOSE", hide_env_values = true, value_name = "BOOL")]
    #[arg(help_heading = "Process", num_args = 0..=1, default_missing_value = "true")]
    pub half_close: Option<bool>,
    /// Plain requests of HTTP/1.1 take a shorter way [default: true]
    #[arg(long, env = "HOTSEAT_THIN", hide_env_values = true, value_name = "BOOL")]
    #[arg(help_heading = "Process", num_args = 0..=1, default_missing_value = "true")]
    pub thin: Option<bool>,
    /// What is logged: a level, or levels by module as in `warn,hotseat=debug` [default: info]
    #[arg(long, env = "HOTSEAT_LOG", hide_env_values = true, value_name = "FILTER")]
    #[arg(help_heading = "Process")]
    pub log: Option<Filter>,
    /// How log lines look on standard error [default: text]
    #[arg(long, env = "HOTSEAT_LOG_FORMAT", hide_env_values = true, value_name = "FORMAT")]
    #[arg(help_heading = "Process")]
    pub log_format: Option<LogFormat>,

    /// One process without a master: for debuggers; it cannot be upgraded [default: false]
    #[arg(long, env = "HOTSEAT_SINGLE", hide_env_values = true, value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(help_heading = "Upgrade and stop")]
    pub single: Option<bool>,
    /// Where the process id is written: the one that stays over every upgrade [default: nowhere]
    #[arg(long, env = "HOTSEAT_PID_FILE", hide_env_values = true, value_name = "FILE")]
    #[arg(help_heading = "Upgrade and stop")]
    pub pid_file: Option<PathBuf>,
    /// What `/readyz` answers on a lame duck: 503, or 404 for HAProxy's disable-on-404
    /// [default: 503]
    #[arg(long, env = "HOTSEAT_LAME_STATUS", hide_env_values = true, value_name = "STATUS")]
    #[arg(help_heading = "Upgrade and stop")]
    pub lame_status: Option<LameStatus>,
    /// A request that a new worker must answer below 500 before it gets traffic; may be given
    /// several times (in a file: the list probes) [default: none]
    #[arg(id = "probe", long = "probe", env = "HOTSEAT_PROBE", hide_env_values = true)]
    #[arg(value_name = "PATH", value_delimiter = ',', help_heading = "Upgrade and stop")]
    pub probes: Option<Vec<Probe>>,
    /// A command before (pre) or after (post) the host acts on a signal, as in
    /// `pre_hup=/usr/bin/touch /tmp/x`; may be given several times; no variable (in a file: the
    /// table `[hooks]`, with a line or a list of words for each) [default: none]
    #[arg(id = "hook", long = "hook", value_name = "PHASE_SIGNAL=COMMAND")]
    #[arg(help_heading = "Upgrade and stop")]
    #[serde(deserialize_with = "lifecycle::hooks_of_table")]
    pub hooks: Option<Vec<RawHook>>,
    /// A stop that had to cut requests ends with exit code 3 [default: false]
    #[arg(long, env = "HOTSEAT_STRICT_EXIT", hide_env_values = true, value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(help_heading = "Upgrade and stop")]
    pub strict_exit: Option<bool>,
    /// Whether the master goes over to a new binary too [default: auto]
    #[arg(long, env = "HOTSEAT_MASTER_REEXEC", hide_env_values = true, value_name = "WHEN")]
    #[arg(help_heading = "Upgrade and stop")]
    pub master_reexec: Option<RawReexec>,

    /// Bounds on every queue, wait and size.
    #[command(flatten)]
    pub limits: RawLimits,
}

/// Everything that `serve` and `check` get from their settings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// For the host.
    pub config: Config,
    /// For the process.
    pub log: LogSettings,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
}

impl RawConfig {
    /// Reads the file (`named`, else the first of the usual places that has one), lays `self`
    /// (flags and environment) over it, and that over the defaults.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(self, named: Option<&Path>, around: &Surroundings) -> Result<Loaded, ConfigError> {
        self.load_text(&file::find_and_read(named, around)?, around)
    }

    /// The same with a file that was read already, possibly by another process.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load_text(self, file: &FileText, around: &Surroundings) -> Result<Loaded, ConfigError> {
        // Clap has seen only each mount by itself.
        distinct(self.mount.as_deref().unwrap_or_default()).map_err(ConfigError::Clash)?;
        let (mut config, log) = self.or(file::parse(file)?).build(around);
        if let Some(path) = file.path.as_deref().filter(|_| !config.plugins.is_empty()) {
            let mut places = places::of(path, &file.text);
            for (name, table) in &mut config.plugins {
                table.places = places.remove(name.as_str());
            }
        }
        let too_many = |name: &str| format!("there are more than {LIST_COUNT} {name}");
        let clash = if config.probes.len() > LIST_COUNT {
            Some(too_many("probes"))
        } else if config.hooks.len() > LIST_COUNT {
            Some(too_many("hooks"))
        } else {
            config.clash()
        };
        match clash {
            Some(clash) => Err(ConfigError::Clash(clash)),
            None => Ok(Loaded { config, log, file: file.path.clone() }),
        }
    }

    /// These, and `below` where these say nothing.
    #[must_use]
    pub fn or(self, below: Self) -> Self {
        Self {
            listen: self.listen.or(below.listen),
            control: self.control.or(below.control),
            health_listen: self.health_listen.or(below.health_listen),
            health_path: self.health_path.or(below.health_path),
            plugins_dir: self.plugins_dir.or(below.plugins_dir),
            watch: self.watch.or(below.watch),
            follow_links: self.follow_links.or(below.follow_links),
            mount: self.mount.or(below.mount),
            plugin: if self.plugin.is_empty() { below.plugin } else { self.plugin },
            trusted_owners: self.trusted_owners.or(below.trusted_owners),
            unload: self.unload.or(below.unload),
            recycle: self.recycle.or(below.recycle),
            cells_on_disk: self.cells_on_disk.or(below.cells_on_disk),
            state_dir: self.state_dir.or(below.state_dir),
            threads: self.threads.or(below.threads),
            half_close: self.half_close.or(below.half_close),
            thin: self.thin.or(below.thin),
            log: self.log.or(below.log),
            log_format: self.log_format.or(below.log_format),
            single: self.single.or(below.single),
            pid_file: self.pid_file.or(below.pid_file),
            lame_status: self.lame_status.or(below.lame_status),
            probes: self.probes.or(below.probes),
            hooks: self.hooks.or(below.hooks),
            strict_exit: self.strict_exit.or(below.strict_exit),
            master_reexec: self.master_reexec.or(below.master_reexec),
            limits: self.limits.or(below.limits),
        }
    }
}

/// Refuses two mounts at one place. The message names both plugins.
fn distinct(mounts: &[RawMount]) -> Result<(), String> {
    let mut taken = BTreeMap::new();
    for RawMount(rule) in mounts {
        let place = (&rule.host, &rule.prefix);
        if let Some(other) = taken.insert(place, &rule.plugin) {
            let host = rule.host.as_deref().unwrap_or_default();
            let (prefix, plugin) = (&rule.prefix, &rule.plugin);
            return Err(format!(
                "`{host}{prefix}` is mounted twice: for `{other}` and for `{plugin}`"
            ));
        }
    }
    Ok(())
}

fn distinct_mounts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<RawMount>>, D::Error> {
    let mounts = Vec::deserialize(deserializer)?;
    distinct(&mounts).map_err(serde::de::Error::custom)?;
    Ok(Some(mounts))
}

fn some_addresses<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<ListenAt>>, D::Error> {
    let addresses = Vec::deserialize(deserializer)?;
    if addresses.is_empty() {
        return Err(serde::de::Error::custom("at least one address is needed"));
    }
    Ok(Some(addresses))
}

#[cfg(test)]
mod tests;

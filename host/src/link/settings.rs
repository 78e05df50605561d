//! What a master knows of the settings: as little as it needs, in a form that outlives versions.
//!
//! Made from the settings by whoever has parsed them; the master itself parses nothing. A worker
//! reads its settings itself, from the text that was checked ([`ConfigFile`]): that travels with
//! the order to boot, so a file that changes between check and boot changes nothing.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    config::{Hook, Limits, Listen, raw::Loaded},
    log::{self, LogFormat},
    sys::process::random_word,
};

/// The configuration file as it was when it was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Where it was; `None`: there was none, and none is looked for.
    pub path: Option<PathBuf>,
    /// What it said.
    pub text: String,
    /// Which reading of it this is, so that what grew from it is not taken for another one's. A master
    /// of before keeps none, and nothing that grew.
    #[serde(default)]
    pub read: Option<String>,
}

impl ConfigFile {
    /// A file that was just read.
    #[must_use]
    pub fn read_now(path: Option<PathBuf>, text: String) -> Self {
        Self { path, text, read: Some(random_word()) }
    }
}

/// A text that is only handed on, and stands in no log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Veiled(pub String);

impl fmt::Debug for Veiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Veiled")
    }
}

/// The part of the settings that concerns the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Data plane addresses.
    pub listen: Vec<Listen>,
    /// Control plane addresses.
    pub control: Vec<Listen>,
    /// Addresses for health alone.
    pub health: Vec<Listen>,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// Where the master's process id is written.
    pub pid_file: Option<PathBuf>,
    /// Commands around signals.
    pub hooks: Vec<Hook>,
    /// Paths that a new worker must answer below 500.
    pub probes: Vec<String>,
    /// A stop that had to cut requests ends with 3.
    pub strict_exit: bool,
    /// The master goes over to a new binary too.
    pub master_reexec: bool,
    /// What is logged.
    pub log: String,
    /// How log lines look.
    pub log_json: bool,
    /// Bounds.
    pub limits: Bounds,
}

macro_rules! bounds {
    ($($(#[$doc:meta])* $name:ident: $kind:ty;)*) => {
        /// The limits that a master keeps. As in [`Limits`].
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "each is documented where it is set, in `Limits`")]
        pub struct Bounds { $($(#[$doc])* pub $name: $kind,)* }

        impl Bounds {
            fn of(limits: &Limits) -> Self {
                Self { $($name: limits.$name,)* }
            }
        }
    };
}

bounds! {
    stage_time: Duration;
    check_time: Duration;
    freeze_time: Duration;
    ready_time: Duration;
    boot_time: Duration;
    probe_time: Duration;
    soak_time: Duration;
    soak_requests_count: usize;
    soak_errors_percent: usize;
    upgrade_drain: Duration;
    draining_count: usize;
    idle_linger: Duration;
    lame_duck: Duration;
    stop_time: Duration;
    plugin_stop_time: Duration;
    preflight_time: Duration;
    load_time: Duration;
    hook_time: Duration;
    crash_window: Duration;
    crash_count: usize;
    // What a master of before `crash_exit_after` gives up by.
    crash_exit_count: usize;
    #[serde(default)] crash_exit_after: usize;
    binaries_count: usize;
    // A master of before the two had none, and left none behind.
    #[serde(default = "stuck_time")] stuck_time: Duration;
    #[serde(default = "beat_time")] beat_time: Duration;
    // Since the log has a queue.
    #[serde(default = "log_queue_bytes")] log_queue_bytes: usize;
    #[serde(default = "log_flush_time")] log_flush_time: Duration;
    // Since workers are started with room of their own for it.
    #[serde(default = "static_tls")] static_tls: usize;
}

fn stuck_time() -> Duration {
    Limits::default().stuck_time
}

fn beat_time() -> Duration {
    Limits::default().beat_time
}

fn log_queue_bytes() -> usize {
    Limits::default().log_queue_bytes
}

fn log_flush_time() -> Duration {
    Limits::default().log_flush_time
}

fn static_tls() -> usize {
    Limits::default().static_tls
}

impl Settings {
    /// The part that concerns the process.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Self {
        let Loaded { config, log, .. } = loaded;
        let exit_after = config.limits.exit_after();
        Self {
            listen: config.listen.clone(),
            control: config.control.clone(),
            health: config.health_listen.clone(),
            state_dir: config.state_dir.clone(),
            pid_file: config.pid_file.clone(),
            hooks: config.hooks.clone(),
            probes: config.probes.clone(),
            strict_exit: config.strict_exit,
            master_reexec: config.master_reexec,
            log: log.filter.as_str().to_owned(),
            log_json: log.format == LogFormat::Json,
            limits: Bounds {
                crash_exit_count: if exit_after == 0 { usize::MAX } else { exit_after },
                crash_exit_after: exit_after,
                ..Bounds::of(&config.limits)
            },
        }
    }

    /// How the master logs.
    ///
    /// # Errors
    /// A master of another version has taken a filter that this one does not know.
    pub fn logging(&self) -> Result<log::LogSettings, log::LogError> {
        let format = if self.log_json { LogFormat::Json } else { LogFormat::Text };
        let limits = Limits {
            log_queue_bytes: self.limits.log_queue_bytes,
            log_flush_time: self.limits.log_flush_time,
            ..Limits::default()
        };
        Ok(log::LogSettings { filter: self.log.parse()?, format, bounds: limits.of_log() })
    }
}

//! The validated settings: every limit explicit, with its default and where it came from.
//!
//! Owns the meaning of each setting. `config::raw` (flags, environment, TOML) turns what was typed
//! into this; nothing else reads an environment variable or a configuration file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{cells, ids::PluginName, log::Bounds};

use self::plugin::PluginTable;

mod nesting;
pub mod plugin;
pub mod raw;

/// Everything a host needs to know before it binds a port.
#[derive(Clone, Debug)]
pub struct Config {
    /// Data plane addresses, in order. Default: `127.0.0.1:8080`.
    pub listen: Vec<Listen>,
    /// Control plane addresses. Default: `127.0.0.1:28000`. TCP addresses are loopback only.
    pub control: Vec<Listen>,
    /// A listener of its own for `/livez` and `/readyz`, for load balancers elsewhere. Default: none.
    pub health_listen: Vec<Listen>,
    /// A path of the data plane under which `/livez` and `/readyz` answer. Default: none.
    pub health_path: Option<String>,
    /// The watched folder. Default: `./plugins`; `None`: nothing is watched.
    pub plugins_dir: Option<PathBuf>,
    /// How the folder is watched.
    pub watch: Watch,
    /// A library may be a symlink: in the folder, and where its path is given. Default: false.
    pub follow_links: bool,
    /// Where state is kept. Default: `$STATE_DIRECTORY`, else `./.hotseat`.
    pub state_dir: PathBuf,
    /// Configured mounts; a plugin named here is mounted only here.
    pub mounts: Vec<MountRule>,
    /// Each plugin's own table.
    pub plugins: std::collections::BTreeMap<PluginName, PluginTable>,
    /// Plugins whose cells are kept on the disk, too. Default: none.
    pub cells_on_disk: std::collections::BTreeSet<PluginName>,
    /// Data threads. Default: the number of cores.
    pub threads: usize,
    /// What to do with a library that cannot be unmapped.
    pub unload: UnloadPolicy,
    /// When the host renews its worker by itself.
    pub recycle: Recycle,
    /// Accounts besides root and the host's own whose files are accepted. Default: none.
    pub trusted_owners: Vec<u32>,
    /// A client's FIN counts as "it still wants its answer". Default: true.
    pub half_close: bool,
    /// Plain requests of HTTP/1.1 are served past hyper. Default: true.
    pub thin: bool,
    /// One process without a master, for debuggers. Default: false.
    pub single: bool,
    /// Where the master's process id is written. Default: nowhere.
    pub pid_file: Option<PathBuf>,
    /// What `/readyz` answers on a lame duck: 503, or 404 for HAProxy's `disable-on-404`.
    pub lame_status: u16,
    /// Requests that a new worker must answer below 500 before it gets traffic: paths.
    pub probes: Vec<String>,
    /// Commands around signals.
    pub hooks: Vec<Hook>,
    /// A stop that had to cut requests ends with exit code 3. Default: false.
    pub strict_exit: bool,
    /// The master goes over to a new binary too. Default: true.
    pub master_reexec: bool,
    /// Bounds on everything.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port| Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        Self {
            listen: vec![local(8080)],
            control: vec![local(28000)],
            health_listen: Vec::new(),
            health_path: None,
            plugins_dir: Some(PathBuf::from("./plugins")),
            watch: Watch::Events,
            follow_links: false,
            state_dir: PathBuf::from("./.hotseat"),
            mounts: Vec::new(),
            plugins: std::collections::BTreeMap::new(),
            cells_on_disk: std::collections::BTreeSet::new(),
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            unload: UnloadPolicy::Allow,
            recycle: Recycle::Off,
            trusted_owners: Vec::new(),
            half_close: true,
            thin: true,
            single: false,
            pid_file: None,
            lame_status: 503,
            probes: Vec::new(),
            hooks: Vec::new(),
            strict_exit: false,
            master_reexec: true,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// The name of a library as an example for an empty host: of a plugin that the settings name, if there
    /// is one.
    #[must_use]
    pub fn example_library(&self) -> String {
        let mounted = self.mounts.iter().map(|mount| &mount.plugin);
        let named = mounted.chain(self.plugins.keys()).next();
        format!("lib{}_v1.so", named.map_or("handler", PluginName::as_str))
    }
}

/// A command that is run before or after the host acts on a signal.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hook {
    /// Without `SIG`: `HUP`, `USR1`, `USR2`, `INT`, `TERM`, `QUIT` or `TSTP`.
    pub signal: String,
    /// Before or after.
    pub phase: HookPhase,
    /// Program and arguments.
    pub command: Vec<String>,
}

/// When a hook is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPhase {
    /// Before the host acts; a failure vetoes an upgrade.
    Pre,
    /// After the host has acted.
    Post,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listen {
    /// TCP, v4 or v6; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// A Unix socket without a file: a name of the network namespace, for whoever runs there.
    Abstract(String),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

/// How the plugins folder is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Kernel events, and a slow rescan as a net.
    Events,
    /// The rescan alone, for file systems without events.
    Polling,
}

/// One configured mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRule {
    /// Only for this host name (lower case, no port); `None`: for all.
    pub host: Option<String>,
    /// A path prefix: `/` or `/api`, without a slash at its end.
    pub prefix: String,
    /// The plugin that serves it.
    pub plugin: PluginName,
    /// Its time to the head of an answer here; `None`: [`Limits::plugin_time`].
    pub plugin_time: Option<Duration>,
}

/// How much memory a generation's heap may hold, and what is done when it holds more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRule {
    /// Units: bytes.
    pub max: u64,
    /// See there.
    pub policy: MemoryPolicy,
}

/// What is done about a generation that holds more memory than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// An event, a line in the log and a warning in the status. The default.
    Warn,
    /// Those, and new requests are answered with 503 until it holds an eighth less.
    Refuse,
    /// Those, and the version before it serves instead.
    Withdraw,
}

/// What to do with a library that cannot be unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnloadPolicy {
    /// Unload; what cannot be unmapped stays resident, counted and explained. The default.
    Allow,
    /// Refuse in preflight what would stay resident.
    Require,
    /// Never unload. The negative control of the soak.
    Off,
}

/// When the host renews its worker by itself, because that one has no more room for what is to be
/// loaded, or too much in it that cannot be unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recycle {
    /// Never. The default.
    Off,
    /// Whenever it helps.
    Auto,
}

/// Bounds on every queue, wait and size.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From a request's first byte to the end of its head. 10 s.
    pub header_time: Duration,
    /// Between two pieces of a body, either direction. 30 s.
    pub body_gap: Duration,
    /// A connection without a request. 75 s (above nginx's 60 s towards upstreams).
    pub idle_time: Duration,
    /// Header fields of a request. 100.
    pub headers_count: usize,
    /// A request's head. 64 KiB.
    pub head_bytes: usize,
    /// A request's body; 0 means unlimited (it is streamed). 0.
    pub body_bytes: u64,
    /// What is read away of an HTTP/1 request's body that its handler does not read; 0: nothing.
    /// Beyond it the connection is closed. 64 MiB.
    pub unread_bytes: u64,
    /// How long reading it away, or the close after it, may take. 30 s.
    pub unread_time: Duration,
    /// A plugin's time to its response head, without what it waits for its client's body. 60 s.
    pub plugin_time: Duration,
    /// Open data connections. 10,000.
    pub connections_count: usize,
    /// A library. 256 MiB.
    pub library_bytes: u64,
    /// Room for libraries whose thread-locals are at a fixed place of every thread. 8 KiB.
    pub static_tls: usize,
    /// Libraries that cannot be unloaded before a worker is renewed, where it may be. 8.
    pub resident_count: usize,
    /// A preflight child. 5 s.
    pub preflight_time: Duration,
    /// `dlopen` and `new` in the serving process. 10 s.
    pub load_time: Duration,
    /// A plugin's `stop`. 10 s.
    pub plugin_stop_time: Duration,
    /// Orders that wait. 128.
    pub queue_count: usize,
    /// Quiet time after a file event. 200 ms.
    pub debounce: Duration,
    /// Rescan of the plugins folder. 2 s.
    pub rescan: Duration,
    /// How long a retired generation may drain. 10 min.
    pub generation_drain: Duration,
    /// How long the last requests may take at a stop. 30 s.
    pub stop_time: Duration,
    /// Staging a new binary. 5 s.
    pub stage_time: Duration,
    /// The checks of a new binary with its settings. 10 s.
    pub check_time: Duration,
    /// How long a running deploy may hold up an upgrade. 10 s.
    pub freeze_time: Duration,
    /// From the start of a worker until it is ready; each sign of progress starts it over. 30 s.
    pub ready_time: Duration,
    /// How long a worker may take to come up in all. 5 min.
    pub boot_time: Duration,
    /// One probe of a new worker. 2 s.
    pub probe_time: Duration,
    /// How long a new worker is watched before the one before is let go. 10 s.
    pub soak_time: Duration,
    /// Requests that must have been answered before their errors count. 100.
    pub soak_requests_count: usize,
    /// By how many points of a hundred the share of 5xx answers may rise in the soak. 20.
    pub soak_errors_percent: usize,
    /// How long a worker that was replaced may drain. 60 s.
    pub upgrade_drain: Duration,
    /// Workers that may drain at one time. 3.
    pub draining_count: usize,
    /// How long an idle connection is kept for one more request when the host stops. 5 s.
    pub idle_linger: Duration,
    /// How long a stopping host goes on serving everything while `/readyz` says no. 0 s.
    pub lame_duck: Duration,
    /// A command around a signal, or a plugin's callback. 5 s.
    pub hook_time: Duration,
    /// Within which time crashes are counted together. 30 s.
    pub crash_window: Duration,
    /// Crashes of one generation within the window before it is withdrawn. 3.
    pub crash_count: usize,
    /// Workers in a row that do not come up before the host gives up; 0: never. 0.
    pub crash_exit_after: usize,
    /// The name that `crash_exit_after` had before. 0.
    pub crash_exit_count: usize,
    /// Between two looks at whether the state folder is there and can be written. 5 s.
    pub state_probe: Duration,
    /// Binaries kept in the state folder. 3.
    pub binaries_count: usize,
    /// How long one thread may take to answer a purge. 5 s.
    pub purge_time: Duration,
    /// A turn of a data thread longer than this is logged and shown. 200 ms.
    pub heartbeat: Duration,
    /// A data thread that has not turned for that long, or a worker that has not been heard of,
    /// is given up. 30 s.
    pub stuck_time: Duration,
    /// Between two signs of life of a worker. 1 s.
    pub beat_time: Duration,
    /// Log lines of one process that wait to be written. 1 MiB.
    pub log_queue_bytes: usize,
    /// How long the end of a process waits until its log is written. 1 s.
    pub log_flush_time: Duration,
    /// Lines about failing requests, of one generation and kind, that are written within
    /// `log_repeat_time`. 10.
    pub log_repeat_count: usize,
    /// See `log_repeat_count`. 10 s.
    pub log_repeat_time: Duration,
    /// Previous versions kept per plugin. 5.
    pub kept_count: usize,
    /// History lines on disk. 10,000.
    pub history_disk_count: usize,
    /// History lines in memory. 256.
    pub history_memory_count: usize,
    /// Ended generations that the status lists. 32.
    pub retired_count: usize,
    /// Threads of the blocking pool. 4 a core.
    pub blocking_threads: usize,
    /// Jobs that wait for the blocking pool. 1,024.
    pub blocking_queue_count: usize,
    /// Tasks of one generation. 10,000.
    pub tasks_count: usize,
    /// Topics of one plugin. 1,000.
    pub topics_count: usize,
    /// Subscriptions of topics of one plugin. 10,000.
    pub subscribers_count: usize,
    /// What waits for one subscriber of a topic, and so the longest message. Units: bytes. 1 MiB.
    pub topic_bytes: u64,
    /// Metric series that one plugin may make. 1,000.
    pub series_count: usize,
    /// HTTP/2 streams of one connection. 128.
    pub h2_streams_count: u32,
    /// Open event streams of the control plane. 64.
    pub event_streams_count: usize,
    /// Descriptors that no data connection gets, for the control plane, deploys, logs, upgrades and
    /// plugins; where that is more than half of all, half. 512.
    pub descriptor_reserve_count: usize,
    /// A value of a cell. 1 MiB.
    pub cell_bytes: u64,
    /// Cells of a plugin. 1,000.
    pub cells_count: usize,
    /// Keys and values of a plugin's cells. 16 MiB.
    pub cells_bytes: u64,
    /// Those of all plugins. 256 MiB.
    pub cells_total_bytes: u64,
}

impl Limits {
    /// Those of the log.
    #[must_use]
    pub fn of_log(&self) -> Bounds {
        Bounds {
            queue_bytes: self.log_queue_bytes,
            flush_time: self.log_flush_time,
            repeat_count: self.log_repeat_count,
            repeat_time: self.log_repeat_time,
        }
    }

    /// Those of cells.
    #[must_use]
    pub fn of_cells(&self) -> cells::Bounds {
        cells::Bounds {
            value_bytes: self.cell_bytes,
            count: self.cells_count as u64,
            bytes: self.cells_bytes,
            total_bytes: self.cells_total_bytes,
        }
    }

    /// [`crash_exit_after`](Self::crash_exit_after), by whichever name it was set.
    #[must_use]
    pub fn exit_after(&self) -> usize {
        if self.crash_exit_after > 0 { self.crash_exit_after } else { self.crash_exit_count }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            header_time: Duration::from_secs(10),
            body_gap: Duration::from_secs(30),
            idle_time: Duration::from_secs(75),
            headers_count: 100,
            head_bytes: 64 << 10,
            body_bytes: 0,
            unread_bytes: 64 << 20,
            unread_time: Duration::from_secs(30),
            plugin_time: Duration::from_secs(60),
            connections_count: 10_000,
            library_bytes: 256 << 20,
            // Of every thread's stack: with 12 KiB those of 16 KiB, the smallest that there are, cannot be
            // started any more (measured with glibc 2.36).
            static_tls: 8 << 10,
            resident_count: 8,
            preflight_time: Duration::from_secs(5),
            load_time: Duration::from_secs(10),
            plugin_stop_time: Duration::from_secs(10),
            queue_count: 128,
            debounce: Duration::from_millis(200),
            rescan: Duration::from_secs(2),
            generation_drain: Duration::from_secs(600),
            stop_time: Duration::from_secs(30),
            stage_time: Duration::from_secs(5),
            check_time: Duration::from_secs(10),
            freeze_time: Duration::from_secs(10),
            ready_time: Duration::from_secs(30),
            boot_time: Duration::from_secs(300),
            probe_time: Duration::from_secs(2),
            soak_time: Duration::from_secs(10),
            soak_requests_count: 100,
            soak_errors_percent: 20,
            upgrade_drain: Duration::from_secs(60),
            draining_count: 3,
            idle_linger: Duration::from_secs(5),
            lame_duck: Duration::ZERO,
            hook_time: Duration::from_secs(5),
            crash_window: Duration::from_secs(30),
            crash_count: 3,
            crash_exit_after: 0,
            crash_exit_count: 0,
            state_probe: Duration::from_secs(5),
            binaries_count: 3,
            purge_time: Duration::from_secs(5),
            heartbeat: Duration::from_millis(200),
            stuck_time: Duration::from_secs(30),
            beat_time: Duration::from_secs(1),
            log_queue_bytes: 1 << 20,
            log_flush_time: Duration::from_secs(1),
            log_repeat_count: 10,
            log_repeat_time: Duration::from_secs(10),
            kept_count: 5,
            history_disk_count: 10_000,
            history_memory_count: 256,
            retired_count: 32,
            blocking_threads: 4 * cores,
            blocking_queue_count: 1024,
            tasks_count: 10_000,
            topics_count: 1000,
            subscribers_count: 10_000,
            topic_bytes: 1 << 20,
            series_count: 1000,
            h2_streams_count: 128,
            event_streams_count: 64,
            descriptor_reserve_count: 512,
            cell_bytes: 1 << 20,
            cells_count: 1000,
            cells_bytes: 16 << 20,
            cells_total_bytes: 256 << 20,
        }
    }
}

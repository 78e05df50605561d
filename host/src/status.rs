//! A picture of the host at one moment: plain data, made by `worker`, shown by `admin` and `cli`.
//!
//! Owns what "ready" means, and no other behaviour. `admin::wire` converts it to JSON by hand.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Digest, Generation, Label, PluginName},
    upgrade::{Outcome, Verdict},
};

mod beside;
mod left;
pub mod residents;

pub use self::{
    beside::{Beside, Tally},
    left::{Leaves, Left, Swaps},
    residents::Residents,
};

/// The whole picture.
#[derive(Clone, Debug)]
pub struct Status {
    /// `env!("CARGO_PKG_VERSION")`.
    pub host_version: &'static str,
    /// This process.
    pub pid: u32,
    /// When it started.
    pub started: SystemTime,
    /// The same on the clock that nobody sets; see [`Now`](crate::sys::clock::Now).
    pub up_from: Option<Duration>,
    /// Whether it boots, serves or stops.
    pub stage: Stage,
    /// Bound data plane addresses.
    pub listen: Vec<Address>,
    /// Bound control plane addresses.
    pub control: Vec<Address>,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// The watched folder.
    pub plugins_dir: Option<PathBuf>,
    /// The name of a library that whoever meets an empty host may put there.
    pub example_library: String,
    /// Files in it that are not deployed although they might be meant: why, and what deploys them.
    pub files: BTreeMap<PathBuf, String>,
    /// "never unload" mode: why nothing is ever unmapped.
    pub never_unload: Option<String>,
    /// What the census of addresses that others keep of a library does not see here.
    pub census: Option<String>,
    /// Every plugin that is configured or committed, by name.
    pub plugins: Vec<PluginStatus>,
    /// What plugins keep in cells, by name; those that are not loaded any more among them.
    pub cells: Vec<CellsStatus>,
    /// Generations that left traffic, newest first, at most 32 of the finished ones.
    pub retired: Vec<GenerationStatus>,
    /// Libraries that are still mapped although their generation ended.
    pub resident_count: usize,
    /// Every data thread.
    pub cores: Vec<CoreStatus>,
    /// The order that is running and those that wait.
    pub orders: Vec<OrderStatus>,
    /// Mounts without a generation, for `/readyz`.
    pub missing: Vec<String>,
    /// Nothing can be written down, and so nothing be changed.
    pub unwritable: Option<Unwritable>,
    /// Resident memory of this process. Units: bytes.
    pub rss_bytes: Option<u64>,
    /// What the C library's `malloc` has handed out in this process: the host's own memory, and that
    /// of whatever plugins use without an arena. Units: bytes.
    pub c_heap_bytes: u64,
    /// What grows with swaps.
    pub growth: Growth,
    /// Every process of the host: the master first, then the workers, newest first. Empty without a
    /// master.
    pub processes: Vec<ProcessStatus>,
    /// How the last upgrade ended.
    pub upgrade: Option<Outcome>,
    /// What this worker's data connections are at.
    pub connections: Classes,
    /// What the master has counted.
    pub totals: Totals,
    /// How often the data plane of this process has answered by itself, by the answer's code.
    pub own_answers: BTreeMap<&'static str, u64>,
    /// Idle connections of this process that were closed for newcomers.
    pub evicted: u64,
    /// Requests that this process has served past hyper.
    pub thin: u64,
    /// Lines of this process's log that were dropped.
    pub log_dropped: u64,
}

impl Status {
    /// Lines of the log that this process and its master have dropped.
    #[must_use]
    pub fn all_log_dropped(&self) -> u64 {
        self.log_dropped + self.totals.log_dropped
    }
}

/// What a process has more of after each swap, over the last swaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Swaps that were looked at.
    pub swaps: usize,
    /// Descriptors beside those of connections, a hundredth part each.
    pub descriptors_percent: u64,
    /// Memory. Units: bytes.
    pub bytes: u64,
}

impl Growth {
    /// A line for people. `None`: nothing grows.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let Self { swaps, descriptors_percent, bytes } = *self;
        let descriptors = (descriptors_percent > 0).then(|| {
            format!("{}.{:02} descriptors", descriptors_percent / 100, descriptors_percent % 100)
        });
        let memory = (bytes > 0).then(|| format!("{} KiB of memory", bytes >> 10));
        let what: Vec<_> = descriptors.into_iter().chain(memory).collect();
        (!what.is_empty())
            .then(|| format!("each of the last {swaps} unloads left {} behind", what.join(" and ")))
    }
}

/// Why the state folder cannot be written. What serves serves on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritable {
    /// As a refused change says it.
    pub code: &'static str,
    /// In words.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
    /// Since when.
    pub since: SystemTime,
}

/// What a master counts over the life of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Upgrades by how they ended: never [`Verdict::Accepted`] or [`Verdict::Ready`], which are no
    /// ends.
    pub upgrades: BTreeMap<Verdict, u64>,
    /// Workers that ended unasked.
    pub worker_crashes: u64,
    /// Workers that were replaced because they, or a data thread of theirs, stood still.
    #[serde(default)]
    pub stuck_workers: u64,
    /// Workers that were replaced because they had used up what no unload gives back.
    #[serde(default)]
    pub renewed_workers: u64,
    /// Lines of the master's log that were dropped.
    #[serde(default)]
    pub log_dropped: u64,
}

/// One process of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its id.
    pub pid: u32,
    /// `master`, or what a worker is at: `booting`, `soaking`, `serving`, `parked`, `draining`,
    /// `stopping`.
    pub role: String,
    /// Counts workers up from 1 within the life of the host; 0 for the master.
    pub number: u64,
    /// The host version it runs.
    pub version: String,
    /// The content of its binary, in hex, as far as known.
    pub binary: Option<String>,
    /// It runs from a copy of its binary in memory: the file may not be run.
    #[serde(default)]
    pub from_memory: bool,
    /// Since when it is there.
    pub since: SystemTime,
    /// The same on the clock that nobody sets; a master of before does not know.
    #[serde(default)]
    pub up_from: Option<Duration>,
    /// Its data connections, as it last said.
    pub connections: Classes,
}

/// Data connections by what they are at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// No byte has come yet.
    pub fresh: usize,
    /// A request's head is on its way.
    pub head: usize,
    /// HTTP/1 between two requests.
    pub idle: usize,
    /// HTTP/1 with a request in flight.
    pub busy: usize,
    /// HTTP/2.
    pub h2: usize,
    /// In a plugin's hands after a 101.
    pub upgraded: usize,
}

impl Classes {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> usize {
        let Self { fresh, head, idle, busy, h2, upgraded } = self;
        fresh + head + idle + busy + h2 + upgraded
    }
}

/// Where the host is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Committed versions are being loaded.
    Booting,
    /// Requests are served.
    Serving,
    /// Requests are served, and `/readyz` asks for no more of them.
    LameDuck,
    /// Another worker takes the new connections; what is here is being finished.
    Draining,
    /// In-flight requests are being finished.
    Stopping,
    /// Requests are served, but nothing can be changed: the deploy thread has panicked.
    Broken,
}

impl Stage {
    /// For people and wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Booting => "booting",
            Self::Serving => "serving",
            Self::LameDuck => "lame_duck",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Broken => "broken",
        }
    }
}

/// Whether traffic should be sent here: serving, at least one plugin in traffic, no mount without
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it boots, serves or stops.
    pub stage: Stage,
    /// Mounts without a generation.
    pub missing: Vec<String>,
    /// Whether anything is in traffic.
    pub serves: bool,
    /// Whether any data thread turns.
    pub turns: bool,
    /// Why nothing can be changed, which is no reason to send no traffic.
    pub unwritable: Option<Unwritable>,
}

impl Readiness {
    /// `None`: ready.
    #[must_use]
    pub fn why_not(&self) -> Option<&'static str> {
        match self.stage {
            Stage::Booting => Some("the host is booting"),
            Stage::LameDuck => Some("the host is a lame duck"),
            Stage::Draining => Some("this worker is draining; another one serves"),
            Stage::Stopping => Some("the host is stopping"),
            Stage::Broken => Some("the deploy thread has ended by a panic"),
            Stage::Serving if !self.turns => Some("no data thread turns"),
            Stage::Serving if !self.missing.is_empty() => {
                Some("a mount has nothing that serves it")
            }
            Stage::Serving if !self.serves => Some("nothing is loaded"),
            Stage::Serving => None,
        }
    }

    /// What `/readyz` answers: 200, 503, or `lame` from a lame duck.
    #[must_use]
    pub fn http_status(&self, lame: u16) -> u16 {
        match self.why_not() {
            None => 200,
            Some(_) if self.stage == Stage::LameDuck => lame,
            Some(_) => 503,
        }
    }

    /// The page for people and load balancers: `ready`, or why not and what is missing.
    #[must_use]
    pub fn page(&self) -> String {
        let head = match self.why_not() {
            None => "ready\n".to_owned(),
            Some(why) => format!("not ready: {why}\n"),
        };
        let missing = self.missing.iter().map(|mount| format!("missing: {mount}\n"));
        let unwritable = self.unwritable.iter().map(|it| format!("unwritable: {}\n", it.text));
        std::iter::once(head).chain(missing).chain(unwritable).collect()
    }
}

impl Status {
    /// Whether traffic should be sent here.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness {
            stage: self.stage,
            missing: self.missing.clone(),
            serves: self.plugins.iter().any(|plugin| plugin.active.is_some()),
            turns: self.cores.is_empty() || self.cores.iter().any(|core| core.blocked.is_none()),
            unwritable: self.unwritable.clone(),
        }
    }
}

/// A bound address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP, v4 or v6.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// A Unix socket without a file.
    Abstract(String),
}

impl Address {
    /// What brings a library to a host with this control plane.
    #[must_use]
    pub fn deploy_command(control: &[Self], library: &str) -> String {
        format!("curl {} -d ./{library}", Self::curl(control))
    }

    /// What curl is told to reach one of `control`: one over TCP, if there is one.
    #[must_use]
    pub fn curl(control: &[Self]) -> String {
        let over_tcp = control.iter().find(|it| matches!(it, Self::Tcp(_)));
        match over_tcp.or(control.first()) {
            Some(Self::Tcp(address)) if address.is_ipv6() => format!("'{address}'"),
            Some(Self::Tcp(address)) => address.to_string(),
            Some(Self::Unix(path)) => format!("--unix-socket {} localhost", quoted(path)),
            Some(Self::Abstract(name)) => {
                format!("--abstract-unix-socket {} localhost", quoted(name.as_ref()))
            }
            None => "(there is no control plane)".to_owned(),
        }
    }
}

/// As a word for a shell.
fn quoted(text: &Path) -> String {
    let text = text.display().to_string();
    let plain = |it: char| it.is_alphanumeric() || "/._-".contains(it);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

/// One plugin.
#[derive(Clone, Debug)]
pub struct PluginStatus {
    /// Its name.
    pub name: PluginName,
    /// Where it is mounted: `/`, `/echo`, `api.example/`.
    pub mounts: Vec<String>,
    /// What serves; `None`: the mount answers 503.
    pub active: Option<GenerationStatus>,
    /// Kept versions that a rollback can reach, newest first.
    pub kept: Vec<KeptVersion>,
    /// It did not boot as it was committed: what does not load, why, and what serves instead.
    pub warning: Option<String>,
    /// Requests since start, errors and panics among them.
    pub counts: Counts,
}

/// The cells of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellsStatus {
    /// Whose.
    pub plugin: PluginName,
    /// How many.
    pub count: u64,
    /// Keys and values. Units: bytes.
    pub bytes: u64,
    /// Whether they outlive the host.
    pub on_disk: bool,
}

/// A version whose bytes are kept.
#[derive(Clone, Debug)]
pub struct KeptVersion {
    /// The load that it was.
    pub generation: Generation,
    /// Its label.
    pub label: Label,
    /// Its content.
    pub digest: Digest,
    /// It was left by a rollback.
    pub rolled_back: bool,
}

/// Counters of one plugin since the host started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that reached the plugin.
    pub requests: u64,
    /// Calls that ended with an error of the plugin.
    pub errors: u64,
    /// Calls that panicked.
    pub panics: u64,
    /// Calls that took longer than the plugin's time limit.
    pub timeouts: u64,
    /// Requests, streams and upgraded connections that were cut at a drain limit.
    pub cut: u64,
}

/// One load of one plugin.
#[derive(Clone, Debug)]
pub struct GenerationStatus {
    /// Its number.
    pub generation: Generation,
    /// Its plugin.
    pub plugin: PluginName,
    /// Its label.
    pub label: Label,
    /// Its content.
    pub digest: Digest,
    /// Where it is in its life.
    pub life: Life,
    /// When it began to serve.
    pub since: SystemTime,
    /// Requests and connections that hold it (listed while it drains; else only counted).
    pub holders: Vec<Holder>,
    /// How many hold it.
    pub holder_count: usize,
    /// Its heap; `None`: it has no arena, or an allocator of its own.
    pub heap: Option<Heap>,
    /// A short digest of the settings that it was given, by which another one's are told apart.
    pub config: Option<String>,
    /// What each load of it leaves behind, if that is worth a word.
    pub leaves: Option<Leaves>,
    /// What this process had more of when it was unloaded than at the unload before: what its swap has
    /// left, beside what comes and goes.
    pub left: Option<Left>,
    /// Its threads that still run, by name, where those keep it.
    pub threads: BTreeMap<String, usize>,
}

/// The heap of one generation. Units: bytes. Also in lines of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heap {
    /// What it has of the host, in use or not.
    pub held: u64,
    /// The most that it has held.
    pub peak: u64,
    /// What of it is in use, but for what its threads have at hand.
    pub live: u64,
    /// All that it has taken since it was loaded, whether it was given back or not.
    pub total: u64,
}

/// The life of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// New requests meet it.
    Serving,
    /// No new requests; the holders are being waited for.
    Draining,
    /// No holder is left; it cannot be unmapped yet: why.
    Pending(String),
    /// Unmapped, verified.
    Unloaded,
    /// Stays mapped for good: why (`1 thread left behind`).
    Resident(String),
}

/// Who holds a generation.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The request's number.
    pub request: u64,
    /// `GET`.
    pub method: String,
    /// The path as the client sent it.
    pub path: String,
    /// `request`, `response body`, `upgraded`, or `blocked`: its thread cannot say more.
    pub doing: &'static str,
    /// Since the request came.
    pub age: Duration,
    /// The client's address.
    pub peer: String,
}

/// One data thread.
#[derive(Clone, Debug)]
pub struct CoreStatus {
    /// Counts from 0.
    pub core: usize,
    /// Open connections.
    pub connections: usize,
    /// It does not turn: one turn of it takes longer than the heartbeat limit.
    pub blocked: Option<Blocked>,
}

/// What a data thread is held up by.
#[derive(Clone, Debug)]
pub struct Blocked {
    /// Whose code it runs, as far as that is a plugin's.
    pub code: Option<(PluginName, Generation)>,
    /// What the thread was last doing: `request`, `connection`, `purge`, …
    pub doing: &'static str,
    /// Which request it was polling a plugin for, and at most 64 bytes of its path.
    pub request: Option<(u64, String)>,
    /// For how long.
    pub since: Duration,
}

impl Blocked {
    /// What the plugin's author can do about it.
    pub const HINT: &str = "what blocks belongs on another thread: `Context::blocking`, \
         `spawn_blocking` of the plugin's own runtime, or a `BlockingHandler`";
}

/// An order in the queue, or one that ended a short while ago.
#[derive(Clone, Debug)]
pub struct OrderStatus {
    /// Its number.
    pub order: u64,
    /// `deploy`, `rollback`, `unload`.
    pub verb: &'static str,
    /// The path or plugin as given.
    pub subject: String,
    /// `waiting`, `running`, `done` or `refused`.
    pub state: &'static str,
    /// When it ended: the line that was answered.
    pub outcome: Option<String>,
}

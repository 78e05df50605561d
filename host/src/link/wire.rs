//! The messages. Their JSON form is the protocol.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigFile, Deed, Happened, Numbers, Past, Veiled};
use crate::{
    config::{HookPhase, Listen},
    ids::LockId,
    status::{Classes, ProcessStatus, Totals},
    upgrade::{Outcome, Request},
};

/// A version in traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Whose.
    pub plugin: String,
    /// Its number.
    pub generation: u64,
    /// Its content, in hex.
    pub digest: String,
}

/// What a worker begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Boot {
    /// Counts workers up from 1 within the life of the host.
    pub number: u64,
    /// No worker was there before it: a folder without history may be looked at.
    pub first: bool,
    /// The configuration file that was checked.
    pub file: ConfigFile,
    /// Whose descriptors follow, in this order: data, control, health.
    pub listen: [Vec<Listen>; 3],
    /// The places of those data sockets that belong to whoever started the host: they are let go,
    /// not emptied.
    #[serde(default)]
    pub given: Vec<usize>,
    /// To be taken out of traffic before anything is loaded, and why.
    pub withdraw: Vec<(u64, String)>,
    /// The bytes of those of them that were being loaded, in hex.
    #[serde(default)]
    pub contents: Vec<(u64, String)>,
    /// What was counted before.
    pub counters: Option<String>,
    /// Whether `/readyz` says no.
    pub lame_duck: bool,
    /// The events so far; without it the worker numbers its own.
    #[serde(default)]
    pub past: Option<Past>,
    /// The numbers that come next.
    #[serde(default)]
    pub numbers: Option<Numbers>,
    /// To be written into the history before anything is loaded.
    #[serde(default)]
    pub deeds: Vec<Deed>,
    /// Where things are, should no name lead there any more.
    #[serde(default)]
    pub place: Option<Place>,
    /// The digest, in hex, under which the manifest of the worker before is carried.
    #[serde(default)]
    pub manifest: Option<String>,
    /// What workers that began with the same reading of the file have made of it: see
    /// [`Report::Serving`].
    #[serde(default)]
    pub standing: Option<Veiled>,
    /// The name, in the place of a digest, under which the cells are carried; without it the worker
    /// makes its own.
    #[serde(default)]
    pub cells: Option<String>,
}

/// Where a host is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The working directory by its name when the host was started.
    pub working_dir: PathBuf,
    /// The state folder, as an absolute path.
    pub state_dir: PathBuf,
    /// How the lock of the state folder is known again.
    pub lock: Option<LockId>,
    /// What stands in it, and in one that a worker of this host takes anew.
    #[serde(default)]
    pub token: Option<String>,
}

/// What a [`StuckThread`] does that is none: the whole process waits behind it.
pub const LOADER_HELD: &str = "a constructor that does not return holds the loader";

/// What a master tells a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// With the listening sockets, then the page for notes of a fault, then the standard error that
    /// is to be used once the worker could serve.
    Boot(Box<Boot>),
    /// Bytes of libraries, one descriptor each.
    Carry {
        /// Their contents, in hex.
        digests: Vec<String>,
    },
    /// Come up.
    Start,
    /// Serve from now on.
    Accept,
    /// Finish the running deploy and begin no other.
    Freeze,
    /// Take that back.
    Thaw,
    /// Accept no more; serve what is there.
    Park {
        /// Data sockets that nobody else accepts from any more, by their place: go on with these.
        keep: Vec<usize>,
    },
    /// Take that back.
    Resume {
        /// The numbers that come next.
        #[serde(default)]
        numbers: Option<Numbers>,
        /// As in [`Boot::manifest`]: of the worker after it, and carried right before this.
        #[serde(default)]
        manifest: Option<String>,
    },
    /// Something has happened, here or elsewhere: this is its number. Only for a worker that said
    /// in its [`Report::Hello`] that it wants to know.
    Happened {
        /// What.
        event: Happened,
    },
    /// Finish what is there and end. With a descriptor: pass idle connections on through it.
    Drain,
    /// Take connections over from the descriptor that comes with this.
    TakeOver,
    /// Serve the connected socket that comes with this.
    Serve,
    /// Let `/readyz` say no, or yes again.
    LameDuck {
        /// Which.
        on: bool,
    },
    /// Stop the host's service: lame duck, closing, listeners, drain.
    Stop,
    /// Skip what a stop waits for.
    Hurry,
    /// Cut what is in flight, and end.
    Hammer,
    /// What the status shows of the host as a whole.
    Processes {
        /// All of them.
        list: Vec<ProcessStatus>,
        /// How the last upgrade ended.
        upgrade: Option<Outcome>,
        /// What was counted.
        totals: Totals,
    },
    /// To what was [`Asked`].
    Answer {
        /// Which question.
        id: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// For the history, of which there is one writer. As with [`Order::Happened`].
    Note {
        /// What was done.
        deed: Deed,
    },
    /// What another worker counted since it was asked last.
    Inherit {
        /// As in [`Boot::counters`].
        counters: String,
    },
    /// Say where your cells are: the master of before had none.
    Cells,
    /// A signal came; plugins want to know.
    Signal {
        /// Without `SIG`.
        name: String,
        /// Before or after the host acts.
        phase: HookPhase,
    },
}

impl Order {
    /// What it is called, for a line of the log: it may carry whole files.
    #[must_use]
    pub fn name(&self) -> String {
        let text = format!("{self:?}");
        text.chars().take_while(char::is_ascii_alphabetic).collect()
    }
}

/// A question of a worker to its master.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// To be repeated in the answer.
    pub id: u64,
    /// What is asked for.
    pub request: Request,
}

/// A sign of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Requests that reached a plugin.
    pub requests: u64,
    /// Those that ended with a status of 500 or above, a panic or a time-out.
    pub failures: u64,
    /// Data connections.
    pub connections: Classes,
}

/// A data thread that has not turned for longer than one may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckThread {
    /// Which.
    pub core: usize,
    /// Whose code it runs; `None`: the host's own.
    pub generation: Option<u64>,
    /// What it was last doing, for people.
    pub doing: String,
}

/// What a worker tells its master.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub enum Report {
    /// The first word.
    Hello {
        /// Its protocol.
        proto: u16,
        /// Its host version.
        version: String,
        /// It gets the numbers of its events from its master, and shows those of others.
        #[serde(default)]
        events: bool,
    },
    /// Still coming up.
    Progress {
        /// What has just been done.
        text: String,
    },
    /// It cannot come up, or do what it was told.
    Failed {
        /// Why.
        text: String,
    },
    /// What is in traffic, with the bytes of those that could be opened.
    Serving {
        /// The list so far is forgotten.
        begins: bool,
        /// The list is complete.
        ends: bool,
        /// A part of it, and whether a descriptor follows for each.
        list: Vec<(Version, bool)>,
        /// The digest, in hex, of the worker's manifest, which is the last descriptor then.
        #[serde(default)]
        manifest: Option<String>,
        /// The plugins' own settings as they are in force, for the next worker that begins with this
        /// reading of the file ([`ConfigFile::read`]); with the last part.
        #[serde(default)]
        standing: Option<(String, Veiled)>,
    },
    /// The state folder was lost and made again: the descriptor is its new lock.
    Renewed,
    /// It could serve now.
    Ready,
    /// It does.
    Accepting,
    /// Nothing changes any more.
    Frozen {
        /// What was counted so far.
        counters: String,
    },
    /// It accepts no more.
    Parked,
    /// It accepts again.
    Resumed,
    /// A sign of life: one every `beat_time`, whatever the worker is at once it could serve, until
    /// it ends its plugins.
    Beat(Beat),
    /// Its data threads that are stuck: whenever that changes, and with each beat while it is any.
    Stuck {
        /// All of them.
        threads: Vec<StuckThread>,
    },
    /// It is whole, but has used up what only another worker has: wants to be replaced. Said again
    /// while it waits for that; a master of before does not know it, and the worker goes on.
    Worn {
        /// What.
        why: String,
    },
    /// What was counted so far, should it end without a last word.
    Counted {
        /// As in [`Boot::counters`].
        counters: String,
    },
    /// Somebody wants an upgrade.
    Asked(Asked),
    /// Somebody has switched `/readyz`.
    LameDuck {
        /// Which.
        on: bool,
    },
    /// Something has happened; its number is still to be given.
    Happened {
        /// What.
        event: Happened,
    },
    /// To [`Order::Cells`].
    Cells {
        /// The number of their descriptor in the worker.
        number: i32,
    },
    /// A signal that was meant for the master.
    Told {
        /// Without `SIG`.
        name: String,
    },
    /// The listeners are closed, after their queues were emptied.
    Shut,
    /// The last word.
    Ended {
        /// What was counted since it was last asked.
        counters: String,
        /// Requests that were cut.
        aborted: usize,
    },
}

/// What [`SETTINGS_CHILD`](super::SETTINGS_CHILD) prints: one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checked {
    /// The token that it was given: proof that it is one of ours.
    pub token: String,
    /// Its protocol.
    pub proto: u16,
    /// What its own master reads; see [`MEMORY_SCHEMA`](super::MEMORY_SCHEMA).
    pub memory: u16,
    /// Its host version.
    pub version: String,
    /// What the master needs of the settings.
    pub settings: super::Settings,
    /// The file that they were read from.
    pub file: ConfigFile,
    /// What to tell the operator.
    pub warnings: Vec<String>,
}

/// What [`STAGE_CHILD`](super::STAGE_CHILD) prints: one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StagedBinary {
    /// The kept copy.
    pub path: PathBuf,
    /// Its content, in hex.
    pub digest: String,
}

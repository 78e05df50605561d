//! What a worker gets from whoever leads it, and how it reaches them.
//!
//! The master of a host, or nobody: [`Lead::nobody`] is that of a host in one process.

use std::{fmt, os::fd::OwnedFd, sync::Arc, time::SystemTime};

use crate::{
    admin::UpgradeDesk,
    deploy::{Withdrawal, record::OnRenewed, renewal::Ask, settings::Origin, standing::Standing},
    event::Events,
    ids::{Digest, Generation, PluginName},
    serve::OnStuck,
    state::{Manifest, Numbers, history::Entry},
    status::{ProcessStatus, Totals},
    sys::marks::Marks,
    upgrade::{Outcome, Verdict},
};

/// Every process of the host, how the last upgrade ended, and what was counted.
pub type Processes = Arc<dyn Fn() -> (Vec<ProcessStatus>, Option<Outcome>, Totals) + Send + Sync>;

/// A version in traffic, with its bytes open for reading.
#[derive(Debug)]
pub struct Carried {
    /// Whose.
    pub plugin: PluginName,
    /// Its number.
    pub generation: Generation,
    /// Its content.
    pub digest: Digest,
    /// The kept artifact. `None` when it could not be opened.
    pub bytes: Option<OwnedFd>,
}

/// What a worker has in traffic, and all that it remembers.
#[derive(Debug)]
pub struct InTraffic {
    /// Every version that serves.
    pub carried: Vec<Carried>,
    /// The text of the manifest, for a worker that finds none.
    pub manifest: Vec<u8>,
    /// The plugins' own settings as they are in force.
    pub standing: Standing,
}

/// What a worker that takes over again gets of the one that was to succeed it.
#[derive(Debug, Default)]
pub struct Regained {
    /// The numbers behind those that were given.
    pub next: Option<Numbers>,
    /// The manifest as it was heard last, should the folder not have it.
    pub manifest: Option<Manifest>,
    /// The bytes of what was in traffic.
    pub carried: Vec<(Digest, OwnedFd)>,
}

/// How a worker reaches whoever leads it. No call waits.
#[derive(Clone)]
pub struct Lead {
    /// Where upgrades are asked for.
    pub upgrade: UpgradeDesk,
    /// Hears that the worker became a lame duck, or is none any more.
    pub lame_duck: Arc<dyn Fn(bool) + Send + Sync>,
    /// What the status shows of the host as a whole.
    pub processes: Processes,
    /// Hears what is in traffic: once after the start, and after each change.
    pub serving: Arc<dyn Fn(InTraffic) + Send + Sync>,
    /// Gets the lock of a state folder that had to be made again.
    pub renewed: OnRenewed,
    /// Hears of progress while the worker starts.
    pub progress: Arc<dyn Fn(&str) + Send + Sync>,
    /// Hears which data threads have not turned for `stuck_time`, whenever that changes.
    pub stuck: OnStuck,
    /// Is asked to replace this worker, which is whole but worn out: why. `None`: nobody could.
    pub renew: Option<Ask>,
    /// Hears whose constructor holds the loader, behind which nothing can be loaded any more; whether
    /// another worker takes this one's place.
    pub held: Arc<dyn Fn(Generation) -> bool + Send + Sync>,
}

impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lead")
    }
}

impl Lead {
    /// That of a host in one process.
    #[must_use]
    pub fn nobody() -> Self {
        let refused = || Outcome {
            verdict: Verdict::Refused,
            text: "this host runs as a single process and cannot be upgraded".to_owned(),
            hint: Some("start it without `--single`".to_owned()),
            old_pid: None,
            new_pid: None,
            binary: None,
            took: std::time::Duration::ZERO,
            at: SystemTime::now(),
        };
        Self {
            upgrade: Arc::new(move |_| Box::pin(std::future::ready(refused()))),
            lame_duck: Arc::new(|_| ()),
            processes: Arc::new(|| (Vec::new(), None, Totals::default())),
            serving: Arc::new(|_| ()),
            renewed: Arc::new(|_| ()),
            progress: Arc::new(|_| ()),
            // Nobody could replace it; the log and the status say so.
            stuck: Arc::new(|_| ()),
            held: Arc::new(|_| false),
            renew: None,
        }
    }
}

/// Where the numbers of events, orders and generations come from. By default from the worker itself,
/// and from what the state folder says.
#[derive(Debug, Default)]
pub struct Numbering {
    /// Where events get their numbers; `None`: from this worker.
    pub events: Option<Events>,
    /// Which numbers of orders and generations come next; `None`: the state folder says.
    pub next: Option<Numbers>,
    /// Hears which of them were given.
    pub marks: Option<Marks>,
}

/// What the workers before have left.
#[derive(Debug, Default)]
pub struct Legacy {
    /// Bytes of what served, preferred to those in the state folder.
    pub carried: Vec<(Digest, OwnedFd)>,
    /// What was remembered, should the state folder know less.
    pub manifest: Option<Manifest>,
    /// Where numbers come from.
    pub numbering: Numbering,
    /// The file of the cells; `None`: there is none yet.
    pub cells: Option<OwnedFd>,
    /// To be written into the history before anything is loaded.
    pub deeds: Vec<Entry>,
}

/// What a worker begins with besides its settings.
#[derive(Debug)]
pub struct Birth {
    /// Whom it is led by.
    pub lead: Lead,
    /// What the workers before have left.
    pub legacy: Legacy,
    /// What the plugins were given before, and where their settings come from.
    pub settings: (Standing, Option<Origin>),
    /// To be taken out of traffic before anything is loaded.
    pub withdraw: Vec<Withdrawal>,
    /// The counters of the workers before this one, as [`Worker::counters`](super::Worker) gave
    /// them.
    pub counters: Option<String>,
    /// Whether it starts as a lame duck.
    pub lame_duck: bool,
    /// Whether no worker of this host was there before it. Only then does a start without a history
    /// wait for the plugins folder, and only then is the control plane there from the start.
    pub first: bool,
}

impl Birth {
    /// That of a host in one process.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            lead: Lead::nobody(),
            legacy: Legacy::default(),
            settings: (Standing::default(), None),
            withdraw: Vec::new(),
            counters: None,
            lame_duck: false,
            first: true,
        }
    }
}

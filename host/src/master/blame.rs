//! Whose end a worker's was, and how that is said.
//!
//! Decides nothing: `crash` does.

use rustix::process::{Signal, WaitStatus};

use super::{Led, Master};
use crate::{
    ids::PluginName,
    link::Deed,
    sys::{fault, memory::out_of_memory_kills},
};

/// Whose end a worker's was.
#[derive(Debug)]
pub(super) struct Blame {
    pub(super) generation: Option<u64>,
    /// Its bytes, if it was being loaded.
    pub(super) content: Option<String>,
    /// Whose it is, if it was being loaded.
    pub(super) plugin: Option<PluginName>,
    /// It has left a note; else it is only what was being loaded.
    pub(super) proven: bool,
    /// It was a fault, not somebody outside.
    pub(super) fault: bool,
    /// Somebody has killed it.
    pub(super) killed: bool,
    /// It has served, whether or not its master has heard of that.
    pub(super) served: bool,
    pub(super) what: Option<String>,
    /// Whoever is to blame had been unloaded.
    pub(super) gone: bool,
}

/// Who has killed a worker, as far as that can be told, and whether it was for want of memory, which
/// the kernel counts.
fn by_whom(before: Option<u64>) -> (bool, String) {
    match (before, out_of_memory_kills()) {
        (Some(before), Some(now)) if now > before => (
            true,
            format!(
                "for want of memory: the kernel has ended {} of this control group meanwhile",
                now - before
            ),
        ),
        (Some(_), Some(_)) => (false, "from outside".to_owned()),
        _ => (false, "from outside, perhaps for want of memory".to_owned()),
    }
}

impl Master {
    /// Whose end it was, as far as that can be told.
    pub(super) fn blame(&self, worker: &Led, status: WaitStatus) -> Blame {
        let words = fault::read(&worker.page);
        // A note of a signal that has not ended it is of no meaning.
        let died = status.terminating_signal().is_some();
        let note = words.note.filter(|note| died || matches!(note.end, fault::End::Call(..)));
        let left = note.as_ref().and_then(|note| note.generation);
        // Without a note: what it was just loading, which may as well be a coincidence.
        let loading = words.loading.map(|(generation, _)| generation);
        // Whoever killed it; the master says so itself where it was the one.
        let killed = status.terminating_signal() == Some(Signal::KILL.as_raw())
            && note.is_none()
            && !worker.ending
            && worker.trouble.is_none();
        let served = worker.served || words.served;
        // Somebody who kills a process says nothing about what it loads; want of memory may.
        let (by_memory, by) = by_whom(worker.memory_kills);
        let ended = !killed || by_memory;
        let suspect = loading.filter(|_| note.is_none() && !served && ended);
        let generation = left.or(suspect);
        let content = words.loading.filter(|(loading, _)| Some(*loading) == generation);
        Blame {
            generation: generation.map(|it| it.0),
            plugin: words.whose.clone().filter(|_| content.is_some()),
            content: content.map(|(_, content)| content.to_string()),
            proven: left.is_some(),
            fault: note.is_some(),
            gone: note.as_ref().is_some_and(|note| note.gone),
            killed,
            what: note.map(|note| note.end.to_string()).or_else(|| killed.then_some(by)),
            served,
        }
    }

    /// What a worker that has served was about to bring up, for the history: nobody else can say how that
    /// has ended.
    pub(super) fn lost_load(&self, worker: &Led, blame: &Blame, why: &str) -> Option<Deed> {
        let words = fault::read(&worker.page);
        let (generation, content) = words.loading.filter(|_| blame.served)?;
        let fault::Work { verb, order } = words.work?;
        let to_blame = blame.generation == Some(generation.0);
        let outcome = if to_blame { "load_crashed" } else { "process_ended" };
        let text = format!("{} was not committed: {why}", words.what_was_loading());
        Some(Deed {
            order,
            plugin: words.whose.map(|it| it.to_string()),
            label: words.label.map(|it| it.as_str().to_owned()),
            digest: Some(content.to_string()),
            generation: Some(generation.0),
            ..Deed::new("crash", verb, outcome, text)
        })
    }

    /// How a worker has ended, for people.
    pub(super) fn why(&self, worker: &Led, how: Option<&str>, blame: &Blame) -> String {
        let how = worker.trouble.as_deref().or(how);
        let mut text = match (how, &blame.what) {
            (Some(how), Some(what)) => format!("{how}: {what}"),
            (how, what) => how.or(what.as_deref()).unwrap_or_default().to_owned(),
        };
        if let Some(generation) = blame.generation {
            let list = worker.cargo.iter().chain(&self.cargo);
            let version = list.map(|(version, _)| version).find(|it| it.generation == generation);
            let loaded = blame.plugin.as_ref().map(PluginName::as_str);
            let whose = version.map(|it| &*it.plugin).or(loaded);
            let whose = whose.map(|it| format!(" of `{it}`")).unwrap_or_default();
            let doing = if blame.proven { "in" } else { "while it loaded" };
            let gone = if blame.gone {
                ", which had been unloaded: somebody had kept an address of it"
            } else {
                ""
            };
            text = format!("{text}, {doing} generation {generation}{whose}{gone}");
        }
        text
    }
}

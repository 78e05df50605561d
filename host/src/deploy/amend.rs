//! What the pipeline does without an order: the start, and what another process has changed.
//!
//! Owns the loads that commit nothing. Runs on the pipeline's thread like every order, so there is
//! still one writer.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{
    boot::{self, Found},
    pipeline::Pipeline,
    record::Withdrawn,
};
use crate::{
    error::Coded as _,
    event::{Event, Phase},
    ids::{Digest, Generation, PluginName},
    route::{Loaded, check_mount},
    state::{VersionEntry, history::Entry},
};

/// A generation that has ended processes, and is not to do so again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Which.
    pub generation: Generation,
    /// What it has done.
    pub why: String,
    /// Its bytes, if it did so while it was loaded.
    pub content: Option<Digest>,
}

impl Pipeline {
    /// Loads what was committed and makes it what the next request meets. `withdrawn` have ended
    /// processes: they are taken back before anything is loaded.
    /// `first`: nothing of this host serves yet, so whatever keeps the start waiting is withdrawn.
    pub fn boot(&mut self, withdrawn: Vec<Withdrawal>, first: bool, halted: impl Fn() -> bool) {
        // All of them first: what was withdrawn by a worker whose disk has failed is not known by its
        // number here, and would be what another withdrawal leads to.
        self.record.shun(withdrawn.iter().filter_map(|it| it.content));
        for withdrawal in &withdrawn {
            self.withdraw(withdrawal, "crash");
        }
        let died = withdrawn.iter().filter_map(|it| Some((it.content?, it.why.clone())));
        let died = died.collect::<BTreeMap<_, _>>();
        if !died.is_empty() {
            self.record.orders_died_of(&died);
        }
        let progress = self.reports.progress.clone();
        let booted = {
            let withdraw = |withdrawal: &Withdrawal| self.withdraw(withdrawal, "crash");
            let withdraw = first.then_some(&withdraw as boot::Withdraw<'_>);
            boot::load_committed(&self.workshop, &self.record, halted, &*progress, withdraw)
        };
        for (plugin, loaded) in booted.iter().filter_map(|it| Some((it.0, it.1.as_ref()?))) {
            self.workshop.settings.go_by(plugin, &loaded.settings);
        }
        self.active.extend(booted);
        self.store_table();
        (self.reports.in_traffic)();
    }

    /// Has the version before it serve instead of a generation that does.
    pub(super) fn take_back(&mut self, withdrawal: &Withdrawal) {
        let serves = |loaded: &Arc<Loaded>| loaded.version.generation == withdrawal.generation;
        if self.active.values().flatten().any(serves) {
            self.withdraw(withdrawal, "memory");
            self.reconcile();
        }
    }

    /// Returns a plugin to the version before `generation`, if that is what boots.
    fn withdraw(&self, withdrawal: &Withdrawal, source: &str) {
        let began = Instant::now();
        let Withdrawal { generation, why, content } = withdrawal;
        let Some(Withdrawn { plugin, was, now, text }) = self.record.withdraw(withdrawal) else {
            match self.record.withdrawn_before(*generation) {
                // By a worker that did not live to say so.
                Some((plugin, label)) => {
                    let text = format!("generation {generation} ({label}) was withdrawn: {why}");
                    self.record.warn(&plugin, text);
                }
                None => {
                    tracing::warn!(
                        generation = generation.0,
                        why,
                        "not active, so it is not withdrawn"
                    );
                    self.write_off(*generation, *content, why);
                }
            }
            return;
        };
        tracing::error!(%plugin, generation = generation.0, "{text}");
        self.workshop.events.publish(Phase::Withdrawn, |event: &mut Event| {
            event.plugin = Some(plugin.clone());
            event.label = Some(was.label.clone());
            event.digest = Some(was.digest);
            event.generation = Some(*generation);
            event.detail = Some(text.clone());
        });
        let outcome = if now.is_some() { "rolled_back" } else { "unloaded" };
        self.metrics.order_ended("withdraw", outcome);
        let shown = now.as_ref().unwrap_or(&was);
        self.record.append(Entry {
            line: 0,
            by: None,
            subject: None,
            at: SystemTime::now(),
            order: 0,
            source: source.to_owned(),
            verb: "withdraw".to_owned(),
            plugin: Some(plugin.clone()),
            label: Some(shown.label.clone()),
            digest: Some(shown.digest),
            generation: Some(shown.generation),
            from: now.as_ref().and_then(|now| now.from),
            outcome: outcome.to_owned(),
            text,
            ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            left_heap: None,
        });
    }

    /// Nothing was committed of what ended a process while it was loaded: how its order has ended is
    /// written down.
    fn write_off(&self, generation: Generation, content: Option<Digest>, why: &str) {
        let Some(digest) = content.filter(|digest| !self.record.is_committed(*digest)) else {
            return;
        };
        let known = self.record.recent();
        if known.iter().any(|it| it.generation == Some(generation) && it.digest == Some(digest)) {
            // By a worker that did not live long either.
            return;
        }
        let text = format!("generation {generation} was not committed: {why}");
        self.record.append(Entry {
            digest: Some(digest),
            generation: Some(generation),
            ..Entry::of_host("crash", "deploy", "load_crashed", text)
        });
    }

    /// Makes what serves equal to what was committed, by whomever. What stands in for what did not
    /// boot stays: only a start, and whoever asks for it, tries that again.
    pub(super) fn reconcile(&mut self) {
        let committed = self.record.committed();
        let gone: Vec<PluginName> = self
            .active
            .iter()
            .filter(|(plugin, loaded)| loaded.is_some() && !committed.contains_key(*plugin))
            .map(|(plugin, _)| plugin.clone())
            .collect();
        for plugin in gone {
            tracing::info!(%plugin, "taken out: another worker has unloaded it");
            self.take_out(&plugin);
        }
        for (plugin, versions) in committed {
            let serving = self.serving(&plugin).map(|version| version.generation);
            let follows = serving != self.record.serving(&plugin);
            if follows && let Err(held) = self.follow(&plugin, &versions, serving) {
                self.given_up = (self.reports.held)(held);
                break;
            }
        }
        // Also when nothing has changed here: it may not be what whoever listens heard last.
        (self.reports.in_traffic)();
    }

    /// Brings the best of `versions` to traffic. An error: this one holds the loader.
    fn follow(
        &mut self,
        plugin: &PluginName,
        versions: &[VersionEntry],
        serving: Option<Generation>,
    ) -> Result<(), Generation> {
        if let Err(taken) = check_mount(&self.workshop.config.mounts, plugin) {
            tracing::error!(%plugin, code = taken.code(), error = %taken, "left out");
            self.record.stand_in(plugin, serving, format!("left out: {taken}"));
            return Ok(());
        }
        match boot::load_first(&self.workshop, &self.record, plugin, versions, (serving, None)) {
            Found::Loaded(loaded) => self.swap_followed(plugin, loaded),
            Found::Nothing if serving.is_none() => {
                self.active.insert(plugin.clone(), None);
                self.store_table();
            }
            Found::Held(held) => return Err(held),
            Found::Serves | Found::Nothing => {}
        }
        Ok(())
    }

    fn swap_followed(&mut self, plugin: &PluginName, loaded: Arc<Loaded>) {
        let version = loaded.version.clone();
        self.swap(plugin, loaded);
        self.workshop.events.publish(Phase::Committed, |event: &mut Event| {
            event.plugin = Some(plugin.clone());
            event.label = Some(version.label);
            event.digest = Some(version.digest);
            event.generation = Some(version.generation);
        });
    }
}

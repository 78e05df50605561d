//! What is done about a plugin whose heap holds more than it may.
//!
//! Owns the thread that does it: whoever allocates too much only leaves word, on whatever thread and
//! under whatever locks of a plugin that may be. Invariant: requests pay nothing for it; those of a
//! plugin that is refused find no lease in their thread's view of the table.

use std::{
    collections::BTreeMap,
    io,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use hotseat_unload::heap;

use super::{amend::Withdrawal, desk::Desk};
use crate::{
    config::{MemoryPolicy, MemoryRule},
    event::{Event, Events, Phase},
    ids::PluginName,
    route::{Loaded, Over, Routes, mib},
    thread::Inbox,
};

#[derive(Debug, Default)]
struct News {
    /// Some library has crossed its line.
    crossed: bool,
    closing: bool,
}

/// Has generations watched; clones reach the same thread.
#[derive(Clone, Debug)]
pub struct Ceilings {
    rules: Arc<Mutex<BTreeMap<PluginName, MemoryRule>>>,
    inbox: Arc<Inbox<News>>,
}

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct CeilingThread(Ceilings);

impl Drop for CeilingThread {
    fn drop(&mut self) {
        self.0.inbox.tell(|news| news.closing = true);
    }
}

struct Keeper {
    ceilings: Ceilings,
    routes: Arc<Routes>,
    desk: Desk,
    events: Events,
}

impl CeilingThread {
    /// Starts the thread. It is there without a rule as well: a reload may bring some.
    ///
    /// # Errors
    /// The system's own, when the thread cannot be started.
    pub fn start(
        rules: BTreeMap<PluginName, MemoryRule>,
        routes: Arc<Routes>,
        desk: Desk,
        events: Events,
    ) -> io::Result<Self> {
        let ceilings = Ceilings { rules: Arc::new(Mutex::new(rules)), inbox: Arc::default() };
        let keeper = Keeper { ceilings: ceilings.clone(), routes, desk, events };
        thread::Builder::new().name("ceiling".to_owned()).spawn(move || keeper.run())?;
        Ok(Self(ceilings))
    }

    /// A way to have generations watched.
    #[must_use]
    pub fn handle(&self) -> Ceilings {
        self.0.clone()
    }
}

impl Ceilings {
    /// Other rules count from now on, for whatever is watched after this.
    pub fn go_by(&self, rules: BTreeMap<PluginName, MemoryRule>) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    fn rule(&self, plugin: &PluginName) -> Option<MemoryRule> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).get(plugin).copied()
    }

    /// From now on the generation, which is in traffic, is watched. Once is enough.
    pub fn watch(&self, loaded: &Loaded) {
        let Some(rule) = self.rule(&loaded.plugin).filter(|_| loaded.begin_watch()) else {
            return;
        };
        let inbox = self.inbox.clone();
        let leave_word = move |_| inbox.tell(|news| news.crossed = true);
        heap::watch(loaded.instance().library(), rule.max, Arc::new(leave_word));
    }
}

impl Keeper {
    fn run(&self) {
        let next = |news: &mut News| {
            if news.closing || std::mem::take(&mut news.crossed) {
                return ControlFlow::Break(!news.closing);
            }
            ControlFlow::Continue(None)
        };
        while self.ceilings.inbox.wait(next) {
            let table = self.routes.load();
            for loaded in table.mounts().iter().filter_map(|mount| mount.loaded.as_ref()) {
                self.look(loaded);
            }
        }
    }

    fn look(&self, loaded: &Loaded) {
        let Some(rule) = self.ceilings.rule(&loaded.plugin) else { return };
        let over = heap::is_over(loaded.instance().library());
        if loaded.over().is_some() == over {
            return;
        }
        let held = loaded.heap().map_or(0, |heap| heap.held);
        let limit = Over { max: rule.max, consequence: consequence(rule.policy) };
        let told = if over {
            limit.text(held)
        } else {
            let (held, max) = (mib(held), mib(rule.max));
            format!("its heap is back to {held} of the {max} of `memory_max`")
        };
        let (plugin, generation) = (&loaded.plugin, loaded.version.generation);
        loaded.set_over(over.then_some(limit), rule.policy == MemoryPolicy::Refuse);
        if over {
            tracing::warn!(%plugin, generation = generation.0, "{told}");
        } else {
            tracing::info!(%plugin, generation = generation.0, "{told}");
        }
        match rule.policy {
            MemoryPolicy::Warn => {}
            MemoryPolicy::Refuse => self.routes.look_again(),
            MemoryPolicy::Withdraw if over => {
                self.desk.withdraw(Withdrawal { generation, why: told.clone(), content: None });
            }
            MemoryPolicy::Withdraw => {}
        }
        // Only now is it true.
        self.events.publish(Phase::Memory, |event: &mut Event| {
            event.plugin = Some(plugin.clone());
            event.label = Some(loaded.version.label.clone());
            event.digest = Some(loaded.version.digest);
            event.generation = Some(generation);
            event.detail = Some(told);
        });
    }
}

fn consequence(policy: MemoryPolicy) -> &'static str {
    match policy {
        MemoryPolicy::Warn => "",
        MemoryPolicy::Refuse => "; new requests are refused",
        MemoryPolicy::Withdraw => "; it is withdrawn",
    }
}

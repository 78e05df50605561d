//! One data thread's view of the table, and the lease a request takes from it.
//!
//! Invariant: nothing here is shared between threads, so a lease is a plain `Rc`.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use super::{Counters, Loaded, Routes, Table, Tally, table::Mount};
use crate::{
    ids::{Generation, PluginName},
    plugin::{exchange, instance::Instance},
};

/// The right to call a generation, on one data thread.
#[derive(Debug)]
pub struct Lease {
    loaded: Arc<Loaded>,
    counters: Arc<Counters>,
}

impl Lease {
    /// The generation.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Its number.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.loaded.version.generation
    }

    /// This thread's counters of the plugin.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl exchange::Lease for Lease {
    fn instance(&self) -> &Instance {
        self.loaded.instance()
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn client_gone(&self) -> impl Future<Output = ()> + Unpin + 'static {
        std::future::pending()
    }
}

/// The table as one data thread sees it.
#[derive(Debug)]
pub struct CoreTable {
    table: Arc<Table>,
    leases: Vec<Option<Rc<Lease>>>,
}

/// What the table says about a request.
#[derive(Debug)]
pub enum Route<'a> {
    /// No mount matches.
    Nowhere,
    /// The mount has no generation.
    Vacant(&'a PluginName),
    /// Its generation takes no new requests, because it holds more memory than it may.
    Full(&'a PluginName),
    /// This generation answers, as the mount says.
    To(&'a Rc<Lease>, &'a Mount),
}

impl CoreTable {
    /// Where a request goes.
    #[must_use]
    pub fn route(&self, host: Option<&str>, path: &str) -> Route<'_> {
        let Some(at) = self.table.find(host, path) else { return Route::Nowhere };
        let mount = &self.table.mounts()[at];
        match &self.leases[at] {
            None if mount.loaded.is_some() => Route::Full(&mount.rule.plugin),
            None => Route::Vacant(&mount.rule.plugin),
            Some(lease) => Route::To(lease, mount),
        }
    }

    /// Whether no plugin serves at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.iter().all(Option::is_none)
    }
}

/// Follows [`Routes`] on one data thread.
#[derive(Debug)]
pub struct View {
    routes: Arc<Routes>,
    tally: Tally,
    current: RefCell<(u64, Rc<CoreTable>)>,
    counters: RefCell<HashMap<PluginName, Arc<Counters>>>,
}

impl View {
    /// A view that has seen nothing yet.
    #[must_use]
    pub fn new(routes: Arc<Routes>, tally: Tally) -> Self {
        let empty = CoreTable { table: Arc::default(), leases: Vec::new() };
        let current = RefCell::new((0, Rc::new(empty)));
        Self { routes, tally, current, counters: RefCell::default() }
    }

    /// The table that serves now. Costs one atomic load when nothing has changed.
    #[must_use]
    pub fn current(&self) -> Rc<CoreTable> {
        let epoch = self.routes.epoch();
        let mut current = self.current.borrow_mut();
        if current.0 != epoch {
            // The epoch is read first: a table stored in between is only picked up early.
            current.1 = Rc::new(self.read(&current.1));
            current.0 = epoch;
        }
        current.1.clone()
    }

    /// Lets go of a table that is no longer current.
    pub fn refresh(&self) {
        drop(self.current());
    }

    fn read(&self, before: &CoreTable) -> CoreTable {
        let table = self.routes.load();
        let lease = |loaded: &Arc<Loaded>| {
            // An unchanged generation keeps its lease, so that its holders are counted once.
            let known = before.leases.iter().flatten().find(|it| Arc::ptr_eq(&it.loaded, loaded));
            known.cloned().unwrap_or_else(|| {
                let counters = self.counters(&loaded.plugin);
                Rc::new(Lease { loaded: loaded.clone(), counters })
            })
        };
        let mut leases: Vec<Option<Rc<Lease>>> = Vec::with_capacity(table.mounts().len());
        for mount in table.mounts() {
            let same = |it: &&Rc<Lease>| {
                mount.loaded.as_ref().is_some_and(|loaded| Arc::ptr_eq(&it.loaded, loaded))
            };
            // Two mounts of one plugin share one lease.
            let found = leases.iter().flatten().find(same).cloned();
            let taking = mount.loaded.as_ref().filter(|loaded| !loaded.refuses());
            leases.push(found.or_else(|| taking.map(lease)));
        }
        CoreTable { table, leases }
    }

    fn counters(&self, plugin: &PluginName) -> Arc<Counters> {
        let mut known = self.counters.borrow_mut();
        known.entry(plugin.clone()).or_insert_with(|| self.tally.enlist(plugin)).clone()
    }
}

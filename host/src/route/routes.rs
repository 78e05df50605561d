//! The current table, and the bell that tells data threads of a new one.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;

use super::Table;

type Bell = Box<dyn Fn() + Send + Sync>;

/// Holds the table that the next request meets.
#[derive(Default)]
pub struct Routes {
    table: ArcSwap<Table>,
    epoch: AtomicU64,
    bell: OnceLock<Bell>,
    /// What is in the table serves, and does not only wait for that.
    serves: AtomicBool,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

impl Routes {
    /// `bell` is rung after each new table, so that idle data threads let go of the one before.
    pub fn on_change(&self, bell: impl Fn() + Send + Sync + 'static) {
        // Set once, by whoever starts the data threads; a second bell would be a bug there.
        assert!(self.bell.set(Box::new(bell)).is_ok(), "the bell hangs already");
    }

    /// Replaces the table. When this returns, every request that is accepted later meets it.
    pub fn store(&self, table: Table) {
        self.table.store(Arc::new(table));
        // Before any request meets it: what that spawns runs where it is asked to.
        self.begin_tasks();
        self.look_again();
    }

    /// From here on what is in the table serves, and so its tasks run.
    pub fn serve(&self) {
        self.serves.store(true, Ordering::SeqCst);
        self.begin_tasks();
    }

    /// Whoever comes second, `serve` or `store`, sees what the other has done.
    fn begin_tasks(&self) {
        if self.serves.load(Ordering::SeqCst) {
            let table = self.load();
            let serving = table.mounts().iter().filter_map(|mount| mount.loaded.as_ref());
            serving.for_each(|loaded| loaded.instance().begin_tasks());
        }
    }

    /// Has every view read the table anew: one of its generations takes requests, or takes none, from
    /// here on.
    pub fn look_again(&self) {
        // Release: a view that sees the new epoch also sees what was changed before.
        self.epoch.fetch_add(1, Ordering::Release);
        if let Some(bell) = self.bell.get() {
            bell();
        }
    }

    /// The current table. Keep it for a moment only: it holds its generations.
    #[must_use]
    pub fn load(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Counts the tables stored so far.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

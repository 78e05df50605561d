//! The loader's room for thread-locals at fixed places of every thread, as far as this worker has used
//! it up.
//!
//! glibc gives a closed library's part back only if nothing was loaded after it; a swap loads before it
//! closes, so each load of such a library costs its part for good. Owns the sum since this process began
//! and the words for its end. What libraries that come along take is not in it: there is a reserve
//! beside `static_tls` (1,152 bytes with glibc 2.36), which is left to them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    error::{Coded, Kind},
    ids::Generation,
};

/// What was taken. Units: bytes.
#[derive(Debug, Default)]
struct Taken {
    total: u64,
    /// Of each load, also of those that are closed: they give nothing back.
    by_generation: BTreeMap<Generation, u64>,
}

/// See the module.
#[derive(Debug)]
pub struct Room {
    /// `None`: nobody has asked for any, and no other worker can be had.
    limit: Option<u64>,
    taken: Mutex<Taken>,
}

impl Room {
    /// That of a worker which its master has started with `limit` bytes; `None`: of a host in one
    /// process, which has what it was given.
    #[must_use]
    pub fn new(limit: Option<usize>) -> Self {
        Self { limit: limit.map(|bytes| bytes as u64), taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A load has taken its part.
    pub(super) fn take(&self, generation: Generation, bytes: u64) {
        let mut taken = self.taken();
        taken.total = taken.total.saturating_add(bytes);
        taken.by_generation.insert(generation, bytes);
    }

    /// Why nothing of this size is to be loaded here, where another worker, which has loaded what
    /// serves and nothing else, would have room for it. `None`: there is room, or there is none.
    pub(super) fn short(
        &self,
        wanted: u64,
        serving: impl Iterator<Item = Generation>,
    ) -> Option<NoRoom> {
        let limit = self.limit?;
        let taken = self.taken();
        let fits = |used: u64| used.saturating_add(wanted) <= limit;
        let serving: u64 = serving.filter_map(|it| taken.by_generation.get(&it)).sum();
        let refusal = NoRoom { wanted, taken: taken.total, limit: self.limit };
        (!fits(taken.total) && fits(serving)).then_some(refusal)
    }

    /// The loader has said that there is none.
    pub(super) fn refusal(&self, wanted: u64) -> NoRoom {
        NoRoom { wanted, taken: self.taken().total, limit: self.limit }
    }

    /// A line about a library of this size.
    pub(super) fn note(&self, wanted: u64) -> String {
        let taken = self.taken().total;
        let taken = match self.limit {
            Some(limit) => format!("{taken} of {limit} were taken before in this worker"),
            None => format!("{taken} were taken before in this process"),
        };
        format!(
            "it keeps {wanted} bytes of every thread at a fixed place (static TLS), which no unload \
             gives back: {taken}"
        )
    }
}

/// A library of which the loader has no room for its thread-locals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it keeps {wanted} bytes of every thread in the loader's fixed area (static TLS), of which \
     libraries have taken {taken} since this {}; no unload gives any back",
    .limit.map_or_else(
        || "process was started".to_owned(),
        |limit| format!("worker was started ({limit} were asked for)")
    )
)]
pub struct NoRoom {
    /// Units: bytes.
    pub wanted: u64,
    /// Units: bytes.
    pub taken: u64,
    /// Of the worker; `None`: it is a process without a master. Units: bytes.
    pub limit: Option<u64>,
}

/// How such a library is built without.
pub const BUILD_WITHOUT: &str = "build it without (mimalloc: feature `local_dynamic_tls`; \
                                 tikv-jemallocator: `disable_initial_exec_tls`)";

impl Coded for NoRoom {
    fn code(&self) -> &'static str {
        "static_tls_full"
    }

    fn kind(&self) -> Kind {
        Kind::Refused
    }

    fn hint(&self) -> Option<String> {
        if self.limit.is_none() {
            return Some(format!(
                "{BUILD_WITHOUT}; or start the host anew, with \
                 `GLIBC_TUNABLES=glibc.rtld.optional_static_tls=8192` (or more) in its environment: \
                 with `--single` nobody else sets it"
            ));
        }
        Some(format!(
            "`hotseat upgrade` starts a fresh worker, `recycle = \"auto\"` has the host do that by \
             itself, `static_tls` gives more room; or {BUILD_WITHOUT}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_short_only_where_another_worker_has_some() {
        let room = Room::new(Some(100));
        let none = std::iter::empty;
        assert_eq!(room.short(100, none()), None);
        assert_eq!(room.short(101, none()), None, "no worker has that much");
        room.take(Generation(1), 40);
        room.take(Generation(2), 40);
        assert_eq!(room.short(20, [Generation(2)].into_iter()), None);
        let short = room.short(40, [Generation(2)].into_iter()).unwrap();
        assert_eq!(short, NoRoom { wanted: 40, taken: 80, limit: Some(100) });
        let both = [Generation(1), Generation(2)].into_iter();
        assert_eq!(room.short(40, both), None, "what serves would take it there as well");
        assert!(short.to_string().contains("taken 80 since"), "{short}");
    }
}

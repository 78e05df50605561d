//! Which generation answers which request, and who still holds the ones that left.
//!
//! [`Table`] is immutable and replaced whole; [`Routes`] holds the current one; each data thread
//! reads it through a [`View`] of its own and takes a [`Lease`] a request. [`Roster`] remembers
//! every generation from its swap to its unload.
//!
//! # Invariants
//! - One request meets one generation: it takes one lease, once, and keeps it to its last byte.
//! - A request costs no lock and no atomic write: a view compares one epoch and clones an `Rc`.
//! - The last lease never unloads: it hands the instance to the reaper.

mod callback;
mod counters;
mod drain;
mod loaded;
mod roster;
mod routes;
mod table;
mod view;

pub use counters::{Count, Counters, Tally};
pub use drain::Drains;
pub use loaded::{Loaded, Over, mib};
pub use roster::Roster;
pub use routes::Routes;
pub use table::{Mount, MountTaken, Table, check_mount};
pub use view::{CoreTable, Lease, Route, View};

//! The data plane: from an accepted connection to the last byte of an answer.
//!
//! One thread and one current-thread runtime a core; any of them accepts, the one with the fewest
//! connections serves. Knows mounts and leases ([`crate::route`]) and calls
//! ([`crate::plugin::call`]); knows nothing of deploys.
//!
//! # Invariants
//! - A request takes no lock, opens no file and changes no thread.
//! - Everything of a connection stays on its core, so it is counted and owned without atomics.

mod balance;
mod body;
mod clock;
mod conn;
mod connection;
mod core;
mod dispatch;
#[doc(hidden)]
pub mod in_process;
mod io;
mod listener;
mod own;
mod passing;
mod plane;
mod pulse;
mod task;
mod watchdog;

pub use self::{
    listener::{Socket, bind},
    own::{Health, HealthSource},
    plane::{CoreView, DataPlane, Drain, Shutting},
    pulse::Stuck,
    watchdog::OnStuck,
};

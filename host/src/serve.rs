//! The data plane: from an accepted connection to the last byte of an answer.
//!
//! One thread and one current-thread runtime a core; any of them accepts, the one with the fewest
//! connections serves. Knows mounts and leases ([`crate::route`]) and calls
//! ([`crate::plugin::call`]); knows nothing of deploys.
//!
//! # Invariants
//! - A request takes no lock, opens no file and changes no thread.
//! - Everything of a connection stays on its core, so it is counted and owned without atomics.

mod answering;
mod aside;
mod balance;
mod clock;
mod conn;
mod connection;
mod converse;
mod core;
mod dispatch;
mod ebb;
mod hold;
#[doc(hidden)]
pub mod in_process;
mod inbound;
mod io;
mod listener;
mod mail;
mod outbound;
mod own;
mod passing;
mod plane;
mod pulse;
mod rest;
mod rules;
mod socket;
mod task;
mod thread;
mod watchdog;

pub use self::{
    own::{Health, HealthSource},
    plane::{CoreView, DataPlane, Drain, Shutting},
    pulse::Stuck,
    socket::{Socket, bind},
    watchdog::OnStuck,
};

//! The data plane: from an accepted connection to the last byte of an answer.
//!
//! One thread and one current-thread runtime a core; any of them accepts, the one with the fewest
//! connections serves. Knows mounts and leases ([`crate::route`]) and calls
//! ([`crate::plugin::call`]); knows nothing of deploys.
//!
//! # Invariants
//! - A request takes no lock, opens no file and changes no thread.
//! - Everything of a connection stays on its core, so it is counted and owned without atomics.
//!
//! # Order of the files
//! Each imports only from those before it, which `tests/it/tidy` reads here.
//! - `own` `clock` `pulse` `task`: the host's own answers, the time, what a thread is at
//! - `client_gone` `conn` `limit` `io` `ended` `bind_error` `socket` `passing`: a connection, its times, its bytes, its end, its way to another process
//! - `rest` `inbound` `hold` `aside` `outbound`: bodies, who is in flight, what a connection does next
//! - `rules` `answering` `converse`: from a call to its answer, and on after a 101
//! - `plain`: plain requests of HTTP/1.1, their bytes and their answers'
//! - `mail` `balance` `ebb` `watchdog`: what threads tell and know of each other
//! - `core` `dispatch` `thin` `connection` `listener` `thread`: one thread, its data first, its run last
//! - `plane` `in_process`: all of them; one request without a socket

mod answering;
mod aside;
mod balance;
mod bind_error;
mod client_gone;
mod clock;
mod conn;
mod connection;
mod converse;
mod core;
mod dispatch;
mod ebb;
mod ended;
mod hold;
#[doc(hidden)]
pub mod in_process;
mod inbound;
mod io;
mod limit;
mod listener;
mod mail;
mod outbound;
mod own;
mod passing;
mod plain;
mod plane;
mod pulse;
mod rest;
mod rules;
mod socket;
mod task;
mod thin;
mod thread;
mod watchdog;

pub use self::{
    bind_error::{BindError, Plane},
    own::{Health, HealthSource},
    plane::{CoreView, DataPlane, Drain, Shutting},
    pulse::Stuck,
    socket::{Socket, bind},
    watchdog::{OnStuck, PluginOf},
};

//! hotseat: an HTTP host whose handlers take turns in the seat.
//!
//! The library behind the `hotseat` binary. ARCHITECTURE.md is the map of its rooms; a module
//! imports only from its own floor's folder or from lower floors.

pub mod admin;
pub mod artifact;
pub mod cells;
pub mod cli;
pub mod config;
pub mod deploy;
pub mod error;
pub mod event;
pub mod ids;
pub mod link;
pub mod log;
pub mod master;
pub mod metrics;
pub mod plugin;
pub mod process;
pub mod route;
pub mod serve;
pub mod state;
pub mod status;
pub mod sys;
pub mod thread;
pub mod upgrade;
pub mod watch;
pub mod worker;

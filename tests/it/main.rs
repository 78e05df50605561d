//! The integration tests: the real binary, real libraries, one module a behaviour.
//!
//! Owns nothing of the host. A test waits for events, gates and ends of processes, never for time
//! to pass; where it says that something does not happen, it says what bounds the wait.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use hotseat_test_support::{Host, fault, start_host};

mod applications;
mod beside;
mod blocked;
mod boot;
mod carried;
mod cells;
mod children;
mod cli;
mod configured;
mod connections;
mod control;
mod controls;
mod crash;
mod deadlines;
mod demo;
mod deploy;
mod edge;
mod hints;
mod hooks;
mod http_edge;
mod kit;
mod logs;
mod previous;
mod process_wide;
mod proxied;
mod readme;
mod recycle;
mod rollback;
mod routing;
mod service;
mod signals;
mod state;
mod stop;
mod stream;
mod stuck;
mod supervised;
mod thin;
mod tidy;
mod unload;
mod upgrade;
mod vanish;
mod watch;
mod zoo;

/// A host whose `handler` v1 is the `gate` plugin: requests can be held in flight.
#[track_caller]
fn gate_host() -> Host {
    start_host!(fault("gate"), "libhandler_v1.so")
}

/// A host whose `handler` v1 answers `v1`.
#[track_caller]
fn plain_host() -> Host {
    start_host!(fault("plain_v1"), "libhandler_v1.so")
}

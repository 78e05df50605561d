//! What a process needs before it becomes a worker.
//!
//! Owns how far the settings have to give way to what the system allows. Makes no thread.

use crate::{config::Config, sys};

/// Prepares the process for a worker, memory arenas and descriptors, and holds the settings to what
/// there is of these: connections of the data plane leave some to everything else.
///
/// Call it once, before any thread is made.
pub fn prepare_process(config: &mut Config) {
    if let Err(error) = sys::process::raise_descriptor_limit() {
        tracing::warn!(%error, "the limit on descriptors could not be raised");
    }
    let descriptors = sys::process::descriptor_limit();
    let limits = &mut config.limits;
    let most = sys::process::descriptors_beside(limits.descriptor_reserve_count, descriptors);
    if most < limits.connections_count {
        tracing::warn!(
            connections_count = limits.connections_count,
            most,
            descriptors,
            "the limit on descriptors (`ulimit -n`) allows fewer connections than are configured"
        );
        limits.connections_count = most;
    }
    sys::process::bound_arenas(config.threads + 2);
    // Looked at now: a plugin may change each of these later.
    sys::start::start();
}

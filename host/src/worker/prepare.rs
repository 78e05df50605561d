//! What a process needs before it becomes a worker.
//!
//! Owns how far the settings have to give way to what the system allows. Makes no thread.

use crate::{config::Config, deploy::settings::log_levels, log, sys};

/// Descriptors of a worker that serves, besides those of its data threads and listeners. Measured: 26
/// at rest, and 12 that clients and a deploy by the control plane need on their way.
const BESIDE_COUNT: u64 = 26 + 12;
/// Of each listener of any plane. Measured.
const LISTENER_COUNT: u64 = 2;
/// Of each data thread besides one for each listener of the data plane. Measured.
const THREAD_COUNT: u64 = 4;

/// How many data threads there can be with so many descriptors, one at least. `others` are listeners
/// of other planes than the data plane.
fn threads_within(descriptors: u64, data: usize, others: usize) -> usize {
    let [data, others] = [data.max(1), others].map(|it| u64::try_from(it).unwrap_or(u64::MAX));
    let beside = data.saturating_add(others).saturating_mul(LISTENER_COUNT);
    let left = descriptors.saturating_sub(BESIDE_COUNT).saturating_sub(beside);
    let most = left / THREAD_COUNT.saturating_add(data);
    usize::try_from(most).unwrap_or(usize::MAX).max(1)
}

/// Prepares the process for a worker, memory arenas and descriptors, and holds the settings to what
/// there is of these: connections of the data plane leave some to everything else.
///
/// Call it once, before any thread is made.
pub fn prepare_process(config: &mut Config) {
    log::set_levels(&log_levels(&config.plugins));
    if let Err(error) = sys::process::raise_descriptor_limit() {
        tracing::warn!(%error, "the limit on descriptors could not be raised");
    }
    let descriptors = sys::process::descriptor_limit();
    let others = config.control.len() + config.health_listen.len();
    let threads = threads_within(descriptors, config.listen.len(), others).min(config.threads);
    if threads < config.threads {
        tracing::warn!(
            threads,
            wanted = config.threads,
            descriptors,
            "the limit on descriptors (`ulimit -n`, `LimitNOFILE=`) allows fewer data threads"
        );
        config.threads = threads;
    }
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
    sys::process::bound_arenas(config.threads + 4);
    // Looked at now: a plugin may change each of these later.
    sys::start::start();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_are_for_few_threads() {
        let one = |count| threads_within(count, 1, 1);
        let counts = [0, 40, 51, 52, 64, 1024].map(one);
        assert_eq!(counts, [1, 1, 1, 2, 4, 196]);
        assert!(one(u64::MAX) > 1 << 20);
        assert_eq!(threads_within(64, 3, 1), 2, "each listener takes some of each thread");
        assert_eq!(threads_within(64, usize::MAX, usize::MAX), 1);
    }
}

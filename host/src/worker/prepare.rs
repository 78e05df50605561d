//! What a process needs before it becomes a worker.
//!
//! Owns how far the settings have to give way to what the system allows. Makes no thread.

use crate::{config::Config, sys};

/// Descriptors of a worker besides those of its data threads, and of each of these. Measured with one
/// listener of each plane.
const BESIDE_COUNT: u64 = 30;
const THREAD_COUNT: u64 = 5;

/// How many data threads there can be with so many descriptors, one at least.
fn threads_within(descriptors: u64) -> usize {
    let most = descriptors.saturating_sub(BESIDE_COUNT) / THREAD_COUNT;
    usize::try_from(most).unwrap_or(usize::MAX).max(1)
}

/// Prepares the process for a worker, memory arenas and descriptors, and holds the settings to what
/// there is of these: connections of the data plane leave some to everything else.
///
/// Call it once, before any thread is made.
pub fn prepare_process(config: &mut Config) {
    if let Err(error) = sys::process::raise_descriptor_limit() {
        tracing::warn!(%error, "the limit on descriptors could not be raised");
    }
    let descriptors = sys::process::descriptor_limit();
    let threads = threads_within(descriptors).min(config.threads);
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
    sys::process::bound_arenas(config.threads + 2);
    // Looked at now: a plugin may change each of these later.
    sys::start::start();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_are_for_few_threads() {
        let counts = [0, 36, 40, 64, 1024, u64::MAX].map(threads_within);
        assert_eq!(counts[..5], [1, 1, 2, 6, 198]);
        assert!(counts[5] > 1 << 20);
    }
}

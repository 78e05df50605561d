//! The families of what loads and swaps leave behind.
//!
//! Owns their names and help lines. Every family names the plugin alone: figures of one generation
//! would be series that grow with time.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::host::gauges;
use crate::status::Status;

/// Figure of [`Left`](crate::status::Left), name, help.
type OfLeft = (&'static str, &'static str, &'static str);

const OF_LOADS: [OfLeft; 4] = [
    (
        "descriptors",
        "hotseat_load_leaves_descriptors",
        "Descriptors that each load of what serves leaves, as its preflight has counted; 0 where \
         that is not worth a word.",
    ),
    ("threads", "hotseat_load_leaves_threads", "As above, of threads."),
    ("mappings", "hotseat_load_leaves_mapped_files", "As above, of mapped files."),
    ("heap_bytes", "hotseat_load_leaves_c_heap_bytes", "As above, of the C library's heap."),
];

const OF_SWAPS: [OfLeft; 5] = [
    (
        "descriptors",
        "hotseat_swap_leaves_descriptors",
        "Descriptors that this process had more of at the unload of a generation than at the one before: \
         the median of the last ones.",
    ),
    ("threads", "hotseat_swap_leaves_threads", "As above, of threads."),
    ("mappings", "hotseat_swap_leaves_mapped_files", "As above, of mapped files."),
    ("heap_bytes", "hotseat_swap_leaves_c_heap_bytes", "As above, of the C library's heap."),
    ("rss_bytes", "hotseat_swap_leaves_resident_bytes", "As above, of resident memory."),
];

/// Writes them as of `status`.
pub(super) fn encode(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let serving = status.plugins.iter().filter_map(|plugin| plugin.active.as_ref());
    for (what, name, help) in OF_LOADS {
        let rows = serving.clone().map(|active| {
            let leaves = active.leaves.as_ref().and_then(|it| it.left.0.get(what));
            ([("plugin", active.plugin.as_str())], leaves.copied().unwrap_or(0))
        });
        gauges(encoder, name, help, rows)?;
    }
    let swaps = status.swaps();
    for (what, name, help) in OF_SWAPS {
        // What the system does not tell is not 0.
        let rows = swaps
            .iter()
            .filter_map(|it| Some(([("plugin", it.plugin.as_str())], *it.median.0.get(what)?)));
        gauges(encoder, name, help, rows)?;
    }
    Ok(())
}

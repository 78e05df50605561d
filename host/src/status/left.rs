//! What a process has more of than before, by what it is.
//!
//! Owns from where on that is worth a line, and the figure that stands for many swaps. Knows nothing
//! of the counting.

use std::{collections::BTreeMap, fmt};

use super::{Life, Status};
use crate::ids::PluginName;

/// By what it is: `descriptors`, `threads`, `mappings` (of files), `heap_bytes` (of C) and
/// `rss_bytes`. What the system does not tell is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left(pub BTreeMap<&'static str, i64>);

/// What each load of a version leaves behind, as its preflight has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaves {
    /// For people.
    pub text: String,
    /// In figures.
    pub left: Left,
}

/// What the swaps of one plugin have left in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swaps {
    /// Whose.
    pub plugin: PluginName,
    /// How many.
    pub count: usize,
    /// The median of them: what comes and goes meanwhile is not told as the plugin's.
    pub median: Left,
}

/// Swaps that make a median: in the first ones tables fill.
const SWAPS_MIN: usize = 8;

/// From these on a figure is worth a line. Units: as its name says.
const NOTABLE: [(&str, i64); 5] = [
    ("descriptors", 1),
    ("threads", 1),
    ("mappings", 1),
    ("heap_bytes", 16 << 10),
    // Resident memory moves by itself.
    ("rss_bytes", 64 << 10),
];

impl Left {
    /// Whether anybody should hear of it.
    #[must_use]
    pub fn is_notable(&self) -> bool {
        NOTABLE.iter().any(|(what, least)| self.0.get(what).is_some_and(|it| it >= least))
    }

    /// Figure by figure; what one of `all` lacks the result lacks.
    fn median(all: &[&Self]) -> Self {
        let median = |(what, _): (&'static str, i64)| {
            let mut values: Vec<i64> =
                all.iter().map(|it| it.0.get(what).copied()).collect::<Option<_>>()?;
            values.sort_unstable();
            Some((what, *values.get(values.len() / 2)?))
        };
        Self(NOTABLE.into_iter().filter_map(median).collect())
    }
}

impl fmt::Display for Left {
    /// `+2 descriptors, +0 threads, -1 mapped files, +33 KiB of C heap, +36 KiB resident`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |(what, _): &(&str, i64)| {
            let value = self.0.get(what)?;
            Some(match *what {
                "mappings" => format!("{value:+} mapped files"),
                "heap_bytes" => format!("{:+} KiB of C heap", value / 1024),
                "rss_bytes" => format!("{:+} KiB resident", value / 1024),
                what => format!("{value:+} {what}"),
            })
        };
        f.write_str(&NOTABLE.iter().filter_map(words).collect::<Vec<_>>().join(", "))
    }
}

impl Status {
    /// What the swaps of each plugin have left, where there were enough of them.
    #[must_use]
    pub fn swaps(&self) -> Vec<Swaps> {
        let mut swaps: BTreeMap<&PluginName, Vec<&Left>> = BTreeMap::new();
        for generation in self.retired.iter().filter(|it| it.life == Life::Unloaded) {
            if let Some(left) = &generation.left {
                swaps.entry(&generation.plugin).or_default().push(left);
            }
        }
        let of_plugin = |(plugin, all): (&PluginName, Vec<&Left>)| {
            let (plugin, count) = (plugin.clone(), all.len());
            (count >= SWAPS_MIN).then(|| Swaps { plugin, count, median: Left::median(&all) })
        };
        swaps.into_iter().filter_map(of_plugin).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(descriptors: i64, heap_bytes: i64) -> Left {
        Left([("descriptors", descriptors), ("heap_bytes", heap_bytes)].into())
    }

    #[test]
    fn one_swap_of_many_tells_nothing() {
        let quiet = left(0, 900);
        let all = [&quiet, &quiet, &left(300, 9 << 20), &quiet, &left(-299, -(9 << 20))];
        let median = Left::median(&all);
        assert_eq!((&median, median.is_notable()), (&quiet, false));
        let lacks = Left([("descriptors", 1)].into());
        assert_eq!(Left::median(&[&lacks, &left(1, 0), &lacks]), lacks);
        assert_eq!(Left::median(&[]), Left::default());
    }

    #[test]
    fn what_each_swap_leaves_is_a_line() {
        let told = left(2, 34_000);
        assert!(told.is_notable() && left(1, 0).is_notable() && left(0, 16 << 10).is_notable());
        assert!(!left(0, (16 << 10) - 1).is_notable() && !left(-3, 0).is_notable());
        assert_eq!(told.to_string(), "+2 descriptors, +33 KiB of C heap");
    }
}

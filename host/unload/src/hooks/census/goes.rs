//! The addresses that are unmapped with a library: those of the objects that only it needs, and of the
//! memory that is its own.

use std::ops::Range;

/// Addresses that will belong to nobody.
#[derive(Clone, Debug, Default)]
pub(super) struct Goes {
    /// Sorted, none over another.
    ranges: Vec<Range<usize>>,
    low: usize,
    size: usize,
}

impl Goes {
    pub(super) fn new(ranges: impl IntoIterator<Item = Range<usize>>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        ranges.sort_by_key(|range| range.start);
        let low = ranges.first().map_or(0, |range| range.start);
        let high = ranges.iter().map(|range| range.end).max().unwrap_or(low);
        Self { ranges, low, size: high - low }
    }

    /// Whether `word` lies between the first and the last of its addresses.
    #[inline]
    pub(super) fn is_near(&self, word: usize) -> bool {
        word.wrapping_sub(self.low) < self.size
    }

    /// Whether `word` is an address of it.
    #[inline]
    pub(super) fn holds(&self, word: usize) -> bool {
        self.is_near(word) && self.find(word).is_some()
    }

    /// What is left of the range that `word` is an address of.
    pub(super) fn find(&self, word: usize) -> Option<Range<usize>> {
        let after = self.ranges.partition_point(|range| range.start <= word);
        let range = &self.ranges[after.checked_sub(1)?];
        range.contains(&word).then_some(word..range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_their_ranges() {
        let goes = Goes::new([0x9000..0xa000, 0..0, 0x1000..0x3000]);
        for (word, expected) in [
            (0, None),
            (0xfff, None),
            (0x1000, Some(0x1000..0x3000)),
            (0x2fff, Some(0x2fff..0x3000)),
            (0x3000, None),
            (0x8fff, None),
            (0x9000, Some(0x9000..0xa000)),
            (0xa000, None),
            (usize::MAX, None),
        ] {
            assert_eq!(goes.find(word), expected, "{word:#x}");
            assert_eq!(goes.holds(word), expected.is_some(), "{word:#x}");
        }
        assert!(!Goes::new([]).holds(0));
    }
}

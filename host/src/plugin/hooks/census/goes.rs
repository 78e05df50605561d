//! What is unmapped with a library: the objects that only it needs, and the memory that is its own.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    ops::Range,
    ptr,
};

use super::{
    loader::Fields,
    objects::{Loaded, Wants},
};
use crate::plugin::hooks::object;

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

    /// Whether `word` is an address of it.
    #[inline]
    pub(super) fn holds(&self, word: usize) -> bool {
        word.wrapping_sub(self.low) < self.size && self.find(word).is_some()
    }

    /// What is left of the range that `word` is an address of.
    pub(super) fn find(&self, word: usize) -> Option<Range<usize>> {
        let after = self.ranges.partition_point(|range| range.start <= word);
        let range = &self.ranges[after.checked_sub(1)?];
        range.contains(&word).then_some(word..range.end)
    }
}

/// Which of `all` the loader unmaps with the object of this path; none when there is no such object.
/// `early` were there before the first library, and stay, as does what they need.
pub(super) fn with(
    all: &[Loaded],
    path: &CStr,
    early: &BTreeSet<(CString, usize)>,
    fields: Option<Fields>,
) -> Vec<bool> {
    let is_early = |it: &Loaded| early.contains(&(it.name.clone(), it.base));
    let late: Vec<usize> = (0..all.len()).filter(|at| !is_early(&all[*at])).collect();
    let own = late.iter().position(|at| all[*at].name.as_c_str() == path);
    // Most libraries need nothing but what the executable needs as well.
    let wants: Vec<Wants> = match late.len() {
        1 => vec![Wants::default()],
        _ => late.iter().map(|at| all[*at].wants()).collect(),
    };
    let soname = |at: usize| wants[at].soname.as_deref();
    let needs = |from: usize, to: usize| {
        let (wants, other) = (&wants[from], &all[late[to]]);
        let known = [Some(other.name.to_bytes()), Some(other.file_name()), soname(to)];
        wants.needed.iter().any(|name| known.contains(&Some(name.as_slice())))
    };
    let own_only = |at: usize| Some(at) == own;
    let reached = spread(late.len(), own_only, needs);
    let stays =
        |at: usize| !own_only(at) && (!reached[at] || kept(&all[late[at]], &wants[at], fields));
    let stay = spread(late.len(), stays, |from, to| !own_only(to) && needs(from, to));
    let mut goes = vec![false; all.len()];
    for (at, index) in late.iter().enumerate() {
        goes[*index] = reached[at] && !stay[at];
    }
    goes
}

/// All that can be reached from where `first` says, by steps that `step` allows.
fn spread(
    count: usize,
    first: impl Fn(usize) -> bool,
    step: impl Fn(usize, usize) -> bool,
) -> Vec<bool> {
    let mut reached: Vec<bool> = (0..count).map(first).collect();
    let mut next: Vec<usize> = (0..count).filter(|at| reached[*at]).collect();
    while let Some(from) = next.pop() {
        for (to, reached) in reached.iter_mut().enumerate() {
            if !*reached && step(from, to) {
                *reached = true;
                next.push(to);
            }
        }
    }
    reached
}

/// Whether the loader keeps it although nothing needs it: somebody has opened it by itself, it is
/// marked, or others use a symbol of it that there may be once only.
fn kept(object: &Loaded, wants: &Wants, fields: Option<Fields>) -> bool {
    let found = object::find(ptr::without_provenance(object.span.start));
    let known = found.zip(fields).and_then(|(object, fields)| fields.stays(object));
    wants.nodelete || known.unwrap_or(false)
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

    #[test]
    fn what_can_be_reached_is_followed() {
        let steps = [(0, 1), (1, 2), (3, 2), (4, 0)];
        let reached = spread(5, |at| at == 0, |from, to| steps.contains(&(from, to)));
        assert_eq!(reached, [true, true, true, false, false]);
    }
}

//! What this process has more of after each swap.
//!
//! Owns a short row of counts, one for each library that was unmapped, and what they say. A leak that
//! grows with swaps shows in it however little each of them costs; requests that come and go do not, nor
//! do versions that pile up while they drain.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use hotseat_unload::figures::Figures;

use crate::{serve::DataPlane, status::Growth};

/// Counts that are compared, a quarter with the next one.
const COUNT: usize = 32;
const QUARTER: usize = COUNT / 4;
/// From the middle of the first quarter to that of the last one.
const SPAN: i64 = (COUNT - QUARTER) as i64;

/// Below that an unload leaves nothing worth a warning. Units: bytes of C's heap.
const HEAP_BYTES: i64 = 16 << 10;
/// As above, of resident memory, which moves by itself. Units: bytes.
const RSS_BYTES: i64 = 64 << 10;
/// As above. Units: hundredth parts of a descriptor.
const DESCRIPTORS_PERCENT: i64 = 50;

/// Unloads after which a process has filled what it fills once: its own tables, those of the C library
/// and the allocator's. Until they are out of the row, only memory beyond that is certain to be a leak.
const WARM: usize = COUNT;
/// How many times as much has to be left meanwhile.
const CERTAIN: i64 = 4;

#[derive(Clone, Copy, Debug)]
struct Count {
    figures: Figures,
    /// Versions on their way out, each with what it holds.
    leaving: usize,
}

#[derive(Debug, Default)]
struct Row {
    counts: VecDeque<Count>,
    /// Those that are not in it any more.
    before: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Wear {
    row: Mutex<Row>,
    /// Whose connections are no leak.
    pub(super) plane: OnceLock<Arc<DataPlane>>,
    warned: OnceLock<()>,
}

impl Wear {
    /// A library was unmapped, while so many were on their way out. What there is more of than when the
    /// one before was.
    pub(super) fn note_unload(&self, leaving: usize) -> Option<Figures> {
        let mut now = Figures::now();
        let connections = self.plane.get().map_or(0, |plane| plane.classes().total());
        let connections = i64::try_from(connections).unwrap_or(i64::MAX);
        now.descriptors = now.descriptors.map(|all| all.saturating_sub(connections));
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        let left = row.counts.back().map(|before| now.since(before.figures));
        row.counts.push_back(Count { figures: now, leaving });
        if row.counts.len() > COUNT {
            row.counts.pop_front();
            row.before += 1;
        }
        drop(row);
        if let Some(warning) = self.growth().warning()
            && self.warned.set(()).is_ok()
        {
            tracing::warn!("{warning}; `hotseat status` shows it as long as it is so");
        }
        left
    }

    /// What the counts say.
    pub(super) fn growth(&self) -> Growth {
        let row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        growth_of(row.counts.iter().copied(), row.before >= WARM)
    }
}

fn growth_of(counts: impl ExactSizeIterator<Item = Count> + Clone, warm: bool) -> Growth {
    if counts.len() < COUNT {
        return Growth::default();
    }
    let leaving = |quarter: usize| -> usize {
        counts.clone().skip(quarter * QUARTER).take(QUARTER).map(|it| it.leaving).sum()
    };
    // What these hold goes with them: it can be told when they are no more than before.
    if leaving(COUNT / QUARTER - 1) > leaving(0) {
        return Growth::default();
    }
    let each = |of: fn(&Figures) -> Option<i64>, parts: i64, least: i64| {
        let values: Option<Vec<i64>> = counts.clone().map(|it| of(&it.figures)).collect();
        let per_swap = values.map_or(0, |values| per_swap(&values, parts));
        if per_swap < least { 0 } else { per_swap.cast_unsigned() }
    };
    let certain = if warm { 1 } else { CERTAIN };
    let heap = each(|it| it.heap_bytes, 1, HEAP_BYTES * certain);
    let rss = each(|it| it.rss_bytes, 1, RSS_BYTES * certain);
    let descriptors_percent = each(|it| it.descriptors, 100, DESCRIPTORS_PERCENT);
    Growth { swaps: COUNT, descriptors_percent, bytes: heap.max(rss) }
}

/// How much more there is after each, in parts of one; 0 where it does not grow all the time: each
/// quarter is above the one before by a fair share, and all of the last one above all of the first. A
/// single step and what comes and goes are neither.
fn per_swap(values: &[i64], parts: i64) -> i64 {
    let quarters: Vec<&[i64]> = values.chunks_exact(QUARTER).collect();
    let [first, .., last] = quarters.as_slice() else { return 0 };
    let sums: Vec<i64> = quarters.iter().map(|quarter| quarter.iter().sum()).collect();
    let all = sums[sums.len() - 1] - sums[0];
    let each = |pair: &[i64]| pair[1] - pair[0] >= all / 8;
    if last.iter().min() <= first.iter().max() || !sums.windows(2).all(each) {
        return 0;
    }
    all * parts / (SPAN * QUARTER as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(count: i64, of: impl Fn(i64) -> Figures) -> Vec<Count> {
        (0..count).map(|number| Count { figures: of(number), leaving: 1 }).collect()
    }

    fn growth(count: i64, of: impl Fn(i64) -> Figures) -> Growth {
        growth_of(counts(count, of).into_iter(), true)
    }

    /// Each of them has a runtime and what its connections hold.
    #[test]
    fn versions_that_pile_up_are_no_leak() {
        let of = |number: i64| Figures {
            rss_bytes: Some((20 << 20) + number * (500 << 10)),
            ..Figures::default()
        };
        let mut counts = counts(32, of);
        assert_eq!(growth_of(counts.clone().into_iter(), true).bytes, 500 << 10);
        for (number, count) in counts.iter_mut().enumerate() {
            count.leaving = 1 + number / 4;
        }
        assert_eq!(growth_of(counts.clone().into_iter(), true), Growth::default());
        counts.iter_mut().for_each(|count| count.leaving = 8);
        assert_eq!(growth_of(counts.into_iter(), true).bytes, 500 << 10, "no more than before");
    }

    /// The first row begins with what the process itself has to fill.
    #[test]
    fn little_memory_is_certain_only_after_the_first_row() {
        let leaks = |kib: i64| {
            let of = move |number: i64| Figures {
                descriptors: Some(40 + number),
                heap_bytes: Some((5 << 20) + number * (kib << 10)),
                rss_bytes: Some((20 << 20) + number * (kib << 10)),
                ..Figures::default()
            };
            counts(32, of).into_iter()
        };
        let bytes = |kib: i64, warm: bool| growth_of(leaks(kib), warm).bytes;
        assert_eq!((bytes(20, false), bytes(20, true)), (0, 20 << 10));
        assert_eq!(bytes(65, false), 65 << 10);
        assert_eq!(growth_of(leaks(1), false).descriptors_percent, 100, "nothing fills with these");
    }

    #[test]
    fn what_grows_with_each_swap_is_told() {
        let leaks = |number: i64| Figures {
            descriptors: Some(40 + 2 * number),
            heap_bytes: Some((5 << 20) + number * (33 << 10)),
            rss_bytes: Some(20 << 20),
            ..Figures::default()
        };
        let told = growth(32, leaks);
        assert_eq!(told, Growth { swaps: 32, descriptors_percent: 200, bytes: 33 << 10 });
        let line = "each of the last 32 unloads left 2.00 descriptors and 33 KiB of memory behind";
        assert_eq!(told.warning().as_deref(), Some(line));
        assert_eq!(growth(31, leaks), Growth::default(), "too few to say");
    }

    #[test]
    fn what_comes_and_goes_is_not() {
        let waves = |number: i64| Figures {
            descriptors: Some(40 + 30 * (number % 5)),
            heap_bytes: Some((5 << 20) + (number % 7) * (1 << 20)),
            rss_bytes: None,
            ..Figures::default()
        };
        assert_eq!(growth(32, waves).warning(), None);
        let noise = |number: i64| Figures {
            descriptors: Some(
                40 + 3 * number + [0, 5, -4, 2][usize::try_from(number % 4).unwrap()],
            ),
            ..Figures::default()
        };
        let told = growth(32, noise).descriptors_percent;
        assert!((290..=310).contains(&told), "{told}");
        let once =
            |number: i64| Figures { heap_bytes: Some(i64::from(number > 15) << 16), ..waves(0) };
        assert_eq!(growth(32, once).warning(), None, "one step is not each time");
    }
}

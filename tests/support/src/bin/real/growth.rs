//! What there is more of after each swap.
//!
//! Owns what counts as flat. A straight line is laid through samples, so that what comes and goes
//! with requests and allocators tells nothing.

use hotseat_test_support::procfs;

/// What a process has at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Swaps up to it.
    swaps: f64,
    /// Resident memory in KiB, descriptors, threads.
    counts: [f64; 3],
}

impl Sample {
    pub(crate) fn read(pid: u32, swaps: u32) -> Self {
        let exact = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let counts = [procfs::rss_kib(pid), procfs::descriptors(pid) as u64, procfs::threads(pid)];
        Self { swaps: f64::from(swaps), counts: counts.map(exact) }
    }
}

/// What each swap adds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Growth {
    /// Units: KiB.
    pub(crate) memory: f64,
    pub(crate) descriptors: f64,
    pub(crate) threads: f64,
}

/// Below that it is what moves by itself. Units: KiB a swap.
const MEMORY_MIN: f64 = 8.0;
/// As above. Units: descriptors or threads a swap.
const COUNT_MIN: f64 = 0.05;

impl Growth {
    /// `None`: too few samples to say.
    pub(crate) fn of(samples: &[Sample]) -> Option<Self> {
        if samples.len() < 3 {
            return None;
        }
        let [memory, descriptors, threads] = [0, 1, 2].map(|kind| slope(samples, kind));
        Some(Self { memory, descriptors, threads })
    }

    pub(crate) fn is_flat(&self) -> bool {
        self.parts().is_empty()
    }

    /// What grows, for people.
    pub(crate) fn parts(&self) -> Vec<String> {
        let part = |each: f64, least: f64, unit: &str| {
            let digits = usize::from(each < 10.0);
            (each >= least).then(|| format!("{each:+.digits$} {unit}"))
        };
        let parts = [
            part(self.memory, MEMORY_MIN, "KiB"),
            part(self.descriptors, COUNT_MIN, "descriptors"),
            part(self.threads, COUNT_MIN, "threads"),
        ];
        parts.into_iter().flatten().collect()
    }
}

/// The line of least squares.
fn slope(samples: &[Sample], kind: usize) -> f64 {
    let count = samples.iter().map(|_| 1.0).sum::<f64>();
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|it| it.swaps), mean(&|it| it.counts[kind]));
    let rise = mean(&|it| (it.swaps - x) * (it.counts[kind] - y));
    let run = mean(&|it| (it.swaps - x).powi(2));
    if run == 0.0 { 0.0 } else { rise / run }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(counts: impl Fn(f64) -> [f64; 3]) -> Growth {
        let at = |number: u32| f64::from(20 + 28 * number);
        let samples: Vec<_> =
            (0..11).map(|it| Sample { swaps: at(it), counts: counts(at(it)) }).collect();
        Growth::of(&samples).unwrap()
    }

    #[test]
    fn what_grows_with_swaps_is_told() {
        let grows = growth(|swaps| [20_000.0 + 33.0 * swaps, 40.0 + 2.0 * swaps, 12.0 + swaps]);
        assert_eq!(grows.parts(), ["+33 KiB", "+2.0 descriptors", "+1.0 threads"]);
        assert!(!grows.is_flat());
    }

    #[test]
    fn what_comes_and_goes_is_not() {
        let waves = growth(|swaps| [20_000.0 + 900.0 * swaps.sin(), 40.0 + swaps.cos(), 12.0]);
        assert!(waves.is_flat(), "{waves:?}");
        let shrinks = growth(|swaps| [20_000.0 - 33.0 * swaps, 40.0, 12.0]);
        assert!(shrinks.is_flat(), "{shrinks:?}");
    }

    #[test]
    fn two_samples_say_nothing() {
        let sample = Sample { swaps: 1.0, counts: [1.0; 3] };
        assert!(Growth::of(&[sample; 2]).is_none());
    }
}

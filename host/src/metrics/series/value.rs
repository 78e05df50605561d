//! The number behind a series.
//!
//! Owns its atomics. Invariant: a histogram's count is the sum of its buckets, always.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::name::MetricKind;
use crate::metrics::totals::Number;

/// Upper bounds of a histogram's buckets: Prometheus's own for seconds, and 1 ms below them,
/// because handlers are fast. Above the last one is infinity.
pub(super) const BOUNDS: [f64; 12] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// An `f64` that many threads add to.
#[derive(Debug, Default)]
pub(super) struct AtomicF64(AtomicU64);

impl AtomicF64 {
    fn add(&self, value: f64) {
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure never says `None`, so this ends with the value added.
        let _ = self.0.fetch_update(Relaxed, Relaxed, add);
    }

    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// By kind.
#[derive(Debug)]
pub(super) enum Value {
    Counter(AtomicF64),
    Gauge(AtomicF64),
    Histogram { buckets: [AtomicU64; BOUNDS.len() + 1], sum: AtomicF64 },
}

impl Value {
    pub(super) fn new(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter(AtomicF64::default()),
            MetricKind::Gauge => Self::Gauge(AtomicF64::default()),
            MetricKind::Histogram => {
                Self::Histogram { buckets: Default::default(), sum: AtomicF64::default() }
            }
        }
    }

    pub(super) fn record(&self, value: f64) {
        match self {
            Self::Counter(total) => total.add(value),
            Self::Gauge(last) => last.0.store(value.to_bits(), Relaxed),
            Self::Histogram { buckets, sum } => {
                let bucket = BOUNDS.iter().take_while(|bound| value > **bound).count();
                buckets[bucket].fetch_add(1, Relaxed);
                sum.add(value);
            }
        }
    }
    /// Adds what another process has counted; the kinds are the same.
    pub(super) fn add(&self, number: &Number) {
        match (self, number) {
            (Self::Counter(total), Number::Counter(value)) => total.add(*value),
            (Self::Histogram { buckets, sum }, Number::Histogram { buckets: more, sum: value }) => {
                for (bucket, count) in buckets.iter().zip(more) {
                    bucket.fetch_add(*count, Relaxed);
                }
                sum.add(*value);
            }
            (Self::Gauge(_), _)
            | (Self::Counter(_), Number::Histogram { .. })
            | (Self::Histogram { .. }, Number::Counter(_)) => {}
        }
    }
}

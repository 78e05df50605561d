//! What a plugin may call a metric.
//!
//! Owns the rules for names and labels and their bounds. Invariant: a [`Key`] can be printed as
//! OpenMetrics as it is, and equal keys are equal whatever order their labels came in.

use hotseat_plugin_api::abi::metric;

/// Units: bytes.
const NAME_BYTES: usize = 128;
/// Labels of one series.
const LABEL_COUNT: usize = 16;
/// Units: bytes.
const LABEL_VALUE_BYTES: usize = 256;

/// Why a value was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The plugin has as many series as it may have.
    Limit,
    /// A name or a label that cannot be printed.
    Name,
    /// No such kind, or the name belongs to a metric of another kind.
    Kind,
    /// Not a finite number, or a counter that would go down.
    Value,
}

impl Refused {
    /// In the order of their discriminants.
    pub(super) const ALL: [Self; 4] = [Self::Limit, Self::Name, Self::Kind, Self::Value];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Name => "name",
            Self::Kind => "kind",
            Self::Value => "value",
        }
    }
}

/// The ABI's kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    pub(super) fn from_abi(kind: u32) -> Option<Self> {
        match kind {
            metric::COUNTER => Some(Self::Counter),
            metric::GAUGE => Some(Self::Gauge),
            metric::HISTOGRAM => Some(Self::Histogram),
            _ => None,
        }
    }

    /// What follows the family's name in the samples that it prints or reserves.
    pub(super) fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["", "_total", "_created"],
            Self::Gauge => &[""],
            Self::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
        }
    }
}

/// A checked name with its labels in order, still the plugin's text.
#[derive(Debug)]
pub(super) struct Key<'a> {
    name: &'a str,
    labels: [(&'a str, &'a str); LABEL_COUNT],
    label_count: usize,
}

impl<'a> Key<'a> {
    pub(super) fn new(
        kind: MetricKind,
        name: &'a str,
        given: &[(&'a str, &'a str)],
    ) -> Option<Self> {
        // The encoder adds `_total` itself.
        let name = match kind {
            MetricKind::Counter => name.strip_suffix("_total").unwrap_or(name),
            MetricKind::Gauge | MetricKind::Histogram => name,
        };
        if !is_word(name) || given.len() > LABEL_COUNT {
            return None;
        }
        let mut labels = [("", ""); LABEL_COUNT];
        let used = &mut labels[..given.len()];
        used.copy_from_slice(given);
        used.sort_unstable_by_key(|(name, _)| *name);
        // `plugin` is the host's own label, `le` the encoder's.
        let good = |(name, value): &(&str, &str)| {
            is_word(name)
                && !name.starts_with("__")
                && !matches!(*name, "plugin" | "le")
                && value.len() <= LABEL_VALUE_BYTES
        };
        let distinct = used.windows(2).all(|pair| pair[0].0 != pair[1].0);
        let good = distinct && used.iter().all(good);
        good.then_some(Self { name, labels, label_count: given.len() })
    }

    pub(super) fn name(&self) -> &'a str {
        self.name
    }

    pub(super) fn labels(&self) -> &[(&'a str, &'a str)] {
        &self.labels[..self.label_count]
    }
}

fn is_word(text: &str) -> bool {
    (1..=NAME_BYTES).contains(&text.len())
        && !text.as_bytes()[0].is_ascii_digit()
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

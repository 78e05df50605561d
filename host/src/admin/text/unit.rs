//! Durations and sizes with two figures that matter.

use std::time::Duration;

/// `12.3 s`, `5 min 2 s`, `3 h 2 min`, `4 d 1 h`.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!(
            "{:.1} s",
            f64::from(u32::try_from(duration.as_millis() / 100).unwrap_or(0)) / 10.0
        ),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// `63.0 MiB`.
pub(super) fn bytes(count: u64) -> String {
    // Tenths, so that no number is ever too large for a float.
    let tenths = |shift: u32| (count >> shift, (count >> (shift - 10)) % 1024 * 10 / 1024);
    let (shift, unit) = match count {
        0..1024 => return format!("{count} B"),
        1024..0x10_0000 => (10, "KiB"),
        0x10_0000..0x4000_0000 => (20, "MiB"),
        _ => (30, "GiB"),
    };
    let (whole, tenth) = tenths(shift);
    format!("{whole}.{tenth} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_change_at_their_borders() {
        for (ms, text) in [
            (0, "0.0 s"),
            (59_999, "59.9 s"),
            (60_000, "1 min 0 s"),
            (3_600_000, "1 h 0 min"),
            (86_400_000, "1 d 0 h"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
        for (count, text) in
            [(1023, "1023 B"), (1536, "1.5 KiB"), (66_060_288, "63.0 MiB"), (3 << 30, "3.0 GiB")]
        {
            assert_eq!(bytes(count), text);
        }
    }
}

//! Durations, sizes, moments and counts as people read them.

use std::time::Duration;

use maud::{Markup, html};
use release_manifest::Timestamp;
use unit_prefix::NumberPrefix;

/// A duration as a person reads it: `85 ms`, `1.2 s`, `2 min 5 s`, `3 h 20 min`.
#[must_use]
pub fn duration(taken: Duration) -> String {
    let (milliseconds, seconds) = (taken.as_millis(), taken.as_secs());
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{:.1} s", taken.as_secs_f64()),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A size as a person reads it: `812 B`, `12.30 KiB`, `4.00 MiB`.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "two digits are shown, and sixteen are kept"
)]
pub fn size(bytes: u64) -> String {
    match NumberPrefix::binary(bytes as f64) {
        NumberPrefix::Standalone(bytes) => format!("{bytes:.0} B"),
        NumberPrefix::Prefixed(prefix, number) => format!("{number:.2} {prefix}B"),
    }
}

/// `1 package`, `2 packages`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

/// A moment, for people and for programs.
pub(crate) fn moment(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (readable(at)) } }
}

/// A moment as a person reads it: `2026-11-23 09:30:00 UTC`.
pub(crate) fn readable(at: Timestamp) -> String {
    at.to_string().replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{count, duration, readable, size};

    #[test]
    fn durations_read_naturally() {
        assert_eq!(duration(Duration::from_millis(85)), "85 ms");
        assert_eq!(duration(Duration::from_millis(1_240)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(duration(Duration::from_secs(12_000)), "3 h 20 min");
    }

    #[test]
    fn sizes_counts_and_moments_read_naturally() {
        assert_eq!(size(812), "812 B");
        assert_eq!(size(12_595), "12.30 KiB");
        assert_eq!(size(4 << 20), "4.00 MiB");
        assert_eq!(
            (count(1, "package"), count(0, "package")),
            ("1 package".to_owned(), "0 packages".to_owned())
        );
        let moment = "2026-11-23T09:30:00Z".parse().unwrap();
        assert_eq!(readable(moment), "2026-11-23 09:30:00 UTC");
    }
}

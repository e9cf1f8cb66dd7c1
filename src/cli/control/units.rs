//! Numbers -> at most four or five columns: spans of time, sizes, counts, shares of a processor.

/// Units of time, the smallest first, and how many milliseconds of them are written in it at most.
const SPANS: [(&str, u64, u64); 3] =
    [("s", 1000, 60_000), ("m", 60_000, 3_600_000), ("h", 3_600_000, 48 * 3_600_000)];

const DAY_MS: u64 = 24 * 3_600_000;

/// `5s`, `3m`, `47h`, `4d`.
pub(super) fn span(millis: u64) -> String {
    let fits = SPANS.iter().find(|(_, _, end)| millis < *end);
    match fits {
        Some((unit, scale, _)) => format!("{}{unit}", millis / scale),
        None => format!("{}d", millis / DAY_MS),
    }
}

/// Units of size, each of 1024 of the one before.
const SIZES: [&str; 7] = ["B", "K", "M", "G", "T", "P", "E"];

/// `512B`, `5.5M`, `48M`, `1.2G`.
pub(super) fn size(bytes: u64) -> String {
    let mut unit = 0;
    // In tenths of the unit, rounded down.
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_000 {
        tenths /= 1024;
        unit += 1;
    }
    let name = SIZES.get(unit).copied().unwrap_or("E");
    if unit > 0 && tenths < 100 {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    } else {
        format!("{}{name}", tenths / 10)
    }
}

/// `9999`, `10k`, `1.2M`.
pub(super) fn count(number: u64) -> String {
    if number < 10_000 {
        return number.to_string();
    }
    let mut tenths = u128::from(number) * 10;
    let mut unit = 0;
    while tenths >= 10_000 {
        tenths /= 1000;
        unit += 1;
    }
    let name = ["", "k", "M", "G", "T", "P", "E"].get(unit).copied().unwrap_or("E");
    if tenths < 100 {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    } else {
        format!("{}{name}", tenths / 10)
    }
}

/// The share of one processor that a process has used: `3%`, `250%`. `None` where no time has passed.
pub(super) fn share(used_ms: u64, within_ms: u64) -> Option<String> {
    (used_ms * 100).checked_div(within_ms).map(|percent| format!("{percent}%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;

    #[test]
    fn spans_are_short() {
        for (millis, expected) in [
            (0, "0s"),
            (999, "0s"),
            (59_999, "59s"),
            (MINUTE, "1m"),
            (HOUR - 1, "59m"),
            (HOUR, "1h"),
            (48 * HOUR - 1, "47h"),
            (48 * HOUR, "2d"),
            (999 * 24 * HOUR, "999d"),
        ] {
            assert_eq!(span(millis), expected);
        }
        assert!(span(u64::MAX).ends_with('d'));
    }

    #[test]
    fn sizes_have_two_digits_or_three() {
        for (bytes, expected) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "0.9K"),
            (1024, "1.0K"),
            (5_767_168, "5.5M"),
            (52_428_800, "50M"),
            (999 << 20, "999M"),
            (1000 << 20, "0.9G"),
            (1536 << 20, "1.5G"),
            (u64::MAX, "15E"),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
            assert!(size(bytes).len() <= 4);
        }
    }

    #[test]
    fn counts_are_exact_while_they_are_short() {
        for (number, expected) in [
            (0, "0"),
            (9999, "9999"),
            (10_000, "10k"),
            (999_999, "999k"),
            (1_250_000, "1.2M"),
            (12_000_000, "12M"),
            (u64::MAX, "18E"),
        ] {
            assert_eq!(count(number), expected);
        }
    }

    #[test]
    fn shares_are_of_one_processor() {
        for (used, within, expected) in
            [(0, 200, Some("0%")), (10, 200, Some("5%")), (400, 200, Some("200%")), (1, 0, None)]
        {
            assert_eq!(share(used, within).as_deref(), expected);
        }
    }
}

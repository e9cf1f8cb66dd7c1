//! A Date as JSON says it.

/// The farthest from 1970 that a Date can be, in milliseconds.
const FARTHEST: f64 = 8.64e15;
const DAY: i64 = 86_400_000;

/// What `toISOString` gives, or `None` for an invalid date.
pub(super) fn iso(milliseconds: f64) -> Option<String> {
    if milliseconds.is_nan() || milliseconds.abs() > FARTHEST {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is within the range just looked at")]
    let whole = milliseconds as i64;
    let (year, month, day) = civil(whole.div_euclid(DAY));
    let time = whole.rem_euclid(DAY);
    let (hour, minute) = (time / 3_600_000, time / 60_000 % 60);
    let (second, milli) = (time / 1000 % 60, time % 1000);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    Some(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"))
}

/// Year, month and day of a day since 1970, in the Gregorian calendar for all times. Years are counted from March, so
/// that the day that only leap years have is the last of one; 400 years repeat.
fn civil(day: i64) -> (i64, i64, i64) {
    // From the first of March of the year 0.
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

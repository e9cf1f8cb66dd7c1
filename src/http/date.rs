//! The `Date` of an answer, as RFC 9110 §5.6.7 writes it.

use super::put;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A date that is written anew only when the second changes.
#[derive(Debug, Default)]
pub struct Date {
    seconds: u64,
    text: Vec<u8>,
}

impl Date {
    /// It is so many seconds since the beginning of 1970.
    pub fn set(&mut self, seconds: u64) {
        if seconds != self.seconds || self.text.is_empty() {
            self.seconds = seconds;
            self.text.clear();
            write_date(&mut self.text, seconds);
        }
    }

    /// 29 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

fn write_date(out: &mut Vec<u8>, seconds: u64) {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (weekday, name) = (entry(&DAYS, days), entry(&MONTHS, month + 11));
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    put(out, format_args!("{weekday}, {day:02} {name} {year:04} {hour:02}:{minute:02}:{second:02} GMT"));
}

/// The entry of a table that begins anew at its end.
fn entry(table: &[&'static str], number: u64) -> &'static str {
    usize::try_from(number % table.len() as u64).map_or("", |index| table[index])
}

/// Year, month (1..) and day of the month of a day since 1970-01-01, by Hinnant's `civil_from_days`: years begin in
/// March, so that the leap day is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |seconds: u64, expected: &str| {
            let mut date = Date::default();
            date.set(seconds);
            assert_eq!(std::str::from_utf8(date.as_bytes()).unwrap(), expected);
        };
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT");
        check(1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT");
        check(1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT");
        check(4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT");
        check(4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT");
    }
}

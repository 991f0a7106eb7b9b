//! Moments in their one written form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A moment, to the second: RFC 3339 in UTC, `2026-11-23T09:30:00Z`.
///
/// Text other than of this one form is refused, so that equal moments are equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

const SECONDS_PER_DAY: i64 = 86_400;
/// `0000-01-01T00:00:00Z`, the first moment that RFC 3339 can write.
const FIRST: i64 = -62_167_219_200;
/// `9999-12-31T23:59:59Z`, the last one.
const LAST: i64 = 253_402_300_799;

impl Timestamp {
    /// The moment so many seconds after 1970, by Unix time. Moments outside of the years 0000 to
    /// 9999, which RFC 3339 cannot write, become the nearest that it can.
    #[must_use]
    pub fn from_unix(seconds: i64) -> Self {
        Self(seconds.clamp(FIRST, LAST))
    }

    /// Seconds since 1970, by Unix time.
    #[must_use]
    pub fn as_unix(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0.div_euclid(SECONDS_PER_DAY));
        let second = self.0.rem_euclid(SECONDS_PER_DAY);
        f.pad(&format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        ))
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        read(text)
            .map(Self)
            // A day that the month doesn't have would read as one of the next month.
            .filter(|moment| moment.to_string() == text)
            .ok_or_else(|| Error::Timestamp {
                found: cep27::printable(text),
            })
    }
}

impl TryFrom<String> for Timestamp {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.to_string()
    }
}

fn read(text: &str) -> Option<i64> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(day, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let in_range = year <= 9999
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    in_range.then(|| days(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second)
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut next = || {
        let part = parts.next()?;
        u16::from_str(part).ok().map(i64::from)
    };
    Some([next()?, next()?, next()?])
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, and back: Howard Hinnant's
/// `days_from_civil` and `civil_from_days`. Years begin in March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_433_438, "2026-11-23T11:30:38Z"),
            (FIRST, "0000-01-01T00:00:00Z"),
            (LAST, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::from_unix(seconds).to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap().as_unix(), seconds);
        }
        assert_eq!(Timestamp::from_unix(i64::MAX).as_unix(), LAST);
        assert_eq!(Timestamp::from_unix(i64::MIN).as_unix(), FIRST);
    }

    #[test]
    fn one_form_only() {
        for text in [
            "",
            "Z",
            "T",
            "2026-11-23",
            "2026-11-23T09:30:00",
            "2026-11-23T09:30Z",
            "2026-11-23t09:30:00z",
            "2026-11-23T09:30:00.5Z",
            "2026-11-23T09:30:00+00:00",
            "2026-11-23T24:00:00Z",
            "2026-11-23T23:59:60Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "+026-11-23T09:30:00Z",
            "12026-11-23T09:30:00Z",
            "2026-11-23T09:30:00Z ",
            "2026-11-23-01T09:30:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_seconds_agree(seconds in FIRST..=LAST) {
            let moment = Timestamp::from_unix(seconds);
            prop_assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        }

        #[test]
        fn later_moments_have_later_texts(a in FIRST..=LAST, b in FIRST..=LAST) {
            let (a, b) = (Timestamp::from_unix(a), Timestamp::from_unix(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}

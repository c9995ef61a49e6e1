// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's real time.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::frame::Clock;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400;

/// A moment of dom0's real-time clock. Shown as UTC, RFC 3339: with microseconds, or `{:#}` with nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Nanoseconds since 1970.
    pub nanos: u64,
}

impl Moment {
    /// What dom0's clock showed when the guest's showed `time`; `None` if that is not between 1970 and 2554.
    pub fn of(time: u64, clock: &Clock) -> Option<Self> {
        let nanos = i128::from(time) + i128::from(clock.offset_ns);
        Some(Self { nanos: u64::try_from(nanos).ok()? })
    }
}

impl Moment {
    /// Now, as this machine's clock says.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { nanos: since.as_nanos() as u64 }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.nanos / SECOND, self.nanos % SECOND);
        let (year, month, day) = date(seconds / DAY);
        let (hour, minute, second) = (seconds % DAY / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.")?;
        if f.alternate() { write!(f, "{nanos:09}Z") } else { write!(f, "{:06}Z", nanos / 1000) }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{self:#}"))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// It is not as a [`Moment`] is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no moment: YYYY-MM-DDTHH:MM:SS.NNNNNNNNNZ is wanted")]
pub struct NoMoment;

impl FromStr for Moment {
    type Err = NoMoment;

    /// As it is shown: UTC, with any number of digits behind the point up to nine.
    fn from_str(text: &str) -> Result<Self, NoMoment> {
        let (whole, fraction) =
            text.strip_suffix('Z').and_then(|text| text.split_once('.')).ok_or(NoMoment)?;
        let number = |from: usize, to: usize| {
            let digits =
                whole.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or(NoMoment)
        };
        let shape: String = whole.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        if shape != "0000-00-00T00:00:00" || fraction.is_empty() || fraction.len() > 9 {
            return Err(NoMoment);
        }
        let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?).ok_or(NoMoment)?;
        let seconds = days * DAY + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoMoment);
        }
        let nanos: u64 = format!("{fraction:0<9}").parse().map_err(|_| NoMoment)?;
        let nanos = seconds.checked_mul(SECOND).and_then(|whole| whole.checked_add(nanos));
        nanos.map(|nanos| Self { nanos }).ok_or(NoMoment)
    }
}

/// The other way round (the same, `days_from_civil`).
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let year_of_era = year % 400;
    let day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month + 2) / 5 + day - 1;
    Some(year / 400 * 146_097 + day_of_era - 719_468)
}

/// Year, month and day of a number of days since 1970. Counted in eras of 400 years that begin on a 1 March, so that the
/// leap day is the last of its year (Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_as_date_does() {
        // `date -u -d @SECONDS --rfc-3339=seconds`
        let table = [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_210_096, "2024-02-29T12:34:56"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (18_446_744_073, "2554-07-21T23:34:33"),
        ];
        for (seconds, text) in table {
            let moment = Moment { nanos: seconds * SECOND + 12_345_678 };
            assert_eq!(moment.to_string(), format!("{text}.012345Z"));
            assert_eq!(format!("{moment:#}"), format!("{text}.012345678Z"));
            assert_eq!(format!("{moment:#}").parse(), Ok(moment));
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        let good = "2026-03-01T12:34:56.5Z";
        assert_eq!(good.parse::<Moment>().unwrap().to_string(), "2026-03-01T12:34:56.500000Z");
        for bad in [
            "",
            "2026-03-01T12:34:56Z",
            "2026-03-01T12:34:56.Z",
            "2026-03-01T12:34:56.+5Z",
            "2026-03-01 12:34:56.5Z",
            "1969-12-31T23:59:59.5Z",
            "2026-13-01T12:34:56.5Z",
            "9999-03-01T12:34:56.5Z",
            "é026-03-01T12:34:56.5Z",
        ] {
            assert_eq!(bad.parse::<Moment>(), Err(NoMoment), "{bad}");
        }
    }

    #[test]
    fn a_clock_that_leads_nowhere_gives_no_moment() {
        let at = |time, offset_ns| Moment::of(time, &Clock { offset_ns, error_ns: 0 });
        assert_eq!(at(5, -6), None);
        assert_eq!(at(u64::MAX, 1), None);
        assert_eq!(at(6, -6), Some(Moment { nanos: 0 }));
        assert_eq!(at(u64::MAX, -1), Some(Moment { nanos: u64::MAX - 1 }));
    }
}

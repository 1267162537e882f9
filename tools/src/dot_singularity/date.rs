//! When an image was built, as its labels say it.

use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment, in seconds since 1970; always told in UTC, so that the same build says the same
/// everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct BuildDate(pub i64);

impl BuildDate {
    /// Now, unless the value of SOURCE_DATE_EPOCH names another moment.
    pub fn new(source_date_epoch: Option<&str>) -> Self {
        let given = source_date_epoch.and_then(|text| text.trim().parse().ok());
        Self(given.unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
                })
        }))
    }

    /// Such as `Tuesday_24_November_2026_2:5:44_UTC`.
    pub fn label(self) -> String {
        let days = self.0.div_euclid(86_400);
        let seconds = self.0.rem_euclid(86_400);
        let (year, month, day) = civil(days);
        let name = |names: &[&'static str], at: i64| {
            usize::try_from(at)
                .ok()
                .and_then(|at| names.get(at).copied())
                .unwrap_or_default()
        };
        format!(
            "{}_{day}_{}_{year}_{}:{}:{}_UTC",
            name(&DAYS, days.rem_euclid(7)),
            name(&MONTHS, month - 1),
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
        )
    }
}

/// Year, month and day of the Gregorian calendar, of a number of days since 1970. Years are counted
/// from March, so that the day that comes and goes is the last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.clamp(-100_000_000_000, 100_000_000_000) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for (seconds, expected) in [
            (0, "Thursday_1_January_1970_0:0:0_UTC"),
            (951_825_600, "Tuesday_29_February_2000_12:0:0_UTC"),
            (1_795_485_944, "Tuesday_24_November_2026_2:5:44_UTC"),
            (-1, "Wednesday_31_December_1969_23:59:59_UTC"),
        ] {
            assert_eq!(BuildDate(seconds).label(), expected);
        }
        let _far = (BuildDate(i64::MAX).label(), BuildDate(i64::MIN).label());
    }

    #[test]
    fn moments() {
        assert_eq!(BuildDate::new(Some("12")), BuildDate(12));
        assert!(BuildDate::new(Some("x")) > BuildDate(1_700_000_000));
    }
}

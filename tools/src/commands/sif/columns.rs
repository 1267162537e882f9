//! Aligned columns of names and values, as Go's tabwriter lays them out.

/// Lays out rows: values begin `padding` columns behind the longest name, which is looked for among
/// neighbouring rows only: a value with a line break ends the neighbourhood.
pub(super) fn align(rows: &[(String, String)], padding: usize) -> String {
    let mut text = String::new();
    let mut start = 0;
    for end in 1..=rows.len() {
        let ends = end == rows.len() || rows[end - 1].1.contains('\n');
        if ends {
            let block = &rows[start..end];
            let width = block
                .iter()
                .map(|(name, _)| name.chars().count())
                .max()
                .unwrap_or(0);
            for (name, value) in block {
                text.push_str(&format!("{name:<width$}{:padding$}{value}\n", ""));
            }
            start = end;
        }
    }
    text
}

/// A number of bytes in the largest unit of which there is one, rounded to a whole number.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scale = 1;
    let mut unit = 0;
    while bytes / scale >= 1024 && unit + 1 < UNITS.len() {
        scale <<= 10;
        unit += 1;
    }
    let rest = bytes % scale;
    let number = bytes / scale + u64::from(rest >= scale.div_ceil(2) && rest > 0);
    format!("{number} {}", UNITS[unit])
}

/// Unix seconds as Go prints a time in UTC.
pub(crate) fn time(seconds: i64) -> String {
    const DAY: i64 = 86400;
    let days = seconds.div_euclid(DAY);
    let rest = seconds.rem_euclid(DAY);
    let (year, month, day) = civil(days);
    let sign = if year < 0 { "-" } else { "" };
    format!(
        "{sign}{:04}-{month:02}-{day:02} {:02}:{:02}:{:02} +0000 UTC",
        year.abs(),
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Date of a day counted from 1970-01-01, in the Gregorian calendar extended both ways.
///
/// Years are taken to begin in March, so that the leap day is their last; 400 of them are an era
/// of always the same length.
fn civil(days: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    // Days from 0000-03-01 to 1970-01-01.
    const OFFSET: i64 = 719_468;
    let shifted = days.saturating_add(OFFSET);
    let era = shifted.div_euclid(ERA_DAYS);
    let day_of_era = shifted.rem_euclid(ERA_DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let row = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            align(&[row("a:", "1"), row("bbb:", "2")], 1),
            "a:   1\nbbb: 2\n"
        );
        assert_eq!(
            align(&[row("aa:", "1\nx"), row("b:", "2")], 1),
            "aa: 1\nx\nb: 2\n"
        );
        assert_eq!(align(&[], 1), "");
    }

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1, "1 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1535, "1 KiB"),
            (1536, "2 KiB"),
            (2560, "3 KiB"),
            (28080, "27 KiB"),
            (1_048_063, "1023 KiB"),
            (1_048_064, "1024 KiB"),
            (1_572_863, "1 MiB"),
            (2_290_256, "2 MiB"),
            (33_444_432, "32 MiB"),
            (6 << 30, "6 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn times() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 +0000 UTC"),
            (-5, "1969-12-31 23:59:55 +0000 UTC"),
            (951_782_400, "2000-02-29 00:00:00 +0000 UTC"),
            (1_795_501_536, "2026-11-24 06:25:36 +0000 UTC"),
            (1 << 40, "36812-02-20 00:36:16 +0000 UTC"),
            (-62_135_596_800, "0001-01-01 00:00:00 +0000 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 +0000 UTC"),
        ] {
            assert_eq!(time(seconds), expected);
        }
        // Far beyond any calendar, but no reason to fail.
        assert!(time(i64::MAX).ends_with("UTC") && time(i64::MIN).ends_with("UTC"));
    }
}

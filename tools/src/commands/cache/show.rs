//! Words and numbers of listings.

use skiff_cache::disk::{BlobKind, State};

use super::sys;

/// Bytes as Apptainer writes them: `2.86 MiB`, never less than KiB.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 2)) > 0 {
        unit += 1;
    }
    let divisor = (1_u64 << (10 * (unit + 1))) as f64;
    format!("{:.2} {}", bytes as f64 / divisor, UNITS[unit])
}

/// `part` of `whole` in hundredths; all of nothing is 100, and what is not all never is.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    if part >= whole {
        return 100;
    }
    let hundredths = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(hundredths).unwrap_or(99)
}

/// A time in Unix milliseconds, local.
pub(super) fn time(milliseconds: u64) -> String {
    i64::try_from(milliseconds / 1000)
        .ok()
        .and_then(sys::local_time)
        .unwrap_or_else(|| "-".to_owned())
}

/// The type that a listing shows.
pub(crate) const fn kind(kind: BlobKind) -> &'static str {
    match kind {
        BlobKind::Oras => "oras",
        BlobKind::Net => "net",
        BlobKind::Oci => "blob",
        BlobKind::File => "file",
        BlobKind::Converted => "oci-tmp",
    }
}

/// What is known of an image as a whole.
pub(crate) const fn state(state: State) -> &'static str {
    match state {
        State::Unverified => "unverified",
        State::Parts => "parts",
        State::Verified => "verified",
        State::Mismatch => "mismatch",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0.00 KiB"),
            (3, "0.00 KiB"),
            (30_000, "29.30 KiB"),
            (1_048_575, "1024.00 KiB"),
            (1_048_576, "1.00 MiB"),
            (3_000_000, "2.86 MiB"),
            (1_073_741_824, "1.00 GiB"),
            (1 << 40, "1.00 TiB"),
            (u64::MAX, "16777216.00 TiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn percentages() {
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(1, 0), 100);
        assert_eq!(percent(0, 7), 0);
        assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
        assert_eq!(percent(5, 5), 100);
    }
}

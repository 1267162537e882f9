//! How much of a disk the cache may take.

/// Variable for [`Limits::quota`].
const QUOTA_VARIABLE: &str = "SKIFF_CACHE_QUOTA";

/// Variable for [`Limits::keep_free`].
const KEEP_FREE_VARIABLE: &str = "SKIFF_CACHE_KEEP_FREE";

/// Without a wish: this part of the disk, in hundredths.
const QUOTA_PERCENT: u64 = 50;

/// Without a wish: this part of the disk stays free, in hundredths, but no more than
/// [`KEEP_FREE_MAX`].
const KEEP_FREE_PERCENT: u64 = 5;
const KEEP_FREE_MAX: u64 = 20 << 30;

/// Bounds in bytes; `None` for a share of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// The most that the cache takes; half of the disk by default.
    pub quota: Option<u64>,
    /// What it leaves free for others; a twentieth of the disk by default, at most 20 GiB.
    pub keep_free: Option<u64>,
}

impl Limits {
    /// What `SKIFF_CACHE_QUOTA` and `SKIFF_CACHE_KEEP_FREE` say; what cannot be understood counts as
    /// not set.
    pub fn from_env() -> Self {
        let read = |name| parse_size(&std::env::var(name).ok()?);
        Self {
            quota: read(QUOTA_VARIABLE),
            keep_free: read(KEEP_FREE_VARIABLE),
        }
    }

    pub(super) fn quota_of(self, disk_bytes: u64) -> u64 {
        self.quota.unwrap_or(share(disk_bytes, QUOTA_PERCENT))
    }

    pub(super) fn keep_free_of(self, disk_bytes: u64) -> u64 {
        let usual = share(disk_bytes, KEEP_FREE_PERCENT).min(KEEP_FREE_MAX);
        self.keep_free.unwrap_or(usual)
    }
}

const fn share(bytes: u64, percent: u64) -> u64 {
    (bytes / 100).saturating_mul(percent)
}

/// Bytes out of `10G`, `512MiB`, `4096`: powers of 1024 whatever the spelling.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size(" 10G "), Some(10 << 30));
        assert_eq!(parse_size("512 MiB"), Some(512 << 20));
        for bad in ["", "G", "-1", "1.5G", "7X", "99999999999T"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}

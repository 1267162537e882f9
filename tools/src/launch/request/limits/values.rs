//! Values of limits as Apptainer reads them: decimal numbers, sizes, durations, devices.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use skiff_launcher::request::limits::WeightDevice;

use crate::text::os_error;

/// Length of a scheduling period in microseconds.
pub(super) const PERIOD: u64 = 100_000;

/// `--cpus`: microseconds of processor time per [`PERIOD`].
///
/// # Errors
/// No decimal number, or none between 0.01 and `available`.
pub(super) fn cpus(text: &str, available: usize) -> anyhow::Result<i64> {
    let wrong = || anyhow::anyhow!("invalid cpus value: can't convert {text} to decimal");
    if text.matches('.').count() > 1 {
        anyhow::bail!("invalid cpus value: can't convert {text} to decimal: too many .s");
    }
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E'));
    let number: f64 = text.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
    #[expect(clippy::cast_precision_loss, reason = "no machine has that many")]
    let most = available as f64;
    if !(0.01..=most).contains(&number) {
        anyhow::bail!("cpus value must be in range 0.01 - {available}");
    }
    #[expect(clippy::cast_possible_truncation, reason = "in range, checked above")]
    let quota = (number * 100_000.0).round() as i64;
    Ok(quota)
}

/// A number of bytes with a suffix: `10`, `1.5g`, `10MB`, `10 KiB`; all in powers of 1024.
///
/// # Errors
/// It is none.
pub(super) fn size(text: &str) -> Result<i64, String> {
    let wrong = || format!("invalid size: '{text}'");
    let digits = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let whole = number.split('.').all(|part| !part.is_empty());
    if number.is_empty() || !whole {
        return Err(wrong());
    }
    let unit = rest.strip_prefix(' ').unwrap_or(rest).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let factor = match unit {
        "" => 1_u64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        _ => return Err(wrong()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("strconv.ParseFloat: parsing {number:?}: invalid syntax"))?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "what is too large becomes the largest"
    )]
    let bytes = (number * factor as f64) as i64;
    Ok(bytes)
}

/// `--runscript-timeout`.
///
/// # Errors
/// No duration in Go's syntax, or none that is left when it begins.
pub(super) fn timeout(text: &str) -> anyhow::Result<Duration> {
    match duration(text).map_err(anyhow::Error::msg)? {
        ..=0 => anyhow::bail!("context deadline exceeded"),
        nanoseconds => Ok(Duration::from_nanos(u64::try_from(nanoseconds)?)),
    }
}

/// Go's `time.ParseDuration`, in nanoseconds.
fn duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let end = tail
            .find(|character: char| character.is_ascii_digit() || character == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        total += number * factor;
        rest = tail;
    }
    if total >= 9.2e18 {
        return Err(wrong());
    }
    #[expect(clippy::cast_possible_truncation, reason = "in range, checked above")]
    let nanoseconds = (sign * total) as i64;
    Ok(nanoseconds)
}

/// One item of `--blkio-weight-device`.
///
/// # Errors
/// It is not `<device>:<weight>`.
pub(super) fn weight_device(item: &OsStr) -> anyhow::Result<WeightDevice> {
    let fields: Vec<&[u8]> = item.as_bytes().split(|&byte| byte == b':').collect();
    let &[device, weight] = fields.as_slice() else {
        anyhow::bail!("blkio-weight-device specifications must be in <device>:<weight> format");
    };
    let metadata = Path::new(OsStr::from_bytes(device))
        .metadata()
        .map_err(|error| anyhow::anyhow!("while examining device: {}", os_error(&error)))?;
    let weight = String::from_utf8_lossy(weight);
    let number: i64 = weight.parse().map_err(|_| {
        anyhow::anyhow!(
            "{weight} is not a valid device weight: strconv.Atoi: parsing {weight:?}: invalid syntax"
        )
    })?;
    if !(10..=1000).contains(&number) {
        anyhow::bail!("blkio-device-weight must be in range 10-1000");
    }
    Ok(WeightDevice {
        major: i64::from(rustix::fs::major(metadata.rdev())),
        minor: i64::from(rustix::fs::minor(metadata.rdev())),
        weight: u16::try_from(number).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_processors() {
        assert_eq!(cpus("1", 2).expect("sound"), 100_000);
        assert_eq!(cpus("0.01", 2).expect("sound"), 1000);
        assert_eq!(cpus("1.5", 2).expect("sound"), 150_000);
        assert_eq!(cpus(".5", 2).expect("sound"), 50_000);
        for (text, reason) in [
            ("0", "cpus value must be in range 0.01 - 2"),
            ("2.1", "cpus value must be in range 0.01 - 2"),
            ("-1", "cpus value must be in range 0.01 - 2"),
            ("x", "invalid cpus value: can't convert x to decimal"),
            ("inf", "invalid cpus value: can't convert inf to decimal"),
            (
                "1.2.3",
                "invalid cpus value: can't convert 1.2.3 to decimal: too many .s",
            ),
        ] {
            assert_eq!(cpus(text, 2).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("10", 10),
            ("10b", 10),
            ("1k", 1024),
            ("1.5g", 3 << 29),
            ("10MB", 10 << 20),
            ("10MiB", 10 << 20),
            ("1 t", 1 << 40),
            ("2P", 2 << 50),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "", "x", "-1", "5q", "10_m", "1..2", ".5", "5.", "1  k", "1 kk",
        ] {
            assert_eq!(size(text), Err(format!("invalid size: '{text}'")));
        }
    }

    #[test]
    fn durations() {
        let ok = |text: &str| timeout(text).expect("sound");
        assert_eq!(ok("5s"), Duration::from_secs(5));
        assert_eq!(ok("1m30s"), Duration::from_secs(90));
        assert_eq!(ok("1.5h"), Duration::from_secs(5400));
        assert_eq!(ok("+100ms"), Duration::from_millis(100));
        for (text, reason) in [
            ("x", "time: invalid duration \"x\""),
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5y", "time: unknown unit \"y\" in duration \"5y\""),
            ("0", "context deadline exceeded"),
            ("-1s", "context deadline exceeded"),
        ] {
            assert_eq!(timeout(text).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn weights_on_devices() {
        let device = weight_device(OsStr::new("/dev/null:100")).expect("sound");
        assert_eq!(
            (device.major, device.minor, device.weight),
            (1, 3, Some(100))
        );
        for (item, reason) in [
            (
                "x",
                "blkio-weight-device specifications must be in <device>:<weight> format",
            ),
            (
                "/nonexistent:100",
                "while examining device: no such file or directory",
            ),
            (
                "/dev/null:x",
                "x is not a valid device weight: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                "/dev/null:5",
                "blkio-device-weight must be in range 10-1000",
            ),
        ] {
            assert_eq!(
                weight_device(OsStr::new(item)).unwrap_err().to_string(),
                reason
            );
        }
    }
}

//! Arguments of `warm`, and what their texts mean.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::Args;

use super::remote::RemoteArgs;
use super::value::quote;

/// `warm`.
#[derive(Args, Clone, Debug)]
pub struct WarmArgs {
    /// All of each image
    #[arg(long)]
    pub full: bool,
    /// The files whose paths match (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub files: Vec<OsString>,
    /// The files whose paths are the lines of FILE, - for standard input
    #[arg(long, value_name = "FILE")]
    pub paths_from: Option<OsString>,
    /// End after this time, such as 30s or 2m, with what is there by then
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<OsString>,
    /// Fetch no more than this in all, such as 500M
    #[arg(long, value_name = "N")]
    pub max_bytes: Option<OsString>,
    /// Print events and a summary as JSON, one per line
    #[arg(long)]
    pub json: bool,
    /// Keep the images from being evicted until `cache unpin`
    #[arg(long)]
    pub pin: bool,
    /// So many images at a time (default 4)
    #[arg(long, value_name = "N")]
    pub jobs: Option<OsString>,
    /// Exit with 1 unless all that was asked for is in the cache
    #[arg(long)]
    pub strict: bool,
    /// How to get at images that are elsewhere.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// The images.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// A time span: a number with `ms`, `s`, `m` or `h` behind it; seconds without.
///
/// # Errors
/// The reason, for a usage error.
pub fn duration(flag: &str, text: &OsStr) -> Result<Duration, String> {
    let parse = |text: &str| {
        let digits = text.len()
            - text
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
                .len();
        let (number, unit) = text.split_at_checked(digits)?;
        let scale = match unit {
            "ms" => 1e-3,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()
    };
    text.to_str()
        .and_then(parse)
        .ok_or_else(|| wrong(flag, text, "a time such as 30s, 2m or 500ms"))
}

/// An amount of bytes, with K, M, G or T behind it if wanted.
///
/// # Errors
/// The reason, for a usage error.
pub fn size(flag: &str, text: &OsStr) -> Result<u64, String> {
    text.to_str()
        .and_then(skiff_cache::disk::parse_size)
        .ok_or_else(|| wrong(flag, text, "an amount of bytes such as 500M"))
}

/// A number of things, at least one.
///
/// # Errors
/// The reason, for a usage error.
pub fn count(flag: &str, text: &OsStr) -> Result<usize, String> {
    text.to_str()
        .and_then(|text| text.parse().ok())
        .filter(|count| *count > 0)
        .ok_or_else(|| wrong(flag, text, "a number from 1 on"))
}

fn wrong(flag: &str, text: &OsStr, wanted: &str) -> String {
    format!(
        "invalid argument {} for \"--{flag}\" flag: not {wanted}",
        quote(text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let read = |text: &str| duration("deadline", OsStr::new(text));
        assert_eq!(read("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(read("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(read("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(read("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "s", "-1s", "1d", "1e400s", "1..2"] {
            assert!(read(wrong).unwrap_err().contains("--deadline"), "{wrong}");
        }
    }

    #[test]
    fn amounts() {
        assert_eq!(size("max-bytes", OsStr::new("2K")), Ok(2048));
        assert!(size("max-bytes", OsStr::new("much")).is_err());
        assert_eq!(count("jobs", OsStr::new("3")), Ok(3));
        assert!(count("jobs", OsStr::new("0")).is_err());
    }
}

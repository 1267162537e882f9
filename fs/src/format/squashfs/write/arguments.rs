//! Options as mksquashfs has them, for `--mksquashfs-args`.

use super::options::{Compressor, WriteOptions};

/// What is said of options without an effect here.
const NO_EFFECT: &[(&str, &str)] = &[
    ("-mem", "skiff uses little memory"),
    ("-Xbcj", "filters for machine code are not tried"),
    ("-Xstrategy", "strategies are chosen by block"),
    ("-Xwindow-size", "the window is always 15 bits"),
    ("-Xhc", "only the fast variant is at hand"),
    ("-Xalgorithm", "lzo is packed in one way only"),
];

/// Options that say what is done anyway, or nothing about the result; the second list has values.
const SILENT: &[&str] = &[
    "-noappend",
    "-quiet",
    "-no-progress",
    "-progress",
    "-percentage",
    "-info",
    "-exit-on-error",
    "-no-recovery",
    "-exports",
    "-duplicates",
    "-sparse",
    "-xattrs",
    "-no-pad",
    "-nopad",
    "-reproducible",
];
const SILENT_WITH_VALUE: &[&str] = &[
    "-recovery-path",
    "-read-queue",
    "-write-queue",
    "-fragment-queue",
];

/// Why arguments are not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ArgumentError {
    /// No such option, or one that skiff does not have.
    #[error("--mksquashfs-args: {0} is not an option that skiff's squashfs writer has")]
    Unknown(String),
    /// Its value is missing.
    #[error("--mksquashfs-args: {0} needs a value")]
    NoValue(String),
    /// Its value makes no sense.
    #[error("--mksquashfs-args: {option} {value}: {reason}")]
    Value {
        /// The option.
        option: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Each is right, but not together.
    #[error("--mksquashfs-args: {0}")]
    Together(String),
}

/// What has been read so far.
struct Reader<'a> {
    words: std::str::SplitAsciiWhitespace<'a>,
    options: WriteOptions,
    compressor: Option<&'a str>,
    level: Option<i32>,
    dictionary: Option<&'a str>,
    /// Any `-X` option.
    tuned: bool,
    notes: Vec<String>,
}

impl WriteOptions {
    /// The options that `arguments` (words separated by white space) ask for, and remarks for the
    /// user about those that have no effect.
    ///
    /// # Errors
    /// [`ArgumentError`], naming the first word that is not understood.
    pub fn from_mksquashfs_args(arguments: &str) -> Result<(Self, Vec<String>), ArgumentError> {
        let mut reader = Reader {
            words: arguments.split_ascii_whitespace(),
            options: Self::default(),
            compressor: None,
            level: None,
            dictionary: None,
            tuned: false,
            notes: Vec::new(),
        };
        while let Some(option) = reader.words.next() {
            reader.take(option)?;
        }
        reader.end()
    }
}

impl<'a> Reader<'a> {
    fn take(&mut self, option: &'a str) -> Result<(), ArgumentError> {
        self.tuned |= option.starts_with("-X");
        let options = &mut self.options;
        match option {
            "-comp" => self.compressor = Some(self.value(option)?),
            "-Xcompression-level" => self.level = Some(self.number(option)?),
            "-Xdict-size" => self.dictionary = Some(self.value(option)?),
            "-b" => {
                let value = self.value(option)?;
                let size = size(value).ok_or_else(|| wrong(option, value, "not a size"))?;
                self.options.block_size = size;
            }
            "-processors" => self.options.threads = self.number(option)?,
            "-mkfs-time" | "-fstime" => self.options.time = self.time(option)?,
            "-all-time" => self.options.all_time = Some(self.time(option)?),
            "-force-uid" => self.options.uid = Some(self.number(option)?),
            "-force-gid" => self.options.gid = Some(self.number(option)?),
            "-all-root" | "-root-owned" => {
                options.uid = Some(0);
                options.gid = Some(0);
            }
            "-noI" | "-noInodeCompression" => options.compress_inodes = false,
            "-noId" | "-noIdTableCompression" => options.compress_ids = false,
            "-noD" | "-noDataCompression" => options.compress_data = false,
            "-noF" | "-noFragmentCompression" => options.compress_fragments = false,
            "-noX" | "-noXattrCompression" => options.compress_xattrs = false,
            "-no-compression" => {
                options.compress_inodes = false;
                options.compress_ids = false;
                options.compress_data = false;
                options.compress_fragments = false;
                options.compress_xattrs = false;
            }
            "-no-xattrs" => options.xattrs = false,
            "-no-fragments" => options.fragments = false,
            "-always-use-fragments" | "-tailends" | "-tail-ends" => {
                options.always_use_fragments = true;
            }
            "-no-duplicates" => options.duplicates = false,
            "-no-exports" => options.exports = false,
            "-no-sparse" => options.sparse = false,
            other => return self.without_effect(other),
        }
        Ok(())
    }

    fn without_effect(&mut self, option: &str) -> Result<(), ArgumentError> {
        if SILENT.contains(&option) {
            return Ok(());
        }
        if SILENT_WITH_VALUE.contains(&option) {
            return self.value(option).map(drop);
        }
        let Some((_, why)) = NO_EFFECT.iter().find(|(name, _)| *name == option) else {
            return Err(ArgumentError::Unknown(option.to_owned()));
        };
        if option != "-Xhc" {
            self.value(option)?;
        }
        self.notes.push(format!("{option} has no effect: {why}"));
        Ok(())
    }

    fn value(&mut self, option: &str) -> Result<&'a str, ArgumentError> {
        self.words
            .next()
            .ok_or_else(|| ArgumentError::NoValue(option.to_owned()))
    }

    fn number<N: std::str::FromStr>(&mut self, option: &str) -> Result<N, ArgumentError> {
        let value = self.value(option)?;
        value
            .parse()
            .map_err(|_| wrong(option, value, "not a number that fits here"))
    }

    fn time(&mut self, option: &str) -> Result<i64, ArgumentError> {
        let time = self.number::<u32>(option)?;
        Ok(i64::from(time))
    }

    fn end(mut self) -> Result<(WriteOptions, Vec<String>), ArgumentError> {
        // What tunes a compressor that is not named tunes mksquashfs's own default.
        let name = self
            .compressor
            .or(if self.tuned { Some("gzip") } else { None });
        let level = self.level;
        let refuse = |reason: &str| Err(wrong("-comp", name.unwrap_or_default(), reason));
        self.options.compressor = match name {
            None => self.options.compressor,
            Some("gzip") => match level {
                Some(level) => Compressor::Gzip { level },
                None => Compressor::GZIP,
            },
            Some("zstd") => match level {
                Some(level) => Compressor::Zstd { level },
                None => Compressor::ZSTD,
            },
            Some("xz") => Compressor::Xz {
                dictionary: self.dictionary()?,
            },
            Some("lz4") => Compressor::Lz4,
            Some("lzo") => Compressor::Lzo,
            Some("lzma") => {
                return refuse("Linux has no decoder for it; use xz");
            }
            Some(_) => return refuse("not one of gzip, xz, lz4, lzo, zstd"),
        };
        if self.dictionary.is_some() && name != Some("xz") {
            return Err(ArgumentError::Together(
                "-Xdict-size is an option of -comp xz".to_owned(),
            ));
        }
        if level.is_some() && name == Some("lzo") {
            let why = "lzo is packed in one way only";
            self.notes
                .push(format!("-Xcompression-level has no effect: {why}"));
        } else if level.is_some() && !matches!(name, Some("gzip" | "zstd")) {
            return Err(ArgumentError::Together(
                "-Xcompression-level is an option of -comp gzip and -comp zstd".to_owned(),
            ));
        }
        if !self.options.fragments && self.options.always_use_fragments {
            return Err(ArgumentError::Together(
                "-no-fragments contradicts -always-use-fragments".to_owned(),
            ));
        }
        self.options.check().map_err(ArgumentError::Together)?;
        Ok((self.options, self.notes))
    }

    /// A size, or a share of the block size in per cent.
    fn dictionary(&self) -> Result<Option<u32>, ArgumentError> {
        let Some(value) = self.dictionary else {
            return Ok(None);
        };
        let block_size = self.options.block_size;
        let bytes = match value.strip_suffix('%') {
            Some(percent) => percent
                .parse::<u32>()
                .ok()
                .and_then(|percent| block_size.checked_mul(percent))
                .map(|product| product / 100),
            None => size(value),
        };
        // What xz's header can say.
        let fits = |bytes: &u32| {
            let rest = bytes.checked_sub(1 << bytes.checked_ilog2().unwrap_or(0));
            (8192..=block_size.max(8192)).contains(bytes)
                && rest.is_some_and(|rest| rest == 0 || rest * 2 == bytes - rest)
        };
        bytes.filter(fits).map(Some).ok_or_else(|| {
            wrong(
                "-Xdict-size",
                value,
                "not 2^n or 2^n + 2^(n-1) bytes from 8K to the block size",
            )
        })
    }
}

fn wrong(option: &str, value: &str, reason: &str) -> ArgumentError {
    ArgumentError::Value {
        option: option.to_owned(),
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Bytes, with K or M behind the number where it counts those.
fn size(text: &str) -> Option<u32> {
    let (digits, unit) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1 << 10),
        None => match text.strip_suffix(['M', 'm']) {
            Some(digits) => (digits, 1 << 20),
            None => (text, 1),
        },
    };
    digits.parse::<u32>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_mksquashfs() {
        let parse = |text| WriteOptions::from_mksquashfs_args(text);
        let options = |text| parse(text).unwrap().0;
        assert_eq!(options(""), WriteOptions::default());
        assert_eq!(options("-comp gzip").compressor, Compressor::GZIP);
        assert_eq!(
            options("-Xcompression-level 3").compressor,
            Compressor::Gzip { level: 3 }
        );
        assert_eq!(
            options("-comp zstd -Xcompression-level 19 -b 1M -processors 3"),
            WriteOptions {
                compressor: Compressor::Zstd { level: 19 },
                block_size: 1 << 20,
                threads: 3,
                ..WriteOptions::default()
            }
        );
        assert_eq!(
            options("-comp xz -Xdict-size 50% -b 64K").compressor,
            Compressor::Xz {
                dictionary: Some(32 << 10)
            }
        );
        assert_eq!(options("-all-root -noappend -quiet").uid, Some(0));
        assert_eq!(options("-comp lzo -b 1M").compressor, Compressor::Lzo);
        let (_, notes) = parse("-comp lzo -Xalgorithm lzo1x_1 -Xcompression-level 3").unwrap();
        assert_eq!(notes.len(), 2);
        let (_, notes) = parse("-mem 4G -noI").unwrap();
        assert_eq!(notes, ["-mem has no effect: skiff uses little memory"]);
        for (text, message) in [
            (
                "-what",
                "--mksquashfs-args: -what is not an option that skiff's squashfs writer has",
            ),
            ("-b", "--mksquashfs-args: -b needs a value"),
            (
                "-b 100",
                "--mksquashfs-args: squashfs blocks have 4K to 1M bytes, a power of two, not 100",
            ),
            ("-b 1G", "--mksquashfs-args: -b 1G: not a size"),
            (
                "-comp lzma",
                "--mksquashfs-args: -comp lzma: Linux has no decoder for it; use xz",
            ),
            (
                "-comp zip",
                "--mksquashfs-args: -comp zip: not one of gzip, xz, lz4, lzo, zstd",
            ),
            (
                "-comp gzip -Xcompression-level 10",
                "--mksquashfs-args: gzip has levels 1 to 9, not 10",
            ),
            (
                "-comp lz4 -Xcompression-level 1",
                "--mksquashfs-args: -Xcompression-level is an option of -comp gzip and -comp zstd",
            ),
        ] {
            let error: ArgumentError = parse(text).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}

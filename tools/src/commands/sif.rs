//! `sif`: looking into the objects of a SIF, and changing them.

mod change;
mod columns;
mod show;

pub(crate) use columns::time;
pub(super) mod verbs;

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use skiff_fs::format::sif::{Descriptor, Sif, SifError, data_of};
use skiff_fs::source::{FileSource, Source};

use crate::cli::Context;
use crate::cli::image::SifArgs;
use crate::exit::{CommandError, ExitStatus};
use crate::output;
use crate::text::os_error;

/// Bytes of an object that are written at a time.
const DUMP_STEP: usize = 1 << 20;

/// `sif header FILE`
///
/// # Errors
/// [`CommandError`], when the file is no SIF.
pub fn header(args: &SifArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let (sif, _) = open(args.words.first())?;
    output::stdout(show::header(&sif.header))?;
    Ok(ExitStatus::Success)
}

/// `sif list FILE`
///
/// # Errors
/// [`CommandError`], when the file is no SIF.
pub fn list(args: &SifArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let (sif, _) = open(args.words.first())?;
    output::stdout(show::list(&sif.descriptors))?;
    Ok(ExitStatus::Success)
}

/// `sif info ID FILE`
///
/// # Errors
/// [`CommandError`], when the file is no SIF or has no such object.
pub fn info(args: &SifArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let (descriptor, _) = object(args)?;
    output::stdout(show::info(&descriptor))?;
    Ok(ExitStatus::Success)
}

/// `sif dump ID FILE`
///
/// # Errors
/// [`CommandError`], when the file is no SIF or has no such object.
pub fn dump(args: &SifArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let (descriptor, source) = object(args)?;
    let data = data_of(source, &descriptor).map_err(|error| CommandError(os_error(&error)))?;
    let mut buffer = vec![0; DUMP_STEP];
    let mut offset = 0;
    loop {
        let count = data
            .read_at(&mut buffer, offset)
            .map_err(|error| CommandError(os_error(&error)))?;
        if count == 0 || !output::stdout_goes_on(&buffer[..count])? {
            return Ok(ExitStatus::Success);
        }
        offset += count as u64;
    }
}

fn open(path: Option<&OsString>) -> Result<(Sif, Arc<dyn Source>), CommandError> {
    let path = Path::new(path.map_or("".as_ref(), OsString::as_os_str));
    let failed = |error| CommandError(format!("open {}: {}", path.display(), os_error(&error)));
    // A named pipe is not waited for.
    if path.metadata().map_err(failed)?.is_dir() {
        return Err(CommandError(format!(
            "reading global header: read {}: is a directory",
            path.display()
        )));
    }
    let file = File::open(path).map_err(failed)?;
    let source: Arc<dyn Source> = Arc::new(FileSource::new(file).map_err(failed)?);
    match Sif::read(&*source) {
        Ok(sif) => Ok((sif, source)),
        Err(error) => Err(unreadable(error)),
    }
}

/// Words why a file is no SIF.
fn unreadable(error: SifError) -> CommandError {
    CommandError(match error {
        SifError::NotSif => "invalid SIF magic".to_owned(),
        SifError::TooShort { .. } => "reading global header: unexpected EOF".to_owned(),
        SifError::Version { .. } => "incompatible SIF version".to_owned(),
        SifError::Source(error) => os_error(&error),
        other => other.to_string(),
    })
}

/// The object that the two words name.
fn object(args: &SifArgs) -> Result<(Descriptor, Arc<dyn Source>), CommandError> {
    let text = args
        .words
        .first()
        .map(|word| word.to_string_lossy())
        .unwrap_or_default();
    let id = parse_id(&text)?;
    let (sif, source) = open(args.words.get(1))?;
    if id == 0 {
        return Err(CommandError("invalid object ID".to_owned()));
    }
    match sif.object(id) {
        Some(descriptor) => Ok((descriptor.clone(), source)),
        None => Err(CommandError("object not found".to_owned())),
    }
}

/// Go's `strconv.ParseUint` in base 10 and 32 bits.
fn parse_id(text: &str) -> Result<u32, CommandError> {
    let fail = |reason: &str| {
        CommandError(format!(
            "while converting id: strconv.ParseUint: parsing {text:?}: {reason}"
        ))
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fail("invalid syntax"));
    }
    text.parse().map_err(|_| fail("value out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        assert_eq!(parse_id("01").unwrap(), 1);
        assert_eq!(parse_id("4294967295").unwrap(), u32::MAX);
        for (text, reason) in [
            ("", "invalid syntax"),
            ("x", "invalid syntax"),
            ("+1", "invalid syntax"),
            ("0x1", "invalid syntax"),
            ("4294967296", "value out of range"),
        ] {
            assert_eq!(
                parse_id(text).unwrap_err().0,
                format!("while converting id: strconv.ParseUint: parsing \"{text}\": {reason}")
            );
        }
    }
}

//! `sif new`, `add`, `del` and `setprim`: changing the objects of a SIF.
//!
//! Whatever cuts a change off leaves a valid SIF: as it was, or changed. Two commands on one file
//! do not mix.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skiff_fs::crypt::fill_random;
use skiff_fs::format::sif::table::{EditError, RawTies, Table, alignment_of};
use skiff_fs::format::sif::{
    Arch, DataType, Extra, FsType, HashType, MessageFormat, MessageType, NewObject, PartitionType,
    SbomFormat, SifError, Writer, WriterOptions,
};
use skiff_fs::remote::DigestHasher;
use skiff_fs::source::FileSource;
use skiff_launcher::kernel;

use super::{parse_id, unreadable};
use crate::cli::Context;
use crate::cli::image::{SifAddArgs, SifArgs};
use crate::exit::{CommandError, ExitStatus};
use crate::text::os_error;

/// Code of the first type of object, less one.
const DATA_TYPES: i32 = 0x4000;

/// Types that `--datatype` knows.
const DATA_TYPE_MAX: i64 = 11;

/// The last machine that `--partarch` knows.
const ARCH_MAX: i32 = 12;

/// Bytes of a SIF that whoever changes it locks: its header, which no launch does.
const LOCKED: u64 = 128;

/// How long another change is waited for, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes that are copied at a time.
const STEP: usize = 1 << 20;

/// `sif new FILE`
///
/// # Errors
/// [`CommandError`], when the file cannot be made.
pub(super) fn new(args: &SifArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let path = word(&args.words, 0);
    let failed =
        |error: io::Error| refused(format!("open {}: {}", path.display(), os_error(&error)));
    let mut uuid = [0; 16];
    fill_random(&mut uuid).map_err(failed)?;
    mark_random(&mut uuid);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o755)
        .open(path)
        .map_err(failed)?;
    let options = WriterOptions {
        uuid,
        time: now(),
        launch_script: false,
    };
    Writer::new(file, options).finish().map_err(failed)?;
    Ok(ExitStatus::Success)
}

/// Version 4 of UUIDs, variant 1.
fn mark_random(uuid: &mut [u8; 16]) {
    let number = u128::from_be_bytes(*uuid);
    let number = number & !(0xF << 76) | (4 << 76);
    let number = number & !(3 << 62) | (2 << 62);
    *uuid = number.to_be_bytes();
}

/// `sif add FILE OBJECT`
///
/// # Errors
/// [`CommandError`], when flags do not fit or the object cannot be added.
pub(super) fn add(args: &SifAddArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let data_type = match args.datatype {
        Some(code @ 1..=DATA_TYPE_MAX) => {
            DataType::from_code(DATA_TYPES + i32::try_from(code).unwrap_or(0))
        }
        _ => return Err(refused("-datatype flag is required with a valid range").into()),
    };
    let object_path = word(&args.words, 1);
    let content = File::open(object_path).map_err(|error| {
        refused(format!(
            "open {}: {}",
            object_path.display(),
            os_error(&error)
        ))
    })?;
    let mut extra = extra_of(args, data_type)?;
    let path = word(&args.words, 0);
    let (file, mut table) = open(path)?;
    if args.link == Some(0) {
        return Err(refused(EditError::InvalidId.to_string()).into());
    }
    let alignment = match args.alignment {
        Some(alignment) => u64::try_from(alignment).unwrap_or(1),
        None => alignment_of(data_type),
    };
    let name = args.filename.as_deref().unwrap_or_default();
    let object = |extra| NewObject {
        data_type,
        name,
        extra,
    };
    let room = table
        .room(&object(extra.clone()), alignment)
        .map_err(|error| edit_error(&error))?;
    let before = file
        .metadata()
        .map_err(|error| refused(os_error(&error)))?
        .len();
    let added = copy(&content, object_path, &file, room.offset).and_then(|size| {
        if matches!(data_type, DataType::OciRootIndex | DataType::OciBlob) {
            let digest = digest_of(&file, room.offset, size);
            extra = Extra::Digest(digest.map_err(|error| refused(os_error(&error)))?);
        }
        // An empty object may be aligned beyond the end.
        let ties = RawTies {
            group: args.groupid.unwrap_or(0),
            link: args.link.unwrap_or(0),
        };
        table
            .enter(&file, room, object(extra), size, ties, now())
            .map_err(|error| edit_error(&error))
    });
    if added.is_err() {
        // What was there is there; what was added is not looked at by anybody.
        let _as_it_is = file.set_len(before);
    }
    added?;
    Ok(ExitStatus::Success)
}

/// What a new object of this type says by the flags.
fn extra_of(args: &SifAddArgs, data_type: DataType) -> Result<Extra, CommandError> {
    let number = |flag: Option<i32>| flag.unwrap_or(0);
    Ok(match data_type {
        DataType::Partition => {
            let (fs, kind, arch) = (args.partfs, args.parttype, args.partarch);
            let (fs, kind, arch) = (number(fs), number(kind), number(arch));
            if fs == 0 || kind == 0 || arch == 0 {
                return Err(refused(
                    "with partition datatype, --partfs, --parttype and --partarch must be passed",
                ));
            }
            let unknown = || refused("unknown architecture: unknown");
            if !(1..=ARCH_MAX).contains(&arch) {
                return Err(unknown());
            }
            let [tens, ones] = [arch / 10, arch % 10].map(|digit| u8::try_from(digit).unwrap_or(0));
            Extra::Partition {
                fs: FsType::from_code(fs),
                kind: PartitionType::from_code(kind),
                arch: Arch::from_code([b'0' + tens, b'0' + ones, 0]),
            }
        }
        DataType::Signature => {
            let hash = HashType::from_code(number(args.signhash));
            let entity = args.signentity.as_deref().unwrap_or_default();
            let entity = parse_hex(entity).map_err(|reason| {
                refused(format!(
                    "failed to decode signing entity fingerprint: {reason}"
                ))
            })?;
            if let HashType::Unknown(code) = hash {
                return Err(refused(format!("invalid hash type: {code}")));
            }
            let fingerprint = entity.as_slice().try_into().map_err(|_| {
                let len = entity.len();
                refused(format!(
                    "invalid signing entity fingerprint length: got {len}, want 20"
                ))
            })?;
            Extra::Signature {
                hash,
                fingerprint: Some(fingerprint),
            }
        }
        DataType::Message => Extra::Message {
            format: MessageFormat::from_code(0),
            kind: MessageType::from_code(0),
        },
        DataType::Sbom => {
            let name = args.sbomformat.as_deref().unwrap_or_default();
            if name.is_empty() {
                return Err(refused("with SBOM datatype, --sbomformat must be passed"));
            }
            let mut formats = (1..=8).map(SbomFormat::from_code);
            let format = formats.find(|format| format.to_string() == name);
            Extra::Sbom {
                format: format.ok_or_else(|| refused(format!("invalid SBOM format: {name}")))?,
            }
        }
        _ => Extra::None,
    })
}

/// Go's `hex.DecodeString`.
fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let mut digits = Vec::new();
    for character in text.chars() {
        match character.to_digit(16) {
            Some(digit) => digits.push(u8::try_from(digit).unwrap_or(0)),
            None => {
                let code = u32::from(character);
                return Err(format!(
                    "encoding/hex: invalid byte: U+{code:04X} '{character}'"
                ));
            }
        }
    }
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("encoding/hex: odd length hex string".to_owned());
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Copies all of `content` to `file` from byte `offset` on; returns how many bytes that were.
fn copy(content: &File, name: &Path, file: &File, offset: u64) -> Result<u64, CommandError> {
    let mut content = content;
    let mut buffer = vec![0; STEP];
    let mut done = 0;
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => return Ok(done),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(refused(format!(
                    "read {}: {}",
                    name.display(),
                    os_error(&error)
                )));
            }
        };
        let at = offset.saturating_add(done);
        file.write_all_at(&buffer[..count], at)
            .map_err(|error| refused(format!("write: {}", os_error(&error))))?;
        done += count as u64;
    }
}

fn digest_of(file: &File, offset: u64, size: u64) -> io::Result<String> {
    let mut hash = DigestHasher::default();
    let mut buffer = vec![0; STEP];
    let mut at = offset;
    let end = offset.saturating_add(size);
    while at < end {
        let count = file.read_at(&mut buffer, at)?;
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        let count = count.min(left);
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hash.update(&buffer[..count]);
        at += count as u64;
    }
    Ok(hash.finish().to_string())
}

/// `sif del ID FILE`
///
/// # Errors
/// [`CommandError`], when there is no such object or the file cannot be changed.
pub(super) fn del(args: &SifArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    change(args, |table, file, id| table.delete(file, id, now()))
}

/// `sif setprim ID FILE`
///
/// # Errors
/// [`CommandError`], when the object cannot be the root or the file cannot be changed.
pub(super) fn setprim(args: &SifArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    change(args, |table, file, id| table.set_primary(file, id, now()))
}

fn change(
    args: &SifArgs,
    change: impl FnOnce(&mut Table, &File, u32) -> Result<(), EditError>,
) -> anyhow::Result<ExitStatus> {
    let id = parse_id(&word(&args.words, 0).to_string_lossy())?;
    let (file, mut table) = open(word(&args.words, 1))?;
    change(&mut table, &file, id).map_err(|error| edit_error(&error))?;
    Ok(ExitStatus::Success)
}

/// Opens the SIF at `path` for being changed by us alone.
fn open(path: &Path) -> Result<(File, Table), CommandError> {
    let failed =
        |error: io::Error| refused(format!("open {}: {}", path.display(), os_error(&error)));
    // A named pipe is not waited for.
    if !path.metadata().map_err(failed)?.is_file() && !path.is_dir() {
        return Err(refused("reading global header: EOF"));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(failed)?;
    let mut patience = PATIENCE;
    // A place without locks goes without.
    while matches!(kernel::lock_range(file.as_fd(), true, 0, LOCKED), Ok(false)) {
        patience = patience.checked_sub(PAUSE).ok_or_else(|| {
            refused(format!(
                "{} is being changed by another command: try again later",
                path.display()
            ))
        })?;
        std::thread::sleep(PAUSE);
    }
    let source = FileSource::new(file.try_clone().map_err(failed)?).map_err(failed)?;
    let table = Table::read(&source).map_err(unreadable)?;
    Ok((file, table))
}

fn edit_error(error: &EditError) -> CommandError {
    refused(match error {
        EditError::Io(error) | EditError::Sif(SifError::Source(error)) => os_error(error),
        other => other.to_string(),
    })
}

fn refused(text: impl Into<String>) -> CommandError {
    CommandError(text.into())
}

fn word(words: &[OsString], number: usize) -> &Path {
    words.get(number).map_or(Path::new(""), Path::new)
}

/// Seconds of the epoch.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints() {
        assert_eq!(parse_hex("0aFf").unwrap(), [0x0A, 0xFF]);
        assert!(parse_hex("").unwrap().is_empty());
        for (text, reason) in [
            ("zz", "encoding/hex: invalid byte: U+007A 'z'"),
            ("abc", "encoding/hex: odd length hex string"),
            ("abc ", "encoding/hex: invalid byte: U+0020 ' '"),
        ] {
            assert_eq!(parse_hex(text).unwrap_err(), reason);
        }
    }

    #[test]
    fn uuids_say_that_they_are_random() {
        let mut uuid = [0xFF; 16];
        mark_random(&mut uuid);
        assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (4, 2));
    }
}

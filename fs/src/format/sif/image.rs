//! A whole image, with the objects and the order in which Apptainer has them: definition, JSON by
//! name, root file system.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Sif;
use super::codes::{Arch, DataType, FsType, PartitionType};
use super::descriptor::Extra;
use super::writer::{NewObject, Writer, WriterOptions};
use crate::source::Source;

/// The first second of the year 1, which reproducible images have for all times.
const NO_TIME: i64 = -62_135_596_800;

/// What an image consists of, but for its root file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageParts<'a> {
    /// The definition file, or the few lines that stand for it.
    pub definition: Option<&'a [u8]>,
    /// JSON objects; those without content are left out.
    pub json: &'a BTreeMap<String, Vec<u8>>,
    /// Machine its programs are for.
    pub arch: Arch,
    /// Format of the root file system.
    pub fs: FsType,
    /// What identifies the file.
    pub options: WriterOptions,
}

impl WriterOptions {
    /// Of an image made at `time`, Unix seconds.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn made_at(time: i64) -> io::Result<Self> {
        let mut uuid = [0; 16];
        rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty())?;
        // Random numbers of 128 bits are version 4, variant 1.
        let mut number = u128::from_be_bytes(uuid);
        number = number & !(0xF << 76) | (4 << 76);
        number = number & !(3 << 62) | (2 << 62);
        Ok(Self {
            uuid: number.to_be_bytes(),
            time,
            launch_script: true,
        })
    }

    /// Of an image that is the same whenever it is made.
    pub const fn reproducible() -> Self {
        Self {
            uuid: [0; 16],
            time: NO_TIME,
            launch_script: true,
        }
    }
}

/// A root file system that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenRoot {
    /// Its length in bytes.
    pub size: u64,
    /// Where the content of the files of an access profile lies in it.
    pub profile: Option<Range<u64>>,
}

impl WrittenRoot {
    /// One of `size` bytes without more to say.
    pub const fn plain(size: u64) -> Self {
        Self {
            size,
            profile: None,
        }
    }
}

/// Where programs that start in an image find what they read at first, as a JSON object of the SIF.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct ProfileObject {
    /// First byte, counted from the start of the root file system.
    start: u64,
    /// The byte behind the last.
    end: u64,
}

/// Name of that object.
const PROFILE: &str = "skiff-access-profile.json";
/// It is two numbers.
const MAX_PROFILE_BYTES: u64 = 4096;

/// Writes an image to `file`, which is empty and open for reading and writing. `root` writes the
/// file system to the file it is given, from the byte it is told on. Returns the number of the
/// root's object.
///
/// # Errors
/// What writing or `root` reports.
pub fn write<E: From<io::Error>>(
    file: File,
    parts: &ImageParts<'_>,
    root: impl FnOnce(File, u64) -> Result<WrittenRoot, E>,
) -> Result<u32, E> {
    let mut writer = Writer::new(file, parts.options);
    if let Some(definition) = parts.definition {
        let object = plain(DataType::Definition, "");
        writer.add(object, &mut &definition[..])?;
    }
    for (name, content) in parts.json {
        if !content.is_empty() {
            let object = plain(DataType::GenericJson, name);
            writer.add(object, &mut content.as_slice())?;
        }
    }
    let object = NewObject {
        data_type: DataType::Partition,
        name: "",
        extra: Extra::Partition {
            fs: parts.fs,
            kind: PartitionType::PrimarySystem,
            arch: parts.arch,
        },
    };
    let mut profile = None;
    let id = writer.add_with(object, |file, offset| {
        let written = root(file.try_clone()?, offset)?;
        profile = written.profile;
        Ok::<_, E>(written.size)
    })?;
    if let Some(Range { start, end }) = profile {
        let content = serde_json::to_vec(&ProfileObject { start, end });
        let content = content.map_err(io::Error::other)?;
        let object = plain(DataType::GenericJson, PROFILE);
        writer.add(object, &mut content.as_slice())?;
    }
    writer.finish()?;
    Ok(id)
}

/// Where in the file the content of the files of an access profile lies, as the image says; nothing
/// that is not within its root file system.
pub fn access_profile(sif: &Sif, source: &dyn Source) -> Option<Range<u64>> {
    let root = sif.primary()?;
    let object = sif.descriptors.iter().find(|object| {
        object.data_type == DataType::GenericJson
            && object.name == PROFILE
            && object.size <= MAX_PROFILE_BYTES
    })?;
    let mut content = vec![0; usize::try_from(object.size).ok()?];
    source.read_exact_at(&mut content, object.offset).ok()?;
    let ProfileObject { start, end } = serde_json::from_slice(&content).ok()?;
    let is_within = start < end && end <= root.size;
    is_within.then(|| root.offset.saturating_add(start)..root.offset.saturating_add(end))
}

fn plain(data_type: DataType, name: &str) -> NewObject<'_> {
    NewObject {
        data_type,
        name,
        extra: Extra::None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Arch, FsType, ImageParts, WriterOptions, WrittenRoot, access_profile, write};
    use crate::format::sif::{DataType, Sif};
    use crate::source::FileSource;

    #[test]
    fn objects_lie_as_apptainer_has_them() {
        let file = tempfile::tempfile().unwrap();
        let json = [("b", "{}"), ("a", "{\"x\":1}"), ("empty", "")]
            .map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()));
        let json = BTreeMap::from(json);
        let parts = ImageParts {
            definition: Some(b"bootstrap: docker\n"),
            json: &json,
            arch: Arch::host(),
            fs: FsType::Squashfs,
            options: WriterOptions::reproducible(),
        };
        let id = write(file.try_clone().unwrap(), &parts, |file, offset| {
            assert_eq!(offset, 32768);
            std::os::unix::fs::FileExt::write_all_at(&file, &[7; 5000], offset)?;
            Ok::<_, std::io::Error>(WrittenRoot::plain(4096))
        });
        assert_eq!(id.unwrap(), 4);
        let source = FileSource::new(file).unwrap();
        let sif = Sif::read(&source).unwrap();
        assert_eq!(access_profile(&sif, &source), None);
        let found: Vec<_> = sif
            .descriptors
            .iter()
            .map(|object| {
                (
                    object.data_type,
                    object.name.as_str(),
                    object.offset,
                    object.size,
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                (DataType::Definition, "", 32176, 18),
                (DataType::GenericJson, "a", 32194, 7),
                (DataType::GenericJson, "b", 32201, 2),
                (DataType::Partition, "", 32768, 4096),
            ]
        );
        assert_eq!(sif.header.uuid, [0; 16]);
        assert_eq!(sif.header.created, -62_135_596_800);
        assert_eq!(sif.primary().map(|root| root.id), Some(4));
    }

    #[test]
    fn the_place_of_an_access_profile_is_told() {
        for (range, believed) in [(100..300, true), (0..4096, true), (100..4097, false)] {
            let file = tempfile::tempfile().unwrap();
            let parts = ImageParts {
                definition: None,
                json: &BTreeMap::new(),
                arch: Arch::host(),
                fs: FsType::Squashfs,
                options: WriterOptions::reproducible(),
            };
            let mut at = 0;
            let written = write(file.try_clone().unwrap(), &parts, |file, offset| {
                at = offset;
                std::os::unix::fs::FileExt::write_all_at(&file, &[7; 4096], offset)?;
                Ok::<_, std::io::Error>(WrittenRoot {
                    size: 4096,
                    profile: Some(range.clone()),
                })
            });
            written.unwrap();
            let source = FileSource::new(file).unwrap();
            let sif = Sif::read(&source).unwrap();
            assert_eq!(sif.descriptors.len(), 2);
            let expected = believed.then(|| at + range.start..at + range.end);
            assert_eq!(access_profile(&sif, &source), expected, "{range:?}");
        }
    }

    #[test]
    fn random_uuids_say_that_they_are() {
        let one = WriterOptions::made_at(5).unwrap();
        let other = WriterOptions::made_at(5).unwrap();
        assert_ne!(one.uuid, other.uuid);
        assert_eq!(one.uuid[6] >> 4, 4);
        assert_eq!(one.uuid[8] >> 6, 2);
    }
}

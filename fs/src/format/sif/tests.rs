#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test may stop at what it does not expect"
)]

use std::io::Read;
use std::sync::Arc;

use super::{
    Arch, DESCRIPTOR_LEN, DataType, Descriptor, Extra, FsType, HEADER_LEN, HashType, Header, Link,
    MessageFormat, MessageType, NewObject, PartitionType, SbomFormat, Sif, SifError, Writer,
    WriterOptions, data_of,
};
use crate::source::{MemorySource, Source};

/// The header of a file that Apptainer 1.4.5 built.
const APPTAINER_HEADER: &str = "\
    23212f7573722f62696e2f656e762072756e2d73696e67756c61726974790a00\
    5349465f4d4147494300303100303200\
    04a75419 0b164c46ac849df6e576c335\
    8b25056b00000000 8b25056b00000000\
    2d00000000000000 3000000000000000\
    0010000000000000 b06d000000000000\
    b07d000000000000 50f2220000000000";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

#[test]
fn a_header_by_apptainer() {
    let bytes = unhex(APPTAINER_HEADER);
    assert_eq!(bytes.len(), HEADER_LEN);
    let header = Header::parse(&bytes, 2_322_432).unwrap();
    assert_eq!(header.launch_line(), super::LAUNCH_SCRIPT);
    assert_eq!(header.arch, Arch::Amd64);
    assert_eq!(header.uuid_text(), "04a75419-0b16-4c46-ac84-9df6e576c335");
    assert_eq!(
        (header.created, header.modified),
        (0x6b05_258b, 0x6b05_258b)
    );
    assert_eq!(
        (header.descriptors_free, header.descriptors_total),
        (45, 48)
    );
    assert_eq!(
        (header.descriptors_offset, header.descriptors_size),
        (4096, 28_080)
    );
    assert_eq!((header.data_offset, header.data_size), (32_176, 2_290_256));
    assert_eq!(header.encode()[..], bytes);
}

#[test]
fn codes_have_the_names_of_the_listing() {
    for (code, name) in [
        (0x4001, "Def.FILE"),
        (0x4002, "Env.Vars"),
        (0x4003, "JSON.Labels"),
        (0x4004, "FS"),
        (0x4005, "Signature"),
        (0x4006, "JSON.Generic"),
        (0x4007, "Generic/Raw"),
        (0x4008, "Cryptographic Message"),
        (0x4009, "SBOM"),
        (0x400A, "OCI.RootIndex"),
        (0x400B, "OCI.Blob"),
        (0x400C, "Unknown"),
    ] {
        assert_eq!(DataType::from_code(code).to_string(), name);
        assert_eq!(DataType::from_code(code).code(), code);
    }
    assert_eq!(FsType::from_code(1).to_string(), "Squashfs");
    assert_eq!(PartitionType::from_code(2).to_string(), "*System");
    assert_eq!(HashType::from_code(1).to_string(), "SHA-256");
    for number in 0..=13 {
        let code = format!("{number:02}\0");
        let arch = Arch::from_code(code.as_bytes().try_into().unwrap());
        assert_eq!(arch.code(), code.as_bytes());
    }
    assert_eq!(Arch::from_code(*b"99\0"), Arch::Unknown);
    assert_eq!(Arch::Riscv64.to_string(), "riscv64");
}

fn primary(fs: FsType) -> Extra {
    Extra::Partition {
        fs,
        kind: PartitionType::PrimarySystem,
        arch: Arch::Arm64,
    }
}

/// Something of every type.
fn objects() -> Vec<(NewObject<'static>, &'static [u8])> {
    let object = |data_type, name, extra| NewObject {
        data_type,
        name,
        extra,
    };
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    vec![
        (
            object(DataType::Definition, "", Extra::None),
            b"bootstrap: scratch\n",
        ),
        (
            object(DataType::GenericJson, "inspect-metadata.json", Extra::None),
            b"{}",
        ),
        (
            object(DataType::Partition, "", primary(FsType::Squashfs)),
            b"hsqs...",
        ),
        (object(DataType::Generic, "empty", Extra::None), b""),
        (
            object(
                DataType::Signature,
                "part-signature",
                Extra::Signature {
                    hash: HashType::Sha256,
                    fingerprint: Some([7; 20]),
                },
            ),
            b"-----",
        ),
        (
            object(
                DataType::Message,
                "",
                Extra::Message {
                    format: MessageFormat::Pem,
                    kind: MessageType::RsaOaep,
                },
            ),
            b"key",
        ),
        (
            object(
                DataType::Sbom,
                "",
                Extra::Sbom {
                    format: SbomFormat::SyftJson,
                },
            ),
            b"[]",
        ),
        (
            object(DataType::OciBlob, "", Extra::Digest(digest.into())),
            b"blob",
        ),
        (
            object(
                DataType::Partition,
                "overlay",
                Extra::Partition {
                    fs: FsType::Ext3,
                    kind: PartitionType::Overlay,
                    arch: Arch::Arm64,
                },
            ),
            b"ext3",
        ),
    ]
}

fn written() -> Vec<u8> {
    let options = WriterOptions {
        uuid: [9; 16],
        time: 1_700_000_000,
        launch_script: true,
    };
    let mut writer = Writer::new(tempfile::tempfile().unwrap(), options);
    for (place, (object, mut content)) in objects().into_iter().enumerate() {
        let id = writer.add(object, &mut content).unwrap();
        assert_eq!(id as usize, place + 1);
    }
    let mut file = writer.finish().unwrap();
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_written_is_read() {
    let bytes = written();
    let size = bytes.len() as u64;
    let source: Arc<dyn Source> = Arc::new(MemorySource::new(bytes.clone()));
    let sif = Sif::read(&*source).unwrap();
    assert_eq!(sif, Sif::parse(&bytes, size).unwrap());
    assert_eq!(sif.header.arch, Arch::Arm64);
    assert_eq!(sif.header.data_offset + sif.header.data_size, size);
    assert_eq!(sif.descriptors.len(), objects().len());
    let mut end = 32_176;
    for (descriptor, (object, content)) in sif.descriptors.iter().zip(objects()) {
        assert_eq!(descriptor.data_type, object.data_type);
        assert_eq!(descriptor.name, object.name);
        assert_eq!(descriptor.extra, object.extra);
        assert_eq!((descriptor.group, descriptor.link), (Some(1), Link::None));
        if object.data_type == DataType::Partition {
            assert_eq!(descriptor.offset % 4096, 0);
        } else {
            assert_eq!(descriptor.offset, end);
        }
        let next = descriptor.offset + descriptor.size;
        assert_eq!(descriptor.size_with_padding, next - end);
        end = next;
        let mut data = vec![0; content.len()];
        let window = data_of(Arc::clone(&source), descriptor).unwrap();
        assert_eq!(window.size(), content.len() as u64);
        window.read_exact_at(&mut data, 0).unwrap();
        assert_eq!(data, content);
    }
    assert_eq!(sif.primary().unwrap().id, 3);
    assert_eq!(sif.json("inspect-metadata.json").unwrap().id, 2);
    assert_eq!(sif.object(9).unwrap().name, "overlay");
    assert!(sif.object(10).is_none());
}

#[test]
fn the_writer_keeps_the_rules() {
    let options = WriterOptions {
        uuid: [0; 16],
        time: 0,
        launch_script: false,
    };
    let generic = |name| NewObject {
        data_type: DataType::Generic,
        name,
        extra: Extra::None,
    };
    let mut writer = Writer::new(tempfile::tempfile().unwrap(), options);
    let long = "n".repeat(129);
    assert!(writer.add(generic(&long), &mut &b"x"[..]).is_err());
    assert!(writer.add(generic(&long[..128]), &mut &b"x"[..]).is_ok());
    let root = || NewObject {
        data_type: DataType::Partition,
        name: "",
        extra: primary(FsType::Squashfs),
    };
    assert!(writer.add(root(), &mut &b"x"[..]).is_ok());
    assert!(writer.add(root(), &mut &b"x"[..]).is_err());
    for _ in 2..48 {
        writer.add(generic(""), &mut &b""[..]).unwrap();
    }
    assert!(writer.add(generic(""), &mut &b""[..]).is_err());
    let source = crate::source::FileSource::new(writer.finish().unwrap()).unwrap();
    let sif = Sif::read(&source).unwrap();
    assert_eq!(sif.header.descriptors_free, 0);
    assert_eq!(sif.header.launch_line(), b"");
    assert_eq!(sif.descriptors[0].name.len(), 128);
}

/// Replaces bytes, parses, and gives the message.
fn message(at: usize, bytes: &[u8]) -> String {
    let mut file = written();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    let size = file.len() as u64;
    match Sif::parse(&file, size) {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    let second = 4096 + DESCRIPTOR_LEN;
    for (at, bytes, expected) in [
        (32, &b"SIX"[..], "not a SIF: no magic at byte 32"),
        (42, b"02", "incompatible SIF version \"02\""),
        (
            88,
            &(-1_i64).to_le_bytes(),
            "SIF header: number of descriptors at byte 88 is -1, which is negative",
        ),
        (
            88,
            &(1_i64 << 33).to_le_bytes(),
            "SIF header: number of descriptors at byte 88 is 8589934592, \
             which is more than any image has",
        ),
        (
            96,
            &(i64::MAX).to_le_bytes(),
            "SIF header: offset of the descriptors at byte 96 is 9223372036854775807, \
             which is too near to the end of the file for them",
        ),
        (
            second + 17,
            &99_999_999_i64.to_le_bytes(),
            "SIF object 2: offset at byte 4698 is 99999999, which is behind the end of the file",
        ),
        (
            second + 25,
            &i64::MAX.to_le_bytes(),
            "SIF object 2: size at byte 4706 is 9223372036854775807, \
             which is more than the file holds from its offset on",
        ),
        (
            second + 25,
            &(-2_i64).to_le_bytes(),
            "SIF object 2: size at byte 4706 is -2, which is negative",
        ),
        (
            4096 + 8 * DESCRIPTOR_LEN + 205,
            &[2],
            "SIF objects 3 and 9 are both primary system partitions",
        ),
        (80, &[0xFF; 4], "ok"),
    ] {
        assert_eq!(message(at, bytes), expected);
    }
    let short = Sif::parse(&written()[..100], 100).unwrap_err();
    assert!(matches!(short, SifError::TooShort { size: 100 }));
}

#[test]
fn every_field_at_every_extreme() {
    let file = written();
    let size = file.len() as u64;
    let extremes = [0, 1, -1, i64::MIN, i64::MAX, 1 << 31, 1 << 32, size as i64];
    let slots = (2..6).flat_map(|slot| {
        // All fields, but of name and extra only the start.
        let start = 4096 + slot * DESCRIPTOR_LEN;
        (start..start + 80).chain(start + 201..start + 215)
    });
    for at in (0..HEADER_LEN - 8).chain(slots) {
        for extreme in extremes {
            let mut file = file.clone();
            file[at..at + 8].copy_from_slice(&extreme.to_le_bytes());
            check(&file, size);
        }
    }
    let mut random = 7_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    for _ in 0..2000 {
        let mut file = file.clone();
        for _ in 0..=next() % 8 {
            let at = if next() % 2 == 0 {
                next() % HEADER_LEN
            } else {
                4096 + next() % (10 * DESCRIPTOR_LEN)
            };
            file[at] = next() as u8;
        }
        file.truncate(file.len().min(next() % (2 * file.len())));
        let size = file.len() as u64;
        check(&file, size);
    }
}

/// Any answer will do, but what is described must be there.
fn check(file: &[u8], size: u64) {
    let source: Arc<dyn Source> = Arc::new(MemorySource::new(file));
    let Ok(sif) = Sif::read(&*source) else {
        return;
    };
    assert!(sif.descriptors.len() <= 48);
    for descriptor in &sif.descriptors {
        // An empty object may lie behind the end.
        assert!(descriptor.size == 0 || descriptor.offset + descriptor.size <= size);
        data_of(Arc::clone(&source), descriptor).unwrap();
        let bytes = descriptor.encode();
        let again = Descriptor::parse(&bytes, 0, size).unwrap().unwrap();
        assert_eq!(again.extra, descriptor.extra);
    }
}

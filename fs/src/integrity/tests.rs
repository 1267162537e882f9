//! Signing and verifying images made here, and images that were changed.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed"
)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;

use super::pgp::{NewKey, PublicKey, SecretKey, parse_public, parse_secret};
use super::raw_key::{PrivateKey, PublicKey as RawKey};
use super::*;
use crate::format::sif::{
    Arch, DataType, Extra, FsType, HashType, Link, NewObject, PartitionType, Writer, WriterOptions,
    edit,
};

const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";

/// A definition, JSON and a partition in group 1.
fn image() -> File {
    let file = tempfile::tempfile().unwrap();
    let options = WriterOptions {
        uuid: [7; 16],
        time: 1_700_000_000,
        launch_script: true,
    };
    let mut writer = Writer::new(file, options);
    let kinds = [
        (DataType::Definition, "", Extra::None, "bootstrap: x\n"),
        (DataType::GenericJson, "a.json", Extra::None, "{}"),
        (
            DataType::Partition,
            "",
            Extra::Partition {
                fs: FsType::Squashfs,
                kind: PartitionType::PrimarySystem,
                arch: Arch::Amd64,
            },
            "hsqs and so on",
        ),
    ];
    for (data_type, name, extra, content) in kinds {
        let object = NewObject {
            data_type,
            name,
            extra,
        };
        writer.add(object, &mut content.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

/// Adds an object with `content` to `file`.
fn add(file: &File, data_type: DataType, ties: edit::Ties, extra: Extra, content: &[u8]) {
    let image = SignedImage::open(file.try_clone().unwrap()).unwrap();
    let place = edit::place(image.sif(), data_type).unwrap();
    file.write_all_at(content, place.offset).unwrap();
    let object = NewObject {
        data_type,
        name: "",
        extra,
    };
    let size = content.len() as u64;
    edit::enter(file, image.sif(), place, object, size, ties, 1_700_000_001).unwrap();
}

/// A key pair; making one takes a moment, so that all tests share it.
fn pair() -> &'static SecretKey {
    static PAIR: OnceLock<SecretKey> = OnceLock::new();
    PAIR.get_or_init(|| {
        SecretKey::generate(&NewKey {
            name: "A B",
            comment: "",
            email: "a@example.org",
            bits: 2048,
            passphrase: "",
        })
        .unwrap()
    })
}

fn public() -> Vec<PublicKey> {
    vec![pair().public().unwrap()]
}

fn signed(selection: &Selection) -> File {
    let file = image();
    sign(&file, Signer::Pgp(pair()), selection, 1_700_000_002).unwrap();
    file
}

/// The verdict about `file`, as text.
fn verdict(file: &File, keys: Keys<'_>, tasks: Option<&[Task]>) -> String {
    let check = || {
        let image = SignedImage::open(file.try_clone()?)?;
        let all;
        let tasks = match tasks {
            Some(tasks) => tasks,
            None => {
                all = default_tasks(&image, false, false)?;
                &all
            }
        };
        verify(&image, keys, tasks, &mut |_| false)
    };
    match check() {
        Ok(()) => "good".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn by_pgp<'a>(keys: &'a [PublicKey]) -> Keys<'a> {
    Keys {
        pgp: Some(keys),
        raw: None,
    }
}

#[test]
fn tasks_and_their_words() {
    let keys = public();
    let keys = by_pgp(&keys);
    let file = image();
    let missing = "signature not found for object group 1";
    assert_eq!(verdict(&file, keys, None), missing);
    let file = signed(&Selection::default());
    for (task, expected) in [
        (Task::Group(1), "good"),
        (Task::Group(2), "group not found"),
        (Task::Object(1), "good"),
        (Task::Object(3), "good"),
        (Task::Object(4), "invalid group ID"),
        (Task::Object(9), "object not found"),
        (Task::LegacyGroup(1), missing),
        (Task::LegacyObject(3), "signature not found for object 3"),
    ] {
        assert_eq!(verdict(&file, keys, Some(&[task])), expected, "{task:?}");
    }
    assert_eq!(
        verdict(&file, by_pgp(&[]), None),
        "signature object 4 not valid: openpgp: signature made by unknown entity"
    );
    assert_eq!(
        verdict(&file, Keys::default(), None),
        "key material not provided for PGP clear-sign signature"
    );
    let single = Selection {
        groups: Vec::new(),
        objects: vec![2],
    };
    let file = signed(&single);
    assert_eq!(verdict(&file, keys, Some(&[Task::Object(2)])), "good");
    let unsigned = "object 1: object not signed";
    assert_eq!(verdict(&file, keys, None), unsigned);
}

#[test]
fn objects_that_come_and_go() {
    let keys = public();
    let keys = by_pgp(&keys);
    let ties = |group| edit::Ties {
        group,
        link: Link::None,
    };
    let file = signed(&Selection::default());
    add(&file, DataType::Generic, ties(Some(1)), Extra::None, b"x");
    assert_eq!(verdict(&file, keys, None), "object 5: object not signed");
    assert_eq!(verdict(&file, keys, Some(&[Task::Object(1)])), "good");
    let file = signed(&Selection::default());
    add(&file, DataType::Generic, ties(None), Extra::None, b"x");
    assert_eq!(
        verdict(&file, keys, None),
        "non-signature object not associated with object group"
    );
    let file = signed(&Selection::default());
    add(&file, DataType::Generic, ties(Some(2)), Extra::None, b"x");
    assert_eq!(
        verdict(&file, keys, None),
        "signature not found for object group 2"
    );
    assert_eq!(verdict(&file, keys, Some(&[Task::Group(1)])), "good");
    let only = Selection {
        groups: vec![2],
        objects: Vec::new(),
    };
    sign(&file, Signer::Pgp(pair()), &only, 1_700_000_003).unwrap();
    assert_eq!(verdict(&file, keys, None), "good");
    // The slot of an object that is gone.
    file.write_all_at(&[0; 585], 4096 + 585).unwrap();
    assert_eq!(
        verdict(&file, keys, None),
        "object 2: signed object not found"
    );
}

#[test]
fn raw_keys() {
    let private = PrivateKey::from_pem(ED25519.as_bytes()).unwrap();
    let keys: Vec<RawKey> = vec![private.public()];
    let keys = Keys {
        pgp: None,
        raw: Some(&keys),
    };
    let file = image();
    let all = Selection::default();
    sign(&file, Signer::Raw(&private), &all, 1_700_000_002).unwrap();
    assert_eq!(verdict(&file, keys, None), "good");
    assert_eq!(
        verdict(&file, by_pgp(&public()), None),
        "key material not provided for DSSE envelope signature"
    );
    let nobody = Keys {
        pgp: None,
        raw: Some(&[]),
    };
    assert!(verdict(&file, nobody, None).contains("Found: 0, Expected 1"));
}

#[test]
fn legacy_signatures() {
    let keys = public();
    let keys = by_pgp(&keys);
    let file = image();
    let digest = digest::hash(digest::Algorithm::Sha256, &mut |take| {
        take(b"hsqs and so on");
        Ok(())
    })
    .unwrap();
    let text = format!("SIFHASH:\n{}", digest::hex(&digest));
    let content = pair().clear_sign(&text, 1_700_000_002).unwrap();
    let extra = Extra::Signature {
        hash: HashType::Sha256,
        fingerprint: Some(pair().fingerprint()),
    };
    let ties = edit::Ties {
        group: None,
        link: Link::Object(3),
    };
    add(&file, DataType::Signature, ties, extra, content.as_bytes());
    let legacy = [Task::LegacyObject(3)];
    assert_eq!(verdict(&file, keys, Some(&legacy)), "good");
    // It counts for nothing else.
    assert_eq!(
        verdict(&file, keys, None),
        "signature not found for object group 1"
    );
    let image = SignedImage::open(file.try_clone().unwrap()).unwrap();
    let place = image.sif().object(3).unwrap().offset;
    file.write_all_at(b"x", place).unwrap();
    assert_eq!(
        verdict(&file, keys, Some(&legacy)),
        "data object integrity compromised: 3"
    );
}

#[test]
fn signers_are_found() {
    let keys = public();
    let file = signed(&Selection::default());
    let image = SignedImage::open(file.try_clone().unwrap()).unwrap();
    let found = signed_with(&image, &keys, false).unwrap();
    assert_eq!(found.all, [pair().fingerprint()]);
    assert_eq!(found.any, found.all);
    assert_eq!(
        signed_with(&image, &[], false).unwrap(),
        SignedWith::default()
    );
}

#[test]
fn keys_survive_their_lock() {
    let locked = pair().locked("geheim").unwrap();
    assert!(locked.is_locked() && !pair().is_locked());
    let again = parse_secret(locked.bytes());
    assert_eq!(again.len(), 1);
    assert!(again[0].unlocked("falsch").is_err());
    let open = again[0].unlocked("geheim").unwrap();
    assert_eq!(open.fingerprint(), pair().fingerprint());
    assert!(open.clear_sign("text", 1).is_ok());
    let both = [pair().public().unwrap().bytes(), locked.bytes()].concat();
    assert_eq!(parse_public(&both).len(), 2);
    for (name, bits) in [("a(b", 2048), ("a", 100), ("a", 1024)] {
        let wish = NewKey {
            name,
            comment: "",
            email: "",
            bits,
            passphrase: "",
        };
        assert!(SecretKey::generate(&wish).is_err(), "{name} {bits}");
    }
}

/// What of a signed image may change without harm.
fn is_free(at: u64, signature: &std::ops::Range<u64>, bytes: &[u8]) -> bool {
    let slot = |number: u64| at.checked_sub(4096 + number * 585).filter(|at| *at < 585);
    match at {
        // Machine, times, counts and lengths; what they say of the table is checked elsewhere.
        45..48 | 64..96 | 104..128 => return true,
        // Nothing.
        128..4096 => return true,
        _ => {}
    }
    for object in 0..3 {
        match slot(object) {
            // Marks of the group; length with padding; time of change.
            Some(12 | 33..41 | 49..57) => return true,
            // Only together with all others may they be renumbered.
            Some(_) => return false,
            None => {}
        }
    }
    match slot(3) {
        // What a signature is called and when it was made matters to nobody; whose it is does.
        Some(5..13 | 33..205 | 225..585) => return true,
        Some(_) => return false,
        None => {}
    }
    if (4096 + 4 * 585..32176).contains(&at) {
        return true;
    }
    if signature.contains(&at) {
        // Line breaks, and the digits that stand for fewer bits than they have.
        let byte = bytes[usize::try_from(at).unwrap()];
        let near_end = signature.end - at < 40;
        return byte == b'\n' || near_end;
    }
    false
}

#[test]
fn a_thousand_changes() {
    use std::io::Read as _;
    let keys = public();
    let keys = by_pgp(&keys);
    let mut file = signed(&Selection::default());
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    let image = SignedImage::open(file.try_clone().unwrap()).unwrap();
    let signature = image.sif().object(4).unwrap();
    let range = signature.offset..signature.offset + signature.size;
    let data: Vec<_> = image.sif().descriptors.iter().take(3).collect();
    let places = (0..128)
        .chain((0..5).flat_map(|slot| (0..585).step_by(7).map(move |at| 4096 + slot * 585 + at)))
        .chain(
            data.iter()
                .flat_map(|one| one.offset..one.offset + one.size),
        )
        .chain(range.clone().step_by(2));
    let mut changes = 0;
    let mut accepted = Vec::new();
    for (turn, at) in places.enumerate() {
        let old = bytes[usize::try_from(at).unwrap()];
        let new = old ^ [0x01, 0x20, 0x80, 0xff][turn % 4];
        file.write_all_at(&[new], at).unwrap();
        changes += 1;
        if verdict(&file, keys, None) == "good" && !is_free(at, &range, &bytes) {
            accepted.push((at, old, new));
        }
        file.write_all_at(&[old], at).unwrap();
    }
    assert!(changes >= 1000, "{changes} changes");
    assert!(accepted.is_empty(), "accepted: {accepted:?}");
    assert_eq!(verdict(&file, keys, None), "good");
}

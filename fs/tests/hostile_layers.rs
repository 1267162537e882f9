//! Layers that were made to do harm, written to a directory: nothing is written outside of it, and
//! what cannot be right is refused with a line that says why.

#[path = "../../tests/src/archive.rs"]
#[expect(
    unreachable_pub,
    reason = "of the tests' own crate, on which nothing of the product depends"
)]
mod archive;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use archive::{Archive, archive, hostile_names, untrue_sizes};
use skiff_fs::layers::{
    Expected, Layer, LayerError, Limits, MergeOptions, TarLayer, inflate, merge,
};
use skiff_fs::pack::{DirectoryOptions, DirectorySink, FileData, InodeTree, Sink, SinkError};

/// A folder with things that must stay as they are, and room for a target.
struct Place {
    folder: tempfile::TempDir,
    before: BTreeMap<PathBuf, (u64, i64, Vec<u8>)>,
    number: usize,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder of the test");
        let canary = folder.path().join("canary");
        fs::create_dir_all(canary.join("inner")).expect("a folder of the test");
        fs::write(canary.join("file"), "untouched").expect("a folder of the test");
        fs::write(canary.join("inner/x"), "untouched").expect("a folder of the test");
        fs::write(folder.path().join("x"), "untouched").expect("a folder of the test");
        let mut place = Self {
            folder,
            before: BTreeMap::new(),
            number: 0,
        };
        place.before = place.picture();
        place
    }

    fn canary(&self) -> Vec<u8> {
        let path = self.folder.path().join("canary");
        path.as_os_str().as_bytes().to_vec()
    }

    /// All but targets.
    fn picture(&self) -> BTreeMap<PathBuf, (u64, i64, Vec<u8>)> {
        let mut all = BTreeMap::new();
        let mut rest = vec![self.folder.path().to_owned()];
        while let Some(path) = rest.pop() {
            for entry in fs::read_dir(&path).expect("a folder of the test") {
                let path = entry.expect("a folder of the test").path();
                let stat = fs::symlink_metadata(&path).expect("a folder of the test");
                let content = if stat.is_dir() {
                    rest.push(path.clone());
                    Vec::new()
                } else {
                    fs::read(&path).expect("a folder of the test")
                };
                all.insert(path, (stat.nlink(), stat.mtime(), content));
            }
        }
        all
    }

    /// Writes layers, the lowest first, to a directory, which goes again. Checks all else.
    fn write(&mut self, what: &str, layers: Vec<Box<dyn Layer>>) -> Result<(), String> {
        self.number += 1;
        let target = self.folder.path().join(format!("target{}", self.number));
        let result = write(layers, &target);
        if result.is_ok() {
            assert!(target.is_dir(), "{what}");
            fs::remove_dir_all(&target).expect("a folder of the test");
        }
        assert_eq!(self.picture(), self.before, "{what}");
        let outside = ["/skiff-hostile", "/tmp/skiff-hostile", "/etc/skiff-hostile"];
        for path in outside {
            assert!(fs::symlink_metadata(path).is_err(), "{what}: {path}");
        }
        if let Err(text) = &result {
            assert!(
                text.len() > 10 && !text.contains('\n') && !text.contains('\0'),
                "{what}: {text:?}"
            );
        }
        result
    }

    fn archives(&mut self, what: &str, archives: &[Vec<u8>]) -> Result<(), String> {
        let layers = archives.iter().map(|bytes| tar(bytes.clone())).collect();
        self.write(what, layers)
    }
}

fn tar(bytes: Vec<u8>) -> Box<dyn Layer> {
    let limits = Limits::default();
    Box::new(TarLayer::new("layer", Box::new(Cursor::new(bytes)), limits))
}

fn write(layers: Vec<Box<dyn Layer>>, target: &Path) -> Result<(), String> {
    let layers = layers.into_iter().rev().collect();
    let options = MergeOptions::default();
    let mut sink =
        DirectorySink::create(target, DirectoryOptions::default()).map_err(|e| text(&e))?;
    let merged = merge(layers, &mut sink, &options, &mut |_| {}).map_err(|e| text(&e))?;
    Box::new(sink).finish(&merged.tree).map_err(|e| text(&e))?;
    Ok(())
}

fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
fn names_that_lead_out() {
    let mut place = Place::new();
    let mut count = 0;
    for (name, fine) in hostile_names() {
        let name = name.as_slice();
        for kind in [b'0', b'2', b'3', b'5', b'6', b'7'] {
            let link: &[u8] = if kind == b'2' { b"../../canary" } else { b"" };
            let what = format!("{} as {}", name.escape_ascii(), char::from(kind));
            let mut members: Vec<(u8, &[u8], &[u8])> = vec![(kind, name, link)];
            if fine {
                // Once more: what is there now must not lead anywhere either.
                members.push((kind, name, link));
            }
            let result = place.archives(&what, &[archive(&members)]);
            assert_eq!(result.is_ok(), fine, "{what}: {result:?}");
            count += 1;
        }
    }
    for root in [&b""[..], b".", b"/", b"..", b"a/.."] {
        for kind in [b'0', b'2', b'6'] {
            let what = format!("root as {}", char::from(kind));
            place
                .archives(&what, &[archive(&[(kind, root, b"/etc")])])
                .unwrap_err();
            count += 1;
        }
    }
    assert!(count > 150, "{count}");
}

#[test]
fn links_that_are_written_through() {
    let mut place = Place::new();
    let canary = place.canary();
    let inner = [&*canary, b"/inner"].concat();
    let targets: [&[u8]; 8] = [
        &canary,
        &inner,
        b"../canary",
        b"../../../../../../../../tmp",
        b"/",
        b"..",
        b"/proc/self/cwd",
        b"/etc",
    ];
    for target in targets {
        let through: [(u8, &[u8], &[u8]); 7] = [
            (b'0', b"link/x", b""),
            (b'0', b"link/skiff-hostile", b""),
            (b'5', b"link/inner", b""),
            (b'2', b"link/file", b"/etc/passwd"),
            (b'0', b"link/.wh.file", b""),
            (b'0', b"link/.wh..wh..opq", b""),
            (b'0', b"link/inner/../../x", b""),
        ];
        for member in through {
            let what = format!("{} by {}", member.1.escape_ascii(), target.escape_ascii());
            let link = (b'2', &b"link"[..], target);
            place
                .archives(&what, &[archive(&[link, member])])
                .expect("a folder of the test");
            place
                .archives(&what, &[archive(&[link]), archive(&[member])])
                .expect("a folder of the test");
            // The link replaced in between, and once more behind.
            let (first, last) = (archive(&[link, (b'5', b"link", b"")]), archive(&[link]));
            place
                .archives(&what, &[first, archive(&[member]), last])
                .expect("a folder of the test");
        }
    }
    let round = [
        (b'2', &b"a"[..], &b"b"[..]),
        (b'2', b"b", b"a"),
        (b'0', b"a/x", b""),
    ];
    assert!(
        place
            .archives("a round", &[archive(&round)])
            .unwrap_err()
            .contains("links")
    );
    let mut chain = Archive::default();
    for number in 0..300 {
        let (name, target) = (format!("l{number}"), format!("l{}", number + 1));
        chain.add(b'2', name.as_bytes(), target.as_bytes());
    }
    chain.add(b'0', b"l0/x", b"");
    place.archives("a chain", &[chain.end()]).unwrap_err();
    // Every link of it doubles the way.
    let mut wide = Archive::default();
    for number in 0..40 {
        let next = format!("w{}", number + 1);
        let target = format!("{next}/../{next}");
        wide.add(b'2', format!("w{number}").as_bytes(), target.as_bytes());
    }
    wide.add(b'0', b"w0/x", b"");
    place.archives("a wide chain", &[wide.end()]).unwrap_err();
}

#[test]
fn hard_links_that_lead_out() {
    let mut place = Place::new();
    let file = [&*place.canary(), b"/file"].concat();
    let canary = place.canary();
    let link = |target: &[u8]| archive(&[(b'1', b"hard", target), (b'0', b"hard", b"")]);
    for target in [
        &*file,
        b"../canary/file",
        b"/etc/passwd",
        b"../../../../etc/passwd",
        b"",
        b"hard",
        b"/",
    ] {
        let what = format!("hard link to {}", target.escape_ascii());
        place.archives(&what, &[link(target)]).unwrap_err();
    }
    for (outside, target) in [
        (&*canary, &b"l/file"[..]),
        (b"/etc", b"l/passwd"),
        (b"..", b"l/x"),
    ] {
        let members = [
            (b'2', &b"l"[..], outside),
            (b'1', b"hard", target),
            (b'0', b"hard", b""),
        ];
        place
            .archives("hard link by a link", &[archive(&members)])
            .unwrap_err();
    }
    // To a link itself: what is written then replaces the name, not what the link leads to.
    let members = [
        (b'2', &b"l"[..], &*file),
        (b'1', b"hard", b"l"),
        (b'0', b"hard", b""),
    ];
    place
        .archives("hard link to a link", &[archive(&members)])
        .expect("a folder of the test");
    let members = [(b'5', &b"d"[..], &b""[..]), (b'1', b"hard", b"d")];
    place
        .archives("hard link to a directory", &[archive(&members)])
        .unwrap_err();
}

#[test]
fn sizes_that_are_not_true() {
    let mut place = Place::new();
    // Each member is a header, seven bytes and padding, which an archive may lack at its end.
    let good = archive(&[(b'0', b"a", b""), (b'0', b"b", b"")]);
    for cut in (1..good.len() - 1024)
        .step_by(97)
        .filter(|cut| (1..519).contains(&(cut % 1024)))
    {
        let what = format!("cut at {cut}");
        let error = place
            .archives(&what, &[good[..cut].to_vec()])
            .expect_err(&what);
        assert!(error.contains("cut off"), "{cut}: {error}");
    }
    for (what, bytes) in untrue_sizes() {
        place.archives(&what, &[bytes]).unwrap_err();
    }
    // A header whose size is for another parser than ours.
    let mut archive = Archive::default();
    archive
        .pax(&[("size", b"512")])
        .header(b'0', b"two", 0, b"", |_| {});
    let mut inner = Archive::default();
    inner.header(b'0', b"../../hidden", 0, b"", |_| {});
    archive.append(&inner);
    place
        .archives("smuggled", &[archive.end()])
        .expect("a folder of the test");
    for damage in [0, 100, 124, 148, 156, 257] {
        let mut bytes = good.clone();
        bytes[damage] ^= 0x55;
        place.archives("damaged", &[bytes]).unwrap_err();
    }
}

#[test]
fn streams_that_are_not_as_promised() {
    let mut place = Place::new();
    let plain = archive(&[(b'0', b"a", b"")]);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("a folder of the test");
        encoder.finish().expect("a folder of the test")
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("a folder of the test");
    let packed = |bytes: Vec<u8>, expected: Expected| -> Box<dyn Layer> {
        let limits = Limits::default();
        let reader =
            inflate(Box::new(Cursor::new(bytes)), expected, limits).expect("a folder of the test");
        Box::new(TarLayer::new("layer", reader, limits))
    };
    let none = Expected::default;
    for good in [plain.clone(), gzip(&plain), zstd(&plain)] {
        place
            .write("good", vec![packed(good.clone(), none())])
            .expect("a folder of the test");
        for cut in [3, good.len() / 2, good.len() - 1]
            .iter()
            .filter(|_| good != plain)
        {
            place
                .write("cut", vec![packed(good[..*cut].to_vec(), none())])
                .unwrap_err();
        }
        for size in [0, good.len() as u64 - 1, good.len() as u64 + 1, u64::MAX] {
            let expected = Expected {
                size: Some(size),
                ..none()
            };
            place
                .write("size", vec![packed(good.clone(), expected)])
                .unwrap_err();
        }
        let wrong = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
        let expected = Expected {
            digest: Some(wrong.parse().expect("a folder of the test")),
            ..none()
        };
        let error = place
            .write("digest", vec![packed(good.clone(), expected)])
            .unwrap_err();
        assert!(error.contains("digest"), "{error}");
        let expected = Expected {
            diff_id: Some(wrong.parse().expect("a folder of the test")),
            ..none()
        };
        place
            .write("diff_id", vec![packed(good, expected)])
            .unwrap_err();
    }
    // One packed in the other, text, an image of something else.
    for odd in [
        zstd(&gzip(&plain)),
        gzip(&gzip(&plain)),
        b"<!DOCTYPE html>".repeat(100),
        b"hsqs".repeat(400),
        gzip(b"BZh91AY"),
    ] {
        place.write("odd", vec![packed(odd, none())]).unwrap_err();
    }
    place
        .write("empty", vec![packed(Vec::new(), none())])
        .expect("a folder of the test");
}

#[test]
fn devices_become_empty_files() {
    let mut place = Place::new();
    for kind in [b'3', b'4'] {
        let mut archive = Archive::default();
        archive.header(kind, b"device", 0, b"", |block| {
            block[329..336].copy_from_slice(b"0000001");
            block[337..344].copy_from_slice(b"0000003");
        });
        place
            .archives("device", &[archive.end()])
            .expect("a folder of the test");
        let mut archive = Archive::default();
        archive.header(kind, b"device", 0, b"", |block| {
            block[329..337].copy_from_slice(b"77777777");
        });
        place.archives("no device", &[archive.end()]).unwrap_err();
    }
}

/// So many empty directories, made as they are read.
struct Many {
    left: u32,
    block: Vec<u8>,
    at: usize,
}

impl Read for Many {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            let mut archive = Archive::default();
            match self.left {
                0 => return Ok(0),
                1 => archive = Archive::of(vec![0; 1024]),
                number => {
                    archive.add(b'5', format!("{}/{number}", number % 1000).as_bytes(), b"");
                }
            }
            self.left -= 1;
            self.block = archive.bytes();
            self.at = 0;
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Takes names and counts them.
struct Count;

impl Sink for Count {
    fn file(&mut self, _: u64, _: &mut dyn Read) -> Result<FileData, SinkError> {
        Ok(FileData(0))
    }

    fn finish(self: Box<Self>, tree: &InodeTree) -> Result<u64, SinkError> {
        Ok(tree.len() as u64)
    }
}

#[test]
fn many_entries() {
    let many = |left, limits| {
        let reader = Many {
            left,
            block: Vec::new(),
            at: 0,
        };
        let layer: Box<dyn Layer> = Box::new(TarLayer::new("layer", Box::new(reader), limits));
        merge(
            vec![layer],
            &mut Count,
            &MergeOptions::default(),
            &mut |_| {},
        )
    };
    let merged = many(100_000, Limits::default()).expect("a folder of the test");
    assert_eq!(
        Box::new(Count)
            .finish(&merged.tree)
            .expect("a folder of the test"),
        1 + 1000 + 99_999
    );
    let limits = Limits {
        entries: 20_000,
        ..Limits::default()
    };
    let error = many(1_000_000, limits).unwrap_err();
    assert!(matches!(error, LayerError::Read { .. }));
    assert!(
        text(&error).contains("more than 20000 entries"),
        "{}",
        text(&error)
    );
}

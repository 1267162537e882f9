//! Images as a user names them: kinds, their trees and their errors; and SIFs that Apptainer
//! writes and reads.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may stop at what it does not expect, and says why it skips"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use skiff_fs::format::sif::{
    Arch, DataType, Extra, FsType, LAUNCH_SCRIPT, NewObject, PartitionType, SbomFormat, Sif,
    Writer, WriterOptions,
};
use skiff_fs::format::squashfs::SquashfsOptions;
use skiff_fs::image::{Image, ImageError, ImageKind};
use skiff_fs::source::Source;
use skiff_fs::tree::path::{self, PathError};

fn skip(reason: &str) {
    eprintln!("SKIP: {reason}");
    assert!(
        std::env::var_os("SKIFF_TEST_STRICT").is_none_or(|strict| strict != "1"),
        "a precondition is missing in strict mode: {reason}"
    );
}

/// A small squashfs in `dir`.
fn squashfs(dir: &Path) -> Option<PathBuf> {
    let source = dir.join("source");
    fs::create_dir_all(source.join("a/b")).unwrap();
    fs::write(source.join("a/b/file"), "content").unwrap();
    for (link, target) in [
        ("relative", "a/b"),
        ("absolute", "/a/b/file"),
        ("up", "../../../a"),
        ("a/back", "../relative/file"),
        ("circle", "circle"),
        ("dangling", "nowhere"),
        ("through-file", "a/b/file/x"),
    ] {
        std::os::unix::fs::symlink(target, source.join(link)).unwrap();
    }
    let image = dir.join("image.squashfs");
    let Ok(output) = Command::new("mksquashfs")
        .arg(&source)
        .arg(&image)
        .args(["-quiet", "-no-progress", "-noappend"])
        .output()
    else {
        skip("mksquashfs is not installed");
        return None;
    };
    assert!(output.status.success());
    Some(image)
}

fn sif(path: &Path, fs: FsType, content: &Path) {
    let options = WriterOptions {
        uuid: [1; 16],
        time: 1_600_000_000,
        launch_script: true,
    };
    let mut writer = Writer::new(File::create(path).unwrap(), options);
    let mut add = |data_type, name, extra, content: &[u8]| {
        let object = NewObject {
            data_type,
            name,
            extra,
        };
        writer.add(object, &mut &*content).unwrap();
    };
    add(
        DataType::Definition,
        "",
        Extra::None,
        b"bootstrap: scratch\n",
    );
    add(DataType::GenericJson, "oci-config.json", Extra::None, b"{}");
    let root = Extra::Partition {
        fs,
        kind: PartitionType::PrimarySystem,
        arch: Arch::host(),
    };
    let sbom = Extra::Sbom {
        format: SbomFormat::SpdxJson,
    };
    add(DataType::Partition, "", root, &fs::read(content).unwrap());
    add(DataType::Sbom, "", sbom, b"{}");
    writer.finish().unwrap();
}

fn content_of(image: &Image) -> Vec<u8> {
    let tree = image.tree(&SquashfsOptions::default()).unwrap();
    path::read_file(&*tree, b"a/b/file", 100).unwrap().unwrap()
}

#[test]
fn a_squashfs_bare_behind_a_launch_line_and_in_a_sif() {
    let dir = tempfile::tempdir().unwrap();
    let Some(bare) = squashfs(dir.path()) else {
        return;
    };
    let image = Image::open(&bare).unwrap();
    assert_eq!(*image.kind(), ImageKind::Squashfs { offset: 0 });
    assert_eq!(image.arch(), None);
    assert_eq!(content_of(&image), b"content");

    let launched = dir.path().join("launched");
    let bytes = [LAUNCH_SCRIPT, &fs::read(&bare).unwrap()].concat();
    fs::write(&launched, bytes).unwrap();
    let image = Image::open(&launched).unwrap();
    assert_eq!(image.offset(), LAUNCH_SCRIPT.len() as u64);
    assert_eq!(content_of(&image), b"content");

    let packed = dir.path().join("image.sif");
    sif(&packed, FsType::Squashfs, &bare);
    let image = Image::open(&packed).unwrap();
    assert_eq!(image.arch(), Some(Arch::host()));
    assert_eq!(image.root_size(), fs::metadata(&bare).unwrap().len());
    assert_eq!(image.path(), packed);
    assert_eq!(content_of(&image), b"content");
    let again = Image::from_file(File::open(&packed).unwrap(), Path::new("given")).unwrap();
    assert_eq!(again.kind(), image.kind());
    assert_eq!(content_of(&again), b"content");

    for (fs, expected) in [
        (
            FsType::GocryptfsSquashfs,
            "option --passphrase or --pem-path missing",
        ),
        (FsType::EncryptedSquashfs, "device mapper (LUKS)"),
        (FsType::Ext3, "formatted as Ext3"),
    ] {
        sif(&packed, fs, &bare);
        let image = Image::open(&packed).unwrap();
        let error = image.tree(&SquashfsOptions::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn what_is_no_image_is_told_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let open = |path: &Path| Image::open(path).unwrap_err();
    let missing = open(&file);
    let ImageError::Open { source, .. } = &missing else {
        panic!("{missing}");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    for bytes in [&b""[..], b"text", &[0; 5000]] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(open(&file).to_string(), "image format not recognized");
    }
    fs::write(&file, [&[0; 100][..], b"SIF_MAGIC"].concat()).unwrap();
    assert!(matches!(open(&file), ImageError::Sif(_)));
    assert!(matches!(open(Path::new("/")), ImageError::HostRoot));
    assert!(matches!(
        open(Path::new("/dev/null")),
        ImageError::NotRecognized
    ));
    let sandbox = Image::open(dir.path()).unwrap();
    assert_eq!(*sandbox.kind(), ImageKind::Sandbox);
    let error = sandbox.tree(&SquashfsOptions::default()).unwrap_err();
    assert!(matches!(error, ImageError::Sandbox));
    fs::write(&file, b"hsqs").unwrap();
    let cut = Image::open(&file).unwrap();
    let error = cut.tree(&SquashfsOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "squashfs superblock cut off: only 4 bytes"
    );
}

#[test]
fn an_ext3_image_is_recognized() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.ext3");
    File::create(&file).unwrap().set_len(8 << 20).unwrap();
    let made = |kind: &str| {
        Command::new("/usr/sbin/mkfs.ext3")
            .args(["-q", "-F", "-t", kind])
            .arg(&file)
            .status()
            .is_ok_and(|status| status.success())
    };
    if !made("ext3") {
        skip("mkfs.ext3 is not installed");
        return;
    }
    let image = Image::open(&file).unwrap();
    assert_eq!(*image.kind(), ImageKind::Ext3 { offset: 0 });
    let error = image.tree(&SquashfsOptions::default()).unwrap_err();
    assert!(error.to_string().contains("cannot be mounted yet"));
    assert!(made("ext4"));
    assert!(matches!(Image::open(&file), Err(ImageError::NotRecognized)));
}

#[test]
fn paths_stay_within_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let Some(bare) = squashfs(dir.path()) else {
        return;
    };
    let image = Image::open(&bare).unwrap();
    let tree = image.tree(&SquashfsOptions::default()).unwrap();
    let find = |path: &str, follow| path::resolve(&*tree, path.as_bytes(), follow);
    let file = find("/a/b/file", true).unwrap().unwrap();
    for path in [
        "a/b/file",
        "//a/./b/../b//file",
        "/../../a/b/file",
        "relative/file",
        "absolute",
        "up/b/file",
        "a/back",
        "a/b/../back",
    ] {
        assert_eq!(find(path, true).unwrap(), Some(file), "{path}");
    }
    assert_eq!(find("", true).unwrap(), Some(tree.root()));
    assert_eq!(find("/a/..", true).unwrap(), Some(tree.root()));
    for path in [
        "nothing",
        "dangling",
        "through-file",
        "a/b/file/",
        "a/b/file/..",
        "absolute/",
        "a/nothing/../b",
    ] {
        assert_eq!(find(path, true).unwrap(), None, "{path}");
    }
    assert!(matches!(find("circle", true), Err(PathError::TooManyLinks)));
    let link = find("circle", false).unwrap().unwrap();
    assert_eq!(tree.read_link(link).unwrap(), b"circle");
    let followed = find("relative/", false).unwrap();
    assert_eq!(followed, find("a/b", false).unwrap());
    assert!(matches!(
        path::read_file(&*tree, b"/absolute", 6),
        Err(PathError::TooLong { len: 7, max: 6 })
    ));
    assert_eq!(path::read_file(&*tree, b"/a", 6).unwrap(), None);
}

/// Apptainer beside the system, where tests/peers/install puts it.
fn apptainer(args: &[&str]) -> Option<String> {
    let peers = std::env::var_os("SKIFF_PEERS").unwrap_or_else(|| "/opt/skiff-peers".into());
    let program = Path::new(&peers).join("bin/apptainer");
    if !program.exists() {
        skip("Apptainer is not installed (tests/peers/install)");
        return None;
    }
    let output = Command::new(program)
        .arg("sif")
        .args(args)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn apptainer_reads_what_is_written_here() {
    let dir = tempfile::tempdir().unwrap();
    let Some(bare) = squashfs(dir.path()) else {
        return;
    };
    let packed = dir.path().join("image.sif");
    sif(&packed, FsType::Squashfs, &bare);
    let Some(list) = apptainer(&["list", packed.to_str().unwrap()]) else {
        return;
    };
    let rows: Vec<_> = list
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        .map(|line| line.rsplit('|').next().unwrap().trim())
        .collect();
    let arch = Arch::host();
    assert_eq!(
        rows,
        [
            "Def.FILE".to_owned(),
            "JSON.Generic".to_owned(),
            format!("FS (Squashfs/*System/{arch})"),
            "SBOM (spdx-json)".to_owned(),
        ]
    );
}

#[test]
fn what_apptainer_writes_is_read_here() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.sif");
    let path = path.to_str().unwrap();
    if apptainer(&["new", path]).is_none() {
        return;
    }
    let empty = Image::open(Path::new(path)).unwrap();
    assert_eq!(empty.sif().unwrap().descriptors, []);
    let error = empty.tree(&SquashfsOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "no root filesystem found");
    let data = dir.path().join("data");
    fs::write(&data, "123456").unwrap();
    let data = data.to_str().unwrap();
    // Every data type but partitions, then partitions of several kinds.
    for number in ["1", "2", "3", "6", "7", "10", "11"] {
        apptainer(&["add", "--datatype", number, "--filename", "n", path, data]);
    }
    apptainer(&[
        "add",
        "--datatype",
        "9",
        "--sbomformat",
        "spdx-rdf",
        path,
        data,
    ]);
    for (fs, kind, arch) in [("1", "2", "4"), ("2", "4", "12"), ("4", "3", "1")] {
        apptainer(&[
            "add",
            "--datatype",
            "4",
            "--partfs",
            fs,
            "--parttype",
            kind,
            "--partarch",
            arch,
            path,
            data,
        ]);
    }
    apptainer(&["del", "2", path]);
    let image = Image::open(Path::new(path)).unwrap();
    let sif = image.sif().unwrap();
    let source = image.source();
    assert_eq!(*sif, Sif::read(&*source).unwrap());
    assert_eq!(sif.header.arch, Arch::Arm64);
    assert_eq!(image.arch(), Some(Arch::Arm64));
    let types: Vec<_> = sif.descriptors.iter().map(|d| d.data_type).collect();
    assert_eq!(
        types,
        [
            DataType::Definition,
            DataType::Labels,
            DataType::GenericJson,
            DataType::Generic,
            DataType::OciRootIndex,
            DataType::OciBlob,
            DataType::Sbom,
            DataType::Partition,
            DataType::Partition,
            DataType::Partition,
        ]
    );
    for descriptor in &sif.descriptors {
        let window = image.data_of(descriptor).unwrap();
        let mut content = [0; 6];
        window.read_exact_at(&mut content, 0).unwrap();
        assert_eq!((window.size(), &content), (6, b"123456"));
        match (&descriptor.extra, descriptor.data_type) {
            (Extra::Digest(digest), _) => assert!(digest.starts_with("sha256:8d969eef6eca")),
            (Extra::Sbom { format }, _) => assert_eq!(*format, SbomFormat::SpdxRdf),
            (extra, DataType::Partition) => assert!(matches!(extra, Extra::Partition { .. })),
            (extra, _) => assert_eq!(*extra, Extra::None),
        }
    }
}

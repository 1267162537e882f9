//! Makes source trees and packs them.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use tempfile::TempDir;

use crate::require;

/// Small and fast, and the same numbers on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// A tree with something of everything, made once per test run.
pub(crate) fn sample() -> &'static Path {
    static SAMPLE: OnceLock<TempDir> = OnceLock::new();
    SAMPLE
        .get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            fill(dir.path());
            dir
        })
        .path()
}

fn fill(root: &Path) {
    contents(&root.join("content"));
    names(&root.join("names"));
    kinds(&root.join("kinds"));
    owners(&root.join("owners"));
    attributes(&root.join("attributes"));
    let mut deep = root.join("deep");
    for level in 0..14 {
        deep.push(format!("level {level}"));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "bottom").unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::create_dir(root.join("many")).unwrap();
    for number in 0..2500 {
        let name = format!("an entry of some length, number {number}");
        fs::write(root.join("many").join(name), number.to_string()).unwrap();
    }
}

fn contents(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let mut random = Random(42);
    let text: Vec<u8> = (0..600_000_u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_string().into_bytes())
        .collect();
    let kib = 1024;
    for size in [
        0,
        1,
        100,
        4 * kib - 1,
        4 * kib,
        4 * kib + 1,
        128 * kib - 1,
        128 * kib,
        128 * kib + 1,
        1024 * kib - 1,
        1024 * kib,
        1024 * kib + 1,
        3000 * kib + 77,
    ] {
        fs::write(dir.join(format!("text-{size}")), &text[..size]).unwrap();
    }
    fs::write(dir.join("noise"), random.bytes(700 * kib + 13)).unwrap();
    fs::write(dir.join("zeros"), vec![0; 600 * kib + 1]).unwrap();
    fs::copy(dir.join("text-131073"), dir.join("duplicate")).unwrap();
    for number in 0..200 {
        let start = random.below(100_000) as usize;
        let len = random.below(9000) as usize;
        fs::write(
            dir.join(format!("small-{number}")),
            &text[start..start + len],
        )
        .unwrap();
    }
    let mut sparse = File::create(dir.join("sparse")).unwrap();
    for offset in [0, 900, 2500, 2501] {
        sparse
            .seek(SeekFrom::Start(offset * kib as u64 + 10))
            .unwrap();
        sparse.write_all(b"an island").unwrap();
    }
    sparse.set_len(3 * 1024 * kib as u64 + 5).unwrap();
    // With small blocks its list of sizes goes over several metadata blocks.
    let hole = File::create(dir.join("hole")).unwrap();
    hole.set_len((70 << 20) + 3).unwrap();
    fs::hard_link(dir.join("text-100"), dir.join("link-1")).unwrap();
    fs::hard_link(dir.join("text-100"), dir.join("link-2")).unwrap();
}

fn names(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for byte in (1..=255_u8).filter(|byte| *byte != b'/') {
        let one = [byte];
        if byte != b'.' {
            fs::write(dir.join(std::ffi::OsStr::from_bytes(&one)), one).unwrap();
        }
        let three = [b'x', byte, b'y'];
        fs::write(dir.join(std::ffi::OsStr::from_bytes(&three)), three).unwrap();
    }
    fs::write(dir.join("n".repeat(255)), "longest").unwrap();
    fs::write(dir.join("..."), "not a parent").unwrap();
}

fn kinds(dir: &Path) {
    fs::create_dir(dir).unwrap();
    symlink("target", dir.join("symlink")).unwrap();
    symlink("../content/text-100", dir.join("relative")).unwrap();
    symlink("t".repeat(4000), dir.join("long-symlink")).unwrap();
    fs::hard_link(dir.join("symlink"), dir.join("symlink-again")).unwrap();
    rustix::fs::mknodat(
        CWD,
        dir.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    drop(UnixListener::bind(dir.join("socket")).unwrap());
    if require::is_root() {
        for (name, kind, major, minor) in [
            ("block", FileType::BlockDevice, 259, 70_000),
            ("char", FileType::CharacterDevice, 1, 3),
        ] {
            rustix::fs::mknodat(
                CWD,
                dir.join(name),
                kind,
                Mode::from_raw_mode(0o600),
                rustix::fs::makedev(major, minor),
            )
            .unwrap();
        }
        fs::hard_link(dir.join("char"), dir.join("char-again")).unwrap();
    }
}

fn owners(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for (number, mode) in [0o000, 0o444, 0o755, 0o4755, 0o2755, 0o1777, 0o7777]
        .into_iter()
        .enumerate()
    {
        let path = dir.join(format!("mode-{mode:o}"));
        fs::write(&path, "mode").unwrap();
        if require::is_root() {
            let id = number as u32 * 70_001;
            std::os::unix::fs::lchown(&path, Some(id), Some(id / 2)).unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for seconds in [0, 1, 0x7FFF_FFFF, 0xFFFF_FFFE_i64] {
        let path = dir.join(format!("time-{seconds}"));
        fs::create_dir(&path).unwrap();
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 999,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    }
}

/// Attributes only where the file system under the temporary directory takes them.
fn attributes(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).is_ok()
    };
    for number in 0..40 {
        let path = dir.join(format!("file-{number}"));
        fs::write(&path, "attributes").unwrap();
        if !set(&path, "user.number", number.to_string().as_bytes()) {
            require::skip("no user attributes under the temporary directory");
            return;
        }
        // The same long value many times is stored once.
        set(&path, "user.shared", &[b'v'; 3000]);
        set(&path, "user.empty", b"");
        set(&path, "trusted.private", b"for root");
        set(&path, "security.example", b"\0\x01\xff");
    }
    let inner = dir.join("directory");
    fs::create_dir(&inner).unwrap();
    set(&inner, "user.of-directory", b"yes");
    symlink("x", dir.join("link")).unwrap();
    set(&dir.join("link"), "trusted.of-link", b"yes");
    for kind in ["fifo", "char"] {
        let path = dir.join(kind);
        let (kind, device) = match kind {
            "fifo" => (FileType::Fifo, 0),
            _ => (FileType::CharacterDevice, rustix::fs::makedev(5, 0)),
        };
        if rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o600), device).is_ok() {
            set(&path, "trusted.of-node", b"yes");
        }
    }
}

/// Packs `source` with mksquashfs.
pub(crate) fn pack(source: &Path, options: &[&str]) -> Image {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.squashfs");
    let output = Command::new("mksquashfs")
        .arg(source)
        .arg(&path)
        .args(["-no-progress", "-noappend", "-quiet"])
        .args(options)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "mksquashfs {options:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Image { path, _dir: dir }
}

/// A packed image, removed when dropped.
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    _dir: TempDir,
}

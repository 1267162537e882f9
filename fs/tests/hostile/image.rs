//! A small image with something of everything.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

/// Metadata as it is, so that single fields can be changed.
pub(crate) const STORED: &[&str] = &["-noI", "-noX", "-noId", "-b", "4K"];

/// What is flipped at random.
pub(crate) const PACKINGS: &[&[&str]] = &[
    STORED,
    &["-comp", "gzip", "-b", "4K"],
    &["-comp", "zstd", "-b", "64K", "-Xcompression-level", "3"],
    &["-comp", "xz", "-b", "1M"],
    &["-comp", "lz4", "-b", "16K"],
    &["-comp", "lzo", "-b", "16K"],
    &["-noI", "-noD", "-noF", "-noX", "-no-exports"],
];

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn fill(root: &Path) {
    fs::create_dir_all(root.join("deep/er/est")).unwrap();
    fs::create_dir(root.join("content")).unwrap();
    let text: String = (0..9000).map(|number| number.to_string()).collect();
    for len in [0, 10, 4096, 5000, 30_000] {
        fs::write(root.join(format!("content/file-{len}")), &text[..len]).unwrap();
    }
    fs::write(root.join("content/zeros"), vec![0; 20_000]).unwrap();
    fs::hard_link(root.join("content/file-10"), root.join("hard-link")).unwrap();
    fs::write(root.join("unmistakable"), "x").unwrap();
    symlink("content/file-10", root.join("symlink")).unwrap();
    fs::create_dir(root.join("many")).unwrap();
    for number in 0..33 {
        // Long names make it a directory with an index.
        let name = format!("{number:04}{}", "n".repeat(240));
        fs::write(root.join("many").join(name), "").unwrap();
    }
    for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(CWD, root.join(name), kind, mode, 0).unwrap();
    }
    for number in 0..4 {
        let path = root.join(format!("content/file-{}", [0, 10, 4096, 5000][number]));
        for (name, value) in [("user.one", &b"1"[..]), ("user.long", &[b'l'; 600])] {
            // Not every file system takes attributes; the images are fine without.
            rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()).unwrap_or_default();
        }
    }
}

/// The image's bytes; `None` (and a word) where mksquashfs is missing.
pub(crate) fn pack(options: &[&str]) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fill(&source);
    let image = dir.path().join("image");
    let Ok(output) = Command::new("mksquashfs")
        .arg(&source)
        .arg(&image)
        .args(["-quiet", "-no-progress", "-nopad"])
        .args(options)
        .output()
    else {
        eprintln!("SKIP: mksquashfs is not installed");
        let strict = std::env::var_os("SKIFF_TEST_STRICT");
        assert!(strict.is_none_or(|strict| strict != "1"), "mksquashfs");
        return None;
    };
    assert!(output.status.success(), "{options:?}");
    Some(fs::read(image).unwrap())
}

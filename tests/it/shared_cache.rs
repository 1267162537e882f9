//! The node's cache, end to end: servers killed in the middle of their work, damaged files, disks
//! that are full or fail, other users. Whatever happens to it, programs get the right bytes.

mod damage;
mod disks;
mod kills;
mod users;

pub(crate) use disks::Disk;

use std::path::Path;

use skiff_tests::snapshot::digest;
use skiff_tests::web::{Content, Place, Server, Site};

use crate::remote::python_sif;

/// A server with the image on it.
pub(crate) fn serve() -> (Server, String) {
    let server = Server::start(Site::with(
        "/a.sif",
        Content::file(&python_sif()).expect("there"),
    ));
    let url = server.url("/a.sif");
    (server, url)
}

/// Some of the image's files, small and large, spread over it.
pub(crate) const FILES: &[&str] = &[
    "usr/bin/bash",
    "usr/bin/python3",
    "usr/bin/awk",
    "usr/bin/find",
    "usr/lib/x86_64-linux-gnu/libc.so.6",
    "usr/lib/x86_64-linux-gnu/libcrypto.so.3",
    "usr/lib/x86_64-linux-gnu/libsqlite3.so.0",
    "usr/lib/x86_64-linux-gnu/libgcrypt.so.20",
];

/// What `sha256sum` prints about [`FILES`] in the image.
pub(crate) fn wanted() -> String {
    let apptainer = skiff_tests::program::real_apptainer().expect("required");
    let sandbox = skiff_tests::image::images(apptainer).sandbox;
    let line = |path: &&str| {
        let (sum, _) = digest(&sandbox.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        format!("{sum}  /{path}\n")
    };
    FILES.iter().map(line).collect()
}

/// Prints the digests of [`FILES`].
pub(crate) fn read_all(place: &Place, url: &str) -> skiff_tests::command::Cmd {
    let mut cmd = place.exec(url, &["sha256sum"]);
    cmd.args(FILES.iter().map(|path| format!("/{path}")));
    cmd
}

/// How many rounds of something: `fallback`, or what the variable says.
pub(crate) fn rounds(variable: &str, fallback: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(fallback)
}

/// Bytes on disk of everything below `folder`.
pub(crate) fn on_disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => total += meta.blocks() * 512,
                // Gone in between.
                Err(_) => {}
            }
        }
    }
    total
}

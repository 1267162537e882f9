//! The cache's disk is small, gets full, and fails, on a file system of its own.

use std::path::{Path, PathBuf};

use skiff_tests::command::Cmd;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::web::Place;

use super::{read_all, serve, wanted};
use crate::faults::Reader;

/// A small file system in a file, mounted where the cache of `place` is.
pub(crate) struct Disk {
    mount: PathBuf,
}

impl Disk {
    pub(crate) fn new(place: &Place, mebibytes: u64) -> Self {
        let file = place.folder.join("disk");
        let mount = place.cache();
        std::fs::File::create(&file)
            .and_then(|file| file.set_len(mebibytes << 20))
            .expect("room");
        std::fs::create_dir(&mount).expect("fresh");
        let run = |cmd: &mut Cmd| cmd.run().expect_success("a small file system");
        run(Cmd::new("/sbin/mkfs.ext4")
            .args(["-q", "-m", "0"])
            .arg(&file));
        run(Cmd::new("/bin/mount")
            .args(["-o", "loop"])
            .args([&file, &mount]));
        ordinary().own(&mount);
        Self { mount }
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.mount.join("filler")).expect("a name");
        for size in [1 << 20, 4096, 1] {
            let piece = vec![1; size];
            while file.write_all(&piece).is_ok() {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Those who have files there open leave in a moment.
        Cmd::new("/bin/umount").arg("-l").arg(&self.mount).run();
    }
}

fn right(outcome: skiff_tests::command::Outcome, what: &str) {
    let outcome = outcome.expect_success(what);
    assert_eq!(outcome.stdout_text(), wanted(), "{what}");
}

#[test]
fn a_disk_that_is_too_small() {
    require!("small cache disk"; Skiff, Apptainer, Fuse, UserNamespaces, Loop);
    let (server, url) = serve();
    let place = Place::new("small-disk");
    let _disk = Disk::new(&place, 4);
    for round in 0..2 {
        right(read_all(&place, &url).run(), &format!("round {round}"));
    }
    assert!(server.log().data_bytes() > 0);
    place.wait_for_the_end();
}

#[test]
fn a_disk_gets_full_in_the_middle() {
    require!("full cache disk"; Skiff, Apptainer, Fuse, UserNamespaces, Loop);
    let (_server, url) = serve();
    let place = Place::new("full-disk");
    let disk = Disk::new(&place, 64);
    let reader = reader(&place, &url);
    disk.fill();
    finish(reader, &place, "full in the middle");
    // And from the start: nothing can be made there any more.
    place.wait_for_the_end();
    for file in place.cache_files() {
        if !file.ends_with("filler") {
            std::fs::remove_file(file).ok();
        }
    }
    disk.fill();
    right(read_all(&place, &url).run(), "full from the start");
    place.wait_for_the_end();
}

#[test]
fn a_disk_fails_in_the_middle() {
    require!("failing cache disk"; Skiff, Apptainer, Fuse, UserNamespaces, Loop);
    let (_server, url) = serve();
    let place = Place::new("failing-disk");
    let disk = Disk::new(&place, 64);
    let reader = reader(&place, &url);
    // What ext4 does by itself when its disk fails: read-only from now on, whoever has files open.
    Cmd::new("/bin/mount")
        .args(["-o", "remount,abort"])
        .arg(&disk.mount)
        .run();
    let probe = std::fs::write(disk.mount.join("probe"), "x");
    assert!(probe.is_err(), "the file system can still be written");
    finish(reader, &place, "read-only in the middle");
    place.wait_for_the_end();
    right(read_all(&place, &url).run(), "read-only from the start");
    place.wait_for_the_end();
}

fn reader(place: &Place, url: &str) -> Reader {
    Reader::start(place.skiff(&["exec", url]))
}

fn finish(reader: Reader, place: &Place, what: &str) {
    let image: &Path = &crate::remote::python_sif();
    let files: Vec<_> = crate::faults::EARLY
        .iter()
        .chain(crate::faults::LATE)
        .copied()
        .collect();
    let wanted = crate::faults::digests(place, image.to_str().expect("plain"), &files);
    let outcome = reader.go_on().expect_success(what);
    assert_eq!(outcome.stdout_text(), wanted, "{what}");
}

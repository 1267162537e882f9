//! Disks that are full, read-only or gone, and processes that may open nothing more.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};

use crate::child::{Job, Running, is_root, until};
use crate::origin::{Origin, Random};

/// A file system in a file; unmounted in the end.
#[derive(Debug)]
struct Disk(PathBuf);

impl Disk {
    fn new(dir: &Path) -> Option<Self> {
        let image = dir.join("image");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
        let at = dir.join("cache");
        std::fs::create_dir(&at).unwrap();
        let ran = |command: &mut Command| command.output().is_ok_and(|run| run.status.success());
        let made = ran(Command::new("mkfs.ext4")
            .args(["-q", "-O", "^has_journal", "-m", "0"])
            .arg(&image))
            && ran(Command::new("mount")
                .args(["-o", "loop,errors=remount-ro"])
                .arg(&image)
                .arg(&at));
        made.then_some(Self(at))
    }

    /// Takes all that is free.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 20, 4096, 1] {
            let piece = vec![1; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// Makes it read-only while files are open, as an error of the disk does; `false` where that
    /// cannot be had.
    fn fail(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let place = self.0.to_str().unwrap();
        let fields = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let device = fields
            .rev()
            .find(|fields| fields.get(1) == Some(&place))
            .unwrap()[0]
            .to_owned();
        let name = device.trim_start_matches("/dev/");
        std::fs::write(
            format!("/sys/fs/ext4/{name}/trigger_fs_error"),
            "skiff test",
        )
        .is_ok()
    }

    fn unmount(&self) {
        let _gone_already = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Processes that have the cache open.
fn readers(job: &Job) -> Vec<Running> {
    let start = |number| {
        Job {
            number,
            ..job.clone()
        }
        .start()
    };
    let readers = (0..3).map(start).collect();
    for number in 0..3 {
        let ready = job.dir.join(format!("ready.{number}"));
        until("it opens the cache", || ready.exists());
    }
    readers
}

#[test]
fn a_disk_that_fills_up_and_vanishes() {
    let dir = tempfile::tempdir().unwrap();
    let disk = if is_root() {
        Disk::new(dir.path())
    } else {
        None
    };
    let Some(disk) = disk else {
        eprintln!("SKIP: needs root, mkfs.ext4 and loop devices");
        return;
    };
    let job = Job::new("churn", dir.path(), 0).with_quota(3 << 20);
    let running = readers(&job);
    let pause = || std::thread::sleep(Duration::from_millis(400));
    pause();
    disk.fill();
    pause();
    if !disk.fail() {
        eprintln!("SKIP: a disk that becomes read-only");
    }
    pause();
    let fresh = Job {
        number: 50,
        ..job.clone()
    };
    let late = Job {
        role: "starved".into(),
        ..fresh
    }
    .start();
    late.finish();
    disk.unmount();
    pause();
    job.end();
    running.into_iter().for_each(Running::finish);
}

#[test]
fn a_directory_that_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let job = Job::new("churn", dir.path(), 0).with_quota(1 << 20);
    let running = readers(&job);
    for round in 0..10 {
        std::thread::sleep(Duration::from_millis(60));
        let path = if round < 8 {
            job.cache_dir().join("blobs")
        } else {
            job.cache_dir()
        };
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let _may_be_gone = std::fs::remove_file(entry.path());
        }
        // It may not be empty any more.
        let _next_time = std::fs::remove_dir_all(&path);
    }
    job.end();
    running.into_iter().for_each(Running::finish);
}

/// Reads with a blob that it opened before, or cannot open, and no file more.
pub(crate) fn starved(job: &Job) {
    let origin = Origin::new(0, (2 << 20) + 777);
    let cache = skiff_cache::disk::Cache::open(&job.cache_dir(), job.limits());
    let blob = cache.and_then(|cache| cache.blob(&origin.key(), &origin.about()));
    let limit = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    let Ok(blob) = blob else {
        return;
    };
    let mut random = Random(job.number);
    for _ in 0..200 {
        let range = origin.range(100_000, &mut random);
        origin.read(&blob, &range, &mut random);
    }
}

#[test]
fn no_file_can_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let job = Job::new("starved", dir.path(), 3);
    job.start().finish();
}

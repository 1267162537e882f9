//! Two users of a node.

use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_cache::disk::Cache;

use crate::child::{Job, Running, is_root};
use crate::origin::{Origin, Random};

const FIRST: u32 = 54_242;
const SECOND: u32 = 65_534;
const SIZE: u64 = 300_000;

/// A directory that both can enter, and this program where both can run it.
struct Node {
    dir: tempfile::TempDir,
    program: PathBuf,
}

impl Node {
    fn new() -> Option<Self> {
        if !is_root() {
            eprintln!("SKIP: needs root to act as two users");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o755);
        let program = dir.path().join("program");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        set_mode(&program, 0o755);
        Some(Self { dir, program })
    }

    /// A directory of a user.
    fn directory(&self, name: &str, owner: u32, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        set_mode(&path, mode);
        path
    }

    fn run(&self, role: &str, dir: &Path, number: u64, user: u32, temporary: &Path) {
        let mut command = Job::new(role, dir, number).command(&self.program);
        command
            .uid(user)
            .gid(user)
            .env("TMPDIR", temporary)
            .current_dir("/");
        for name in [
            "SKIFF_CACHE_DIR",
            "APPTAINER_CACHEDIR",
            "SINGULARITY_CACHEDIR",
        ] {
            command.env_remove(name);
        }
        // Whoever forks while the copy is being written holds it open for a moment.
        let mut started = command.spawn();
        while started
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy)
        {
            std::thread::sleep(Duration::from_millis(5));
            started = command.spawn();
        }
        Running(started.unwrap()).finish();
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn origin() -> Origin {
    Origin::new(1, SIZE)
}

/// Fills the first half of a blob.
pub(crate) fn make(job: &Job) {
    let blob = origin().open(&job.cache());
    blob.fill(0..SIZE / 2, &origin()).unwrap();
    assert!(blob.read_cached(&mut [0; 100], 0));
}

/// Tries to get at a directory of somebody else.
pub(crate) fn spy(job: &Job) {
    let dir = job.cache_dir();
    assert!(std::fs::read_dir(&dir).is_err() && std::fs::read_dir(dir.join("blobs")).is_err());
    let stem = origin().key().stem();
    for name in [
        "usage".to_owned(),
        format!("blobs/{stem}.data"),
        format!("blobs/{stem}.about"),
    ] {
        assert!(std::fs::read(dir.join(&name)).is_err(), "{name}");
        assert!(
            std::fs::write(dir.join(&name), b"poison").is_err(),
            "{name}"
        );
    }
    assert!(std::fs::write(dir.join("blobs/new"), b"").is_err());
    if let Ok(cache) = Cache::open(&dir, job.limits()) {
        assert!(!cache.is_writable());
        assert!(cache.find(&origin().key()).is_none());
        assert!(cache.blob(&origin().key(), &origin().about()).is_err());
        assert!(cache.list().map_or(true, |list| list.is_empty()));
    }
}

#[test]
fn a_private_cache_is_private() {
    let Some(node) = Node::new() else {
        return;
    };
    let home = node.directory("home", FIRST, 0o755);
    node.run("make", &home, 0, FIRST, &home);
    node.run("spy", &home, 0, SECOND, &home);
}

/// Looks for a place of its own; with a number, it is the one that would be natural.
pub(crate) fn place(job: &Job) {
    let natural = job.dir.join(format!(
        "skiff-cache-{}",
        rustix::process::geteuid().as_raw()
    ));
    let Ok(dir) = Cache::default_dir() else {
        assert_eq!(job.number, 0, "there was none");
        return;
    };
    assert_eq!(dir == natural, job.number == 1, "{}", dir.display());
    let cache = Cache::open(&dir, job.limits()).unwrap();
    assert!(cache.is_writable());
    // Made for this test alone, unless it was there before.
    for name in ["blobs", "notes", "."] {
        let _was_there = std::fs::remove_dir(dir.join(name));
    }
    let _was_there = std::fs::remove_dir(&dir);
}

#[test]
fn a_squatted_place_is_passed_over() {
    let Some(node) = Node::new() else {
        return;
    };
    let squat = |name: &str, mode: u32| {
        let parent = node.directory(name, 0, mode);
        (parent.join(format!("skiff-cache-{FIRST}")), parent)
    };
    let (_, free) = squat("free", 0o1777);
    node.run("place", &free, 1, FIRST, &free);
    // Another's directory.
    let (place, parent) = squat("theirs", 0o1777);
    std::fs::DirBuilder::new()
        .mode(0o755)
        .create(&place)
        .unwrap();
    chown(&place, Some(SECOND), Some(SECOND)).unwrap();
    node.run("place", &parent, 0, FIRST, &parent);
    // A link to a directory of one's own.
    let own = node.directory("own", FIRST, 0o700);
    let (place, parent) = squat("link", 0o1777);
    symlink(&own, &place).unwrap();
    node.run("place", &parent, 0, FIRST, &parent);
    // Where anybody can put something else in its place.
    let (_, parent) = squat("loose", 0o777);
    node.run("place", &parent, 0, FIRST, &parent);
    let parent = node.directory("foreign", SECOND, 0o1777);
    node.run("place", &parent, 0, FIRST, &parent);
}

/// Reads another user's shared cache, and is told by a number whether there is something to find.
pub(crate) fn share(job: &Job) {
    let opened = Cache::open(&job.cache_dir(), job.limits());
    if job.number == 2 {
        assert!(opened.is_err(), "others can write to it");
        return;
    }
    let cache = opened.unwrap();
    assert!(!cache.is_writable());
    assert!(cache.pin(&origin().key()).is_err() && cache.remove(&origin().key()).is_err());
    assert!(cache.gc(Some(0)).is_err());
    let found = cache.find(&origin().key());
    assert_eq!(found.is_some(), job.number == 1, "found");
    let Some(blob) = found else {
        return;
    };
    let mut buf = [0; 50_000];
    assert!(blob.read_cached(&mut buf, 1000));
    assert!(buf[..] == origin().bytes(&(1000..51_000)));
    let mut random = Random(3);
    for _ in 0..50 {
        let range = origin().range(100_000, &mut random);
        origin().read(&blob, &range, &mut random);
    }
    assert!(
        !blob.read_cached(&mut buf, SIZE - 50_000),
        "nothing was kept"
    );
}

#[test]
fn a_shared_cache_is_read_and_never_written() {
    let Some(node) = Node::new() else {
        return;
    };
    let parent = node.directory("service", FIRST, 0o755);
    let cache = node.directory("service/cache", FIRST, 0o755);
    node.run("make", &parent, 0, FIRST, &parent);
    let read = |number: u64| node.run("share", &parent, number, SECOND, &parent);
    read(1);
    let stem = origin().key().stem();
    for extension in ["data", "index", "about"] {
        let path = cache.join(format!("blobs/{stem}.{extension}"));
        for owner in [SECOND, 0] {
            chown(&path, Some(owner), None).unwrap();
            read(0);
        }
        chown(&path, Some(FIRST), None).unwrap();
        for mode in [0o666, 0o664] {
            set_mode(&path, mode);
            read(0);
        }
        set_mode(&path, 0o644);
        read(1);
    }
    for mode in [0o775, 0o757, 0o1777] {
        set_mode(&cache, mode);
        read(2);
    }
    set_mode(&cache, 0o700);
    node.run("spy", &parent, 0, SECOND, &parent);
    // Its owner makes good what was tampered with.
    set_mode(&cache, 0o755);
    chown(cache.join(format!("blobs/{stem}.data")), Some(SECOND), None).unwrap();
    node.run("make", &parent, 0, FIRST, &parent);
    read(1);
}

//! The server is killed again and again while programs read, map and start programs from the image:
//! they notice nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skiff_tests::image::images;
use skiff_tests::processes::{Process, servers};
use skiff_tests::program;
use skiff_tests::reading::Random;
use skiff_tests::require;
use skiff_tests::snapshot::digest;
use skiff_tests::user::ordinary;
use skiff_tests::userland::libraries_of;

/// How often the server dies.
const KILLS: usize = 50;

/// How long that may take: a server that keeps dying is started again with ever longer pauses.
const LIMIT: Duration = Duration::from_secs(150);

/// Programs that answer `--version` and read little of the image in doing so.
const PROGRAMS: &[&str] = &[
    "bash", "cat", "ls", "grep", "sed", "find", "sort", "python3",
];

#[test]
fn fifty_deaths_of_the_server() {
    require!("server killed"; Skiff, Apptainer, Fuse, UserNamespaces, Resend);
    let images = images(program::real_apptainer().expect("required"));
    let user = ordinary();
    let folder = PathBuf::from(format!("/tmp/skiff-crash-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("fresh");
    let image = folder.join("own.sif");
    std::fs::copy(&images.zstd_sif, &image).expect("room");
    let probe = folder.join("probe");
    std::fs::copy(program::probe(env!("CARGO_BIN_EXE_skiff-probe")), &probe).expect("room");
    // The image has the libraries of its own programs only.
    for library in libraries_of(&probe) {
        let name = library.file_name().expect("a library has a name");
        std::fs::copy(&library, folder.join(name)).expect("room");
    }
    write_sums(&images.sandbox, &folder);
    for path in [&folder, &image, &probe] {
        user.own(path);
    }

    let ways = [
        ("read", "files"),
        ("read", "files"),
        ("mmap", "files"),
        ("exec", "programs"),
    ];
    let mut children: Vec<_> = ways
        .iter()
        .map(|(way, list)| {
            user.command(program::skiff().expect("required").called("skiff"))
                .cwd("/")
                .env("SKIFF_LINGER", "2")
                .env("SKIFF_RUNTIME_DIR", folder.join("run"))
                .args(["exec", "--env", "LD_LIBRARY_PATH=/mnt", "-B"])
                .arg(format!("{}:/mnt", folder.display()))
                .arg(&image)
                .args(["/mnt/probe", "soak", way, "/"])
                .arg(format!("/mnt/{list}"))
                .arg("/mnt/stop")
                .start()
        })
        .collect();

    let begin = Instant::now();
    let running = || {
        let entries = std::fs::read_dir(&folder).expect("ours").flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("stop."))
            .count()
    };
    while running() < ways.len()
        && children
            .iter_mut()
            .all(|child| matches!(child.try_wait(), Ok(None)))
    {
        assert!(begin.elapsed() < LIMIT, "the programs do not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut random = Random::new(50);
    let mut dead: Vec<Process> = Vec::new();
    let mut holders = Vec::new();
    while dead.len() < KILLS {
        assert!(begin.elapsed() < LIMIT, "only {} kills in time", dead.len());
        // Whoever ended this early has something to say, below.
        if children
            .iter_mut()
            .any(|child| !matches!(child.try_wait(), Ok(None)))
        {
            break;
        }
        let found = servers(&image);
        assert!(found.len() <= 1, "two servers: {found:?}");
        let Some(server) = found.into_iter().find(|server| !dead.contains(server)) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        // Now at once, now in the middle of its work.
        std::thread::sleep(Duration::from_millis(random.below(300)));
        kill(server.pid);
        holders.push(server.parent);
        dead.push(server);
    }
    // They go on a while with the last server.
    std::thread::sleep(Duration::from_secs(2));
    std::fs::write(folder.join("stop"), "").expect("room");
    for (child, (way, _)) in children.into_iter().zip(ways) {
        let output = child.wait_with_output().expect("it was started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "the program that did {way} saw it: {} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let checked: u64 = text
            .split_whitespace()
            .rev()
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("{way}: {text}"));
        assert!(checked > 20, "{way} got only {text}");
    }
    holders.dedup();
    assert_eq!(holders.len(), 1, "the holder changed: {holders:?}");
    assert_eq!(dead.len(), KILLS);
    std::fs::remove_dir_all(&folder).expect("ours");
}

/// `files`: digests of some of the image's larger files; `programs`: of those to start.
fn write_sums(sandbox: &Path, folder: &Path) {
    let line = |path: &str| {
        let (sum, _) = digest(&sandbox.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        format!("{sum}  {path}\n")
    };
    let programs: String = PROGRAMS
        .iter()
        .map(|name| line(&format!("usr/bin/{name}")))
        .collect();
    let mut files = programs.clone();
    let mut folders = vec![sandbox.join("usr/lib")];
    let mut count = 0;
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a sandbox").flatten() {
            let path = entry.path();
            let meta = path.symlink_metadata().expect("listed");
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_file() && meta.len() > 60_000 && count < 80 {
                let below = path.strip_prefix(sandbox).expect("below it");
                files.push_str(&line(&below.display().to_string()));
                count += 1;
            }
        }
    }
    std::fs::write(folder.join("programs"), programs).expect("room");
    std::fs::write(folder.join("files"), files).expect("room");
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
}

//! Builds and pulls that are killed, interrupted or run out of space at any moment: what was there
//! under the name stays or is replaced as a whole, and the next one clears up.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use skiff_tests::command::{Cmd, kill_group, wait};
use skiff_tests::image::{digest, keep};
use skiff_tests::oci::{OciImage, Packing, archive, push};
use skiff_tests::program;
use skiff_tests::reading::Random;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::userland::lay_out;
use skiff_tests::web::daemon::{Access, Daemon, registry};

/// What is under the name before.
const OLD: &[u8] = b"the image of yesterday";

/// How often each command is stopped, unless `SKIFF_TEST_KILLS` says otherwise.
const STOPS: usize = 8;

/// A user's folder, a registry, and an image in it.
struct Place {
    folder: PathBuf,
    layout: PathBuf,
    registry: Daemon,
}

/// A layout of two layers: programs, and some data that takes time to pack.
fn layout() -> PathBuf {
    let key = digest(&[
        include_str!("../src/oci.rs"),
        include_str!("../src/userland.rs"),
    ]);
    keep(&format!("interrupted-{key}"), |folder| {
        let root = folder.join("root");
        lay_out(&root);
        archive(&root, &folder.join("programs.tar"));
        let data = folder.join("data/data");
        std::fs::create_dir_all(&data).expect("room");
        let mut random = Random::new(7);
        for number in 0..40 {
            // Compresses by half.
            let bytes: Vec<u8> = (0..500_000)
                .map(|_| (random.below(256) & 0x0f) as u8)
                .collect();
            std::fs::write(data.join(number.to_string()), bytes).expect("room");
        }
        archive(&folder.join("data"), &folder.join("data.tar"));
        let image = OciImage {
            layers: vec![
                (folder.join("programs.tar"), Packing::Gzip),
                (folder.join("data.tar"), Packing::Gzip),
            ],
            config: serde_json::json!({"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["true"]}),
        };
        image.layout(&folder.join("layout"));
        for part in ["root", "data"] {
            std::fs::remove_dir_all(folder.join(part)).expect("ours");
        }
        Cmd::new("/bin/chmod")
            .args(["-R", "a+rX"])
            .arg(folder)
            .run()
            .expect_success("chmod");
    })
    .join("layout")
}

impl Place {
    fn new(name: &str) -> Self {
        let layout = layout();
        let folder = PathBuf::from(format!(
            "/var/tmp/skiff-interrupted-{name}-{}",
            std::process::id()
        ));
        std::fs::create_dir(&folder).expect("fresh");
        ordinary().own(&folder);
        let registry = registry(&folder.join("registry"), Access::Open);
        push(&layout, &registry, "lab/image:1");
        let place = Self {
            folder,
            layout,
            registry,
        };
        place.fresh("tmp");
        place.fresh("out");
        let definition = format!(
            "Bootstrap: oci\nFrom: {}\n\n%setup\n    true\n\n%files\n    /etc/hosts /opt/hosts\n\n\
             %post\n    mkdir -p /opt/made\n    head -c 3000000 /dev/urandom >/opt/made/bytes\n    \
             sleep 0.2\n    cp /opt/made/bytes /opt/made/again\n\n%test\n    test -e /opt/made/again\n",
            place.layout.display()
        );
        std::fs::write(place.folder.join("image.def"), definition).expect("room");
        place
    }

    /// An empty folder of the user's.
    fn fresh(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).expect("room");
        ordinary().own(&folder);
        folder
    }

    fn skiff(&self, words: &[&str]) -> Cmd {
        let mut cmd = ordinary().command(program::skiff().expect("required").called("apptainer"));
        cmd.args(words)
            .cwd(&self.folder)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("TMPDIR", self.folder.join("tmp"))
            .env("SKIFF_CACHE_DIR", self.folder.join("cache"))
            .env("SKIFF_LINGER", "0")
            .limit(Duration::from_secs(120));
        cmd
    }

    /// The commands that are stopped; each writes `target`.
    fn commands(&self, target: &str) -> Vec<(&'static str, Vec<String>)> {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let oci = format!("oci:{}", self.layout.display());
        let docker = format!("docker://{}/lab/image:1", self.registry.host());
        vec![
            ("build from OCI", words(&["build", "-F", target, &oci])),
            (
                "pull",
                words(&[
                    "pull",
                    "-F",
                    "--no-https",
                    "--disable-cache",
                    target,
                    &docker,
                ]),
            ),
            (
                "definition file",
                words(&["build", "-F", "--fakeroot", target, "image.def"]),
            ),
        ]
    }

    fn names_in(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.folder.join(folder))
            .expect("there")
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Left over, it only takes room.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn stops() -> usize {
    let wanted = std::env::var("SKIFF_TEST_KILLS").ok();
    wanted.map_or(STOPS, |text| text.parse().expect("a number"))
}

fn is_whole(place: &Place, target: &Path) -> bool {
    let run = place
        .skiff(&["exec", &target.display().to_string(), "cat", "/data/39"])
        .run();
    run.success() && run.stdout.len() == 500_000
}

#[test]
fn killed_and_interrupted_at_any_moment() {
    require!("stopped builds"; Root, Skiff, Fuse, UserNamespaces, Subuids, Registry, Skopeo);
    let place = Place::new("stopped");
    let target = place.folder.join("out/image.sif");
    let mut random = Random::new(std::process::id().into());
    for (what, words) in place.commands("out/image.sif") {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let begin = Instant::now();
        place.skiff(&words).run().expect_success(what);
        let whole = begin.elapsed();
        assert!(is_whole(&place, &target), "{what}");
        for number in 0..stops() {
            std::fs::write(&target, OLD).expect("room");
            ordinary().own(&target);
            let after = whole.mul_f64(random.below(1100) as f64 / 1000.0);
            let mut child = place.skiff(&words).start();
            std::thread::sleep(after);
            let signal = [Signal::KILL, Signal::INT][number % 2];
            let pid = Pid::from_raw(i32::try_from(child.id()).expect("small")).expect("not 0");
            // It may have ended before.
            kill_process(pid, signal).ok();
            let ended = wait(&mut child, Instant::now() + Duration::from_secs(60));
            if ended.is_none() {
                kill_group(&child);
            }
            let ended =
                ended.unwrap_or_else(|| panic!("{what}: {signal:?} after {after:?}: runs on"));
            let there = std::fs::read(&target).expect("something is there");
            assert!(
                there == OLD || is_whole(&place, &target),
                "{what}: {signal:?} after {after:?} of {whole:?}: {ended}, {} bytes",
                there.len()
            );
            if signal == Signal::INT {
                assert_eq!(
                    place.names_in("out"),
                    ["image.sif"],
                    "{what}: interrupted after {after:?}"
                );
            }
        }
        // The next one makes it, and clears up what the killed ones left.
        place.skiff(&words).run().expect_success(what);
        assert!(is_whole(&place, &target), "{what}");
        assert_eq!(place.names_in("out"), ["image.sif"], "{what}");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !place.names_in("tmp").is_empty() {
            let left = place.names_in("tmp");
            assert!(Instant::now() < deadline, "{what} left {left:?} in TMPDIR");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A disk that is full: one line, and everything as before.
#[test]
fn no_space() {
    require!("full disks"; Root, Skiff, Fuse, UserNamespaces, Subuids, Registry, Skopeo);
    let place = Place::new("full");
    let small = place.fresh("small");
    for kib in [200, 2000, 7000] {
        Cmd::new("/bin/mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={kib}k,mode=1777"),
                "tmpfs",
            ])
            .arg(&small)
            .run()
            .expect_success("a small disk");
        let target = small.join("image.sif");
        std::fs::write(&target, OLD).expect("room for that");
        ordinary().own(&target);
        let mut seen = Vec::new();
        for (what, words) in place.commands("small/image.sif") {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let outcome = place.skiff(&words).run();
            seen.push((
                what,
                outcome,
                std::fs::read(&target),
                place.names_in("small"),
                place.names_in("tmp"),
            ));
            // The temporary directory on the same disk.
            let mut cmd = place.skiff(&words);
            let outcome = cmd.env("TMPDIR", &small).run();
            seen.push((
                what,
                outcome,
                std::fs::read(&target),
                place.names_in("small"),
                Vec::new(),
            ));
        }
        Cmd::new("/bin/umount")
            .arg(&small)
            .run()
            .expect_success("umount");
        for (what, outcome, there, names, left) in seen {
            assert_eq!(outcome.code(), Some(255), "{what}, {kib} KiB: {outcome}");
            let errors = outcome.stderr_text().to_lowercase();
            assert!(
                errors.contains("no space left"),
                "{what}, {kib} KiB: {outcome}"
            );
            assert!(!errors.contains("panicked"), "{what}, {kib} KiB: {outcome}");
            assert_eq!(there.expect("there"), OLD, "{what}, {kib} KiB");
            assert_eq!(names, ["image.sif"], "{what}, {kib} KiB");
            assert!(left.is_empty(), "{what}, {kib} KiB: {left:?}");
        }
    }
}

//! Many launches of one image: at once they share one server, one after another they leave nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skiff_tests::command::Cmd;
use skiff_tests::image::images;
use skiff_tests::processes::{descriptors, holding, servers};
use skiff_tests::program;
use skiff_tests::require;
use skiff_tests::user::ordinary;

/// A private copy of an image, whose servers are told from all others by it.
struct Own {
    folder: PathBuf,
    image: PathBuf,
}

impl Own {
    fn new(name: &str) -> Self {
        let user = ordinary();
        let folder = PathBuf::from(format!("/tmp/skiff-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("fresh");
        user.own(&folder);
        let image = folder.join("own.sif");
        let images = images(program::real_apptainer().expect("required"));
        std::fs::copy(&images.tiny_sif, &image).expect("room");
        user.own(&image);
        std::fs::write(folder.join("own.txt"), "bound\n").expect("room");
        Self { folder, image }
    }

    fn skiff(&self, args: &[&str]) -> Cmd {
        let mut cmd = ordinary().command(program::skiff().expect("required").called("skiff"));
        cmd.cwd("/")
            .env("SKIFF_LINGER", "1")
            .env("SKIFF_RUNTIME_DIR", self.folder.join("run"));
        cmd.arg("exec").arg(&self.image).args(args);
        cmd
    }

    /// Waits until nobody holds the image any more.
    fn wait_for_the_end(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holding(&self.image).is_empty() {
            assert!(
                Instant::now() < deadline,
                "still there: {:?}",
                holding(&self.image)
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Left over, it only takes room.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

#[test]
fn sixty_four_at_once_share_one_server() {
    require!("concurrent launches"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("many");
    for round in 0..3 {
        let children: Vec<_> = (0..64)
            .map(|_| own.skiff(&["cat", "/hello.txt", "-"]).stdin_open().start())
            .collect();
        // All of them run now or soon, and stay until their input ends.
        let mut children = children;
        let deadline = Instant::now() + Duration::from_secs(60);
        for child in &mut children {
            use std::io::Read;
            let mut line = [0; 6];
            child
                .stdout
                .as_mut()
                .expect("piped")
                .read_exact(&mut line)
                .unwrap_or_else(|error| {
                    let mut text = String::new();
                    if let Some(stderr) = child.stderr.as_mut() {
                        stderr.read_to_string(&mut text).ok();
                    }
                    panic!("a launch of round {round} said nothing: {error}: {text}")
                });
            assert_eq!(&line, b"hello\n");
            assert!(Instant::now() < deadline, "64 launches took too long");
        }
        let running = servers(&own.image);
        assert_eq!(running.len(), 1, "servers of one image: {running:?}");
        for mut child in children {
            drop(child.stdin.take());
            let output = child.wait_with_output().expect("it was started");
            assert!(output.status.success(), "round {round}: {output:?}");
        }
    }
    own.wait_for_the_end();
}

/// Launches that come while the server is new look up the same names for the first time, all at
/// once. Since Linux 6.16 the kernel shows such a name to others a moment before it counts as valid,
/// and whoever comes in that moment throws it away again, with a mount that has just been made there.
#[test]
fn first_launches_do_not_disturb_each_other() {
    require!("launches on new servers"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("first");
    for round in 0..60 {
        let children: Vec<_> = (0..6)
            .map(|_| {
                let mut cmd = own.skiff(&["cat", "/mnt/own.txt", "/hello.txt"]);
                cmd.env("SKIFF_LINGER", "0");
                cmd.env("SKIFF_RUNTIME_DIR", own.folder.join(format!("run-{round}")));
                cmd.env("APPTAINER_BIND", format!("{}:/mnt", own.folder.display()));
                cmd.start()
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().expect("it was started");
            assert!(
                output.status.success() && output.stdout == b"bound\nhello\n",
                "round {round}: {output:?}"
            );
        }
    }
    own.wait_for_the_end();
}

/// What could be left behind, apart from processes.
fn traces(own: &Own) -> BTreeSet<String> {
    let user = ordinary();
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc");
    let mut traces: BTreeSet<String> = mounts
        .lines()
        .filter(|line| line.contains(&own.folder.display().to_string()))
        .map(|line| format!("mount {line}"))
        .collect();
    let places = [
        PathBuf::from("/dev/shm"),
        own.folder.clone(),
        own.folder.join("run"),
        user.home.clone(),
        PathBuf::from(format!("/run/user/{}", user.uid)),
    ];
    for place in &places {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            // Where tests beside this one keep their sockets.
            let beside = entry.file_name().to_string_lossy().starts_with("skiff-");
            if !beside {
                traces.insert(format!("file {}", entry.path().display()));
            }
        }
    }
    // In the common temporary folders only what is the user's and says so.
    for place in ["/tmp", "/var/tmp"] {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            use std::os::unix::fs::MetadataExt;
            let path = entry.path();
            let own = path
                .symlink_metadata()
                .is_ok_and(|meta| meta.uid() == user.uid);
            // Folders of tests that run beside this one, and what Apptainer leaves in them.
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut others = ["skiff-", "overlay-", "build-temp-"].iter();
            let beside = others.any(|begin| name.starts_with(begin));
            if own && !beside {
                traces.insert(format!("file {}", path.display()));
            }
        }
    }
    traces
}

#[test]
fn a_thousand_in_sequence_leave_nothing() {
    require!("sequential launches"; Skiff, Apptainer, Fuse, UserNamespaces);
    let count: u32 = std::env::var("SKIFF_TEST_SEQUENTIAL")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1000);
    let own = Own::new("sequence");
    let before = traces(&own);
    let holder = |own: &Own| -> Option<i32> {
        holding(&own.image)
            .iter()
            .find(|process| process.name == "skiff-holder")
            .map(|p| p.pid)
    };
    let mut early = None;
    for round in 0..count {
        let outcome = own.skiff(&["cat", "/hello.txt"]).run();
        assert!(outcome.success(), "launch {round}: {outcome}");
        assert_eq!(outcome.stdout_text(), "hello\n", "launch {round}");
        if round == 20 {
            early = holder(&own).map(|pid| (pid, descriptors(pid)));
        }
    }
    if let (Some((pid, open)), Some(now)) = (early, holder(&own))
        && pid == now
    {
        let late = descriptors(pid);
        assert!(
            late <= open + 3,
            "the holder's descriptors went from {open} to {late}"
        );
    }
    own.wait_for_the_end();
    // The folder goes a moment after the process.
    std::thread::sleep(Duration::from_millis(300));
    let left: Vec<_> = traces(&own).difference(&before).cloned().collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
    assert!(
        !Path::new(&own.folder).join("run").exists(),
        "the runtime directory stayed"
    );
}

/// A program that ends by a signal, and one that is killed, count as ended.
#[test]
fn killed_programs_are_not_waited_for() {
    require!("killed launches"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("killed");
    let mut child = own.skiff(&["cat"]).stdin_open().start();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(servers(&own.image).len(), 1);
    child.kill().expect("ours");
    child.wait().expect("ours");
    own.wait_for_the_end();
}

/// The name of an image is not what a server is known by.
#[test]
fn an_image_that_changes_gets_a_new_server() {
    require!("changed image"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("changed");
    let first = own
        .skiff(&["ls", "/"])
        .run()
        .expect_success("the first image");
    assert!(first.stdout_text().contains("hello.txt"));
    let images = images(program::real_apptainer().expect("required"));
    let fresh = own.folder.join("fresh");
    std::fs::copy(&images.plain_sif, &fresh).expect("room");
    ordinary().own(&fresh);
    std::fs::rename(&fresh, &own.image).expect("same folder");
    let second = own
        .skiff(&["ls", "/"])
        .run()
        .expect_success("the second image");
    assert!(
        !second.stdout_text().contains("hello.txt"),
        "the old image was shown"
    );
    own.wait_for_the_end();
}

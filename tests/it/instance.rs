//! Instances through thick and thin: many starts and stops, races for a name, sudden deaths, records
//! that lie.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::image::images;
use skiff_tests::processes::{all, holding};
use skiff_tests::program;
use skiff_tests::require;
use skiff_tests::user::{User, ordinary};

/// A folder with everything of one test, and a private copy of an image in it, whose servers are
/// told from all others by it.
struct Own {
    folder: PathBuf,
    image: PathBuf,
    user: User,
}

impl Own {
    fn new(name: &str) -> Self {
        let user = ordinary().clone();
        let folder = PathBuf::from(format!("/tmp/skiff-inst-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("fresh");
        user.own(&folder);
        let image = folder.join("own.sif");
        let images = images(program::real_apptainer().expect("required"));
        std::fs::copy(&images.sif, &image).expect("room");
        user.own(&image);
        Self {
            folder,
            image,
            user,
        }
    }

    fn prepare(&self, cmd: &mut Cmd) {
        cmd.cwd("/tmp")
            .env("SKIFF_LINGER", "1")
            .env("SKIFF_RUNTIME_DIR", self.folder.join("run"))
            .env("APPTAINER_CONFIGDIR", self.folder.join("cfg"));
    }

    fn skiff(&self, args: &[&str]) -> Cmd {
        let mut cmd = self
            .user
            .command(program::skiff().expect("required").called("skiff"));
        self.prepare(&mut cmd);
        cmd.args(args);
        cmd
    }

    /// A script of the user's, in which `$S` is skiff and `$I` the image.
    fn shell(&self, script: &str) -> Cmd {
        let mut cmd = self.user.command("/bin/bash");
        self.prepare(&mut cmd);
        cmd.env("S", program::skiff().expect("required").called("skiff"))
            .env("I", &self.image)
            .args(["-c", script]);
        cmd
    }

    fn start(&self, name: &str) -> Outcome {
        let image = self.image.display().to_string();
        self.skiff(&["instance", "run", &image, name]).run()
    }

    /// Keeper and process 1 of a running instance, from its record.
    fn pids(&self, name: &str) -> (i32, i32) {
        let text = std::fs::read_to_string(self.record(name)).expect("a record");
        let number = |field: &str| {
            let rest = text.split(&format!("\"{field}\":")).nth(1).expect("there");
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().expect("a number")
        };
        (number("ppid"), number("pid"))
    }

    fn records(&self) -> PathBuf {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy().into_owned();
        self.folder
            .join("cfg/instances/app")
            .join(host)
            .join(&self.user.name)
    }

    fn record(&self, name: &str) -> PathBuf {
        self.records().join(name).join(format!("{name}.json"))
    }

    fn names(&self) -> Vec<String> {
        let list = self.skiff(&["instance", "list", "-a"]).run();
        let text = list.expect_success("list").stdout_text();
        text.lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect()
    }

    /// Waits until nothing of it is left: no record, and no process that serves the image.
    fn wait_for_the_end(&self) {
        wait_until("the image is let go", || holding(&self.image).is_empty());
        let left: Vec<_> = std::fs::read_dir(self.records())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "records are left: {left:?}");
        let run = self.folder.join("run");
        wait_until("the runtime directory goes", || !run.exists());
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // For tests that fail; what is left only takes room.
        self.skiff(&["instance", "stop", "-a", "-t", "1"]).run();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn lives(pid: i32) -> bool {
    all().iter().any(|process| process.pid == pid)
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
}

#[test]
fn cycles_leave_nothing() {
    require!("starts and stops of instances"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("cycles");
    let cycles = std::env::var("SKIFF_TEST_CYCLES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(25);
    for cycle in 0..cycles {
        own.start("again").expect_success("start");
        let (keeper, first) = own.pids("again");
        let joined = own
            .skiff(&[
                "exec",
                "instance://again",
                "sh",
                "-c",
                "echo $APPTAINER_INSTANCE; exit 3",
            ])
            .run();
        assert_eq!(
            (joined.code(), &*joined.stdout_text()),
            (Some(3), "again\n")
        );
        own.skiff(&["instance", "stop", "again"])
            .run()
            .expect_success("stop");
        assert!(!lives(first), "process 1 of cycle {cycle} is left");
        assert!(!lives(keeper), "the keeper of cycle {cycle} is left");
        assert!(!own.record("again").exists(), "cycle {cycle}");
    }
    own.wait_for_the_end();
}

#[test]
fn one_name_is_one_instance() {
    require!("races of instances"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("race");
    let image = own.image.display().to_string();
    for _ in 0..3 {
        let children: Vec<_> = (0..8)
            .map(|_| own.skiff(&["instance", "start", &image, "only"]).start())
            .collect();
        let outputs: Vec<_> = children
            .into_iter()
            .map(|child| child.wait_with_output().expect("it was started"))
            .collect();
        let winners = outputs.iter().filter(|output| output.status.success());
        assert_eq!(winners.count(), 1, "{outputs:?}");
        for loser in outputs.iter().filter(|output| !output.status.success()) {
            let text = String::from_utf8_lossy(&loser.stderr);
            assert!(text.contains("instance only already exists"), "{text}");
            assert_eq!(loser.status.code(), Some(255));
        }
        assert_eq!(own.names(), ["only"]);
        own.skiff(&["instance", "stop", "only"])
            .run()
            .expect_success("stop");
    }
    own.wait_for_the_end();
}

#[test]
fn sudden_deaths_harm_nobody_else() {
    require!("killed instances"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("deaths");
    for name in ["a", "b", "c"] {
        own.start(name).expect_success("start");
    }
    let (keeper_a, first_a) = own.pids("a");
    let (keeper_b, first_b) = own.pids("b");
    kill(keeper_a);
    kill(first_b);
    for pid in [keeper_a, first_a, keeper_b, first_b] {
        wait_until("the killed are gone", || !lives(pid));
    }
    assert_eq!(own.names(), ["c"]);
    let joined = own.skiff(&["exec", "instance://c", "echo", "fine"]).run();
    assert_eq!(joined.expect_success("join").stdout_text(), "fine\n");
    let gone = own.skiff(&["exec", "instance://a", "true"]).run();
    assert!(
        gone.stderr_text().contains("no instance found with name a"),
        "{gone}"
    );
    own.start("a").expect_success("the name is free again");
    own.skiff(&["instance", "stop", "--all"])
        .run()
        .expect_success("stop");
    own.wait_for_the_end();
}

#[test]
fn the_starters_death_is_survived() {
    require!("killed starters of instances"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("starter");
    // A session with all its processes ends as with the closing of a terminal, and harder.
    own.shell("setsid bash -c '$S instance run $I kept; kill -9 0'; true")
        .run();
    assert_eq!(own.names(), ["kept"]);
    let (keeper, first) = own.pids("kept");
    assert!(lives(keeper) && lives(first));
    // A program that joined goes with its command, and with it alone.
    let mut joined = own.skiff(&["exec", "instance://kept", "sleep", "54321"]);
    let mut joined = joined.start();
    let inside = || {
        let list = own.skiff(&["exec", "instance://kept", "cat", "/proc/2/cmdline"]);
        let mut list = list;
        list.run().stdout_text()
    };
    wait_until("it has joined", || {
        sleepers(&own, "54321") == 1 || inside().contains("54321")
    });
    joined.kill().expect("it runs");
    joined.wait().expect("it ended");
    wait_until("it has ended", || sleepers(&own, "54321") == 0);
    assert!(lives(first));
    own.skiff(&["instance", "stop", "kept"])
        .run()
        .expect_success("stop");
    own.wait_for_the_end();
}

/// How many processes of the instance `kept` sleep so long.
fn sleepers(own: &Own, seconds: &str) -> usize {
    let script = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '";
    let found = own
        .skiff(&["exec", "instance://kept", "sh", "-c", script])
        .run();
    found
        .stdout_text()
        .matches(&format!("sleep {seconds}"))
        .count()
}

#[test]
fn lying_records_are_not_believed() {
    require!("forged records of instances"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("forged");
    own.start("real").expect_success("start");
    let text = std::fs::read_to_string(own.record("real")).expect("a record");
    let (keeper, _) = own.pids("real");
    let mut victim = own.user.command("/bin/sleep");
    let mut victim = victim.arg("1000").start();
    let forge = |name: &str, text: String| {
        let folder = own.records().join(name);
        std::fs::create_dir(&folder).expect("fresh");
        std::fs::set_permissions(&folder, mode(0o700)).expect("ours");
        own.user.own(&folder);
        std::fs::write(own.record(name), text).expect("room");
        std::fs::set_permissions(own.record(name), mode(0o644)).expect("ours");
        own.user.own(&own.record(name));
    };
    let named = |name: &str| text.replace("\"name\":\"real\"", &format!("\"name\":\"{name}\""));
    let pid = format!("\"ppid\":{keeper}");
    // Another process of the user, one of root's, nobody, none.
    let victims = [i32::try_from(victim.id()).expect("small"), 1, i32::MAX, -1];
    for (number, other) in victims.into_iter().enumerate() {
        let name = format!("liar{number}");
        forge(
            &name,
            named(&name).replace(&pid, &format!("\"ppid\":{other}")),
        );
    }
    forge("boot", named("boot").replace("\"boot\":\"", "\"boot\":\"0"));
    forge("junk", "{".repeat(5000));
    forge("another", text.clone());
    forge("open", named("open"));
    std::fs::set_permissions(own.record("open"), mode(0o666)).expect("ours");
    for name in [
        "liar0", "liar1", "liar2", "liar3", "boot", "junk", "another", "open",
    ] {
        let address = format!("instance://{name}");
        let joined = own.skiff(&["exec", &address, "true"]).run();
        assert_eq!(joined.code(), Some(255), "{name}: {joined}");
        let stopped = own.skiff(&["instance", "stop", "-s", "KILL", name]).run();
        assert_eq!(stopped.code(), Some(1), "{name}: {stopped}");
    }
    assert_eq!(own.names(), ["real"]);
    assert!(
        matches!(victim.try_wait(), Ok(None)),
        "a forged record killed a process"
    );
    victim.kill().expect("it runs");
    victim.wait().expect("it ended");
    own.skiff(&["instance", "stop", "real"])
        .run()
        .expect_success("stop");
    // What says nothing that can be used may be of an instance that runs: it stays where it lies,
    // and its name is taken.
    let far = text.replace("\"pidNamespace\":", "\"pidNamespace\":1");
    forge("far", far.replace("\"name\":\"real\"", "\"name\":\"far\""));
    for name in ["junk", "open", "far"] {
        let refused = own.start(name);
        assert_eq!(refused.code(), Some(255), "{refused}");
        let record = format!("/{name}/{name}.json");
        assert!(refused.stderr_text().contains(&record), "{refused}");
        assert!(
            refused.stderr_text().contains("remove the file"),
            "{refused}"
        );
    }
    // And one that says whose it is not.
    for name in ["junk", "open", "another", "far"] {
        std::fs::remove_dir_all(own.records().join(name)).expect("still there");
    }
    own.wait_for_the_end();
}

fn mode(bits: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

#[test]
fn folders_that_others_can_write_to_are_refused() {
    require!("records of instances in the open"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("open");
    own.start("first").expect_success("start");
    own.skiff(&["instance", "stop", "first"])
        .run()
        .expect_success("stop");
    std::fs::set_permissions(own.records(), mode(0o777)).expect("ours");
    let refused = own.start("second");
    assert_eq!(refused.code(), Some(255), "{refused}");
    assert!(
        refused.stderr_text().contains("only its user can write to"),
        "{refused}"
    );
    std::fs::set_permissions(own.records(), mode(0o700)).expect("ours");
    own.wait_for_the_end();
}

#[test]
fn process_1_is_closed_to_its_neighbours() {
    require!("process 1 of an instance"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("closed");
    own.start("shut").expect_success("start");
    let script = "cat /proc/1/environ; ls /proc/1/fd; readlink /proc/1/exe; cat /proc/1/maps";
    let looked = own
        .skiff(&["exec", "instance://shut", "sh", "-c", script])
        .run();
    assert_eq!(looked.stdout_text(), "", "{looked}");
    own.skiff(&["instance", "stop", "shut"])
        .run()
        .expect_success("stop");
    own.wait_for_the_end();
}

#[test]
fn root_sees_and_stops_instances_of_others() {
    require!("instances of others"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("root");
    // Where the records of a user are is found out from the user database.
    let skiff = program::skiff().expect("required").called("skiff");
    let name = format!("for-root-{}", std::process::id());
    let mut start = own.skiff(&["instance", "run", &own.image.display().to_string(), &name]);
    start
        .env("APPTAINER_CONFIGDIR", own.user.home.join(".apptainer"))
        .run()
        .expect_success("start");
    let root = |args: &[&str]| {
        Cmd::new(&skiff)
            .args(["instance"])
            .args(args)
            .args(["-u", &own.user.name, &name])
            .run()
    };
    let listed = root(&["list"]).expect_success("list").stdout_text();
    assert!(listed.contains(&name), "{listed}");
    root(&["stop"]).expect_success("stop");
    assert!(!root(&["list"]).stdout_text().contains(&name));
    for end in ["out", "err"] {
        let logs = own.user.home.join(".apptainer/instances/logs");
        for host in std::fs::read_dir(&logs).into_iter().flatten().flatten() {
            let log = host
                .path()
                .join(&own.user.name)
                .join(format!("{name}.{end}"));
            std::fs::remove_file(log).ok();
        }
    }
    own.wait_for_the_end();
}

#[test]
fn root_has_instances_too() {
    require!("instances of root"; Root, Skiff, Apptainer, Fuse);
    let mut own = Own::new("asroot");
    own.user = skiff_tests::user::root();
    std::os::unix::fs::chown(&own.folder, Some(0), Some(0)).expect("root may");
    own.start("mine").expect_success("start");
    let joined = own
        .skiff(&[
            "exec",
            "instance://mine",
            "sh",
            "-c",
            "id -u; cat /proc/1/comm",
        ])
        .run();
    assert_eq!(joined.expect_success("join").stdout_text(), "0\nappinit\n");
    own.skiff(&["instance", "stop", "mine"])
        .run()
        .expect_success("stop");
    own.wait_for_the_end();
}

#[test]
fn ranks_share_whoever_ends_first() {
    require!("shared namespaces"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("ranks");
    let script = r#"
        for i in 1 2 3 4 5 6 7 8; do
            $S exec --sharens $I sh -c "sleep 0.$i; readlink /proc/self/ns/mnt /proc/self/ns/user" &
        done
        wait
        # Nobody is in it any more, and yet it is the same.
        $S exec --sharens $I readlink /proc/self/ns/mnt /proc/self/ns/user
        $S exec --sharens $I sh -c 'exit 6'
        echo $?
    "#;
    let ran = own.shell(script).run().expect_success("ranks");
    let text = ran.stdout_text();
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop(), Some("6"), "{text}");
    assert_eq!(lines.len(), 18, "{ran}");
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 2, "two of them differ: {text}");
    // Their parent is gone, and so is what they shared.
    wait_until("the shared container ends", || own.names().is_empty());
    own.wait_for_the_end();
}

#[test]
fn a_path_is_no_name() {
    require!("names of instances"; Skiff, Apptainer, Fuse, UserNamespaces);
    let own = Own::new("names");
    for name in ["..", ".", "a/b", "", "a b"] {
        let refused = own.start(name);
        assert_eq!(refused.code(), Some(255), "{name:?}: {refused}");
        assert!(
            refused
                .stderr_text()
                .contains("is not a valid instance name"),
            "{refused}"
        );
    }
    assert!(!Path::new(&own.folder.join("cfg")).exists());
    own.wait_for_the_end();
}

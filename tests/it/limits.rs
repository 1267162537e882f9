//! Limits that are in force, groups that go, networks that are joined: what comparing messages with
//! Apptainer's does not show.

mod session;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::image::images;
use skiff_tests::processes;
use skiff_tests::user::ordinary;
use skiff_tests::{program, require};

/// skiff as root, with nothing but what it needs in its environment.
fn as_root(args: &[&str], command: &[&str]) -> Cmd {
    let mut cmd = Cmd::new(program::skiff().expect("required").called("skiff"));
    cmd.cwd("/")
        .env("PATH", "/usr/bin:/bin")
        .env("SKIFF_LINGER", "1")
        .arg("exec")
        .args(args)
        .arg(&images(program::real_apptainer().expect("required")).sif)
        .args(command);
    cmd
}

/// skiff as the ordinary user.
fn as_user(args: &[&str], command: &[&str]) -> Cmd {
    let mut cmd = ordinary().command(program::skiff().expect("required").called("skiff"));
    cmd.cwd("/tmp")
        .env("SKIFF_LINGER", "1")
        .arg("exec")
        .args(args)
        .arg(&images(program::real_apptainer().expect("required")).sif)
        .args(command);
    cmd
}

/// Whether the machine let a group be made; says so where it did not.
fn grouped(what: &str, outcome: &Outcome) -> bool {
    let text = outcome.stderr_text();
    let refused = [
        "is not available",
        "cannot use cgroups",
        "read-only file system",
        "failed to connect to dbus",
    ];
    if outcome.code() == Some(255) && refused.iter().any(|part| text.contains(part)) {
        skiff_tests::require::skip(what, text.trim());
        return false;
    }
    true
}

/// The directories of the control groups that a `/proc/N/cgroup` names, wherever mounted.
fn groups(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
            let root = Path::new("/sys/fs/cgroup");
            let mount = match names {
                "" if number == "0" && root.join("unified").is_dir() => root.join("unified"),
                "" => root.to_owned(),
                names => root.join(names),
            };
            Some(mount.join(path.trim_start_matches('/')))
        })
        .filter(|group| group.to_string_lossy().contains("skiff"))
        .collect()
}

/// Waits for something that happens a moment after a program has ended.
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(30), "not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn processes_are_limited() {
    require!("--pids-limit as root"; Root, Skiff, Apptainer, Fuse);
    for more in [&[][..], &["--pid"][..]] {
        let mut args = vec!["--pids-limit", "12"];
        args.extend(more);
        let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 3 >/dev/null 2>&1 & done; \
                      echo all";
        let outcome = as_root(&args, &["sh", "-c", script]).run();
        if !grouped("--pids-limit", &outcome) {
            return;
        }
        let text = outcome.stderr_text();
        assert!(text.to_lowercase().contains("fork"), "{more:?}: {outcome}");
        assert!(
            !outcome.stdout_text().contains("all"),
            "{more:?}: {outcome}"
        );
    }
    let enough = as_root(&["--pids-limit", "12"], &["sh", "-c", "echo fine"]).run();
    assert_eq!(enough.stdout_text(), "fine\n", "{enough}");
}

#[test]
fn memory_is_limited() {
    require!("--memory as root"; Root, Skiff, Apptainer, Fuse);
    let limit = ["--memory", "64m", "--memory-swap", "64m"];
    let take = |mib: &str| format!("b = bytearray({mib} << 20); print(len(b) >> 20)");
    let much = as_root(&limit, &["python3", "-c", &take("400")]).run();
    if !grouped("--memory", &much) {
        return;
    }
    assert_eq!(much.code(), Some(137), "{much}");
    let little = as_root(&limit, &["python3", "-c", &take("8")]).run();
    assert_eq!(little.stdout_text(), "8\n", "{little}");
}

#[test]
fn groups_go_with_their_containers() {
    require!("groups go"; Root, Skiff, Apptainer, Fuse);
    let args = ["--pids-limit", "50", "--cpus", "1"];
    let outcome = as_root(&args, &["cat", "/proc/self/cgroup"]).run();
    if !grouped("groups of containers", &outcome) {
        return;
    }
    let made = groups(&outcome.stdout_text());
    assert!(!made.is_empty(), "{outcome}");
    soon("gone after the program", || {
        made.iter().all(|group| !group.exists())
    });

    // What is left behind keeps its group until it ends itself.
    let script = "cat /proc/self/cgroup; sleep 3 >/dev/null 2>&1 &";
    let outcome = as_root(&args, &["sh", "-c", script]).run();
    let made = groups(&outcome.stdout_text());
    assert!(!made.is_empty(), "{outcome}");
    soon("gone after the last process", || {
        made.iter().all(|group| !group.exists())
    });

    // The launcher's death by force, with a PID namespace: program and group go.
    let mut child = as_root(
        &["--pid", "--pids-limit", "50"],
        &["sh", "-c", "echo; sleep 1000.7"],
    )
    .start();
    let id = child.id();
    let group = || groups(&fs::read_to_string(format!("/proc/{id}/cgroup")).unwrap_or_default());
    soon("started", || !group().is_empty() && asleep());
    let made = group();
    child.kill().expect("ours");
    child.wait().expect("ours");
    soon("the program is gone", || !asleep());
    soon("its group too", || made.iter().all(|group| !group.exists()));
}

/// Whether the sleep of [`groups_go_with_their_containers`] runs.
fn asleep() -> bool {
    processes::all().iter().any(|process| {
        fs::read(format!("/proc/{}/cmdline", process.pid))
            .is_ok_and(|line| line == b"sleep\x001000.7\0")
    })
}

/// Where version 2 of control groups is mounted, with a controller that can be handed down.
fn version_two() -> Option<(PathBuf, &'static str, &'static str, &'static str)> {
    let mount = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .map(PathBuf::from)
        .find(|mount| mount.join("cgroup.controllers").exists())?;
    let there = fs::read_to_string(mount.join("cgroup.controllers")).ok()?;
    let (name, file, toml) = [
        ("pids", "pids.max", "[pids]\nlimit = 2097152\n"),
        (
            "hugetlb",
            "hugetlb.2MB.max",
            "[[hugepageLimits]]\npageSize = '2MB'\nlimit = 2097152\n",
        ),
    ]
    .into_iter()
    .find(|(name, ..)| there.split_whitespace().any(|found| found == *name))?;
    Some((mount, name, file, toml))
}

#[test]
fn a_subtree_of_ones_own() {
    const WHAT: &str = "limits in a delegated subtree";
    require!(WHAT; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let Some((mount, controller, file, toml)) = version_two() else {
        skiff_tests::require::skip(WHAT, "version 2 of control groups has no controller here");
        return;
    };
    let user = ordinary();
    let tree = Tree(mount.join(format!("limits-test-{}", std::process::id())));
    let setup = || -> std::io::Result<()> {
        fs::write(
            mount.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )?;
        fs::create_dir(&tree.0)?;
        fs::create_dir(tree.0.join("leaf"))
    };
    if let Err(error) = setup() {
        skiff_tests::require::skip(WHAT, &format!("{}: {error}", tree.0.display()));
        return;
    }
    for path in [
        "",
        "cgroup.procs",
        "cgroup.subtree_control",
        "leaf",
        "leaf/cgroup.procs",
    ] {
        user.own(&tree.0.join(path));
    }
    let limits = std::env::temp_dir().join(format!("limits-{}.toml", std::process::id()));
    fs::write(&limits, toml).expect("room");
    let skiff = program::skiff().expect("required").called("skiff");
    let image = &images(program::real_apptainer().expect("required")).sif;
    let script = format!(
        "echo 0 >{tree}/leaf/cgroup.procs && exec setpriv --reuid={} --regid={} --init-groups \
         {} exec --apply-cgroups {} {} sh -c 'cat /proc/self/cgroup; g=$(grep ^0: \
         /proc/self/cgroup | cut -d: -f3); cat {}$g/{file}'",
        user.uid,
        user.gid,
        skiff.display(),
        limits.display(),
        image.display(),
        mount.display(),
        tree = tree.0.display(),
    );
    let outcome = Cmd::new("/bin/sh")
        .cwd("/tmp")
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", &user.home)
        .env("SKIFF_LINGER", "1")
        .args(["-c", &script])
        .owner(user.uid, user.gid)
        .run();
    fs::remove_file(&limits).expect("ours");
    let text = outcome.stdout_text();
    let name = tree.0.file_name().expect("named").to_string_lossy();
    assert!(text.contains(&format!("{name}/skiff-")), "{outcome}");
    assert!(text.ends_with("\n2097152\n"), "{outcome}");
    let made = groups(&text);
    assert!(!made.is_empty(), "{outcome}");
    soon("gone", || made.iter().all(|group| !group.exists()));
}

/// A control group that goes with its children, once the processes in them are gone.
struct Tree(PathBuf);

impl Drop for Tree {
    fn drop(&mut self) {
        let begin = Instant::now();
        loop {
            for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
                fs::remove_dir(entry.path()).ok();
            }
            // The image's server lingers in the leaf for a while.
            if fs::remove_dir(&self.0).is_ok()
                || !self.0.exists()
                || begin.elapsed() > Duration::from_secs(20)
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn limits_are_shown_and_not_applied_by_a_dry_run() {
    require!("--dry-run with limits"; Skiff, Apptainer, Fuse, UserNamespaces);
    let args = ["--dry-run", "--memory", "1g", "--cpus", "0.5"];
    let outcome = as_user(&args, &["true"]).run();
    let text = outcome.stdout_text();
    assert!(
        text.contains("limits       cpu.max=50000 100000, memory.max=1073741824\n"),
        "{outcome}"
    );
}

#[test]
fn a_network_that_was_set_up_before() {
    require!("--netns-path as root"; Root, Skiff, Apptainer, Fuse);
    let mut owner = Cmd::new("/usr/bin/unshare");
    let mut owner = owner
        .args(["-n", "/bin/sh", "-c", "echo; read x"])
        .env("PATH", "/usr/bin:/bin")
        .stdin_open()
        .start();
    let path = format!("/proc/{}/ns/net", owner.id());
    let own = fs::read_link("/proc/self/ns/net").expect("there");
    soon("unshared", || {
        fs::read_link(&path).is_ok_and(|other| other != own)
    });
    let wanted = fs::read_link(&path).expect("there").display().to_string();
    let outcome = as_root(&["--netns-path", &path], &["readlink", "/proc/self/ns/net"]).run();
    assert_eq!(outcome.stdout_text().trim(), wanted, "{outcome}");
    // Not for everybody, not even one that is there.
    let refused = as_user(&["--netns-path", "/proc/self/ns/net"], &["true"]).run();
    assert_eq!(refused.code(), Some(255), "{refused}");
    assert!(
        refused
            .stderr_text()
            .contains("is not an allowed netns path"),
        "{refused}"
    );
    owner.kill().expect("ours");
    owner.wait().expect("ours");

    let refused = as_root(&["--network", "bridge"], &["true"]).run();
    assert_eq!(refused.code(), Some(255), "{refused}");
    assert!(
        refused
            .stderr_text()
            .contains("use --network none, or --netns-path"),
        "{refused}"
    );
}

#[test]
fn no_descriptor_of_skiff_is_seen() {
    require!("descriptors"; Skiff, Apptainer, Fuse, UserNamespaces);
    // The listing's own descriptor is the one more. Whoever runs the tests may have left some open.
    let list = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1])";
    let outside = ordinary().command("python3").args(["-c", list]).run();
    let outside = outside.expect_success("python3").stdout_text();
    for args in [
        &[][..],
        &["--pid"],
        &["-C"],
        &["--compat"],
        &["--network", "none"],
        &["--fakeroot"],
        &["-B", "/tmp:/mnt"],
        &["--env", "A=$(echo b)"],
    ] {
        let outcome = as_user(args, &["python3", "-c", list]).run();
        assert_eq!(outcome.stdout_text(), outside, "{args:?}: {outcome}");
    }
    // Nor through the processes that wait beside the program.
    let script = "ls /proc/1/fd >/dev/null 2>&1 && echo seen; true";
    let outcome = as_user(&["--pid"], &["sh", "-c", script]).run();
    assert_eq!(outcome.stdout_text(), "", "{outcome}");
}

#[test]
fn instances_are_limited_as_a_whole() {
    const WHAT: &str = "limits of instances";
    require!(WHAT; Root, Skiff, Apptainer, Fuse);
    let records = std::env::temp_dir().join(format!("limits-instance-{}", std::process::id()));
    fs::create_dir(&records).expect("fresh");
    let skiff = |args: &[&str]| {
        Cmd::new(program::skiff().expect("required").called("skiff"))
            .cwd("/")
            .env("PATH", "/usr/bin:/bin")
            .env("SKIFF_LINGER", "1")
            .env("APPTAINER_CONFIGDIR", &records)
            .args(args)
            .run()
    };
    let image = &images(program::real_apptainer().expect("required")).sif;
    let image = image.display().to_string();
    let start = ["instance", "start", "--pids-limit", "14", &image, "small"];
    let started = skiff(&start);
    if !grouped(WHAT, &started) {
        fs::remove_dir_all(&records).expect("ours");
        return;
    }
    let started = started.expect_success("instance start");
    let script = "cat /proc/self/cgroup; \
                  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 3 >/dev/null 2>&1 & done; \
                  echo all";
    let more = skiff(&["exec", "instance://small", "sh", "-c", script]);
    let told = skiff(&["instance", "stats", "--no-stream", "small"]);
    let stopped = skiff(&["instance", "stop", "small"]);
    fs::remove_dir_all(&records).expect("ours");
    assert!(stopped.success(), "{started}\n{stopped}");
    assert!(more.stderr_text().contains("fork"), "{more}");
    assert!(!more.stdout_text().contains("all\n"), "{more}");
    let told_text = told.stdout_text();
    let line = told_text.lines().nth(1).unwrap_or("");
    assert!(line.starts_with("small   "), "{told}");
    let count = line.split_whitespace().last().unwrap_or("");
    assert!(
        count
            .parse()
            .is_ok_and(|count: u32| (2..=14).contains(&count)),
        "{told}"
    );
    let made = groups(&more.stdout_text());
    assert!(!made.is_empty(), "{more}");
    soon("groups of the instance are gone", || {
        made.iter().all(|group| !group.exists())
    });
}

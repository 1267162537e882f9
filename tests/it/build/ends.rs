//! Builds that do not come to their end leave nothing, and what was there before stays.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use skiff_tests::command;
use skiff_tests::processes;
use skiff_tests::require;

use super::{Folder, Who, everybody};

#[test]
fn a_failure_of_any_section_leaves_nothing() {
    require!("builds"; Fuse, UserNamespaces);
    for who in everybody() {
        let folder = Folder::new("fails");
        folder.write("x.sif", "old");
        for (section, words) in [
            (
                "%pre\n    true\n    exit 7\n",
                "failed to run %pre script: exit status 7 (x.def, line 6: exit 7)",
            ),
            (
                "%setup\n    exit 7\n",
                "failed to run %setup script: exit status 7 (x.def, line 5: exit 7)",
            ),
            (
                "%files\n    nothing /there\n",
                "unable to copy files from host to container fs: ",
            ),
            (
                "%post\n    touch /made\n    false\n",
                "while running engine: while running %post section: exit status 1 (x.def, line 6: false)",
            ),
            (
                "%post\n    nonexistent --flag\n",
                "exit status 127 (x.def, line 5: nonexistent --flag)",
            ),
            (
                "%post\n    kill -9 $$\n",
                "while running %post section: killed by signal 9",
            ),
            (
                "%test\n    exit 7\n",
                "failed to execute %test script: exit status 7",
            ),
            (
                "%files from nowhere\n    /a\n",
                "stage nowhere was not found",
            ),
        ] {
            folder.definition(
                "x.def",
                &format!("Bootstrap: localimage\nFrom: BASE\n\n{section}"),
            );
            let outcome = folder.build(who, &["-F", "x.sif", "x.def"]);
            let said = outcome.stderr_text();
            assert_eq!(outcome.code(), Some(255), "{who:?} {section}: {said}");
            let fatal = said.lines().last().unwrap_or_default();
            assert!(
                fatal.starts_with("FATAL:   While performing build: "),
                "{said}"
            );
            assert!(fatal.contains(words), "{who:?}: no {words:?} in {said}");
            folder.assert_clean();
            let old = std::fs::read_to_string(folder.at("x.sif")).expect("it is there");
            assert_eq!(old, "old");
        }
        folder.write("y.def", "Bootstrap: localimage\nFrom: missing.sif\n");
        let outcome = folder.build(who, &["y.sif", "y.def"]);
        assert_eq!(outcome.code(), Some(255));
        folder.assert_clean();
        assert!(!folder.at("y.sif").exists());
    }
}

/// A random number below `limit`.
fn random(limit: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() % limit
}

/// How often builds are ended: more by `SKIFF_BUILD_ENDS`.
fn rounds() -> u64 {
    let more = std::env::var("SKIFF_BUILD_ENDS").ok();
    more.and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[test]
fn builds_that_are_ended_at_any_moment() {
    require!("builds"; Fuse, UserNamespaces);
    let folder = Folder::new("ended");
    folder.definition(
        "x.def",
        "Bootstrap: localimage\nFrom: BASE\n\n%setup\n    sleep 0.1\n\n%post\n    sleep 6000 &\n    \
         head -c 3000000 /dev/urandom > /random\n    chown 5:5 /random\n    sleep 0.2\n\n%test\n    sleep 0.1\n",
    );
    let begin = Instant::now();
    folder.built(Who::User, &["-F", "x.sif", "x.def"]);
    let whole = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let old = std::fs::read(folder.at("x.sif")).expect("it was made");
    for round in 0..rounds() {
        let signal = match round % 3 {
            0 => Signal::INT,
            1 => Signal::TERM,
            _ => Signal::KILL,
        };
        // What a killed one has left is removed by the next that gets so far.
        let before = super::names(&folder.at("tmp"));
        let mut child = folder
            .build_command(Who::User, &["-F", "x.sif", "x.def"])
            .start();
        std::thread::sleep(Duration::from_millis(random(whole)));
        // It may have ended by itself.
        kill_process(Pid::from_child(&child), signal).ok();
        let status = command::wait(&mut child, Instant::now() + Duration::from_secs(60));
        let status = status.expect("it ends when it is told to");
        assert!(
            status.success()
                || status.signal() == Some(signal.as_raw())
                || status.code() == Some(255),
            "{status:?}"
        );
        if signal != Signal::KILL {
            let left = super::names(&folder.at("tmp"));
            assert!(
                left.iter().all(|name| before.contains(name)),
                "{left:?} {status:?}"
            );
        }
        // What was made is complete, whichever it is.
        let new = std::fs::read(folder.at("x.sif")).expect("it is there");
        if !status.success() && new != old {
            assert_eq!(
                folder.says(&["exec", "x.sif", "stat", "-c", "%s", "/random"]),
                "3000000\n"
            );
        }
        std::fs::write(folder.at("x.sif"), &old).expect("ours");
    }
    // The next build removes what killed ones have left, and no process of theirs is left either.
    folder.built(Who::User, &["-F", "x.sif", "x.def"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let marked = || {
        processes::all()
            .into_iter()
            .filter(|process| {
                let text = std::fs::read(format!("/proc/{}/cmdline", process.pid));
                text.is_ok_and(|text| text == b"sleep\x006000\x00")
            })
            .count()
    };
    while marked() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(marked(), 0, "programs of builds that were ended");
}

#[test]
fn images_are_as_private_as_the_umask_says() {
    require!("builds"; Skiff, Fuse, UserNamespaces);
    let folder = Folder::new("umask");
    folder.definition("x.def", "Bootstrap: localimage\nFrom: BASE\n");
    let base = super::base().display().to_string();
    for (umask, mode) in [("077", 0o700), ("027", 0o750), ("022", 0o755)] {
        for from in ["x.def", &base] {
            let line = format!("umask {umask}; exec \"$@\"");
            let leader = ["/bin/sh", "-c", &line, "sh"].map(std::ffi::OsStr::new);
            let cmd = folder.build_command(Who::User, &["-F", "x.sif", from]);
            let outcome = cmd.behind(&leader).run();
            assert!(outcome.success(), "{outcome}");
            let seen = std::fs::metadata(folder.at("x.sif")).expect("made").mode();
            assert_eq!(seen & 0o7777, mode, "umask {umask}, {from}");
        }
    }
}

#[test]
fn a_directory_is_replaced_by_an_image() {
    require!("builds"; Skiff, Fuse, UserNamespaces);
    let folder = Folder::new("place");
    let base = super::base().display().to_string();
    std::fs::create_dir(folder.at("here")).expect("fresh");
    folder.write("here/old", "old");
    skiff_tests::user::ordinary().own_all(&folder.at("here"));
    // What fails leaves it alone.
    folder.write("bad.sif", "no image");
    let mut cmd = folder.build_command(Who::User, &["--force", ".", "../bad.sif"]);
    assert!(!cmd.cwd(folder.at("here")).run().success());
    assert!(folder.at("here/old").exists());
    let mut cmd = folder.build_command(Who::User, &["--force", ".", &base]);
    let outcome = cmd.cwd(folder.at("here")).run();
    assert!(outcome.success(), "{outcome}");
    assert!(folder.at("here").is_file());
    folder.assert_clean();
    let outcome = folder.build(Who::User, &["new.sif/", &base]);
    assert!(
        outcome.success() && folder.at("new.sif").is_file(),
        "{outcome}"
    );
}

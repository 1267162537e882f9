//! What signals do to launches, and what launches inherit from whoever starts them.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use skiff_tests::command::{Cmd, wait};
use skiff_tests::image::mksquashfs;
use skiff_tests::user::ordinary;
use skiff_tests::{processes, program, require, userland};

use crate::identity::{Folder, exec};

/// An image in `folder`.
fn image(folder: &Folder) -> std::path::PathBuf {
    let source = folder.0.join("source");
    userland::lay_out(&source);
    let image = folder.0.join("image.sqfs");
    mksquashfs(&source, &image, &["-all-root", "-comp", "lz4"]);
    image
}

/// skiff of root's.
fn root(options: &[&str], image: &Path, words: &[&str]) -> Cmd {
    let mut cmd = Cmd::new(program::skiff().expect("required").called("apptainer"));
    cmd.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", "/root")
        .cwd("/tmp")
        .args(["-q", "exec", "-C"])
        .args(options)
        .arg(image)
        .args(words);
    cmd
}

#[test]
fn roots_signals_reach_a_program_of_another_user() {
    require!("signals to other users"; Root, Skiff, Fuse, Mksquashfs);
    let folder = Folder::new("signals");
    let image = image(&folder);
    let script = "trap 'echo got; exit 7' TERM; echo up; while :; do sleep 0.1; done";
    for options in [&[][..], &["--no-init"]] {
        let options = [options, &["--security", "uid:5"]].concat();
        let mut child = root(&options, &image, &["sh", "-c", script]).start();
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        assert_eq!(lines.next().expect("alive").expect("text"), "up");
        Cmd::new("/bin/kill")
            .arg(child.id().to_string())
            .run()
            .expect_success("kill");
        let status = wait(&mut child, Instant::now() + Duration::from_secs(20));
        child.kill().ok();
        let code = status.and_then(|status| status.code());
        assert_eq!(code, Some(7), "{options:?}");
        assert_eq!(lines.next().expect("alive").expect("text"), "got");
    }
}

#[test]
fn a_program_of_another_user_dies_with_its_launcher() {
    require!("the tie to the launcher"; Root, Skiff, Fuse, Mksquashfs);
    let folder = Folder::new("tie");
    let image = image(&folder);
    let begin = Instant::now();
    let options = ["--no-init", "--security", "uid:5"];
    let script = "echo up; exec sleep 40";
    let mut child = root(&options, &image, &["sh", "-c", script]).start();
    let mut output = child.stdout.take().expect("a pipe");
    let mut word = [0; 3];
    output.read_exact(&mut word).expect("alive");
    child.kill().expect("ours");
    child.wait().expect("ours");
    // The end of the pipe is that of the program.
    output.read_to_end(&mut Vec::new()).expect("a pipe");
    assert!(begin.elapsed() < Duration::from_secs(30), "it lived on");
}

#[test]
fn children_that_the_caller_ignores_are_waited_for() {
    require!("ignored SIGCHLD"; Skiff, Fuse, UserNamespaces, Mksquashfs, Fuse2fs, FuseOverlayfs);
    let folder = Folder::new("ignored");
    let image = image(&folder);
    let overlay = folder.0.join("e.img");
    ext3(&overlay);
    let leader = ["/usr/bin/env", "--ignore-signal=CHLD"].map(OsStr::new);
    let overlay = overlay.display().to_string();
    for options in [
        &[][..],
        &["--pid"],
        &["-o", &overlay],
        &["--fakeroot"],
        &["--writable-tmpfs"],
    ] {
        let script = ["sh", "-c", "/bin/true; exit 3"];
        let mut cmd = exec(options, &image, &script).behind(&leader);
        let outcome = cmd.limit(Duration::from_secs(30)).run();
        assert_eq!(outcome.code(), Some(3), "{options:?}: {outcome}");
    }
}

/// An empty ext3 image of the ordinary user's.
fn ext3(path: &Path) {
    let user = ordinary();
    let owner = format!("root_owner={}:{}", user.uid, user.gid);
    let mut cmd = Cmd::new("/sbin/mke2fs");
    cmd.args(["-q", "-t", "ext3", "-E", &owner]);
    let outcome = cmd.arg(path).arg("128M").run();
    outcome.expect_success("mke2fs");
    user.own(path);
}

#[test]
fn children_from_before_do_not_end_the_wait_for_an_image() {
    require!("inherited children"; Skiff, Fuse, UserNamespaces, Mksquashfs, Fuse2fs, FuseOverlayfs);
    let folder = Folder::new("inherited");
    let image = image(&folder);
    let overlay = folder.0.join("e.img");
    ext3(&overlay);
    let start = "sleep 60 >/dev/null 2>&1 & exec \"$@\"";
    let leader = ["/bin/sh", "-c", start, "sh"].map(OsStr::new);
    let name = overlay.display().to_string();
    // Enough for it to take a while until all is written.
    let script = ["dd", "if=/dev/zero", "of=/big", "bs=1M", "count=96"];
    let outcome = exec(&["-o", &name], &image, &script).behind(&leader).run();
    let left = processes::holding(&overlay);
    assert!(outcome.success(), "{outcome}");
    assert!(left.is_empty(), "still in use by {left:?}");
}

//! Directories that launches keep things in: neither visible nor usable by others, and none that
//! another user prepared is believed.

use std::os::unix::fs::{PermissionsExt, symlink};

use skiff_tests::require;
use skiff_tests::user::{ordinary, second};

use super::Den;

#[test]
fn a_runtime_directory_of_somebody_else_is_refused() {
    require!("runtime directories"; Skiff, Fuse, UserNamespaces, Mksquashfs, SecondUser);
    let den = Den::new("runtime");
    let image = den.image("plain", |_| {});
    let other = second().expect("required");
    let theirs = den.folder.join("theirs");
    std::fs::create_dir(&theirs).expect("room");
    std::fs::set_permissions(&theirs, PermissionsExt::from_mode(0o777)).expect("ours");
    other.own(&theirs);
    let open = den.make("open");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).expect("ours");
    let link = den.folder.join("link");
    symlink(den.make("private"), &link).expect("free");
    for place in [&theirs, &open, &link] {
        let mut cmd = den.apptainer(&["exec"]);
        cmd.arg(&image).arg("true").env("SKIFF_RUNTIME_DIR", place);
        let outcome = cmd.run();
        assert_eq!(outcome.code(), Some(255), "{}: {outcome}", place.display());
        let text = outcome.stderr_text();
        assert!(text.contains(&place.display().to_string()), "{text}");
        let entries = std::fs::read_dir(place).expect("readable").count();
        assert_eq!(entries, 0, "{}", place.display());
    }
}

#[test]
fn others_see_nothing_of_a_running_container() {
    require!("session directories"; Skiff, Fuse, UserNamespaces, Mksquashfs, SecondUser);
    let den = Den::new("session");
    let image = den.image("plain", |_| {});
    let run = den.make("run");
    std::fs::set_permissions(&run, PermissionsExt::from_mode(0o700)).expect("ours");
    let image_name = image.display().to_string();
    let mut cmd = den.apptainer(&["exec", "-C", "--hostname", "secret", &image_name]);
    cmd.args(["sh", "-c", "echo here; read line"])
        .env("SKIFF_RUNTIME_DIR", &run)
        .stdin_open();
    let mut child = cmd.start();
    {
        use std::io::Read;
        let mut here = [0; 5];
        child
            .stdout
            .as_mut()
            .expect("a pipe")
            .read_exact(&mut here)
            .expect("the program");
    }
    let look = format!(
        "ls -A {run} 2>/dev/null; for p in /proc/[0-9]*; do \
           test \"$(stat -c %u $p 2>/dev/null)\" = {uid} || continue; \
           ls $p/root/etc $p/fd $p/cwd/ 2>/dev/null; cat $p/environ $p/maps 2>/dev/null; \
         done; grep -c skiff-attack-session /proc/self/mounts",
        run = run.display(),
        uid = ordinary().uid,
    );
    let outcome = second()
        .expect("required")
        .command("/bin/sh")
        .args(["-c", &look])
        .run();
    // It sees no mount of it either.
    assert_eq!(outcome.stdout_text(), "0\n", "{outcome}");
    drop(child.stdin.take());
    child.wait().expect("it ends");
}

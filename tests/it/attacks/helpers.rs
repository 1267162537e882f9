//! Programs of the host that a launch may need: the image's and the caller's environment has no say
//! in them, and no program of the image runs outside of its container.

use std::path::{Path, PathBuf};

use skiff_tests::command::Cmd;
use skiff_tests::require;

use super::Den;

/// A library that notes in which mount namespace it was loaded, and by whom.
const SPY: &str = r#"
#include <stdio.h>
#include <unistd.h>
#include <fcntl.h>
#include <string.h>
__attribute__((constructor)) static void note(void) {
    char ns[64] = "", exe[256] = "", line[400];
    if (readlink("/proc/self/ns/mnt", ns, 63) < 0) return;
    if (readlink("/proc/self/exe", exe, 255) < 0) strcpy(exe, "?");
    int fd = open(SPIED, O_WRONLY | O_APPEND | O_CREAT, 0666);
    if (fd < 0) return;
    int n = snprintf(line, sizeof line, "%s %s\n", ns, exe);
    if (write(fd, line, n) < 0) return;
    close(fd);
}
"#;

fn spy(den: &Den) -> (PathBuf, PathBuf) {
    let notes = den.folder.join("notes");
    let source = den.folder.join("spy.c");
    std::fs::write(&source, SPY).expect("room");
    let library = den.folder.join("spy.so");
    Cmd::new("/usr/bin/cc")
        .env("PATH", "/usr/bin:/bin")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(format!("-DSPIED=\"{}\"", notes.display()))
        .arg(&source)
        .run()
        .expect_success("cc");
    (library, notes)
}

/// An image whose environment loads the spy into whatever runs with it.
fn image(den: &Den, library: &Path) -> PathBuf {
    den.image("spying", |root| {
        std::fs::copy(library, root.join("usr/lib/spy.so")).expect("room");
        let scripts = root.join(".singularity.d/env");
        std::fs::create_dir_all(&scripts).expect("room");
        std::fs::write(
            scripts.join("90-environment.sh"),
            "export LD_PRELOAD=/usr/lib/spy.so\nexport BASH_ENV=/usr/lib/spy.sh\n\
             export PATH=/evil:$PATH\n",
        )
        .expect("room");
        let preload = root.join("etc/ld.so.preload");
        std::fs::write(preload, "/usr/lib/spy.so\n").expect("room");
    })
}

#[test]
fn nothing_of_the_image_runs_outside() {
    require!("environments of helpers"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("spy");
    let (library, notes) = spy(&den);
    let image = image(&den, &library);
    let here = std::fs::read_link("/proc/self/ns/mnt").expect("proc");
    for flags in [
        &[][..],
        &["-C"],
        &["--fakeroot"],
        &["--fakeroot", "--ignore-subuid"],
        &["--nv"],
        &["--rocm"],
        &["--writable-tmpfs"],
        &["--nv", "--fakeroot", "--writable-tmpfs"],
    ] {
        std::fs::remove_file(&notes).ok();
        let outcome = den.run(flags, &image, "cat /proc/self/environ >/dev/null");
        assert!(outcome.success(), "{flags:?}: {outcome}");
        let seen = std::fs::read_to_string(&notes).unwrap_or_default();
        for line in seen.lines() {
            let (namespace, program) = line.split_once(' ').expect("two words");
            assert_ne!(
                namespace,
                here.display().to_string(),
                "{flags:?}: {program}"
            );
            assert!(
                !program.contains("skiff") && !program.contains("apptainer"),
                "{flags:?}: {line}"
            );
        }
    }
}

/// Programs that a caller's PATH offers instead of the host's own.
#[test]
fn helpers_are_not_looked_for_where_the_image_is() {
    require!("programs on PATH"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("path");
    let image = den.image("plain", |_| {});
    let notes = den.folder.join("notes");
    let sandbox = den.sandbox("evil", |root| {
        for name in ["newuidmap", "newgidmap", "fusermount3", "ldconfig"] {
            let path = root.join("usr/bin").join(name);
            std::fs::remove_file(&path).ok();
            std::fs::write(&path, format!("#!/bin/sh\necho $0 >>{}\n", notes.display()))
                .expect("room");
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .expect("ours");
        }
    });
    // The working directory is the image's own; a relative entry of PATH leads there.
    for flags in [&["--fakeroot"][..], &["--nv"], &[]] {
        let mut cmd = den.apptainer(&["exec"]);
        cmd.args(flags).arg(&image).arg("true");
        cmd.cwd(sandbox.join("usr/bin"))
            .env("PATH", ".:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        let outcome = cmd.run();
        assert!(!notes.exists(), "{flags:?}: {outcome}");
    }
}

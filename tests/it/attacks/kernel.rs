//! /proc, /sys, /dev and terminals: an image that has links where the kernel's file systems belong.

use std::os::unix::fs::symlink;
use std::path::Path;

use skiff_tests::require;

use super::Den;

/// Replaces `place` of `root` by a link to `target`.
fn replace(root: &Path, place: &str, target: &Path) {
    let path = root.join(place);
    if path.is_dir() {
        std::fs::remove_dir_all(&path).expect("ours");
    } else {
        std::fs::remove_file(&path).ok();
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).expect("room");
    }
    symlink(target, &path).expect("free");
}

#[test]
fn links_in_their_places_lead_nowhere() {
    require!("links under kernel file systems"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("kernel");
    let victim = den.victim();
    for place in ["proc", "sys", "dev"] {
        for (kind, target) in [("out", victim.clone()), ("in", "/opt".into())] {
            let spoil = |root: &Path| replace(root, place, &target);
            let image = den.image(&format!("{place}-{kind}"), spoil);
            let sandbox = den.sandbox(&format!("{place}-{kind}-sandbox"), spoil);
            for image in [&image, &sandbox] {
                for flags in [&[][..], &["-C"], &["-c", "--pid", "--ipc"]] {
                    let outcome = den.run(flags, image, "true");
                    let what = format!("{} {flags:?}: {outcome}", image.display());
                    assert!(matches!(outcome.code(), Some(0 | 255)), "{what}");
                    den.assert_victim_is_well(&what);
                }
            }
        }
    }
}

#[test]
fn links_in_dev_are_not_followed() {
    require!("links in /dev"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("devices");
    let precious = den.victim().join("precious");
    let spoil = |root: &Path| {
        for name in [
            "null", "console", "ptmx", "tty", "shm", "pts", "mqueue", "fd",
        ] {
            replace(root, &format!("dev/{name}"), &precious);
        }
    };
    let image = den.image("devices", spoil);
    let sandbox = den.sandbox("devices-sandbox", spoil);
    for image in [&image, &sandbox] {
        // What the container sees there are the kernel's devices, whatever the image has.
        let outcome = den.run(
            &["-C"],
            image,
            "echo x >/dev/null; test -c /dev/null && test -c /dev/zero && test -d /dev/shm && \
             test -d /dev/pts && stat -c %F /dev/ptmx",
        );
        assert!(outcome.success(), "{}: {outcome}", image.display());
        den.assert_victim_is_well("devices");
    }
}

#[test]
fn what_the_kernel_protects_stays_protected() {
    require!("kernel settings"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("settings");
    let image = den.image("plain", |_| {});
    let script = r#"
        for file in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe \
            /sys/kernel/uevent_helper /proc/1/oom_score_adj; do
            (echo x >"$file") 2>/dev/null && echo "wrote $file"
        done
        mount -t tmpfs none /mnt 2>/dev/null && echo "mounted a file system"
        mount -o remount,rw / 2>/dev/null && echo "made the root writable"
        umount /proc 2>/dev/null && echo "unmounted /proc"
        true
    "#;
    for flags in [&[][..], &["-C"], &["--userns", "-c", "--pid"]] {
        let outcome = den.run(flags, &image, script);
        assert!(outcome.success(), "{flags:?}: {outcome}");
        assert_eq!(outcome.stdout_text(), "", "{flags:?}");
    }
}

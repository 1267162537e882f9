//! Bind points: whatever links an image has there, a mount lands inside the container, and nothing is
//! made outside of it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use skiff_tests::require;

use super::Den;

/// Points that every launch mounts upon, and one that the user asks for.
const POINTS: [&str; 8] = [
    "etc/resolv.conf",
    "etc/hosts",
    "etc/localtime",
    "etc/passwd",
    "tmp",
    "var/tmp",
    "home",
    "data",
];

/// Makes each point of `root` a link to `target`.
fn link_all(root: &Path, target: &Path) {
    for point in POINTS {
        let place = root.join(point);
        if place.is_dir() {
            std::fs::remove_dir_all(&place).expect("ours");
        } else {
            std::fs::remove_file(&place).ok();
        }
        symlink(target, &place).expect("free");
    }
}

#[test]
fn links_to_the_outside_end_inside() {
    require!("links under bind points"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("points");
    let up = Path::new("../../../../../../..");
    let victim = den.victim();
    let outward = up.join(victim.strip_prefix("/").expect("absolute"));
    for (name, target) in [
        ("absolute", victim.clone()),
        ("upward", outward.clone()),
        ("file", victim.join("precious")),
        ("missing", victim.join("new")),
        ("root", "/proc/1/root".into()),
        ("self", "/proc/self/root".into()),
    ] {
        let image = den.image(name, |root| link_all(root, &target));
        let sandbox = den.sandbox(&format!("{name}-sandbox"), |root| link_all(root, &target));
        for image in [&image, &sandbox] {
            for flags in [
                &["-B", "victim/precious:/data"][..],
                &["-c", "-B", "victim:/data"],
                &["-C", "-S", "/data/scratch"],
                &["-C", "-W", "work", "-S", "/data"],
                &["--home", "victim:/home/me"],
            ] {
                den.make("work");
                let outcome = den.run(flags, image, "true");
                let what = format!("{} {flags:?}: {outcome}", image.display());
                // Some of them cannot start; that is not the question.
                assert!(matches!(outcome.code(), Some(0 | 255)), "{what}");
                den.assert_victim_is_well(&what);
            }
        }
    }
}

#[test]
fn a_bind_shows_what_was_asked_for() {
    require!("binds through links"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    let den = Den::new("through");
    let image = den.image("links", |root| {
        symlink("/etc", root.join("data")).expect("free");
        symlink("../../../../../../etc", root.join("opt/up")).expect("free");
    });
    for destination in ["/data/in", "/opt/up/in"] {
        let bind = format!("victim:{destination}");
        let outcome = den.run(
            &["-c", "-B", &bind],
            &image,
            &format!("cat {destination}/precious /etc/in/precious; grep -c : /etc/passwd"),
        );
        assert!(outcome.success(), "{destination}: {outcome}");
        assert!(
            outcome.stdout_text().starts_with("as it was\nas it was\n"),
            "{outcome}"
        );
    }
    // The host's folder of that name is another one.
    assert!(!Path::new("/etc/in").exists());
}

/// A folder that its owner keeps exchanging for a link while containers start in it.
#[test]
fn exchanging_folders_for_links_meanwhile_gains_nothing() {
    require!("exchanged bind points"; Skiff, Fuse, UserNamespaces);
    let den = Den::new("race");
    let sandbox = den.sandbox("racing", |root| {
        std::fs::create_dir(root.join("data")).expect("free");
        std::fs::create_dir(root.join("data/sub")).expect("free");
        symlink("../victim", root.join("other")).expect("free");
    });
    let victim = den.victim();
    std::fs::remove_file(sandbox.join("other")).expect("ours");
    symlink(&victim, sandbox.join("other")).expect("free");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            let (one, two) = (sandbox.join("data"), sandbox.join("other"));
            while !done.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &two, flags)
                    .expect("both are there");
            }
        });
        for _ in 0..40 {
            let outcome = den.run(
                &["-c", "-B", "/etc/hostname:/data/sub", "-S", "/data/new"],
                &sandbox,
                "echo spoiled >/data/new/precious",
            );
            assert!(matches!(outcome.code(), Some(0 | 1 | 2 | 255)), "{outcome}");
        }
        done.store(true, Ordering::Relaxed);
    });
    den.assert_victim_is_well("exchanged bind points");
}

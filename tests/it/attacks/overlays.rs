//! Overlays that somebody else made: what empties or fills their directories stays in them.

use std::os::unix::fs::symlink;

use skiff_tests::command::Cmd;
use skiff_tests::require;

use super::Den;

#[test]
fn a_link_for_the_work_directory_has_nothing_removed() {
    require!("links in ext3 overlays"; Skiff, Fuse, UserNamespaces, Mksquashfs, Fuse2fs, FuseOverlayfs);
    let den = Den::new("work");
    let image = den.image("plain", |_| {});
    let victim = den.victim();
    // An ext3 image is never the kernel's upper layer, so that fuse-overlayfs is to work with it.
    let tree = den.make("tree");
    for name in ["upper", "work"] {
        den.make(&format!("tree/{name}"));
    }
    symlink(&victim, tree.join("work/work")).expect("fresh");
    let overlay = den.folder.join("e.img");
    let made = Cmd::new("/sbin/mke2fs")
        .args(["-q", "-t", "ext3", "-d"])
        .arg(&tree)
        .arg(&overlay)
        .arg("16M")
        .run();
    made.expect_success("mke2fs");
    den.user.own(&overlay);
    let outcome = den.run(&["-C", "-o", "e.img"], &image, "echo x >/new");
    den.assert_victim_is_well("an ext3 image");
    assert!(!outcome.success(), "{outcome}");
    let said = "could not make work/work in ";
    assert!(outcome.stderr_text().contains(said), "{outcome}");
}

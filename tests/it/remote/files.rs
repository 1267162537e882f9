//! Images that are files on other machines: a FUSE file system stands for NFS and Lustre.

use skiff_tests::command::Cmd;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::web::Place;
use skiff_tests::web::place::{copied, error_lines};

use super::{compare, picture, python_sif};

/// The image lies within another image that is mounted by FUSE: its bytes are kept on this node.
#[test]
fn a_far_file_is_read_through_the_cache() {
    require!("images on network file systems"; Skiff, Apptainer, Fuse, UserNamespaces, Fusermount, Mksquashfs);
    let place = Place::new("far");
    let sif = python_sif();
    let wanted = picture(&place, sif.to_str().expect("plain"));
    assert!(
        !place.cache().join("blobs").exists(),
        "a near file is cached"
    );
    let far = place.folder.join("far");
    std::fs::create_dir(&far).expect("fresh");
    ordinary().own(&far);
    let outer = place.folder.join("outer.sqsh");
    Cmd::new("mksquashfs")
        .arg(&sif)
        .arg(&outer)
        .args(["-noappend", "-no-progress"])
        .run()
        .expect_success("mksquashfs");
    ordinary().own(&outer);
    let far_name = far.to_str().expect("plain");
    place
        .skiff(&["mount", outer.to_str().expect("plain"), far_name])
        .run()
        .expect_success("mounting");
    let inner = far.join("zstd.sif");
    let seen = picture(&place, inner.to_str().expect("plain"));
    let list = place.skiff(&["cache", "list", "--json"]).run();
    place
        .skiff(&["umount", "--lazy", far_name])
        .run()
        .expect_success("unmounting");
    compare(&wanted, &seen, "the image on a far file system");
    let list = list.expect_success("listing").stdout_text();
    assert!(list.contains("\"file\""), "{list}");
}

/// A far file that is changed under a running program gives errors, and never other bytes.
#[test]
fn a_far_file_that_changes_is_an_error() {
    require!("changing images"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("changes");
    let image = copied(&python_sif(), &place, "a.sif");
    let name = image.to_str().expect("plain");
    let script = "sha256sum /opt/data.txt && echo ready && read word && sha256sum /usr/bin/python3";
    let mut cmd = place.exec(name, &["sh", "-c", script]);
    cmd.env("SKIFF_CACHE_FILES", "1");
    let mut child = cmd.stdin_open().start();
    let mut seen = Vec::new();
    let stdout = child.stdout.as_mut().expect("piped");
    while !seen.ends_with(b"ready\n") {
        let mut byte = [0];
        std::io::Read::read_exact(stdout, &mut byte).expect("it goes on");
        seen.push(byte[0]);
    }
    std::fs::write(&image, vec![7; 5_000_000]).expect("writable");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"on\n").expect("it waits");
    drop(stdin);
    let output = child.wait_with_output().expect("it was started");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("/usr/bin/python3"), "{text}");
    assert!(
        errors.contains("was changed while it is in use"),
        "{errors}"
    );
    let again = place.exec(name, &["true"]).run();
    let line = error_lines(&again, 1);
    assert!(line.contains("image format not recognized"), "{line}");
}

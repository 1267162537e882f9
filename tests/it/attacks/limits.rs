//! Limits of the administrator: paths are compared by their parts and after links are followed.

use std::os::unix::fs::symlink;

use skiff_tests::require;

use super::Den;

#[test]
fn a_name_that_begins_alike_is_not_inside() {
    require!("limit container paths"; Skiff, Fuse, UserNamespaces, Mksquashfs, Root);
    let den = Den::new("limits");
    let image = den.image("plain", |_| {});
    let allowed = den.make("scratch");
    let beside = den.make("scratch2");
    for folder in [&allowed, &beside] {
        std::fs::copy(&image, folder.join("x.sqsh")).expect("room");
    }
    symlink(beside.join("x.sqsh"), allowed.join("link.sqsh")).expect("free");
    symlink(&beside, allowed.join("linked")).expect("free");
    let conf = den.folder.join("site.conf");
    std::fs::write(
        &conf,
        format!("limit container paths = {}\n", allowed.display()),
    )
    .expect("room");
    let conf = conf.display().to_string();
    let try_it = |path: &str| {
        let path = den.folder.join(path).display().to_string();
        den.apptainer(&["--config", &conf, "exec", &path, "true"])
            .run()
    };
    try_it("scratch/x.sqsh").expect_success("inside");
    for outside in [
        "scratch2/x.sqsh",
        "scratch/../scratch2/x.sqsh",
        "scratch/link.sqsh",
        "scratch/linked/x.sqsh",
        "plain.sqsh",
    ] {
        let outcome = try_it(outside);
        assert_eq!(outcome.code(), Some(255), "{outside}: {outcome}");
    }
}

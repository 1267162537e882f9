//! Agents that fetch a distribution.

use std::time::Duration;

use skiff_tests::debian::suite_and_mirror;
use skiff_tests::require;
use skiff_tests::require::skip;

use super::{Folder, Who};

/// Longest that a build with packages from a mirror may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(400);

#[test]
fn debian_is_put_together_by_debootstrap() {
    require!("builds by debootstrap"; Skiff, Fuse, UserNamespaces, Subuids, Debootstrap);
    let (suite, mirror) = suite_and_mirror();
    let Some(mirror) = mirror else {
        return skip("builds by debootstrap", "no mirror in the list of sources");
    };
    let folder = Folder::new("debootstrap");
    folder.write(
        "x.def",
        &format!(
            "Bootstrap: debootstrap\nMirrorURL: {mirror}\nOSVersion: {suite}\nInclude: nano\n\n\
             %post\n    apt-get --version >/apt\n    dpkg -s nano >/nano\n"
        ),
    );
    let mut cmd = folder.build_command(Who::User, &["--fakeroot", "x.sif", "x.def"]);
    let outcome = cmd.limit(LIMIT).run();
    assert!(outcome.success(), "{outcome}");
    folder.assert_clean();
    let told = folder.says(&["exec", "x.sif", "cat", "/etc/os-release", "/apt", "/nano"]);
    for word in ["Debian", &suite, "apt ", "Status: install ok installed"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let look = "stat -c '%A %n' / /dev /tmp /usr/bin/passwd; test -c /dev/null; nano --version | head -n 1";
    let told = folder.says(&["exec", "--no-home", "x.sif", "sh", "-ec", look]);
    for line in ["drwxr-xr-x /\n", "-rwsr-xr-x /usr/bin/passwd", "GNU nano"] {
        assert!(told.contains(line), "{line}: {told}");
    }
}

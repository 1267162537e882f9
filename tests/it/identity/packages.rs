//! apt-get installs a package, whatever way the user is root.

use std::path::{Path, PathBuf};

use skiff_tests::command::Cmd;
use skiff_tests::image::{digest, keep};
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::userland::{add_programs, lay_out, libraries_of, write};

use super::{Folder, WAYS, exec};

/// What apt and dpkg call.
const PROGRAMS: &[&str] = &[
    "apt-get",
    "dpkg",
    "dpkg-deb",
    "dpkg-query",
    "dpkg-split",
    "dpkg-trigger",
    "diff",
    "gzip",
    "ldconfig",
    "start-stop-daemon",
    "sync",
    "tar",
    "xz",
];

/// What the package does when it is configured: what packages do.
const CONFIGURE: &str = "#!/bin/sh
set -e
test \"$(id -u)\" = 0
mkdir -p /var/lib/given
chown 33:33 /var/lib/given
chmod 2750 /var/lib/given
chown -h 33:33 /var/lib/given
mknod /var/lib/given/pipe p
echo configured >/var/lib/given/log
";

/// A folder with a small Debian in it, and the package.
pub(crate) fn debian() -> PathBuf {
    let name = format!(
        "debian-{}",
        digest(&[
            include_str!("packages.rs"),
            include_str!("../../src/userland.rs")
        ])
    );
    keep(&name, |folder| {
        let root = folder.join("root");
        lay_out(&root);
        add_programs(&root, PROGRAMS);
        let methods = root.join("usr/lib/apt/methods");
        std::fs::create_dir_all(&methods).expect("fresh");
        for method in ["copy", "file", "store"] {
            let host = Path::new("/usr/lib/apt/methods").join(method);
            std::fs::copy(&host, methods.join(method)).expect("apt has it");
            for library in libraries_of(&host) {
                let name = library.file_name().expect("a library has a name");
                // Where apt-get's own are.
                let real = library.canonicalize().expect("ldd named it");
                let target = root.join("usr/lib/x86_64-linux-gnu").join(name);
                if target.parent().is_some_and(Path::is_dir) && !target.exists() {
                    std::fs::copy(real, target).expect("room");
                }
            }
        }
        for directory in [
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/lib/dpkg/triggers",
            "var/lib/dpkg/alternatives",
            "var/lib/dpkg/parts",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/log/apt",
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d",
            "root",
            "home",
        ] {
            std::fs::create_dir_all(root.join(directory)).expect("fresh");
        }
        for file in ["status", "available", "diversions", "statoverride"] {
            write(&root.join("var/lib/dpkg").join(file), "");
        }
        for file in ["hosts", "localtime", "resolv.conf"] {
            write(&root.join("etc").join(file), "");
        }
        write(
            &root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/bash\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n",
        );
        write(&root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n");
        Cmd::new("/bin/cp")
            .args(["-r", "/usr/share/dpkg"])
            .arg(make(&root.join("usr/share")))
            .run()
            .expect_success("copying dpkg's tables");
        package(folder);
        let user = ordinary();
        Cmd::new("/bin/chown")
            .args(["-R", "-h", &format!("{}:{}", user.uid, user.gid)])
            .arg(folder)
            .run();
    })
}

fn make(folder: &Path) -> &Path {
    std::fs::create_dir_all(folder).expect("fresh");
    folder
}

/// Packs the package; its files belong to several users.
fn package(folder: &Path) {
    use std::os::unix::fs::{PermissionsExt, chown};
    let tree = folder.join("package");
    write(
        &tree.join("DEBIAN/control"),
        "Package: given\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y.z>\nDescription: test\n",
    );
    write(&tree.join("DEBIAN/postinst"), CONFIGURE);
    write(&tree.join("usr/share/given/text"), "installed\n");
    write(&tree.join("usr/bin/given"), "#!/bin/sh\necho given\n");
    for (file, mode) in [
        ("DEBIAN/postinst", 0o755),
        ("usr/bin/given", 0o4755),
        ("DEBIAN", 0o755),
    ] {
        std::fs::set_permissions(tree.join(file), PermissionsExt::from_mode(mode)).expect("ours");
    }
    chown(tree.join("usr/share/given/text"), Some(33), Some(34)).expect("root may");
    Cmd::new("dpkg-deb")
        .env("PATH", "/usr/bin:/bin")
        .arg("-b")
        .arg(&tree)
        .arg(folder.join("given.deb"))
        .run()
        .expect_success("dpkg-deb");
}

#[test]
fn apt_get_installs_whatever_the_way() {
    require!("packages"; Root, Skiff, Fuse, UserNamespaces, Subuids, Fakeroot, Apt);
    let debian = debian();
    let package = debian.join("given.deb");
    for (number, way) in WAYS.iter().enumerate() {
        let folder = Folder::new(&format!("packages-{number}"));
        let sandbox = folder.0.join("root");
        Cmd::new("/bin/cp")
            .arg("-a")
            .args([&debian.join("root"), &sandbox])
            .run()
            .expect_success("copying the sandbox");
        let file = folder.0.join("given.deb");
        std::fs::copy(&package, &file).expect("room");
        let mut options = way.to_vec();
        options.extend(["--writable", "--no-home"]);
        let install = ["apt-get", "install", "-y"];
        let words: Vec<&str> = install
            .into_iter()
            .chain([file.to_str().expect("text")])
            .collect();
        let outcome = exec(&options, &sandbox, &words).run();
        assert_eq!(outcome.code(), Some(0), "{way:?}: {outcome}");
        let outcome = exec(&options, &sandbox, &["dpkg", "-s", "given"]).run();
        assert!(
            outcome.stdout_text().contains("install ok installed"),
            "{way:?}: {outcome}"
        );
        let there = |path: &str| sandbox.join(path).exists();
        assert!(
            there("usr/share/given/text") && there("usr/bin/given"),
            "{way:?}"
        );
        let log = exec(&options, &sandbox, &["cat", "/var/lib/given/log"]).run();
        assert_eq!(log.stdout_text(), "configured\n", "{way:?}: {log}");
        // Before the folder goes, by whoever its files belong to.
        exec(&options, &sandbox, &["rm", "-rf", "/var/lib/given"]).run();
    }
}

//! A small userland taken from the host: programs, the libraries they need, Python.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::command::Cmd;

/// What every image of the tests has: shells, coreutils, and what looks around in a container.
const PROGRAMS: &[&str] = &[
    "sh",
    "bash",
    "awk",
    "base64",
    "basename",
    "cat",
    "chmod",
    "chown",
    "cksum",
    "cmp",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "du",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "findmnt",
    "getent",
    "getopt",
    "grep",
    "groups",
    "head",
    "hostname",
    "id",
    "kill",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mknod",
    "mktemp",
    "mount",
    "mountpoint",
    "mv",
    "nice",
    "nproc",
    "od",
    "printenv",
    "printf",
    "prlimit",
    "ps",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "setpriv",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "stty",
    "tail",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "tty",
    "umount",
    "uname",
    "uniq",
    "unshare",
    "wc",
    "which",
    "whoami",
    "xargs",
];

/// Lays out an image root in `root`, the programs of the host and their libraries in it, with the
/// merged /usr that Debian has. No `/etc/hosts`, `/etc/resolv.conf`, `/etc/localtime`, `/home` or
/// `/root`: those have to be made for the container.
///
/// # Panics
/// When the host lacks something it needs.
pub fn lay_out(root: &Path) {
    for folder in [
        "usr/bin",
        "usr/lib",
        "usr/lib64",
        "usr/sbin",
        "etc",
        "var/tmp",
        "opt",
        "srv",
    ] {
        make_folder(&root.join(folder));
    }
    for folder in ["dev", "proc", "sys", "tmp", "run", "mnt"] {
        make_folder(&root.join(folder));
    }
    for link in ["bin", "lib", "lib64", "sbin"] {
        symlink(format!("usr/{link}"), root.join(link)).expect("a fresh root");
    }
    write(
        &root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/bash\nsvc:x:901:901:a service:/srv:/bin/sh\n",
    );
    write(
        &root.join("etc/group"),
        "root:x:0:\nsvc:x:901:\nstaff:x:50:\n",
    );
    write(
        &root.join("etc/os-release"),
        "NAME=\"Test Linux\"\nID=test\nVERSION_ID=1\n",
    );
    write(
        &root.join("etc/nsswitch.conf"),
        "passwd: files\ngroup: files\nhosts: files dns\n",
    );
    add_programs(root, PROGRAMS);
}

/// Copies programs of the host, found on PATH, with the libraries they need.
///
/// # Panics
/// When one is missing.
pub fn add_programs(root: &Path, names: &[&str]) {
    let mut libraries = BTreeSet::new();
    for name in names {
        let program = find(name).unwrap_or_else(|| panic!("the host has no {name}"));
        let real = program.canonicalize().expect("it was found");
        copy(&real, &root.join("usr/bin").join(name));
        libraries.extend(libraries_of(&real));
    }
    for library in libraries {
        add_library(root, &library);
    }
}

/// Copies the host's python3 with the larger part of its standard library.
///
/// # Panics
/// When there is none.
pub fn add_python(root: &Path) {
    add_programs(root, &["python3"]);
    let library = Cmd::new("python3")
        .env("PATH", "/usr/bin:/bin")
        .args([
            "-c",
            "import sysconfig; print(sysconfig.get_path('stdlib'))",
        ])
        .run()
        .expect_success("asking python3 for its library")
        .stdout_text();
    let library = PathBuf::from(library.trim());
    let target = root.join(library.strip_prefix("/").expect("an absolute path"));
    make_folder(target.parent().expect("not the root"));
    Cmd::new("/bin/cp")
        .args([Path::new("-rL"), &library, &target])
        .run();
    for part in [
        "test",
        "idlelib",
        "lib2to3",
        "tkinter",
        "turtledemo",
        "ensurepip",
        "pydoc_data",
    ] {
        // Not in every Debian package of Python.
        std::fs::remove_dir_all(target.join(part)).ok();
    }
    for module in std::fs::read_dir(target.join("lib-dynload"))
        .into_iter()
        .flatten()
        .flatten()
    {
        for needed in libraries_of(&module.path()) {
            add_library(root, &needed);
        }
    }
}

fn add_library(root: &Path, library: &Path) {
    let name = library.file_name().expect("a library has a name");
    // Where the loader looks: its own path for itself, else the folder of the host's library.
    let folder = library.parent().expect("an absolute path");
    let folder = match folder.strip_prefix("/usr") {
        Ok(rest) => Path::new("usr").join(rest),
        Err(_) => Path::new("usr").join(folder.strip_prefix("/").unwrap_or(folder)),
    };
    let target = root.join(folder).join(name);
    if !target.exists() {
        make_folder(target.parent().expect("not the root"));
        copy(&library.canonicalize().expect("ldd named it"), &target);
    }
}

/// The shared libraries that `program` needs on this host.
pub fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let outcome = Cmd::new("/usr/bin/ldd").arg(program).run();
    outcome
        .stdout_text()
        .lines()
        .filter_map(|line| {
            let path = line.split("=> ").last()?.trim().split(" (").next()?;
            path.starts_with('/').then(|| PathBuf::from(path))
        })
        .collect()
}

fn find(name: &str) -> Option<PathBuf> {
    // Its merged /usr makes the others the same folders.
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to)
        .unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.display()));
}

fn make_folder(path: &Path) {
    std::fs::create_dir_all(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Writes a file, making its folder.
///
/// # Panics
/// When it cannot.
pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    make_folder(path.parent().expect("not the root"));
    std::fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

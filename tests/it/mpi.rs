//! Programs of several ranks: the host's mpirun starts a container per rank. They find each other,
//! read each other's memory, and share one server and one user namespace.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_tests::command::{Cmd, wait};
use skiff_tests::image::{digest, keep, mksquashfs};
use skiff_tests::processes::servers;
use skiff_tests::user::ordinary;
use skiff_tests::userland::{lay_out, libraries_of};
use skiff_tests::{program, require};

const SOURCE: &str = include_str!("mpi/ring.c");

/// An implementation of MPI as Debian packages it.
struct Flavour {
    /// Suffix of its commands.
    name: &'static str,
    /// What it loads at run time, beyond what ldd tells.
    parts: &'static [&'static str],
    /// Options of mpirun: more ranks than processors, and messages by shared memory.
    options: &'static [&'static str],
}

const OPEN_MPI: Flavour = Flavour {
    name: "openmpi",
    parts: &[
        "/usr/lib/LIB/openmpi/lib/openmpi3",
        "/usr/lib/LIB/pmix2/lib/pmix",
        "/usr/share/openmpi",
        "/usr/share/pmix",
        "/etc/openmpi",
        "/etc/pmix",
    ],
    options: &[
        "--oversubscribe",
        "--mca",
        "pml",
        "ob1",
        "--mca",
        "btl",
        "vader,self",
        "--mca",
        "btl_vader_single_copy_mechanism",
        "cma",
    ],
};

const MPICH: Flavour = Flavour {
    name: "mpich",
    parts: &["/usr/lib/LIB/ucx"],
    options: &[],
};

/// Ranks that are started.
const RANKS: usize = 4;

/// The image with the compiled program and its implementation of MPI.
fn image(flavour: &Flavour) -> PathBuf {
    let name = format!(
        "mpi-{}-{}",
        flavour.name,
        digest(&[SOURCE, include_str!("mpi.rs")])
    );
    let folder = keep(&name, |folder| {
        let source = folder.join("ring.c");
        std::fs::write(&source, SOURCE).expect("room");
        Cmd::new(format!("/usr/bin/mpicc.{}", flavour.name))
            .env("PATH", "/usr/bin:/bin")
            .args(["-O1", "-Wall", "-o"])
            .arg(folder.join("ring"))
            .arg(&source)
            .run()
            .expect_success("compiling");
        let root = folder.join("root");
        lay_out(&root);
        std::fs::copy(folder.join("ring"), root.join("usr/bin/ring")).expect("room");
        add_libraries(&root, &root.join("usr/bin/ring"));
        let triplet = Cmd::new("/usr/bin/cc")
            .env("PATH", "/usr/bin:/bin")
            .arg("-print-multiarch")
            .run()
            .stdout_text();
        for part in flavour.parts {
            let part = part.replace("LIB", triplet.trim());
            if Path::new(&part).exists() {
                copy_tree(&root, Path::new(&part));
            }
        }
        mksquashfs(
            &root,
            &folder.join("ring.sqfs"),
            &["-all-root", "-comp", "zstd"],
        );
        std::fs::remove_dir_all(&root).expect("ours");
    });
    folder.join("ring.sqfs")
}

/// Copies a folder of the host to the same place in `root`, with the libraries that what is in it
/// needs.
fn copy_tree(root: &Path, folder: &Path) {
    let target = root.join(folder.strip_prefix("/").expect("an absolute path"));
    std::fs::create_dir_all(target.parent().expect("not the root")).expect("ours");
    Cmd::new("/bin/cp")
        .args([Path::new("-rL"), folder, &target])
        .run();
    let mut folders = vec![target];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("ours").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(".so") {
                add_libraries(root, &path);
            }
        }
    }
}

/// Copies what `object` needs from the host to the same places.
fn add_libraries(root: &Path, object: &Path) {
    for library in libraries_of(object) {
        let place = library.strip_prefix("/").expect("an absolute path");
        // Debian's /lib is a link, in the image as well.
        let target = root.join(place);
        if !target.exists() {
            std::fs::create_dir_all(target.parent().expect("not the root")).expect("ours");
            std::fs::copy(&library, &target).expect("ldd named it");
        }
    }
}

fn ranks_find_each_other(flavour: &Flavour) {
    for command in ["mpicc", "mpirun"] {
        let path = format!("/usr/bin/{command}.{}", flavour.name);
        if !Path::new(&path).exists() {
            skiff_tests::require::skip(flavour.name, &format!("{path} is not installed"));
            return;
        }
    }
    let user = ordinary();
    let folder = PathBuf::from(format!(
        "/tmp/skiff-mpi-{}-{}",
        flavour.name,
        std::process::id()
    ));
    std::fs::create_dir(&folder).expect("fresh");
    user.own(&folder);
    // A copy of its own, so that its servers are told from others.
    let own = folder.join("ring.sqfs");
    std::fs::copy(image(flavour), &own).expect("room");
    user.own(&own);

    let mut child = user
        .command(format!("/usr/bin/mpirun.{}", flavour.name))
        .cwd(&folder)
        .env("SKIFF_LINGER", "1")
        .env("SKIFF_RUNTIME_DIR", folder.join("run"))
        .args(["-n", &RANKS.to_string()])
        .args(flavour.options)
        .arg(program::skiff().expect("required").called("skiff"))
        .arg("exec")
        .arg(&own)
        .arg("/usr/bin/ring")
        .stdin_open()
        .start();
    let mut lines = Vec::new();
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).expect("text") == 0 {
            break;
        }
        if line.trim() == "ready" {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let serving = servers(&own).len();
    drop(child.stdin.take());
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let status = wait(&mut child, deadline);
    if status.is_none() {
        skiff_tests::command::kill_group(&child);
    }
    let mut complaints = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    stderr.read_to_string(&mut complaints).expect("text");
    std::fs::remove_dir_all(&folder).expect("ours");

    let told = format!("{lines:#?}\n{complaints}");
    assert!(status.is_some_and(|status| status.success()), "{told}");
    // What Open MPI says where it was told to copy between processes and cannot.
    assert!(!complaints.contains("CMA support"), "{told}");
    assert_eq!(serving, 1, "one server for all ranks: {told}");
    let wanted: Vec<_> = (0..RANKS)
        .map(|rank| format!("rank {rank} of {RANKS}: errors 0, sum 10, memory ok"))
        .collect();
    let (found, mut spaces): (Vec<_>, Vec<_>) = lines
        .iter()
        .filter_map(|line| line.rsplit_once(", "))
        .filter(|(_, space)| space.starts_with("user:["))
        .unzip();
    assert_eq!(found, wanted, "{told}");
    spaces.dedup();
    assert_eq!(spaces.len(), 1, "one user namespace for all ranks: {told}");
    let host = std::fs::read_link("/proc/self/ns/user").expect("there");
    assert_ne!(Path::new(spaces[0]), host, "a namespace of their own");
}

#[test]
fn ranks_of_open_mpi() {
    require!("Open MPI"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    ranks_find_each_other(&OPEN_MPI);
}

#[test]
fn ranks_of_mpich() {
    require!("MPICH"; Skiff, Fuse, UserNamespaces, Mksquashfs);
    ranks_find_each_other(&MPICH);
}

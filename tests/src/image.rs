//! Images to run, made once and kept: SIFs by real Apptainer, squashfs by mksquashfs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::command::Cmd;
use crate::program::{Program, hex, shared_folder};
use crate::user::ordinary;
use crate::userland::{add_programs, add_python, lay_out, write};

/// What the definition file says on top of the userland.
const DEFINITION: &str = r#"Bootstrap: localimage
From: SANDBOX

%environment
    export FROM_IMAGE=image
    export GREETING="hello world"
    export LIST="${LIST:-none}:image"

%runscript
    echo "run: $# arguments, name $(basename "$0")"
    for a in "$@"; do echo "[$a]"; done
    exit ${RUN_EXIT:-0}

%startscript
    echo started

%test
    echo "test: $# arguments"
    for a in "$@"; do echo "[$a]"; done
    exit 3

%labels
    Author Someone
    Version 1.2.3

%help
    This image helps.
    On two lines.

%apprun greet
    echo "greet: $# arguments, $GREET_WORD"

%appenv greet
    export GREET_WORD=moin

%applabels greet
    Purpose greeting

%apphelp greet
    Greets.

%apptest greet
    echo "app test: $#"

%apprun other
    exit 7
"#;

/// The images of the command-line tests. All show the same userland, unless said otherwise.
#[derive(Clone, Debug)]
pub struct Images {
    /// The folder that holds all of the below, readable by everyone.
    pub folder: PathBuf,
    /// Built from a definition file: environment, runscript, labels, apps.
    pub sif: PathBuf,
    /// Built from a bare folder: no runscript of its own.
    pub plain_sif: PathBuf,
    /// As `sif`, packed with zstd.
    pub zstd_sif: PathBuf,
    /// One program, its libraries, and neither shell nor `/etc`.
    pub tiny_sif: PathBuf,
    /// A bare squashfs file.
    pub squashfs: PathBuf,
    /// The same behind a launch line.
    pub launch: PathBuf,
    /// A folder.
    pub sandbox: PathBuf,
}

/// The images, made by `apptainer` as the ordinary user when they are not there yet.
///
/// # Panics
/// When they cannot be made.
pub fn images(apptainer: &Program) -> Images {
    let images = keep(
        &format!(
            "images-{}",
            digest(&[
                DEFINITION,
                include_str!("userland.rs"),
                include_str!("image.rs")
            ])
        ),
        |folder| {
            build_images(apptainer, folder);
        },
    );
    Images {
        sif: images.join("full.sif"),
        plain_sif: images.join("plain.sif"),
        zstd_sif: images.join("zstd.sif"),
        tiny_sif: images.join("tiny.sif"),
        squashfs: images.join("bare.sqfs"),
        launch: images.join("launch.img"),
        sandbox: images.join("sandbox"),
        folder: images,
    }
}

fn build_images(apptainer: &Program, folder: &Path) {
    let user = ordinary();
    let source = folder.join("source");
    lay_out(&source);
    add_python(&source);
    write(&source.join("opt/data.txt"), "from the image\n");
    write(&source.join("opt/noexec"), "not a program\n");
    write(
        &source.join("opt/script"),
        "echo script without a first line: $#\n",
    );
    write(
        &source.join("opt/argv.py"),
        "import sys, os\nfor a in sys.argv[1:]: print(os.fsencode(a))\n",
    );
    std::os::unix::fs::symlink("data.txt", source.join("opt/link.txt")).expect("fresh");
    std::os::unix::fs::symlink("/opt/data.txt", source.join("opt/abs.txt")).expect("fresh");
    Cmd::new("/bin/chmod")
        .arg("755")
        .arg(source.join("opt/script"))
        .run();
    let tiny = folder.join("tiny");
    for part in ["usr/bin", "usr/lib", "usr/lib64"] {
        std::fs::create_dir_all(tiny.join(part)).expect("fresh");
    }
    for link in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), tiny.join(link)).expect("fresh");
    }
    add_programs(&tiny, &["cat", "env", "ls"]);
    write(&tiny.join("hello.txt"), "hello\n");
    let definition = folder.join("image.def");
    write(
        &definition,
        DEFINITION.replace("SANDBOX", &source.display().to_string()),
    );
    for path in [folder, &source, &tiny] {
        Cmd::new("/bin/chown")
            .args(["-R", "-h"])
            .arg(format!("{}:{}", user.uid, user.gid))
            .arg(path)
            .run();
    }

    let build = |args: &[&str]| {
        user.command(apptainer.called("apptainer"))
            .cwd(folder)
            .arg("build")
            .args(args)
            .limit(std::time::Duration::from_secs(600))
            .run()
            .expect_success("apptainer build");
    };
    build(&["--notest", "full.sif", "image.def"]);
    build(&["--sandbox", "sandbox", "full.sif"]);
    build(&["plain.sif", "source"]);
    build(&["--mksquashfs-args", "-comp zstd", "zstd.sif", "sandbox"]);
    build(&["tiny.sif", "tiny"]);
    mksquashfs(
        &folder.join("sandbox"),
        &folder.join("bare.sqfs"),
        &["-all-root"],
    );
    let mut launch = b"#!/usr/bin/env run-singularity\n".to_vec();
    launch.extend(std::fs::read(folder.join("bare.sqfs")).expect("just made"));
    write(&folder.join("launch.img"), launch);
    Cmd::new("/bin/chmod")
        .arg("755")
        .arg(folder.join("launch.img"))
        .run();
    std::fs::remove_dir_all(&source).expect("just made");
    std::fs::remove_dir_all(&tiny).expect("just made");
    Cmd::new("/bin/chown")
        .args(["-R", "-h"])
        .arg(format!("{}:{}", user.uid, user.gid))
        .arg(folder)
        .run();
}

/// Packs `source` into a squashfs file.
///
/// # Panics
/// When mksquashfs fails.
pub fn mksquashfs(source: &Path, image: &Path, options: &[&str]) {
    Cmd::new("/usr/bin/mksquashfs")
        .arg(source)
        .arg(image)
        .args(["-noappend", "-no-progress", "-quiet"])
        .args(options)
        .limit(std::time::Duration::from_secs(600))
        .run()
        .expect_success("mksquashfs");
}

/// The folder `name` below the shared one, filled by `fill` if that did not happen before, in
/// whatever process.
///
/// # Panics
/// When it cannot be made.
pub fn keep(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    static HERE: Mutex<()> = Mutex::new(());
    // A test that panicked while filling leaves nothing that counts as filled.
    let _guard = HERE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let shared = shared_folder().unwrap_or_else(|error| panic!("{error}"));
    let lock = File::create(shared.join(format!("{name}.lock"))).expect("the folder is ours");
    flock(&lock, FlockOperation::LockExclusive).expect("a local file system");
    let folder = shared.join(name);
    let stamp = shared.join(format!("{name}.done"));
    if !stamp.exists() {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).expect("the folder is ours");
        }
        std::fs::create_dir_all(&folder).expect("the folder is ours");
        fill(&folder);
        File::create(&stamp).expect("the folder is ours");
    }
    folder
}

/// A short name for what is made from these texts.
pub fn digest(texts: &[&str]) -> String {
    let mut sha = Sha256::new();
    for text in texts {
        sha.update(text.as_bytes());
        sha.update([0]);
    }
    hex(&sha.finalize()[..6])
}

//! Images that are elsewhere: run from every kind of server, they look as they do at home, and no
//! more of them is fetched than is read.

mod amount;
mod files;
mod profile;
mod registry;
mod sources;

use std::path::PathBuf;

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::image::{images, keep};
use skiff_tests::numpy::add_numpy;
use skiff_tests::program;
use skiff_tests::user::ordinary;
use skiff_tests::userland::{add_python, lay_out, libraries_of};
use skiff_tests::web::Place;
use skiff_tests::web::place::copied;

/// An image with a whole userland and Python.
pub(crate) fn python_sif() -> PathBuf {
    images(program::real_apptainer().expect("required"))
        .zstd_sif
        .clone()
}

/// Folders of an image that are shown in a container as they are.
const FOLDERS: &[&str] = &["/.singularity.d", "/opt", "/srv", "/usr"];

/// What a program sees of the image.
pub(crate) fn picture(place: &Place, image: &str) -> Outcome {
    picture_by(place, image, &mut |_| {})
}

/// As [`picture`], with something more said to the launch.
pub(crate) fn picture_by(place: &Place, image: &str, say: &mut dyn FnMut(&mut Cmd)) -> Outcome {
    with_probe(place);
    let line = FOLDERS
        .iter()
        .map(|folder| format!("/mnt/probe snapshot -t -u {folder}"))
        .collect::<Vec<_>>()
        .join(" && ");
    let mut cmd = probing(place, image, &["sh", "-c", &line]);
    say(&mut cmd);
    let outcome = cmd.run();
    assert!(
        outcome.success(),
        "looking at {image}: {}",
        outcome.stderr_text()
    );
    outcome
}

/// A program in `image` that finds what is in the place's folder, the probe among it, in `/mnt`.
pub(crate) fn probing(place: &Place, image: &str, program: &[&str]) -> Cmd {
    with_probe(place);
    let mut cmd = place.skiff(&["exec", "--env", "LD_LIBRARY_PATH=/mnt", "-B"]);
    cmd.arg(format!("{}:/mnt", place.folder.display()))
        .arg(image)
        .args(program);
    cmd
}

/// Puts the probe and its libraries, which images need not have, into the place's folder.
fn with_probe(place: &Place) {
    if place.folder.join("probe").exists() {
        return;
    }
    let probe = program::probe(env!("CARGO_BIN_EXE_skiff-probe"));
    for library in libraries_of(&probe) {
        let name = library.file_name().expect("a library has a name");
        copied(&library, place, &name.to_string_lossy());
    }
    copied(&probe, place, "probe");
}

/// Fails unless both show the same.
pub(crate) fn compare(wanted: &Outcome, seen: &Outcome, what: &str) {
    if seen.stdout != wanted.stdout {
        let lines = |outcome: &Outcome| -> Vec<String> {
            outcome.stdout_text().lines().map(str::to_owned).collect()
        };
        panic!(
            "{what} looks different:\n{}",
            skiff_tests::snapshot::differences(&lines(wanted), &lines(seen))
        );
    }
}

/// An image with a large tree of Python modules.
pub(crate) fn numpy_sif() -> PathBuf {
    let apptainer = program::real_apptainer().expect("required");
    let version = skiff_tests::image::digest(&[include_str!("../src/numpy.rs")]);
    let folder = keep(&format!("numpy-{version}"), |folder| {
        let source = folder.join("source");
        lay_out(&source);
        add_python(&source);
        add_numpy(&source);
        let user = ordinary();
        Cmd::new("/bin/chown")
            .args(["-R", "-h"])
            .arg(format!("{}:{}", user.uid, user.gid))
            .arg(folder)
            .run();
        user.command(apptainer.called("apptainer"))
            .cwd(folder)
            .args(["build", "numpy.sif", "source"])
            .limit(std::time::Duration::from_secs(600))
            .run()
            .expect_success("apptainer build");
        std::fs::remove_dir_all(&source).expect("just made");
    });
    folder.join("numpy.sif")
}

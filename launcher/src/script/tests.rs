//! The whole phase on image trees in temporary directories.

#![allow(
    clippy::indexing_slicing,
    reason = "a test that indexes too far has failed, as it should"
)]

mod conformance;
mod dispatch;
mod oci;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{ScriptError, evaluate, plan};
use crate::environment;
use crate::process::Start;
use crate::report::Level;
use crate::request::{
    Action, EnvironmentWish, HomeWish, ImageRequest, LaunchRequest, NamespaceWish, RootKind,
};

/// What `99-base.sh` of a real image does.
const BASE: &str = r#"
if [ -z "${LD_LIBRARY_PATH:-}" ]; then
    LD_LIBRARY_PATH="/.singularity.d/libs"
else
    LD_LIBRARY_PATH="$LD_LIBRARY_PATH:/.singularity.d/libs"
fi
if [ -z "${PS1:-}" ]; then PS1="Apptainer> "; fi
export LD_LIBRARY_PATH PS1
"#;

/// A request for `action` with nothing special about it.
fn request(action: Action) -> LaunchRequest {
    LaunchRequest {
        action,
        image: ImageRequest {
            path: "/images/case.sif".into(),
            name: "case.sif".into(),
            kind: RootKind::Mounted,
        },
        prompt: "Apptainer> ".to_owned(),
        binds: Vec::new(),
        home: HomeWish::Default,
        contain: false,
        no_mount: Vec::new(),
        workdir: None,
        scratch: Vec::new(),
        cwd: None,
        host_cwd: "/".into(),
        namespaces: NamespaceWish::default(),
        hostname: None,
        dns: Vec::new(),
        environment: EnvironmentWish::default(),
        no_umask: false,
        shell: None,
        app: None,
        instance: None,
        writing: Default::default(),
        identity: Default::default(),
        gpu: Default::default(),
        limits: Default::default(),
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// A file of an image, with the directories that lead to it.
fn write(root: &Path, path: &str, text: &str, mode: u32) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().expect("every file has a directory")).expect("directory");
    fs::write(&path, text).expect("file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
}

/// An image tree with these environment scripts.
fn image(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("temporary directory");
    for (name, text) in scripts {
        write(
            root.path(),
            &format!(".singularity.d/env/{name}"),
            text,
            0o755,
        );
    }
    root
}

/// The phase's end and what it had to say.
fn run(request: &LaunchRequest, root: &Path) -> (Result<Start, ScriptError>, Vec<(Level, String)>) {
    let environment = environment::plan(request, Path::new("/home/me"), &[]).expect("no files");
    let mut said = Vec::new();
    let mut report = |level, text: &str| {
        if level > Level::Verbose {
            said.push((level, text.to_owned()));
        }
    };
    let start = evaluate(&plan(request, environment), root, &mut report);
    (start, said)
}

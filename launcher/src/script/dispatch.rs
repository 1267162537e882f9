//! Which program an action starts, and what to say where there is none.

use std::path::Path;

use rustix::fs::Access;

use super::lookup::inside;
use super::shell::Shell;
use super::shell::variables::Value;
use crate::report::Level;

/// What an action comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Start this, looked up in `PATH`, with these arguments.
    Start(Vec<Vec<u8>>),
    /// Say this and end.
    End(Level, String, u8),
}

/// Chooses the program for `action`; may set `SHELL` and tell what it chose.
pub(super) fn choose(
    action: &str,
    arguments: &[Vec<u8>],
    root: &Path,
    shell: &mut Shell<'_>,
) -> Choice {
    let program = |words: &[&str]| {
        let words = words.iter().map(|word| word.as_bytes().to_vec());
        Choice::Start(words.chain(arguments.iter().cloned()).collect())
    };
    let runs =
        |path: &str| rustix::fs::access(inside(root, Path::new(path)), Access::EXEC_OK).is_ok();
    let app = shell
        .variables
        .scalar(b"SINGULARITY_APPNAME")
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned());
    let of_app = |app: &str, script: &str| {
        [
            format!("/scif/apps/{app}/scif/{script}"),
            format!("/scif/apps/singularity/scif/{script}"),
        ]
        .into_iter()
        .find(|path| runs(path))
    };
    match action {
        "exec" => Choice::Start(arguments.to_vec()),
        "shell" => {
            let wanted = shell
                .variables
                .scalar(b"SINGULARITY_SHELL")
                .filter(|path| !path.is_empty())
                .map(|path| String::from_utf8_lossy(path).into_owned());
            if let Some(wanted) = wanted.filter(|path| runs(path)) {
                return program(&[&wanted]);
            }
            for (path, words) in [
                ("/bin/bash", ["/bin/bash", "--norc"].as_slice()),
                ("/bin/sh", &["/bin/sh"]),
            ] {
                if runs(path) {
                    let variable = shell.variables.global(b"SHELL");
                    variable.value = Some(Value::Text(path.as_bytes().to_vec()));
                    variable.exported = true;
                    return program(words);
                }
            }
            Choice::End(
                Level::Error,
                "/bin/sh does not exist in container".to_owned(),
                1,
            )
        }
        "run" => {
            if let Some(app) = app {
                return match of_app(&app, "runscript") {
                    Some(path) => program(&[&path]),
                    None => Choice::End(
                        Level::Error,
                        format!("no runscript for contained app: {app}"),
                        1,
                    ),
                };
            }
            if let Some(path) = ["/.singularity.d/runscript", "/apptainer"]
                .into_iter()
                .find(|path| runs(path))
            {
                return program(&[path]);
            }
            if runs("/bin/sh") {
                shell.tell(
                    Level::Info,
                    "No runscript found in container, executing /bin/sh",
                );
                return program(&["/bin/sh"]);
            }
            Choice::End(
                Level::Error,
                "No runscript and no /bin/sh executable found in container, aborting".to_owned(),
                1,
            )
        }
        "test" => {
            if let Some(app) = app {
                return match of_app(&app, "test") {
                    Some(path) => program(&[&path]),
                    None => Choice::End(
                        Level::Error,
                        format!("No tests for contained app: {app}"),
                        1,
                    ),
                };
            }
            if runs("/.singularity.d/test") {
                return program(&["/.singularity.d/test"]);
            }
            // It says so and yet starts what it would have called, which images of its own
            // making have and which then finds no test either.
            shell.tell(Level::Info, "No test script found in container, exiting");
            program(&["/.singularity.d/actions/test"])
        }
        "start" => {
            if let Some(path) = app.and_then(|app| of_app(&app, "startscript")) {
                return program(&[&path]);
            }
            if runs("/.singularity.d/startscript") {
                return program(&["/.singularity.d/startscript"]);
            }
            Choice::End(
                Level::Info,
                "No instance start script found in container".to_owned(),
                0,
            )
        }
        unknown => Choice::End(Level::Error, format!("Unknown action {unknown}"), 1),
    }
}

//! Runscripts that are generated for OCI images.

use std::path::Path;

use super::{image, request, words, write};
use crate::process::Start;
use crate::request::Action;

/// A runscript of the generated kind, with this entry point and command.
fn runscript(entrypoint: &str, command: &str) -> String {
    format!(
        r#"#!/bin/sh
OCI_ENTRYPOINT='{entrypoint}'
OCI_CMD='{command}'
if [ -n "$SINGULARITY_NO_EVAL" ]; then
    set -- 'literal' '$HOME' "$@"
    exec "$@"
fi
ARGUMENTS=""
for word in "$@"; do
    ARGUMENTS="${{ARGUMENTS}} \"$word\""
done
if [ $# -gt 0 ]; then
    SINGULARITY_OCI_RUN="${{OCI_ENTRYPOINT}} ${{ARGUMENTS}}"
else
    SINGULARITY_OCI_RUN="${{OCI_ENTRYPOINT}} ${{OCI_CMD}}"
fi
eval "set ${{SINGULARITY_OCI_RUN}}"
exec "$@"
"#
    )
}

/// The arguments that `run` of such an image comes to.
#[track_caller]
fn arguments(script: &str, given: &[&str], no_eval: bool) -> Result<Vec<String>, String> {
    let root = image(&[]);
    write(root.path(), ".singularity.d/runscript", script, 0o755);
    let mut run = request(Action::Run(words(given)));
    run.environment.no_eval = no_eval;
    match super::run(&run, root.path()) {
        (Ok(Start::Execute(program)), _) => Ok(program
            .arguments
            .into_iter()
            .map(|word| word.into_string().expect("text"))
            .collect()),
        (Err(error), _) => Err(error.to_string()),
        (other, _) => panic!("{other:?}"),
    }
}

// The runscript's `exec` looks in the PATH of this process's own root, so the programs are ones
// that every system has.

#[test]
fn entry_point_and_command_are_evaluated() {
    let script = runscript(r#""/bin/echo" "a b" "$HOME""#, r#""c" "d$(echo e)""#);
    assert_eq!(
        arguments(&script, &[], false).expect("program"),
        ["/bin/echo", "a b", "/home/me", "c", "de"]
    );
    assert_eq!(
        arguments(&script, &["x", "y  z", "$HOME", "`echo q`"], false).expect("program"),
        ["/bin/echo", "a b", "/home/me", "x", "y  z", "/home/me", "q"]
    );
}

#[test]
fn command_alone() {
    let script = runscript("", r#""/bin/sh" "-c" "true""#);
    assert_eq!(
        arguments(&script, &[], false).expect("program"),
        ["/bin/sh", "-c", "true"]
    );
    assert_eq!(
        arguments(&script, &["/bin/echo"], false).expect("program"),
        ["/bin/echo"]
    );
    assert_eq!(
        arguments(&script, &["nosuchprogram"], false).expect_err("not found"),
        "\"nosuchprogram\": executable file not found in $PATH"
    );
}

#[test]
fn no_eval_is_the_scripts_own_branch() {
    let script = runscript("", "").replace("'literal'", "'/bin/echo'");
    assert_eq!(
        arguments(&script, &["$x"], true).expect("program"),
        ["/bin/echo", "$HOME", "$x"]
    );
}

#[test]
fn a_runscript_without_the_mark_is_the_images_own() {
    let script = runscript("", "").replace("eval \"set", "eval  \"set");
    assert_eq!(
        arguments(&script, &["a"], false).expect("program"),
        ["/.singularity.d/runscript", "a"]
    );
}

#[test]
fn the_scripts_own_variables_stay_inside() {
    let root = image(&[]);
    write(
        root.path(),
        ".singularity.d/runscript",
        &runscript(r#""/bin/echo""#, ""),
        0o755,
    );
    let (start, _) = super::run(&request(Action::Run(Vec::new())), root.path());
    let Ok(Start::Execute(program)) = start else {
        panic!("{start:?}");
    };
    assert_eq!(program.path, Path::new("/bin/echo"));
    let names: Vec<_> = program
        .environment
        .iter()
        .map(|(name, _)| name.to_string_lossy())
        .collect();
    assert!(names.contains(&"APPTAINER_COMMAND".into()), "{names:?}");
    for absent in ["OCI_CMD", "ARGUMENTS", "SINGULARITY_OCI_RUN", "PWD"] {
        assert!(!names.contains(&absent.into()), "{absent} in {names:?}");
    }
}

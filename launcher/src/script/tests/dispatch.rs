//! Which program each action starts.

use std::path::Path;

use super::{BASE, image, request, run, words, write};
use crate::process::Start;
use crate::report::Level;
use crate::request::{Action, LaunchRequest};

/// The arguments of the program `request` comes to.
#[track_caller]
fn program(request: &LaunchRequest, root: &Path) -> Vec<String> {
    match run(request, root) {
        (Ok(Start::Execute(program)), _) => {
            assert_eq!(program.path.as_os_str(), program.arguments[0]);
            program
                .arguments
                .into_iter()
                .map(|word| word.into_string().expect("text"))
                .collect()
        }
        other => panic!("no program: {other:?}"),
    }
}

/// The status and the messages of a request that starts nothing.
#[track_caller]
fn ending(request: &LaunchRequest, root: &Path) -> (u8, Vec<(Level, String)>) {
    match run(request, root) {
        (Ok(Start::Exit(status)), said) => (status, said),
        other => panic!("a program: {other:?}"),
    }
}

/// The text of the error `request` comes to.
#[track_caller]
fn failure(request: &LaunchRequest, root: &Path) -> String {
    match run(request, root) {
        (Err(error), _) => error.to_string(),
        other => panic!("no error: {other:?}"),
    }
}

fn exec(list: &[&str]) -> LaunchRequest {
    request(Action::Exec(words(list)))
}

#[test]
fn exec_looks_in_the_path_of_the_container() {
    let root = image(&[
        ("90-environment.sh", "export PATH=/opt/bin:$PATH"),
        ("99-base.sh", BASE),
    ]);
    write(root.path(), "opt/bin/tool", "", 0o755);
    write(root.path(), "usr/bin/tool", "", 0o755);
    write(root.path(), "bin/other", "", 0o755);
    write(root.path(), "usr/bin/other", "", 0o644);
    assert_eq!(
        program(&exec(&["tool", "a", "b"]), root.path()),
        ["/opt/bin/tool", "a", "b"]
    );
    assert_eq!(program(&exec(&["other"]), root.path()), ["/bin/other"]);
    assert_eq!(
        program(&exec(&["/usr//bin/../bin/tool"]), root.path()),
        ["/usr/bin/tool"]
    );
}

#[test]
fn exec_fails_in_the_known_words() {
    let root = image(&[("99-base.sh", BASE)]);
    write(root.path(), "etc/passwd", "", 0o644);
    for (name, text) in [
        ("nosuch", "\"nosuch\": executable file not found in $PATH"),
        ("", "\"\": executable file not found in $PATH"),
        ("a\"b", "\"a\\\"b\": executable file not found in $PATH"),
        ("/nosuch", "stat /nosuch: no such file or directory"),
        ("/etc", "is a directory"),
        ("/etc/passwd", "permission denied"),
    ] {
        assert_eq!(failure(&exec(&[name]), root.path()), text);
    }
}

#[test]
fn run_takes_the_first_script_there_is() {
    let root = image(&[]);
    let run = request(Action::Run(words(&["a", "b"])));
    assert_eq!(
        ending(&run, root.path()),
        (
            1,
            vec![(
                Level::Error,
                "No runscript and no /bin/sh executable found in container, aborting".to_owned()
            )]
        )
    );
    write(root.path(), "bin/sh", "", 0o755);
    assert_eq!(program(&run, root.path()), ["/bin/sh", "a", "b"]);
    let (_, said) = super::run(&run, root.path());
    assert_eq!(
        said,
        [(
            Level::Info,
            "No runscript found in container, executing /bin/sh".to_owned()
        )]
    );
    write(root.path(), "apptainer", "", 0o755);
    assert_eq!(program(&run, root.path()), ["/apptainer", "a", "b"]);
    write(
        root.path(),
        ".singularity.d/runscript",
        "#!/bin/sh\n",
        0o755,
    );
    assert_eq!(
        program(&run, root.path()),
        ["/.singularity.d/runscript", "a", "b"]
    );
}

#[test]
fn shell_prefers_bash() {
    let root = image(&[]);
    let mut shell = request(Action::Shell);
    assert_eq!(
        ending(&shell, root.path()),
        (
            1,
            vec![(
                Level::Error,
                "/bin/sh does not exist in container".to_owned()
            )]
        )
    );
    write(root.path(), "bin/sh", "", 0o755);
    assert_eq!(program(&shell, root.path()), ["/bin/sh"]);
    write(root.path(), "bin/bash", "", 0o755);
    assert_eq!(program(&shell, root.path()), ["/bin/bash", "--norc"]);
    shell.shell = Some("/bin/zsh".into());
    assert_eq!(program(&shell, root.path()), ["/bin/bash", "--norc"]);
    write(root.path(), "bin/zsh", "", 0o755);
    assert_eq!(program(&shell, root.path()), ["/bin/zsh"]);
}

#[test]
fn test_without_script_starts_the_action_of_old_images() {
    let root = image(&[]);
    let test = request(Action::Test(words(&["x"])));
    write(root.path(), ".singularity.d/actions/test", "", 0o755);
    assert_eq!(
        program(&test, root.path()),
        ["/.singularity.d/actions/test", "x"]
    );
    write(root.path(), ".singularity.d/test", "", 0o755);
    assert_eq!(program(&test, root.path()), ["/.singularity.d/test", "x"]);
}

#[test]
fn apps_have_scripts_of_their_own() {
    let root = image(&[]);
    let mut run = request(Action::Run(words(&["a"])));
    run.app = Some("foo".to_owned());
    assert_eq!(
        ending(&run, root.path()),
        (
            1,
            vec![(
                Level::Error,
                "no runscript for contained app: foo".to_owned()
            )]
        )
    );
    write(root.path(), "scif/apps/foo/scif/runscript", "", 0o755);
    assert_eq!(
        program(&run, root.path()),
        ["/scif/apps/foo/scif/runscript", "a"]
    );
    let mut test = request(Action::Test(Vec::new()));
    test.app = Some("foo".to_owned());
    assert_eq!(
        ending(&test, root.path()),
        (
            1,
            vec![(Level::Error, "No tests for contained app: foo".to_owned())]
        )
    );
}

#[test]
fn the_name_of_the_app_cannot_be_changed() {
    let root = image(&[(
        "95-apps.sh",
        "SINGULARITY_APPNAME=bar; export SINGULARITY_APPNAME",
    )]);
    write(root.path(), "scif/apps/foo/scif/runscript", "", 0o755);
    let mut run = request(Action::Run(Vec::new()));
    run.app = Some("foo".to_owned());
    assert_eq!(
        program(&run, root.path()),
        ["/scif/apps/foo/scif/runscript"]
    );
}

#[test]
fn commands_of_scripts_are_cut_off() {
    let root = image(&[("90-environment.sh", "sleep 30; export A=1")]);
    let request = exec(&["/bin/true"]);
    let environment = crate::environment::plan(&request, Path::new("/"), &[]).expect("no files");
    let mut plan = crate::script::plan(&request, environment);
    plan.command_timeout = std::time::Duration::from_millis(200);
    let error =
        crate::script::evaluate(&plan, root.path(), &mut |_, _: &str| {}).expect_err("cut off");
    assert_eq!(
        error.to_string(),
        "command \"sleep 30\" was killed after 0.2s timeout"
    );
}

#[test]
fn a_damaged_image_is_no_panic() {
    let junk = "\u{0}$(((`\"'${x:-${!#[@]/*//}";
    let root = image(&[
        ("10-docker.sh", junk),
        ("90-environment.sh", junk),
        ("99-base.sh", junk),
    ]);
    write(root.path(), "bin/true", "", 0o755);
    assert_eq!(program(&exec(&["/bin/true"]), root.path()), ["/bin/true"]);
}

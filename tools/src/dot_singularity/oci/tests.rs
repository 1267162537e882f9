//! Scripts made of configurations, run by a shell and by the launcher's interpreter.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use proptest::prelude::*;
use skiff_launcher::environment::{EnvironmentPlan, Variable};
use skiff_launcher::process::{Program, Start};
use skiff_launcher::script::{ScriptPlan, evaluate};

use super::*;
use crate::dot_singularity::{Begun, Content, base};

fn config(entrypoint: &[&str], cmd: &[&str], env: &[&str]) -> ImageConfig {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    ImageConfig {
        env: words(env),
        entrypoint: words(entrypoint),
        cmd: words(cmd),
        labels: BTreeMap::new(),
    }
}

/// The root of an image with this configuration and nothing else.
fn root(config: &ImageConfig) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, node) in base(Begun::Oci(config)).top.iter() {
        let place = root.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        match &node.content {
            Content::Directory => std::fs::create_dir_all(place).unwrap(),
            Content::File(content) => {
                std::fs::write(&place, content).unwrap();
                std::fs::set_permissions(&place, Permissions::from_mode(node.mode)).unwrap();
            }
            Content::Link(target) => std::os::unix::fs::symlink(target, place).unwrap(),
        }
    }
    root
}

/// What the launcher makes of `run` with these words.
fn launched(root: &Path, words: &[String], no_eval: bool) -> Start {
    let plan = ScriptPlan {
        action: "run",
        arguments: words.iter().map(Into::into).collect(),
        prompt: String::new(),
        command_timeout: Duration::from_secs(5),
        environment: EnvironmentPlan {
            variables: no_eval
                .then(|| Variable {
                    name: "SINGULARITY_NO_EVAL".into(),
                    value: "1".into(),
                })
                .into_iter()
                .collect(),
            overrides: Vec::new(),
            no_eval,
            notices: Vec::new(),
        },
    };
    evaluate(&plan, root, &mut |_, _| ()).unwrap()
}

fn program(start: Start) -> Program {
    match start {
        Start::Execute(program) => program,
        Start::Exit(code) => panic!("exit {code}"),
    }
}

fn arguments(start: Start) -> Vec<String> {
    let arguments = program(start).arguments;
    let text = arguments
        .into_iter()
        .map(|word| word.into_string().unwrap());
    text.collect()
}

/// What a shell runs; `exec` is made to show its words.
fn shell(script: &str, words: &[String], no_eval: bool) -> Vec<String> {
    let show = script.replace(
        "exec \"$@\"",
        "for word; do printf '%s\\0' \"$word\"; done; exit",
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &show, "sh"]).args(words).env_clear();
    if no_eval {
        command.env("SINGULARITY_NO_EVAL", "1");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words: Vec<String> = text.split('\0').map(str::to_owned).collect();
    words.pop();
    words
}

fn docker(config: &ImageConfig, words: &[String]) -> Vec<String> {
    let rest = if words.is_empty() { &config.cmd } else { words };
    [&*config.entrypoint, rest].concat()
}

/// Words that a shell could misunderstand, as configurations have them.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,8}",
        r#"["'`$\\ {}()*?~#;&|<>!\n-]{0,6}"#,
        r"[a-zé]{1,3}",
        Just(String::new()),
    ]
}

fn words() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(word(), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn words_of_the_image_are_literal(
        mut entrypoint in words(),
        cmd in words(),
        given in words(),
        no_eval: bool,
    ) {
        entrypoint.insert(0, "/bin/echo".to_owned());
        let config = ImageConfig { entrypoint, cmd, ..ImageConfig::default() };
        // Words of the caller are evaluated, unless that is turned off.
        let given = if no_eval { given } else { Vec::new() };
        let expected = docker(&config, &given);
        prop_assert_eq!(&shell(&runscript(&config), &given, no_eval), &expected);
        let root = root(&config);
        prop_assert_eq!(&arguments(launched(root.path(), &given, no_eval)), &expected);
    }

    #[test]
    fn variables_are_literal(value in word(), path in "[ -~]{1,9}") {
        let config = ImageConfig {
            env: vec![format!("V={value}"), format!("PATH={path}")],
            ..config(&["/bin/echo"], &[], &[])
        };
        let script = environment(&config) + "printf '%s\\0' \"$V\" \"$PATH\"";
        let output = Command::new("/bin/sh").args(["-c", &script]).env_clear().output().unwrap();
        let expected = format!("{value}\0{path}\0");
        prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);

        let root = root(&config);
        let environment = program(launched(root.path(), &[], false)).environment;
        let found = |name: &str| {
            let found = environment.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.to_string_lossy().into_owned())
        };
        prop_assert_eq!(found("V"), Some(value));
        // The usual places are searched last.
        prop_assert!(found("PATH").is_some_and(|found| found.starts_with(&path)));
    }
}

#[test]
fn words_of_the_caller() {
    let given =
        |words: &[&str]| -> Vec<String> { words.iter().map(|&word| word.to_owned()).collect() };
    for (entrypoint, cmd, words, expected) in [
        (
            &["/bin/echo", "a"][..],
            &["b"][..],
            &[][..],
            &["/bin/echo", "a", "b"][..],
        ),
        (
            &["/bin/echo", "a"],
            &["b"],
            &["c  d"],
            &["/bin/echo", "a", "c  d"],
        ),
        (&[], &["/bin/echo", "b"], &[], &["/bin/echo", "b"]),
        (&[], &["/bin/echo", "b"], &["/bin/true"], &["/bin/true"]),
        (&["/bin/echo"], &[], &["$X", "-n"], &["/bin/echo", "", "-n"]),
        (&[], &[], &["/bin/true", "x"], &["/bin/true", "x"]),
    ] {
        let config = config(entrypoint, cmd, &[]);
        let words = given(words);
        assert_eq!(shell(&runscript(&config), &words, false), expected);
        let root = root(&config);
        assert_eq!(arguments(launched(root.path(), &words, false)), expected);
    }
}

#[test]
fn nothing_to_run_is_no_failure() {
    let config = ImageConfig::default();
    assert_eq!(shell(&runscript(&config), &[], false), [] as [&str; 0]);
    let root = root(&config);
    assert_eq!(launched(root.path(), &[], false), Start::Exit(0));
}

#[test]
fn the_line_that_launchers_know() {
    let script = runscript(&ImageConfig::default());
    assert!(
        script
            .lines()
            .any(|line| line == r#"eval "set ${SINGULARITY_OCI_RUN}""#)
    );
}

#[test]
fn variables() {
    let config = config(
        &[],
        &[],
        &["A=b c", "BAD-NAME=x", "1=x", "=x", "ALONE", "PATH=/x:$y"],
    );
    assert_eq!(
        environment(&config),
        "#!/bin/sh\n\
         export A=\"${A:-\"b c\"}\"\n\
         export ALONE=\"${ALONE:-}\"\n\
         export PATH=\"/x:\\$y\"\n"
    );
}

#[test]
fn configurations_are_read() {
    let json = r#"{"Env": ["A=b"], "Cmd": ["x"], "User": "me", "Labels": {"a": "b"}}"#;
    let config: ImageConfig = serde_json::from_str(json).unwrap();
    assert_eq!(
        (&*config.env, &*config.cmd),
        (&["A=b".to_owned()][..], &["x".to_owned()][..])
    );
    assert_eq!(config.labels["a"], "b");
}

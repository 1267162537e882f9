//! Whole definition files.

use super::*;

fn read_text(text: &str) -> Result<(Definition, Remarks), Wrong> {
    parse(text, &BuildArguments::default())
}

fn good(text: &str) -> Definition {
    read_text(text).unwrap().0
}

const EXAMPLE: &str = "\
# comment
Bootstrap: docker
From: {{ IMAGE }}:{{ TAG }}
Stage: build

%arguments
  IMAGE=debian
  TAG=13

%Post -c /bin/bash
  echo {{ TAG }}
%files
  a b
%post
  more
Bootstrap: localimage
From: x.sif
%files from build
  /opt/x
%labels
  Author  A B
  Empty
%apprun one
  exec one
%appinstall two
  make two
%apprun two
  exec two
%applabels one
  k v
";

#[test]
fn a_whole_file() {
    let definition = good(EXAMPLE);
    assert!(definition.check().is_ok());
    let [build, last] = definition.stages.as_slice() else {
        panic!("two stages: {definition:?}");
    };
    assert_eq!(build.reference(), "docker://debian:13");
    assert_eq!(build.name(), "build");
    assert_eq!(build.agent(), Ok(Agent::Docker));
    assert_eq!(build.post.arguments, "-c /bin/bash");
    assert_eq!(build.post.body, "  echo 13\n  more\n");
    assert_eq!(build.post.file_line(1), 11);
    assert_eq!(build.post.file_line(2), 15);
    assert_eq!(build.files[0].files[0].line, 13);
    assert_eq!(definition.stage_called("build").unwrap(), 0);
    assert!(definition.stage_called("x").is_err());

    assert_eq!(last.files[0].origin(), Origin::Stage("build"));
    assert_eq!(last.labels["Author"], "A B");
    assert_eq!(last.labels["Empty"], "");
    let names: Vec<_> = last.apps.iter().map(|app| &*app.name).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(last.apps[1].run.body, "  exec two\n");
    assert_eq!(last.apps[0].labels.body, "  k v\n");

    let stored = EXAMPLE
        .replace("{{ IMAGE }}", "debian")
        .replace("{{ TAG }}", "13");
    assert_eq!(definition.text, stored["# comment\n".len()..]);
}

#[test]
fn complaints() {
    for (text, expected) in [
        ("", "no stages found in definition file"),
        ("# c\n\n%post\n", "no stages found in definition file"),
        (
            "foo",
            "failed to parse deffile header: header key foo had no val",
        ),
        (
            "From: x\n%nope\n %post\n%nope\n",
            "invalid section(s) specified: nope, ",
        ),
        (
            "From: x\n\t%post\n",
            "invalid section(s) specified: \t%post",
        ),
        (
            "From: x\n%post\tx\n",
            "invalid section(s) specified: post\tx",
        ),
        (
            "From: x\n%AppRun a\n",
            "invalid section(s) specified: AppRun a",
        ),
        (
            "From: x\n%apprun\n",
            "app section apprun: could not be split into section name and app name",
        ),
        (
            "%post",
            "section %post: could not be split into section name and body",
        ),
    ] {
        let found = read_text(text).unwrap_err();
        assert_eq!(found, Wrong::Grammar(expected.to_owned()), "{text}");
    }
}

#[test]
fn what_is_known_before_building() {
    for (text, expected) in [
        (
            "%post\nx\n",
            "multiple stages detected, all must have headers",
        ),
        (
            "%post\nx\nBootstrap: scratch\n",
            "multiple stages detected, all must have headers",
        ),
        (
            "From: x\n",
            "unable to get conveyorpacker: no bootstrap specification found",
        ),
        (
            "Bootstrap: Docker\n",
            "unable to get conveyorpacker: invalid build source Docker",
        ),
    ] {
        let found = good(text).check().unwrap_err().to_string();
        assert_eq!(
            found,
            format!("Unable to create build: {expected}"),
            "{text}"
        );
    }
    assert!(good("  Bootstrap: scratch\n").check().is_ok());
}

#[test]
fn lines_end_either_way() {
    let definition = good("Bootstrap: scratch\r\n%post\r\na\r\nb");
    assert_eq!(definition.stages[0].post.body, "a\nb\n");
    assert_eq!(definition.stages[0].value("bootstrap"), Some("scratch"));
}

#[test]
fn references() {
    for (header, expected) in [
        ("Bootstrap: docker\nFrom: a", "docker://a"),
        (
            "Bootstrap: docker\nRegistry: r\nNamespace: n\nFrom: a",
            "docker://r/n/a",
        ),
        ("Bootstrap: oci-archive\nFrom: /a.tar", "oci-archive:/a.tar"),
        ("Bootstrap: oras\nFrom: h/a:1", "oras://h/a:1"),
    ] {
        assert_eq!(good(header).stages[0].reference(), expected);
    }
}

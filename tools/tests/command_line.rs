//! The program as scripts meet it: what needs no mount.

use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use skiff_fs::format::sif::{
    Arch, DataType, Extra, FsType, NewObject, PartitionType, Writer, WriterOptions,
};

const METADATA: &str = concat!(
    r#"{"data":{"attributes":{"apps":{"one":{"labels":{"a":"b"},"runscript":"app run"}},"#,
    r#""environment":{"/.singularity.d/env/90-environment.sh":"export A=1"},"#,
    r#""labels":{"b":"2","a":"<1>"},"runscript":"run","helpfile":"help"}},"type":"container"}"#
);

/// The program under the name `name`, in an environment without variables.
fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skiff"));
    command
        .arg0(name)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null());
    command
}

fn run(name: &str, arguments: &[&str]) -> Output {
    command(name, arguments)
        .output()
        .expect("the program starts")
}

/// Runs it as `apptainer` and compares.
#[track_caller]
fn check(arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = run("apptainer", arguments);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        stderr,
        "{arguments:?}"
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        stdout,
        "{arguments:?}"
    );
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
}

/// Runs it as `apptainer`; stdout must contain `stdout`.
#[track_caller]
fn check_in(arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = run("apptainer", arguments);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        stderr,
        "{arguments:?}"
    );
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(found.contains(stdout), "{arguments:?}: {found}");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
}

/// A SIF that holds what can be inspected, but no file system.
fn sif(folder: &Path) -> PathBuf {
    let path = folder.join("image.sif");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .expect("a new file");
    let options = WriterOptions {
        uuid: [7; 16],
        time: 1_700_000_000,
        launch_script: true,
    };
    let mut writer = Writer::new(file, options);
    let mut add = |data_type, name, extra, content: &[u8]| {
        writer
            .add(
                NewObject {
                    data_type,
                    name,
                    extra,
                },
                &mut Cursor::new(content),
            )
            .expect("an object is added")
    };
    add(
        DataType::Definition,
        "",
        Extra::None,
        b"bootstrap: scratch\n",
    );
    add(
        DataType::GenericJson,
        "inspect-metadata.json",
        Extra::None,
        METADATA.as_bytes(),
    );
    let partition = Extra::Partition {
        fs: FsType::Squashfs,
        kind: PartitionType::PrimarySystem,
        arch: Arch::host(),
    };
    add(DataType::Partition, "", partition, &[b'x'; 10000]);
    writer.finish().expect("a whole SIF");
    path
}

#[test]
fn versions() {
    let ours = env!("CARGO_PKG_VERSION");
    check(
        &["--version"],
        0,
        &format!("apptainer version 1.4.5-skiff{ours}\n"),
        "",
    );
    check(&["version"], 0, &format!("1.4.5-skiff{ours}\n"), "");
    for (name, expected) in [
        ("skiff", format!("skiff version {ours}\n")),
        (
            "singularity",
            format!("apptainer version 1.4.5-skiff{ours}\n"),
        ),
    ] {
        let output = run(name, &["--version"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}

#[test]
fn help_is_on_stdout() {
    for arguments in [
        &["--help"][..],
        &["help"],
        &["help", "exec"],
        &["exec", "--help"],
        &["sif", "list", "-h"],
        &["sif"],
        &["help", "nonesuch"],
    ] {
        check_in(arguments, 0, "Usage:\n  apptainer", "");
    }
    check_in(
        &[],
        1,
        "Usage:\n  apptainer [global options...] <command>",
        "",
    );
}

#[test]
fn mistakes_of_usage() {
    for (arguments, reason) in [
        (&["exec", "--foo"][..], "unknown flag: --foo"),
        (&["exec", "--foo=1"], "unknown flag: --foo"),
        (&["exec", "--conta", "x", "y"], "unknown flag: --conta"),
        (
            &["exec", "-eZ", "x", "y"],
            "unknown shorthand flag: 'Z' in -Z",
        ),
        (
            &["exec", "-Zabc", "x", "y"],
            "unknown shorthand flag: 'Z' in -Zabc",
        ),
        (&["exec", "--bind"], "flag needs an argument: --bind"),
        (&["exec", "-eB"], "flag needs an argument: 'B' in -B"),
        (
            &["exec", "--pid=maybe", "x", "y"],
            "invalid argument \"maybe\" for \"-p, --pid\" flag: strconv.ParseBool: parsing \
             \"maybe\": invalid syntax",
        ),
        (
            &["exec", "--env", "A", "x", "y"],
            "invalid argument \"A\" for \"--env\" flag: A must be formatted as key=value",
        ),
    ] {
        let expected = format!("Error for command \"exec\": {reason}\n\n");
        check_in(arguments, 1, "Options for exec command:", &expected);
    }
    check(
        &["exec", "image"],
        1,
        "Usage:\n  apptainer [global options...] exec [exec options...] <container> \
         <command>\n\nRun 'apptainer --help' for more detailed usage information.\n",
        "Error for command \"exec\": requires at least 2 arg(s), only received 1\n\n",
    );
    check_in(
        &["exe"],
        1,
        "Available Commands:",
        "Error: unknown command \"exe\" for \"apptainer\"\n\nDid you mean this?\n\texec\n\n\n",
    );
}

#[test]
fn flags_end_at_the_first_word() {
    // All of these get as far as looking for the image.
    let missing = "FATAL:   While checking container encryption: could not open image \
                   /nonexistent/x: failed to retrieve path for /nonexistent/x: lstat \
                   /nonexistent: no such file or directory\n";
    for arguments in [
        &["exec", "/nonexistent/x", "--foo"][..],
        &["exec", "/nonexistent/x", "--", "-e"],
        &["exec", "--", "/nonexistent/x", "ls"],
        &[
            "exec",
            "-cewH",
            "/tmp",
            "--writable=false",
            "/nonexistent/x",
            "ls",
        ],
        &["exec", "-B", "--pid", "/nonexistent/x", "ls"],
        &[
            "exec",
            "-p",
            "-p=false",
            "--pwd",
            "/",
            "--cwd",
            "/",
            "/nonexistent/x",
            "ls",
        ],
        &["exec", "--nv", "/nonexistent/x", "ls"],
        &["run", "--runscript-timeout", "1m", "/nonexistent/x"],
        &["shell", "-s", "/bin/sh", "/nonexistent/x"],
    ] {
        check(arguments, 255, "", missing);
    }
    let output = run("/usr/bin/run-singularity", &["/nonexistent/x", "--foo"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), missing);
}

#[test]
fn what_cannot_be_done_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().to_str().expect("text");
    check(
        &[
            "exec",
            "--pem-path",
            "/nonexistent",
            "--passphrase",
            image,
            "true",
        ],
        255,
        "",
        "FATAL:   Specified PEM file /nonexistent: does not exist.\n",
    );
    check(
        &["exec", "--passphrase", image, "true"],
        255,
        "Enter encryption passphrase: \n",
        "FATAL:   Cannot encrypt container with empty passphrase\n",
    );
    check(
        &["exec", "--fusemount", "container:x /mnt", image, "true"],
        255,
        "",
        "FATAL:   --fusemount is not supported by skiff\n",
    );
    check(
        &["exec", "foo://x", "true"],
        255,
        "",
        "FATAL:   Unsupported transport type: foo\n",
    );
}

#[test]
fn values_are_checked_once_the_image_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().to_str().expect("text");
    for (flag, value, message) in [
        (
            "--bind",
            "/a:/b:foo",
            "While setting bind mount configuration: while parsing bind path: while getting bind \
             path: foo is not a valid bind option",
        ),
        (
            "--home",
            "a:b:c",
            "While setting home directory: home argument has incorrect number of elements: 3",
        ),
        (
            "--dns",
            "1.2",
            "container creation failed: dns ip 1.2 is not a valid IP address",
        ),
    ] {
        let expected = format!("FATAL:   {message}\n");
        check(&["exec", flag, value, image, "true"], 255, "", &expected);
    }
}

#[test]
fn variables_stand_for_flags() {
    let mut wrong = command("apptainer", &["exec", "/nonexistent/x", "true"]);
    wrong
        .env("APPTAINER_CONTAIN", "yes")
        .env("APPTAINER_NO_EVAL", "maybe")
        .env("APPTAINER_BLKIO_WEIGHT", "z")
        .env("SINGULARITY_PID", "1");
    let output = wrong.output().expect("the program starts");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "INFO:    Environment variable SINGULARITY_PID is set, but APPTAINER_PID is preferred\n\
         FATAL:   While parsing environment variables: while updating flags from environment: \n\
         unable to set flag blkio-weight to value z: strconv.ParseInt: parsing \"z\": invalid \
         syntax\n\
         unable to set flag contain to value yes: strconv.ParseBool: parsing \"yes\": invalid \
         syntax\n\
         unable to set flag no-eval to value maybe: strconv.ParseBool: parsing \"maybe\": invalid \
         syntax\n"
    );
    assert_eq!(output.status.code(), Some(255));
}

#[test]
fn inspect_reads_the_object_of_a_sif() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = sif(folder.path());
    let image = path.to_str().expect("text");
    check(&["inspect", image], 0, "a: <1>\nb: 2\n", "");
    check(&["inspect", "-r", image], 0, "run\n", "");
    check(
        &["inspect", "--app", "one", "-r", "-l", image],
        0,
        "app run\na: b\n",
        "",
    );
    check(
        &["inspect", "-e", image],
        0,
        "=== /.singularity.d/env/90-environment.sh ===\nexport A=1\n\n",
        "",
    );
    check(
        &["inspect", "-j", image],
        0,
        "{\n\t\"data\": {\n\t\t\"attributes\": {\n\t\t\t\"labels\": {\n\t\t\t\t\"a\": \
         \"\\u003c1\\u003e\",\n\t\t\t\t\"b\": \"2\"\n\t\t\t}\n\t\t}\n\t},\n\t\"type\": \
         \"container\"\n}\n",
        "",
    );
    check(&["run-help", image], 0, "help\n", "");
    check(
        &["run-help", "--app", "one", image],
        0,
        "No help sections were defined for this image\n",
        "",
    );
}

#[test]
fn inspect_reads_the_files_of_a_directory_and_no_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    let meta = root.join(".singularity.d");
    fs::create_dir_all(&meta).expect("a folder");
    fs::write(meta.join("labels.json"), r#"{"a":"1","b":2}"#).expect("a file");
    fs::write(folder.path().join("secret"), "secret").expect("a file");
    // Links are resolved in the image, where this file does not exist.
    std::os::unix::fs::symlink(folder.path().join("secret"), meta.join("runscript"))
        .expect("a link");
    std::os::unix::fs::symlink("../../secret", meta.join("test")).expect("a link");
    let image = root.to_str().expect("text");
    check(
        &["inspect", image],
        0,
        "a: 1\nb: \n",
        "WARNING: Unable to parse labels: json: cannot unmarshal number into Go value of type \
         string\n",
    );
    check(&["inspect", "-r", "-t", image], 0, "", "");
    check(
        &["inspect", "/nonexistent/x"],
        255,
        "",
        "FATAL:   Failed to open image /nonexistent/x: failed to retrieve path for \
         /nonexistent/x: lstat /nonexistent: no such file or directory\n",
    );
}

#[test]
fn sif_shows_objects() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = sif(folder.path());
    let image = path.to_str().expect("text");
    let size = METADATA.len();
    let end = 32195 + size;
    let start = end.next_multiple_of(4096);
    let rule = "-".repeat(78);
    let arch = Arch::host();
    let definition = format!("{:<25}", "32176-32195");
    let metadata = format!("{:<25}", format!("32195-{end}"));
    let partition = format!("{:<25}", format!("{start}-{}", start + 10000));
    check(
        &["sif", "list", image],
        0,
        &format!(
            "{rule}\nID   |GROUP   |LINK    |SIF POSITION (start-end)  |TYPE\n{rule}\n\
             1    |1       |NONE    |{definition} |Def.FILE\n\
             2    |1       |NONE    |{metadata} |JSON.Generic\n\
             3    |1       |NONE    |{partition} |FS (Squashfs/*System/{arch})\n"
        ),
        "",
    );
    check(
        &["sif", "info", "2", image],
        0,
        &format!(
            "  Data Type:    JSON.Generic\n  ID:           2\n  Group ID:     1\n  Linked ID:    \
             NONE\n  Offset:       32195\n  Size:         {size}\n  Created At:   2023-11-14 \
             22:13:20 +0000 UTC\n  Modified At:  2023-11-14 22:13:20 +0000 UTC\n  Name:         \
             inspect-metadata.json\n"
        ),
        "",
    );
    check(&["sif", "dump", "1", image], 0, "bootstrap: scratch\n", "");
    check_in(
        &["sif", "header", image],
        0,
        "ID:                   07070707-0707-0707-0707-070707070707\n",
        "",
    );
    check_in(
        &["sif", "info", "9", image],
        1,
        "sif info <id> <sif_path>",
        "Error for command \"info\": object not found\n\n",
    );
    check_in(
        &["sif", "list", env!("CARGO_BIN_EXE_skiff")],
        1,
        "sif list <sif_path>",
        "Error for command \"list\": invalid SIF magic\n\n",
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = sif(folder.path());
    let mut child = command(
        "apptainer",
        &["sif", "dump", "3", path.to_str().expect("text")],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn completions_know_the_flags() {
    for shell in ["bash", "zsh", "fish"] {
        check_in(&["completion", shell], 0, "env-file", "");
    }
}

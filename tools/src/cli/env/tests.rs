//! Precedence, remarks and shapes of variables.

use super::*;

fn check(environment: &[(&str, &str)], given: &[&str], words: &[&str], remarks: &[&str]) {
    let environment: Vec<(OsString, OsString)> = environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let found = additions(
        Scope::Local,
        &environment,
        |_| true,
        |flag| given.contains(&flag),
    );
    assert_eq!(found.words, words, "{environment:?}");
    let found_remarks: Vec<String> = found
        .remarks
        .into_iter()
        .map(|remark| match remark {
            Remark::Info(text) => format!("I {text}"),
            Remark::Warning(text) => format!("W {text}"),
        })
        .collect();
    assert_eq!(found_remarks, remarks, "{environment:?}");
    assert!(found.failures.is_empty(), "{environment:?}");
}

#[test]
fn apptainer_comes_before_singularity() {
    check(&[("APPTAINER_CONTAIN", "1")], &[], &["--contain=1"], &[]);
    check(
        &[("SINGULARITY_CONTAIN", "1")],
        &[],
        &["--contain=1"],
        &["I Environment variable SINGULARITY_CONTAIN is set, but APPTAINER_CONTAIN is preferred"],
    );
    check(
        &[("SINGULARITY_CONTAIN", "1"), ("APPTAINER_CONTAIN", "0")],
        &[],
        &["--contain=0"],
        &["W SINGULARITY_CONTAIN and APPTAINER_CONTAIN have different values, using the latter"],
    );
    check(
        &[("SINGULARITY_CONTAIN", "1"), ("APPTAINER_CONTAIN", "1")],
        &[],
        &["--contain=1"],
        &[],
    );
    // Set but empty still hides the legacy name.
    check(
        &[("SINGULARITY_CONTAIN", "1"), ("APPTAINER_CONTAIN", "")],
        &[],
        &[],
        &["W SINGULARITY_CONTAIN and APPTAINER_CONTAIN have different values, using the latter"],
    );
}

#[test]
fn the_command_line_wins_but_remarks_stay() {
    check(&[("APPTAINER_CONTAIN", "1")], &["contain"], &[], &[]);
    check(
        &[("SINGULARITY_CONTAIN", "1")],
        &["contain"],
        &[],
        &["I Environment variable SINGULARITY_CONTAIN is set, but APPTAINER_CONTAIN is preferred"],
    );
}

#[test]
fn binds_add_up() {
    check(
        &[
            ("APPTAINER_BINDPATH", "/b"),
            ("APPTAINER_BIND", " /a , /c "),
            ("APPTAINER_MOUNT", "x"),
        ],
        &["bind", "mount"],
        &["--bind=/a,/c", "--bind=/b", "--mount=x"],
        &[],
    );
}

#[test]
fn the_first_name_of_several_wins() {
    check(
        &[("APPTAINER_UNSHARE_PID", "1"), ("APPTAINER_PID", "0")],
        &[],
        &["--pid=0"],
        &[],
    );
    check(
        &[("APPTAINER_UNSHARE_PID", "1"), ("APPTAINER_PID", " ")],
        &[],
        &["--pid=1"],
        &[],
    );
    check(
        &[("APPTAINER_PWD", "/a"), ("APPTAINER_CWD", "/b")],
        &[],
        &["--cwd=/b", "--pwd=/a"],
        &[],
    );
}

#[test]
fn lists_are_cut_and_trimmed() {
    check(
        &[("APPTAINER_NO_MOUNT", " tmp, home ")],
        &[],
        &["--no-mount=tmp", "--no-mount=home"],
        &[],
    );
    check(&[("APPTAINER_CONTAIN", "  ")], &[], &[], &[]);
    check(&[("APPTAINER_CONTAIN", " t ")], &[], &["--contain=t"], &[]);
}

#[test]
fn failures_are_collected() {
    let environment: Vec<(OsString, OsString)> = vec![
        ("APPTAINER_CONTAIN".into(), "yes".into()),
        ("APPTAINER_BLKIO_WEIGHT".into(), "z".into()),
    ];
    let found = additions(Scope::Local, &environment, |_| true, |_| false);
    assert_eq!(
        found.failures,
        [
            "unable to set flag blkio-weight to value z: strconv.ParseInt: parsing \"z\": invalid \
         syntax",
            "unable to set flag contain to value yes: strconv.ParseBool: parsing \"yes\": invalid \
         syntax",
        ]
    );
}

#[test]
fn unknown_flags_are_not_looked_up() {
    let environment: Vec<(OsString, OsString)> = vec![("SINGULARITY_CONTAIN".into(), "1".into())];
    let found = additions(Scope::Local, &environment, |_| false, |_| false);
    assert_eq!(found, Additions::default());
}

#[test]
fn the_table_is_in_alphabetical_order() {
    for rows in [GLOBAL, LOCAL] {
        // One flag can mean different things with different companions.
        assert!(rows.windows(2).all(|pair| pair[0].flag <= pair[1].flag));
    }
}

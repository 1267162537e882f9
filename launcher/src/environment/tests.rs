//! The plan as a value; what comes of it in a container is tested with the script phase.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use super::{EnvironmentFile, EnvironmentPlan, plan};
use crate::request::{
    Action, Bind, EnvironmentWish, HomeWish, ImageRequest, LaunchRequest, NamespaceWish,
    OverrideOrigin, RootKind,
};

fn request(host: &[(&str, &str)]) -> LaunchRequest {
    LaunchRequest {
        action: Action::Exec(vec!["true".into()]),
        image: ImageRequest {
            path: "/images/a.sif".into(),
            name: "a.sif".into(),
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
        environment: EnvironmentWish {
            host: host
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            ..EnvironmentWish::default()
        },
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

fn planned(request: &LaunchRequest) -> EnvironmentPlan {
    plan(request, Path::new("/home/me"), &[]).expect("no files to fail")
}

fn value<'a>(plan: &'a EnvironmentPlan, name: &str) -> Option<&'a OsStr> {
    plan.variables
        .iter()
        .find(|variable| variable.name == name)
        .map(|variable| variable.value.as_os_str())
}

fn overrides(plan: &EnvironmentPlan) -> Vec<(String, String, OverrideOrigin)> {
    plan.overrides
        .iter()
        .map(|item| {
            (
                item.name.to_string_lossy().into_owned(),
                item.value.to_string_lossy().into_owned(),
                item.origin,
            )
        })
        .collect()
}

#[test]
fn runtime_variables_have_two_spellings() {
    let mut request = request(&[("PATH", "/host")]);
    for destination in ["/data", "/b"] {
        request.binds.push(Bind {
            source: "/s".into(),
            destination: destination.into(),
            read_only: false,
            image: None,
        });
    }
    request.app = Some("foo".to_owned());
    request.shell = Some("/bin/zsh".into());
    let plan = planned(&request);
    for (name, expected) in [
        ("APPTAINER_CONTAINER", "/images/a.sif"),
        ("SINGULARITY_CONTAINER", "/images/a.sif"),
        ("APPTAINER_NAME", "a.sif"),
        ("SINGULARITY_BIND", "/data,/b"),
        ("APPTAINER_APPNAME", "foo"),
        ("SINGULARITY_APPNAME", "foo"),
        ("SINGULARITY_SHELL", "/bin/zsh"),
        ("APPTAINER_COMMAND", "exec"),
        ("HOME", "/home/me"),
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        (
            "USER_PATH",
            "/host:/bin:/usr/bin:/sbin:/usr/sbin:/usr/local/bin:/usr/local/sbin",
        ),
    ] {
        assert_eq!(value(&plan, name), Some(OsStr::new(expected)), "{name}");
    }
    assert_eq!(value(&plan, "APPTAINER_NO_EVAL"), None);
}

#[test]
fn strongest_origin_wins() {
    let mut request = request(&[
        ("APPTAINERENV_A", "env"),
        ("SINGULARITYENV_A", "env"),
        ("APPTAINERENV_B", "env"),
        ("SINGULARITYENV_C", "old"),
    ]);
    request.environment.variables = vec![
        ("A".to_owned(), "first".into()),
        ("A".to_owned(), "flag".into()),
    ];
    let file = EnvironmentFile {
        path: "f".into(),
        content: b"B=file\nD=file".to_vec(),
    };
    let plan = plan(&request, Path::new("/"), &[file]).expect("a good file");
    let text = |name: &str, value: &str, origin| (name.to_owned(), value.to_owned(), origin);
    assert_eq!(
        overrides(&plan),
        [
            text("A", "flag", OverrideOrigin::Flag),
            text("B", "file", OverrideOrigin::File),
            text("D", "file", OverrideOrigin::File),
            text("C", "old", OverrideOrigin::SingularityEnv),
        ]
    );
}

#[test]
fn later_files_win() {
    let files = ["A=1\nB=1", "A=2"].map(|text| EnvironmentFile {
        path: "f".into(),
        content: text.into(),
    });
    let plan = plan(&request(&[]), Path::new("/"), &files).expect("good files");
    let values: Vec<_> = overrides(&plan)
        .into_iter()
        .map(|(name, value, _)| name + &value)
        .collect();
    assert_eq!(values, ["A2", "B1"]);
}

#[test]
fn path_specials_have_the_names_images_know() {
    let plan = planned(&request(&[
        ("APPTAINERENV_PATH", "/x"),
        ("APPTAINERENV_PREPEND_PATH", "/p"),
        ("APPTAINERENV_APPEND_PATH", "/q"),
    ]));
    let names: Vec<_> = overrides(&plan)
        .into_iter()
        .map(|(name, _, _)| name)
        .collect();
    assert_eq!(
        names,
        [
            "SING_USER_DEFINED_PATH",
            "SING_USER_DEFINED_PREPEND_PATH",
            "SING_USER_DEFINED_APPEND_PATH"
        ]
    );
}

#[test]
fn values_that_are_no_text_pass() {
    let mut request = request(&[]);
    let odd = OsString::from_vec(b"a\xff\xfeb".to_vec());
    request.environment.host.push(("ODD".into(), odd.clone()));
    request
        .environment
        .host
        .push((OsStr::from_bytes(b"APPTAINERENV_O\xff").into(), odd.clone()));
    let plan = planned(&request);
    assert_eq!(value(&plan, "ODD"), Some(odd.as_os_str()));
    assert_eq!(plan.overrides[0].name.as_bytes(), b"O\xff");
    assert_eq!(plan.overrides[0].value, odd);
    let printed = serde_json::to_string(&plan).expect("a plan can be printed");
    assert!(printed.contains("\"origin\":\"APPTAINERENV\""), "{printed}");
}

#[test]
fn an_unreadable_file_is_named() {
    let error = super::read_files(&["/nonexistent/f".into()]).expect_err("there is none");
    assert_eq!(
        error.to_string(),
        "while setting environment: while processing /nonexistent/f: could not read environment file \"/nonexistent/f\": open /nonexistent/f: no such file or directory"
    );
}

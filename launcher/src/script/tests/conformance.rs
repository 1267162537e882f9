//! `cases.json`, recorded from Apptainer, against this implementation.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use super::{BASE, image, request, words};
use crate::environment::{self, EnvironmentFile};
use crate::process::Start;
use crate::report::Level;
use crate::request::{Action, EnvironmentWish};
use crate::script::{evaluate, plan};

const CASES: &str = include_str!("cases.json");

/// What a case came to, in the words of a terminal.
#[derive(Debug, Default, PartialEq, Eq)]
struct Observed {
    status: u64,
    env: Option<BTreeMap<String, String>>,
    messages: Vec<String>,
}

#[test]
fn every_recorded_case() {
    let cases: Value = serde_json::from_str(CASES).expect("JSON");
    let baseline = map(&cases["baseline"]);
    let cases = cases["cases"].as_array().expect("list");
    assert!(cases.len() >= 90, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let expected = expected(case, &baseline);
        let observed = observe(case);
        if expected != observed {
            wrong.push(format!(
                "{}:\n  expected {expected:?}\n  observed {observed:?}",
                case["name"]
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn map(value: &Value) -> BTreeMap<String, String> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn expected(case: &Value, baseline: &BTreeMap<String, String>) -> Observed {
    let env = case["changes"].as_object().map(|changes| {
        let mut env = baseline.clone();
        let ours = case["ours"].as_object().into_iter().flatten();
        for (name, value) in changes.iter().chain(ours) {
            match value.as_str() {
                Some(value) => env.insert(name.clone(), value.to_owned()),
                None => env.remove(name),
            };
        }
        env
    });
    Observed {
        status: case["status"].as_u64().unwrap_or_default(),
        env,
        messages: strings(&case["messages"]),
    }
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.map(|item| item.as_str().unwrap_or_default().to_owned())
        .collect()
}

fn observe(case: &Value) -> Observed {
    let files = case["files"].as_object();
    let mut scripts = vec![
        ("90-environment.sh", "#!/bin/sh\n"),
        ("99-base.sh", BASE),
        ("99-runtimevars.sh", ""),
    ];
    if let Some(script) = case["script"].as_str() {
        scripts.push(("91-environment.sh", script));
    }
    for (name, text) in files.into_iter().flatten() {
        match text.as_str() {
            Some(text) => scripts.push((name, text)),
            // `*` stands for a tree without scripts.
            None => scripts.clear(),
        }
    }
    let root = image(&scripts);
    super::write(root.path(), "bin/env", "", 0o755);

    let mut request = request(Action::Exec(words(&["/bin/env", "-0"])));
    request.image.path = "/tmp/sc/case".into();
    request.image.name = "case".into();
    request.host_cwd = std::env::current_dir().expect("working directory");
    request.environment = wish(case);
    let env_files: Vec<EnvironmentFile> = case["env_file"]
        .as_str()
        .map(|text| EnvironmentFile {
            path: "ENVFILE".into(),
            content: text.as_bytes().to_vec(),
        })
        .into_iter()
        .collect();

    let mut observed = Observed::default();
    let environment = match environment::plan(&request, Path::new("/home/probe"), &env_files) {
        Ok(environment) => environment,
        Err(error) => {
            observed.status = 255;
            observed.messages.push(format!("FATAL:   {error}"));
            return observed;
        }
    };
    let notices = environment
        .notices
        .iter()
        .map(|notice| line(notice.level, &notice.text));
    observed.messages.extend(notices);
    let mut said = Vec::new();
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let start = evaluate(
        &plan(&request, environment),
        root.path(),
        &mut |level, text: &str| {
            if level > Level::Verbose {
                said.push(line(level, text));
            }
        },
    );
    rustix::process::umask(umask);
    observed.messages.extend(said);
    match start {
        Ok(Start::Execute(program)) => {
            assert_eq!(program.path, Path::new("/bin/env"), "{}", case["name"]);
            let env = program.environment.into_iter().map(|(name, value)| {
                let here = std::env::current_dir()
                    .expect("working directory")
                    .into_os_string();
                // The recording was made in /tmp.
                let value = if value == here {
                    OsString::from("/tmp")
                } else {
                    value
                };
                (
                    name.into_string().expect("text"),
                    value
                        .into_string()
                        .expect("text")
                        .replace(&*here.to_string_lossy(), "/tmp"),
                )
            });
            observed.env = Some(env.collect());
        }
        Ok(Start::Exit(status)) => observed.status = u64::from(status),
        Err(error) => {
            observed.status = 255;
            observed.messages.push(format!("FATAL:   {error}"));
        }
    }
    observed
}

fn wish(case: &Value) -> EnvironmentWish {
    let mut wish = EnvironmentWish::default();
    let mut host: BTreeMap<String, String> = [
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/home/probe"),
        ("USER", "probe"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    host.extend(map(&case["host"]));
    wish.host = host
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let mut flags = strings(&case["flags"]).into_iter();
    while let Some(flag) = flags.next() {
        match flag.as_str() {
            "--cleanenv" => wish.clean = true,
            "--no-eval" => wish.no_eval = true,
            "--env" => {
                for pair in flags.next().unwrap_or_default().split(',') {
                    let (name, value) = pair.split_once('=').expect("K=V");
                    wish.variables.push((name.to_owned(), value.into()));
                }
            }
            other => panic!("unknown flag {other}"),
        }
    }
    wish
}

fn line(level: Level, text: &str) -> String {
    let prefix = match level {
        Level::Info => "INFO:    ",
        Level::Warning => "WARNING: ",
        Level::Error => "ERROR:   ",
        Level::Debug | Level::Verbose => "DEBUG    ",
    };
    format!("{prefix}{text}")
}

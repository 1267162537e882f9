//! Definitions as JSON.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::sections::app_sections;
use super::{Definition, FileCopy, FileGroup, Section, Stage, header};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Json {
    header: Option<BTreeMap<String, String>>,
    #[serde(rename = "imageData")]
    image: Image,
    #[serde(rename = "buildData")]
    build: Build,
    #[serde(rename = "customData")]
    custom: Option<BTreeMap<String, String>>,
    #[serde(rename = "appOrder")]
    app_order: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Image {
    labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "imageScripts")]
    scripts: Scripts,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Build {
    files: Option<Vec<Files>>,
    #[serde(rename = "buildScripts")]
    scripts: Scripts,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Scripts {
    help: Script,
    environment: Script,
    #[serde(rename = "runScript")]
    runscript: Script,
    test: Script,
    #[serde(rename = "startScript")]
    startscript: Script,
    pre: Script,
    setup: Script,
    post: Script,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Script {
    args: String,
    script: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Files {
    args: String,
    files: Option<Vec<Copy>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Copy {
    source: String,
    destination: String,
}

/// Reads a definition of one stage from its JSON form.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Definition, String> {
    let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let test = if json.build.scripts.test.script.is_empty() {
        json.image.scripts.test
    } else {
        json.build.scripts.test
    };
    let mut stage = Stage {
        header: header::checked(json.header.unwrap_or_default())?,
        pre: section(json.build.scripts.pre),
        setup: section(json.build.scripts.setup),
        post: section(json.build.scripts.post),
        test: section(test),
        environment: section(json.image.scripts.environment),
        runscript: section(json.image.scripts.runscript),
        startscript: section(json.image.scripts.startscript),
        help: section(json.image.scripts.help),
        labels: json.image.labels.unwrap_or_default(),
        files: json
            .build
            .files
            .unwrap_or_default()
            .into_iter()
            .map(group)
            .collect(),
        ..Stage::default()
    };
    let sections = json.custom.unwrap_or_default();
    stage.apps = app_sections(&json.app_order.unwrap_or_default(), &sections)?;
    stage.text = written(&stage);
    Ok(Definition {
        text: stage.text.clone(),
        stages: vec![stage],
    })
}

fn section(script: Script) -> Section {
    let mut section = Section::default();
    section.append(&script.script, 0);
    section.arguments = script.args;
    section
}

fn group(files: Files) -> FileGroup {
    let copies = files.files.unwrap_or_default();
    FileGroup {
        arguments: files.args,
        files: copies
            .into_iter()
            .map(|copy| FileCopy {
                source: copy.source,
                target: copy.destination,
                line: 0,
            })
            .collect(),
    }
}

/// The definition as a file would say it, to be stored in the image.
fn written(stage: &Stage) -> String {
    let mut text = String::new();
    let first = stage.header.get_key_value("bootstrap");
    let others = stage.header.iter().filter(|(key, _)| *key != "bootstrap");
    for (key, value) in first.into_iter().chain(others) {
        text.push_str(&format!("{key}: {value}\n"));
    }
    text.push('\n');
    if !stage.labels.is_empty() {
        text.push_str("%labels\n");
        for (key, value) in &stage.labels {
            text.push_str(&format!("\t{key} {value}\n"));
        }
        text.push('\n');
    }
    for group in &stage.files {
        text.push_str(&heading("files", &group.arguments));
        for copy in &group.files {
            text.push_str(&format!("\t{}\t{}\n", copy.source, copy.target));
        }
        text.push('\n');
    }
    for (name, section) in [
        ("help", &stage.help),
        ("environment", &stage.environment),
        ("runscript", &stage.runscript),
        ("test", &stage.test),
        ("startscript", &stage.startscript),
        ("pre", &stage.pre),
        ("setup", &stage.setup),
        ("post", &stage.post),
    ] {
        if !section.is_empty() {
            text.push_str(&heading(name, &section.arguments));
            text.push_str(&section.body);
            text.push('\n');
        }
    }
    text
}

fn heading(name: &str, arguments: &str) -> String {
    if arguments.is_empty() {
        format!("%{name}\n")
    } else {
        format!("%{name} {arguments}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{BuildArguments, parse as parse_text};

    #[test]
    fn a_definition() {
        let json = r#"{
            "header": {"bootstrap": "docker", "from": "x"},
            "imageData": {"labels": {"a": "b c"}, "imageScripts": {"runScript": {"args": "-e", "script": "run"}}},
            "buildData": {"files": [{"args": "", "files": [{"source": "a", "destination": "b"}]}],
                "buildScripts": {"post": {"script": "true\n"}}},
            "customData": {"apprun one": "x", "applabels two": "y z"},
            "appOrder": ["two", "one"]
        }"#;
        let definition = parse(json).unwrap();
        let stage = &definition.stages[0];
        assert_eq!(stage.value("from"), Some("x"));
        assert_eq!(stage.runscript.stored(), "#!/bin/sh -e\n\nrun\n\n");
        assert_eq!(stage.files[0].files[0].target, "b");
        let names: Vec<_> = stage.apps.iter().map(|app| &*app.name).collect();
        assert_eq!(names, ["two", "one"]);
        // What is stored means the same.
        let (again, _) = parse_text(&definition.text, &BuildArguments::default()).unwrap();
        let again = &again.stages[0];
        assert_eq!(again.header, stage.header);
        assert_eq!(again.labels, stage.labels);
        assert_eq!(again.runscript.arguments, stage.runscript.arguments);
    }

    #[test]
    fn complaints() {
        for text in [
            "",
            r#"{"header": {"nope": "x"}}"#,
            r#"{"customData": {"nope": "x"}}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

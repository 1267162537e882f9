//! Metadata from the files of an image, for images that carry no object with it.

use super::files::Files;
use super::json::parse_labels;
use super::{AppMetadata, Metadata, Parts, Selection, Texts};
use crate::output;

const IMAGE_ROOT: &str = "/.singularity.d";
const APPS_ROOT: &str = "/scif/apps";

/// Reads what is selected. With an application named, only its own files are looked at; a list of
/// applications is their names alone.
///
/// # Errors
/// What keeps an existing file from being read.
pub fn gather(files: &dyn Files, selection: &Selection) -> anyhow::Result<Metadata> {
    let parts = selection.parts;
    let mut found = Metadata::default();
    if selection.all || parts.apps {
        for name in app_names(files)? {
            let wanted = if selection.all {
                Parts::ALL
            } else {
                Parts::default()
            };
            found.apps.insert(name.clone(), app(files, &name, wanted)?);
        }
    }
    match &selection.app {
        Some(name) if !selection.all => {
            if !name.contains('/') && files.is_directory(&app_root(name)) {
                found.apps.insert(name.clone(), app(files, name, parts)?);
            }
        }
        _ => {
            let wanted = if selection.all { Parts::ALL } else { parts };
            let image = section(files, IMAGE_ROOT, &["10-docker", "9"], wanted)?;
            found.environment = image.environment;
            found.labels = image.labels;
            found.runscript = image.runscript;
            found.test = image.test;
            found.helpfile = image.helpfile;
            found.startscript = image.startscript;
            if wanted.deffile {
                found.deffile = text(files, &format!("{IMAGE_ROOT}/Singularity"))?;
            }
        }
    }
    Ok(found)
}

/// Applications are the directories of their kind that have a `scif` directory; a name that begins
/// with a dot or leads elsewhere is none.
fn app_names(files: &dyn Files) -> anyhow::Result<Vec<String>> {
    let mut names = files.names(APPS_ROOT)?;
    names.retain(|name| !name.starts_with('.') && files.is_directory(&app_root(name)));
    Ok(names)
}

fn app_root(name: &str) -> String {
    format!("{APPS_ROOT}/{name}/scif")
}

fn app(files: &dyn Files, name: &str, parts: Parts) -> anyhow::Result<AppMetadata> {
    section(files, &app_root(name), &["9"], parts)
}

/// The files that an image and an application have alike. `prefixes` tell which environment files
/// count: `10-docker….sh`, and `9…-environment.sh`.
fn section(
    files: &dyn Files,
    root: &str,
    prefixes: &[&str],
    parts: Parts,
) -> anyhow::Result<AppMetadata> {
    let script = |wanted: bool, name: &str| {
        if wanted {
            text(files, &format!("{root}/{name}"))
        } else {
            Ok(String::new())
        }
    };
    Ok(AppMetadata {
        environment: if parts.environment {
            environment(files, &format!("{root}/env"), prefixes)?
        } else {
            Texts::new()
        },
        labels: if parts.labels {
            labels(files, &format!("{root}/labels.json"))?
        } else {
            Texts::new()
        },
        runscript: script(parts.runscript, "runscript")?,
        test: script(parts.test, "test")?,
        helpfile: script(parts.helpfile, "runscript.help")?,
        startscript: script(parts.startscript, "startscript")?,
    })
}

fn environment(files: &dyn Files, root: &str, prefixes: &[&str]) -> anyhow::Result<Texts> {
    let mut found = Texts::new();
    for name in files.names(root)? {
        let counts = prefixes.iter().any(|prefix| {
            let suffix = if *prefix == "9" {
                "-environment.sh"
            } else {
                ".sh"
            };
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.ends_with(suffix))
        });
        let path = format!("{root}/{name}");
        if counts && let Some(content) = files.read(&path)? {
            found.insert(path, trimmed(&content));
        }
    }
    Ok(found)
}

fn labels(files: &dyn Files, path: &str) -> anyhow::Result<Texts> {
    let Some(content) = files.read(path)? else {
        return Ok(Texts::new());
    };
    let (labels, complaint) = parse_labels(&content);
    if let Some(complaint) = complaint {
        output::warning(format_args!("Unable to parse labels: {complaint}"));
    }
    Ok(labels)
}

fn text(files: &dyn Files, path: &str) -> anyhow::Result<String> {
    Ok(files
        .read(path)?
        .map(|content| trimmed(&content))
        .unwrap_or_default())
}

/// As the shell's `$(cat file)` would have it: without the newlines at the end.
fn trimmed(content: &[u8]) -> String {
    String::from_utf8_lossy(content)
        .trim_end_matches('\n')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct MapFiles(BTreeMap<&'static str, &'static str>);

    impl Files for MapFiles {
        fn read(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
            Ok(self.0.get(path).map(|text| text.as_bytes().to_vec()))
        }

        fn names(&self, path: &str) -> anyhow::Result<Vec<String>> {
            let below = format!("{path}/");
            let mut names: Vec<String> = self
                .0
                .keys()
                .filter_map(|file| file.strip_prefix(&below))
                .filter_map(|rest| rest.split('/').next().map(str::to_owned))
                .collect();
            names.dedup();
            Ok(names)
        }

        fn is_directory(&self, path: &str) -> bool {
            let below = format!("{path}/");
            self.0.keys().any(|file| file.starts_with(&below))
        }
    }

    fn image() -> MapFiles {
        MapFiles(
            [
                ("/.singularity.d/Singularity", "def\n\n"),
                ("/.singularity.d/labels.json", r#"{"b":"2","a":"1"}"#),
                ("/.singularity.d/runscript", "\nrun\n\n"),
                ("/.singularity.d/env/10-docker2singularity.sh", "d\n"),
                ("/.singularity.d/env/20-other.sh", "o\n"),
                ("/.singularity.d/env/90-environment.sh", "e\n"),
                ("/.singularity.d/env/99-base.sh", "b\n"),
                ("/scif/apps/.hidden/scif/runscript", "x"),
                ("/scif/apps/bare/file", "x"),
                ("/scif/apps/one/scif/runscript", "app run\n"),
                ("/scif/apps/one/scif/env/10-docker.sh", "x\n"),
                ("/scif/apps/one/scif/env/90-environment.sh", "app e\n"),
            ]
            .into(),
        )
    }

    #[test]
    fn everything() {
        let all = Selection {
            all: true,
            ..Selection::default()
        };
        let found = gather(&image(), &all).unwrap();
        assert_eq!(found.deffile, "def");
        assert_eq!(found.runscript, "\nrun");
        assert_eq!(found.labels.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            found.environment.keys().collect::<Vec<_>>(),
            [
                "/.singularity.d/env/10-docker2singularity.sh",
                "/.singularity.d/env/90-environment.sh",
            ]
        );
        assert_eq!(found.apps.keys().collect::<Vec<_>>(), ["one"]);
        assert_eq!(found.apps["one"].runscript, "app run");
        assert_eq!(found.apps["one"].environment.len(), 1);
    }

    #[test]
    fn an_application() {
        let parts = Parts {
            runscript: true,
            deffile: true,
            ..Parts::default()
        };
        let app = Some("one".to_owned());
        let found = gather(
            &image(),
            &Selection {
                parts,
                app,
                all: false,
            },
        )
        .unwrap();
        assert_eq!(found.deffile, "");
        assert_eq!(found.runscript, "");
        assert_eq!(found.apps["one"].runscript, "app run");
        let app = Some("none".to_owned());
        let found = gather(
            &image(),
            &Selection {
                parts,
                app,
                all: false,
            },
        )
        .unwrap();
        assert!(found.apps.is_empty());
    }

    #[test]
    fn names_of_applications_do_not_lead_elsewhere() {
        let parts = Parts {
            runscript: true,
            ..Parts::default()
        };
        let app = Some("../apps/one".to_owned());
        let found = gather(
            &image(),
            &Selection {
                parts,
                app,
                all: false,
            },
        )
        .unwrap();
        assert!(found.apps.is_empty());
    }

    #[test]
    fn the_list_is_names_alone() {
        let parts = Parts {
            apps: true,
            ..Parts::default()
        };
        let found = gather(
            &image(),
            &Selection {
                parts,
                ..Selection::default()
            },
        )
        .unwrap();
        assert_eq!(found.apps["one"], AppMetadata::default());
    }
}

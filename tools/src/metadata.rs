//! What an image says about itself: labels, scripts, environment, definition, applications.
//!
//! A SIF carries it as a JSON object made when it was built; elsewhere it is gathered from
//! `/.singularity.d` and `/scif` of the tree. The two sources are not equally rich, and the
//! differences are Apptainer's: see [`Metadata::select`].

pub mod arch;
pub mod files;
pub mod gather;
pub mod json;
pub mod read;
pub mod sandbox;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Text by file name or label, sorted.
pub type Texts = BTreeMap<String, String>;

/// What an application (SCIF) of the image says about itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AppMetadata {
    /// Environment files by name.
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub environment: Texts,
    /// Labels.
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub labels: Texts,
    /// The script of `run`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub runscript: String,
    /// The script of `test`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub test: String,
    /// The text of `run-help`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub helpfile: String,
    /// The script of instances.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub startscript: String,
}

/// What an image says about itself. The fields are in the order of Apptainer's JSON.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Applications by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub apps: BTreeMap<String, AppMetadata>,
    /// Environment files by name.
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub environment: Texts,
    /// Labels.
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub labels: Texts,
    /// The script of `run`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub runscript: String,
    /// The script of `test`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub test: String,
    /// The text of `run-help`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub helpfile: String,
    /// The definition file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deffile: String,
    /// The script of instances.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub startscript: String,
}

/// Parts of the metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parts {
    /// Labels.
    pub labels: bool,
    /// The definition file.
    pub deffile: bool,
    /// Environment files.
    pub environment: bool,
    /// The script of `run`.
    pub runscript: bool,
    /// The script of instances.
    pub startscript: bool,
    /// The script of `test`.
    pub test: bool,
    /// The text of `run-help`.
    pub helpfile: bool,
    /// The names of the applications.
    pub apps: bool,
}

impl Parts {
    /// Every part.
    pub const ALL: Self = Self {
        labels: true,
        deffile: true,
        environment: true,
        runscript: true,
        startscript: true,
        test: true,
        helpfile: true,
        apps: true,
    };
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// These parts.
    pub parts: Parts,
    /// Of this application instead of the image.
    pub app: Option<String>,
    /// Everything of everything.
    pub all: bool,
}

impl Metadata {
    /// Keeps what was asked for. Only the object of a SIF is cut down here; what was gathered from
    /// a tree was gathered for the selection. Apptainer's rules for the object: a list of the
    /// applications brings all they have, and the definition is always that of the image.
    pub fn select(mut self, selection: &Selection) -> Self {
        if selection.all {
            return self;
        }
        let parts = selection.parts;
        let mut kept = Self::default();
        if parts.deffile {
            kept.deffile = std::mem::take(&mut self.deffile);
        }
        match &selection.app {
            Some(name) => {
                // Of an application nothing but the image's definition was asked for: not named.
                let of_app = Parts {
                    deffile: false,
                    ..parts
                } != Parts::default();
                if let Some(app) = self.apps.get(name).filter(|_| of_app) {
                    kept.apps.insert(name.clone(), app.clone().select(parts));
                }
            }
            None => {
                let image = self.image_part().select(parts);
                kept.environment = image.environment;
                kept.labels = image.labels;
                kept.runscript = image.runscript;
                kept.test = image.test;
                kept.helpfile = image.helpfile;
                kept.startscript = image.startscript;
            }
        }
        if parts.apps {
            kept.apps = self.apps;
        }
        kept
    }

    /// What the image has in common with an application.
    pub fn image_part(&self) -> AppMetadata {
        AppMetadata {
            environment: self.environment.clone(),
            labels: self.labels.clone(),
            runscript: self.runscript.clone(),
            test: self.test.clone(),
            helpfile: self.helpfile.clone(),
            startscript: self.startscript.clone(),
        }
    }
}

impl AppMetadata {
    /// Keeps only some parts.
    pub fn select(mut self, parts: Parts) -> Self {
        for (wanted, text) in [
            (parts.runscript, &mut self.runscript),
            (parts.test, &mut self.test),
            (parts.helpfile, &mut self.helpfile),
            (parts.startscript, &mut self.startscript),
        ] {
            if !wanted {
                text.clear();
            }
        }
        if !parts.environment {
            self.environment.clear();
        }
        if !parts.labels {
            self.labels.clear();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        let app = AppMetadata {
            runscript: "app run".into(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..AppMetadata::default()
        };
        Metadata {
            apps: [("one".to_owned(), app)].into(),
            runscript: "run".into(),
            deffile: "def".into(),
            ..Metadata::default()
        }
    }

    fn select(parts: Parts, app: Option<&str>) -> Metadata {
        sample().select(&Selection {
            parts,
            app: app.map(str::to_owned),
            all: false,
        })
    }

    #[test]
    fn only_what_was_asked_for() {
        let parts = Parts {
            runscript: true,
            ..Parts::default()
        };
        let kept = select(parts, None);
        assert_eq!(
            kept,
            Metadata {
                runscript: "run".into(),
                ..Metadata::default()
            }
        );
    }

    #[test]
    fn an_application_instead_of_the_image() {
        let parts = Parts {
            runscript: true,
            deffile: true,
            ..Parts::default()
        };
        let kept = select(parts, Some("one"));
        assert_eq!(kept.deffile, "def");
        assert_eq!(kept.runscript, "");
        assert_eq!(kept.apps["one"].runscript, "app run");
        assert!(kept.apps["one"].labels.is_empty());
        assert!(select(parts, Some("none")).apps.is_empty());
        let definition = Parts {
            deffile: true,
            ..Parts::default()
        };
        assert!(select(definition, Some("one")).apps.is_empty());
    }

    #[test]
    fn the_list_of_applications_brings_all_they_have() {
        let kept = select(
            Parts {
                apps: true,
                ..Parts::default()
            },
            None,
        );
        assert_eq!(kept.apps, sample().apps);
        assert_eq!(kept.runscript, "");
    }
}

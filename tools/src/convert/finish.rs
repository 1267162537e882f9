//! What makes an image of a root file system: files over and under it, and the objects of a SIF.

use std::collections::BTreeMap;

use skiff_fs::format::sif::Arch;
use skiff_fs::layers::Layer;

use super::assemble::Manner;
use super::source::Spec;
use crate::definition::{Definition, Stage};
use crate::dot_singularity::overlaid::{NoFiles, Overlaid};
use crate::dot_singularity::{
    Begun, Facts, ImageConfig, Message, SectionChoice, base, finish, inspection, labels,
};
use crate::metadata::files::Files;
use crate::output;
use crate::program::Personality;

/// What goes around the layers of an image.
pub(super) struct Around {
    pub(super) top: Box<dyn Layer>,
    pub(super) bottom: Box<dyn Layer>,
    pub(super) definition: Vec<u8>,
    pub(super) json: BTreeMap<String, Vec<u8>>,
}

/// Around the layers of an OCI image.
pub(super) fn oci(
    config: &ImageConfig,
    spec: &Spec,
    manner: &Manner,
    arch: Arch,
) -> anyhow::Result<Around> {
    let labels = labels::json(&config.labels);
    around(
        Begun::Oci(config),
        Some(labels),
        &NoFiles,
        spec,
        manner,
        arch,
    )
}

/// Around the files of another image, whose labels say where they were put together.
pub(super) fn image(files: &dyn Files, spec: &Spec, manner: &Manner) -> anyhow::Result<Around> {
    around(Begun::Image, None, files, spec, manner, Arch::host())
}

fn around(
    begun: Begun<'_>,
    labels: Option<String>,
    files: &dyn Files,
    spec: &Spec,
    manner: &Manner,
    arch: Arch,
) -> anyhow::Result<Around> {
    let mut around = base(begun);
    // Whoever has no applications has the file without content.
    let nodes = match labels {
        Some(_) => &mut around.top,
        None => &mut around.bottom,
    };
    nodes.script(".singularity.d/env/94-appsbase.sh", "");
    if let Some(labels) = labels {
        around.top.text(".singularity.d/labels.json", labels);
    }
    let definition = Definition::of_image(&spec.bootstrap, &spec.from);
    let none = Stage::default();
    let facts = Facts {
        stage: definition.stages.last().unwrap_or(&none),
        text: &definition.text,
        sections: &SectionChoice::All,
        force: false,
        update: false,
        date: manner.date,
        arch: &arch.to_string(),
        version: &Personality::Apptainer.version(),
    };
    let overlaid = Overlaid {
        top: &around.top,
        files,
        bottom: &around.bottom,
    };
    let finished = finish(&facts, &overlaid)?;
    for message in finished.messages {
        match message {
            Message::Info(text) => output::info(text),
            Message::Warning(text) => output::warning(text),
        }
    }
    around.top.cover(finished.nodes);
    let overlaid = Overlaid {
        top: &around.top,
        files,
        bottom: &around.bottom,
    };
    let inspection = inspection(&overlaid)?;
    Ok(Around {
        top: Box::new(around.top.layer("skiff's own files", manner.date.0)),
        bottom: Box::new(around.bottom.layer("skiff's defaults", manner.date.0)),
        definition: definition.text.into_bytes(),
        json: [("inspect-metadata.json".to_owned(), inspection)].into(),
    })
}

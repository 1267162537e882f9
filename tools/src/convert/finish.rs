//! What makes an image of a root file system: files over and under it, and the objects of a SIF.

use std::collections::BTreeMap;

use skiff_fs::format::sif::Arch;
use skiff_fs::layers::{EntryKind, Layer, MemoryLayer};
use skiff_fs::pack::Metadata;

use super::assemble::Manner;
use super::source::Spec;
use crate::definition::{Definition, Stage};
use crate::dot_singularity::overlaid::{NoFiles, Overlaid};
use crate::dot_singularity::{
    Begun, Content, Facts, ImageConfig, Message, Nodes, SectionChoice, base, finish, inspection,
    labels,
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

/// Around the files of another image.
pub(super) fn image(
    files: &dyn Files,
    spec: &Spec,
    manner: &Manner,
    arch: Arch,
) -> anyhow::Result<Around> {
    around(Begun::Image, None, files, spec, manner, arch)
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
        top: Box::new(layer("skiff's own files", &around.top, manner)),
        bottom: Box::new(layer("skiff's defaults", &around.bottom, manner)),
        definition: definition.text.into_bytes(),
        json: [("inspect-metadata.json".to_owned(), inspection)].into(),
    })
}

/// Nodes as a layer of files of root.
fn layer(name: &str, nodes: &Nodes, manner: &Manner) -> MemoryLayer {
    let mut layer = MemoryLayer::new(name);
    for (path, node) in nodes.iter() {
        let metadata = Metadata {
            permissions: node.mode,
            mtime: manner.date.0,
            ..Metadata::default()
        };
        match &node.content {
            Content::Directory => layer.directory(path, metadata),
            Content::File(content) => layer.file(path, content.clone(), metadata),
            Content::Link(target) => {
                let target = target.as_bytes().to_vec();
                layer.add(path, EntryKind::Symlink { target }, metadata)
            }
        };
    }
    layer
}

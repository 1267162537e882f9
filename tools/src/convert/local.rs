//! An image or directory of this machine becomes the parts of another.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use skiff_fs::format::sif::{Arch, DataType};
use skiff_fs::format::squashfs::SquashfsOptions;
use skiff_fs::image::{Image, ImageKind};
use skiff_fs::layers::{DirectoryLayer, Layer, TreeLayer};

use super::assemble::{Manner, Parts};
use super::finish;
use super::source::Spec;
use super::watch::Watch;
use crate::metadata::arch;
use crate::metadata::files::{Files, TreeFiles};
use crate::metadata::sandbox::SandboxFiles;

/// The largest object that is carried along.
const MAX_OBJECT: u64 = 16 << 20;

/// Parts of a new image from the one at `path`.
///
/// # Errors
/// When it is none, or cannot be read.
pub(super) fn parts(
    image: &Image,
    spec: &Spec,
    manner: &Manner,
    watch: &Watch,
) -> anyhow::Result<Parts> {
    let name = image.path().display().to_string();
    let known = image.arch().filter(|arch| *arch != Arch::Unknown);
    let arch_of = |files: &dyn Files| {
        arch::of_programs(files)
            .or(known)
            .unwrap_or_else(Arch::host)
    };
    let (layer, around, arch): (Box<dyn Layer>, _, _) = match image.kind() {
        ImageKind::Sandbox => {
            watch.info("Extracting local image...");
            let path = image.path().to_owned();
            let files = SandboxFiles::open(&path)?;
            let arch = arch_of(&files);
            let around = finish::image(&files, spec, manner)?;
            (Box::new(DirectoryLayer::new(&path)), around, arch)
        }
        ImageKind::Ext3 { .. } => bail!(
            "{name} is an ext3 image: start a program in it, or mount it, and build from the directory"
        ),
        ImageKind::Sif(_) | ImageKind::Squashfs { .. } => {
            watch.info("Extracting local image...");
            let tree = image.tree(&SquashfsOptions::default())?;
            let files = TreeFiles(&*tree);
            let arch = arch_of(&files);
            let around = finish::image(&files, spec, manner)?;
            (
                Box::new(TreeLayer::new(name, Arc::clone(&tree))),
                around,
                arch,
            )
        }
    };
    if arch != Arch::host() {
        watch.warning(&format!(
            "Architecture {arch} does not match build arch {}",
            Arch::host()
        ));
    }
    let mut json = around.json;
    if let Some(config) = oci_config(image)? {
        json.insert("oci-config.json".to_owned(), config);
    }
    Ok(Parts {
        layers: vec![around.top, layer, around.bottom],
        definition: around.definition,
        json,
        arch: Some(arch),
    })
}

/// The configuration that a SIF made of an OCI image has.
///
/// # Errors
/// It cannot be read.
pub(crate) fn oci_config(image: &Image) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(sif) = image.sif() else {
        return Ok(None);
    };
    let found = sif.descriptors.iter().find(|object| {
        object.data_type == DataType::GenericJson && object.name == "oci-config.json"
    });
    let Some(object) = found.filter(|object| object.size <= MAX_OBJECT) else {
        return Ok(None);
    };
    let data = image.data_of(object)?;
    let mut bytes = vec![0; usize::try_from(object.size)?];
    skiff_fs::source::Source::read_exact_at(&data, &mut bytes, 0)
        .context("reading oci-config.json")?;
    Ok(Some(bytes))
}

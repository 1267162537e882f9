//! What the administrator lets be run, and be laid over what is run.

use anyhow::{Context as _, bail};
use skiff_fs::image::ImageKind;
use skiff_launcher::LaunchError;
use skiff_launcher::admission::{self, ContainerKind};
use skiff_launcher::config::Config;
use skiff_launcher::host::HostFacts;
use skiff_launcher::request::LaunchRequest;
use skiff_launcher::request::writing::{Layer, LayerContent};

use super::image::Found;
use crate::cli::action::writing::WritingArgs;
use crate::cli::value::Strings;
use crate::wire::Served;

impl Found {
    /// Whether the administrator lets it be run.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn admit(&self, config: &Config, facts: &HostFacts) -> Result<(), LaunchError> {
        let (kind, here) = match &self.served {
            None => (ContainerKind::Sandbox, true),
            Some(Served::Here(image)) => (
                match image.kind() {
                    ImageKind::Sandbox => ContainerKind::Sandbox,
                    ImageKind::Sif(_) => ContainerKind::Sif,
                    ImageKind::Squashfs { .. } => ContainerKind::Squashfs,
                    ImageKind::Ext3 { .. } => ContainerKind::Ext3,
                },
                true,
            ),
            Some(Served::Elsewhere(_)) => (ContainerKind::Sif, false),
        };
        // The path as named may have links; rules are about what they lead to.
        let limited = !config.limit_paths.is_empty()
            || !config.limit_groups.is_empty()
            || !config.limit_owners.is_empty();
        let file = (here && limited)
            .then(|| self.request.path.canonicalize().ok())
            .flatten();
        admission::check(config, facts, kind, file.as_deref())
    }
}

/// Refuses overlays, where the administrator wants none, before anybody looks for them.
///
/// # Errors
/// In Apptainer's words.
pub(super) fn overlays_at_all(config: &Config, args: &WritingArgs) -> anyhow::Result<()> {
    if !config.enable_overlay && !args.writable && Strings::flatten(&args.overlay).next().is_some()
    {
        bail!("overlay images requires 'enable overlay', but set to 'no' by administrator");
    }
    Ok(())
}

/// Checks what is laid over the root, and the images from which data is bound.
///
/// # Errors
/// The rule that forbids one of them.
pub(super) fn layers(
    config: &Config,
    facts: &HostFacts,
    request: &LaunchRequest,
) -> anyhow::Result<()> {
    let check = |layer: &Layer| {
        let kind = match layer.content {
            LayerContent::Directory => ContainerKind::Sandbox,
            LayerContent::Ext3 { .. } => ContainerKind::Ext3,
            LayerContent::Squashfs { .. } => ContainerKind::Squashfs,
        };
        admission::check(config, facts, kind, Some(layer.path.as_path()))
    };
    for layer in &request.writing.overlays {
        check(layer).with_context(|| {
            format!(
                "while loading overlay images: failed to open overlay image {}",
                layer.given.display()
            )
        })?;
    }
    for bind in &request.binds {
        if let Some(layer) = bind.image.as_ref().and_then(|image| image.layer.as_ref()) {
            check(layer).with_context(|| {
                format!(
                    "while loading data bind images: failed to load data image {}",
                    layer.path.display()
                )
            })?;
        }
    }
    Ok(())
}

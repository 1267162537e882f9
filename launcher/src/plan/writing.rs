//! What lies over the root, and where changes go.

use std::path::PathBuf;

use serde::Serialize;

use crate::config::Config;
use crate::error::LaunchError;
use crate::report::{Level, Report};
use crate::request::LaunchRequest;
use crate::request::writing::{Layer, RootFormat};

/// Where changes to the root go.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upper {
    /// There are none.
    #[default]
    None,
    /// To memory, until the container ends.
    Memory,
    /// To a directory or an image.
    Layer(Layer),
}

/// Layers over the root.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct WritingPlan {
    /// The root itself may be written to; it is a directory then.
    pub root: bool,
    /// Read-only layers, the lowest first.
    pub lower: Vec<Layer>,
    /// The layer above them.
    pub upper: Upper,
    /// Images from which data is bound, by the numbers that the mounts use.
    pub images: Vec<Layer>,
    /// The layers are put together by a program, not by the kernel: the configuration says so.
    pub program: bool,
}

impl WritingPlan {
    /// Whether the root has layers over it.
    pub fn is_layered(&self) -> bool {
        self.upper != Upper::None || !self.lower.is_empty()
    }

    /// Whether something has to be put together before the container.
    pub fn needs_preparation(&self) -> bool {
        self.is_layered() || !self.images.is_empty()
    }

    /// Whether the container's root can be written to.
    pub fn is_writable(&self) -> bool {
        self.root || self.upper != Upper::None
    }
}

/// What cannot be had together, or not of this image.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WritingError {
    /// `--overlay` and `--writable`.
    #[error("cannot use --overlay in conjunction with --writable")]
    OverlayAndWritable,
    /// A second overlay that is written to.
    #[error(
        "while loading overlay images: you can't specify more than one writable overlay, {} contains a writable overlay, requires to use '--overlay {}:ro'",
        first.display(), second.display()
    )]
    TwoWritable {
        /// The one that is.
        first: PathBuf,
        /// The one that would be.
        second: PathBuf,
    },
    /// `--writable-tmpfs` and an overlay that is written to.
    #[error(
        "while loading overlay images: you can't specify --writable-tmpfs with another writable overlay image ({})",
        path.display()
    )]
    TmpfsAndWritable {
        /// The overlay.
        path: PathBuf,
    },
    /// `--writable` on a SIF without an overlay of its own.
    #[error("no SIF writable overlay partition found in {}", path.display())]
    NoPartition {
        /// The image.
        path: PathBuf,
    },
    /// The administrator has turned overlays off.
    #[error("{what} requires 'enable overlay', but set to 'no' by administrator")]
    NotAllowed {
        /// What was asked for.
        what: &'static str,
    },
    /// `--writable` on squashfs.
    #[error("could not set {} image writable: squashfs is a read-only filesystem", path.display())]
    Squashfs {
        /// The image.
        path: PathBuf,
    },
}

pub(super) fn plan(
    request: &LaunchRequest,
    config: &Config,
    report: &mut Report<'_>,
) -> Result<WritingPlan, LaunchError> {
    let wish = &request.writing;
    let mut plan = WritingPlan {
        images: data_images(request),
        program: config.overlay_driver,
        ..WritingPlan::default()
    };
    if wish.writable {
        if !wish.overlays.is_empty() {
            return Err(WritingError::OverlayAndWritable.into());
        }
        if wish.writable_tmpfs {
            report(
                Level::Warning,
                "Disabling --writable-tmpfs flag, mutually exclusive with --writable",
            );
        }
        writable_root(request, &mut plan)?;
    } else {
        let embedded = wish.embedded.iter().map(|layer| Layer {
            writable: false,
            ..layer.clone()
        });
        // Those that come with the image are no wish of the user's.
        plan.lower
            .extend(embedded.filter(|_| config.enable_overlay));
        for layer in &wish.overlays {
            match &plan.upper {
                _ if !layer.writable => plan.lower.push(layer.clone()),
                Upper::Layer(first) => {
                    return Err(WritingError::TwoWritable {
                        first: first.path.clone(),
                        second: layer.path.clone(),
                    }
                    .into());
                }
                Upper::None | Upper::Memory => plan.upper = Upper::Layer(layer.clone()),
            }
        }
        if wish.writable_tmpfs {
            if let Upper::Layer(layer) = plan.upper {
                return Err(WritingError::TmpfsAndWritable { path: layer.path }.into());
            }
            plan.upper = Upper::Memory;
        }
    }
    check_allowed(&plan, config)?;
    Ok(plan)
}

fn writable_root(request: &LaunchRequest, plan: &mut WritingPlan) -> Result<(), LaunchError> {
    let path = || request.image.path.clone();
    match request.writing.root {
        RootFormat::Sandbox => plan.root = true,
        RootFormat::Squashfs => return Err(WritingError::Squashfs { path: path() }.into()),
        RootFormat::Sif => {
            // The last one is the topmost.
            let mut layers = request.writing.embedded.clone();
            let upper = layers.pop().filter(|layer| layer.writable);
            let Some(upper) = upper else {
                return Err(WritingError::NoPartition { path: path() }.into());
            };
            plan.lower = layers;
            plan.upper = Upper::Layer(upper);
        }
    }
    Ok(())
}

/// The images of `image-src=` binds, each once.
fn data_images(request: &LaunchRequest) -> Vec<Layer> {
    let mut images: Vec<Layer> = Vec::new();
    for bind in &request.binds {
        let layer = bind.image.as_ref().and_then(|image| image.layer.as_ref());
        if let Some(layer) = layer
            && !images.contains(layer)
        {
            images.push(layer.clone());
        }
    }
    images
}

fn check_allowed(plan: &WritingPlan, config: &Config) -> Result<(), LaunchError> {
    if config.enable_overlay || !plan.is_layered() {
        return Ok(());
    }
    let what = match plan.upper {
        Upper::Memory => "--writable-tmpfs",
        Upper::None | Upper::Layer(_) => "overlay images",
    };
    Err(WritingError::NotAllowed { what }.into())
}

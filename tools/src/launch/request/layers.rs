//! Images that are laid over the root or from which data is bound: opened, recognized, described.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skiff_fs::format::sif::{Descriptor, Extra, FsType, PartitionType, Sif};
use skiff_fs::format::squashfs::{Squashfs, SquashfsOptions};
use skiff_fs::image::{Image, ImageKind};
use skiff_fs::source::Window;
use skiff_fs::tree::path::resolve;
use skiff_fs::tree::{FileKind, Tree as _};
use skiff_launcher::request::writing::{Layer, LayerContent};
use skiff_launcher::request::{Bind, ImageBind};

use crate::launch::image;
use crate::output;
use crate::text::go_path;

/// Layers of one `--overlay PATH[:ro]`.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn overlay(item: &OsStr) -> anyhow::Result<Vec<Layer>> {
    let bytes = item.as_bytes();
    let (given, mode) = match bytes.iter().position(|byte| *byte == b':') {
        Some(colon) => (&bytes[..colon], &bytes[colon + 1..]),
        None => (bytes, &b""[..]),
    };
    let given = OsStr::from_bytes(given);
    let found = open(given).map_err(|reason| {
        anyhow::anyhow!(
            "while loading overlay images: failed to open overlay image {}: {reason}",
            given.display()
        )
    })?;
    let mut layers = found.overlays();
    if mode == b"ro" {
        for layer in &mut layers {
            layer.writable = false;
        }
    } else if !found.is_writable() {
        output::warning(format_args!(
            "Overlay image {} is not writable, proceeding with read-only",
            found.path.display()
        ));
    }
    Ok(layers)
}

/// Overlay partitions of the root image.
pub(super) fn embedded(image: &Image) -> Vec<Layer> {
    let Some(sif) = image.sif() else {
        return Vec::new();
    };
    let path = image.path();
    overlay_partitions(sif)
        .filter_map(|descriptor| {
            // Asked only of images that have one.
            let writable = is_writable_file(path);
            partition(descriptor, path, path.as_os_str(), writable)
        })
        .collect()
}

/// Stands for an overlay that nobody will look at.
pub(super) fn anything() -> Layer {
    Layer {
        path: PathBuf::new(),
        given: OsString::new(),
        content: LayerContent::Directory,
        writable: true,
    }
}

/// Finds the images behind binds with `image-src=` or `id=`.
///
/// # Errors
/// The first one that cannot be used.
pub(super) fn resolve_binds(binds: &mut [Bind]) -> anyhow::Result<()> {
    for bind in binds {
        let Some(wish) = &mut bind.image else {
            continue;
        };
        let given = bind.source.as_os_str();
        let found = open(given).map_err(|reason| {
            anyhow::anyhow!(
                "while loading data bind images: failed to load data image {}: {reason}",
                given.display()
            )
        })?;
        bind.source.clone_from(&found.path);
        let mut layer = found.data(wish)?;
        if !bind.read_only && !layer.writable {
            output::warning(format_args!(
                "Data image {} is not writable, proceeding with read-only",
                found.path.display()
            ));
        }
        layer.writable &= !bind.read_only;
        wish.is_file = is_file(&layer, &wish.inside);
        wish.layer = Some(layer);
    }
    Ok(())
}

/// An image as it was found.
struct Found {
    given: OsString,
    path: PathBuf,
    /// None of a directory.
    image: Option<Image>,
}

fn open(given: &OsStr) -> Result<Found, String> {
    let absolute = go_path(Path::new(given)).map_err(|error| error.to_string())?;
    let path = image::resolve(&absolute).map_err(|reason| {
        // The name as the user wrote it, where Apptainer has it so.
        reason.replacen(
            &format!("path for {}", absolute.display()),
            &format!("path for {}", given.display()),
            1,
        )
    })?;
    let image = image::open(&path)?;
    Ok(Found {
        given: given.to_owned(),
        path,
        image,
    })
}

impl Found {
    fn is_writable(&self) -> bool {
        match &self.image {
            None => is_writable_directory(&self.path),
            Some(image) => {
                !matches!(image.kind(), ImageKind::Squashfs { .. }) && is_writable_file(&self.path)
            }
        }
    }

    fn layer(&self, content: LayerContent, writable: bool) -> Layer {
        Layer {
            path: self.path.clone(),
            given: self.given.clone(),
            content,
            writable,
        }
    }

    /// All that can be laid over a root.
    fn overlays(&self) -> Vec<Layer> {
        let Some(image) = &self.image else {
            return vec![self.layer(LayerContent::Directory, self.is_writable())];
        };
        match image.kind() {
            ImageKind::Sif(sif) => {
                let writable = self.is_writable();
                overlay_partitions(sif)
                    .filter_map(|descriptor| {
                        partition(descriptor, &self.path, &self.given, writable)
                    })
                    .collect()
            }
            _ => self.plain(image).into_iter().collect(),
        }
    }

    /// The one file system of an image that is no SIF.
    fn plain(&self, image: &Image) -> Option<Layer> {
        let offset = image.offset();
        let size = image.root_size();
        match image.kind() {
            ImageKind::Squashfs { .. } => {
                Some(self.layer(LayerContent::Squashfs { offset, size }, false))
            }
            ImageKind::Ext3 { .. } => {
                Some(self.layer(LayerContent::Ext3 { offset, size }, self.is_writable()))
            }
            ImageKind::Sandbox | ImageKind::Sif(_) => None,
        }
    }

    /// The file system that data is bound from.
    fn data(&self, wish: &ImageBind) -> anyhow::Result<Layer> {
        let id = match &wish.id {
            None => None,
            Some(text) => Some(parse_id(text)?),
        };
        let unsupported = || {
            anyhow::anyhow!(
                "container creation failed: could not use {} for image binding: not supported \
                 image format",
                self.path.display()
            )
        };
        let image = self.image.as_ref().ok_or_else(unsupported)?;
        let Some(sif) = image.sif() else {
            return self.plain(image).ok_or_else(unsupported);
        };
        let wanted = sif.descriptors.iter().find(|descriptor| match id {
            Some(id) => descriptor.id == id,
            None => matches!(
                descriptor.extra,
                Extra::Partition {
                    kind: PartitionType::Data,
                    ..
                }
            ),
        });
        let writable = self.is_writable();
        wanted
            .and_then(|descriptor| partition(descriptor, &self.path, &self.given, writable))
            .ok_or_else(|| {
                anyhow::anyhow!(
                    "container creation failed: no data partition found in {}",
                    self.path.display()
                )
            })
    }
}

fn parse_id(text: &str) -> anyhow::Result<u32> {
    let id: u32 = text.parse().map_err(|_| {
        anyhow::anyhow!(
            "container creation failed: while parsing id bind option: strconv.ParseUint: parsing \
             {text:?}: invalid syntax"
        )
    })?;
    if id == 0 {
        anyhow::bail!("container creation failed: id number must be greater than 0");
    }
    Ok(id)
}

/// Overlay partitions count only in the group of the root partition, where there is one.
fn overlay_partitions(sif: &Sif) -> impl Iterator<Item = &Descriptor> {
    let group = sif.primary().map(|primary| primary.group);
    sif.descriptors.iter().filter(move |descriptor| {
        matches!(
            descriptor.extra,
            Extra::Partition {
                kind: PartitionType::Overlay,
                ..
            }
        ) && group.is_none_or(|group| descriptor.group == group)
    })
}

fn partition(descriptor: &Descriptor, path: &Path, given: &OsStr, writable: bool) -> Option<Layer> {
    let Extra::Partition { fs, .. } = descriptor.extra else {
        return None;
    };
    let (offset, size) = (descriptor.offset, descriptor.size);
    let content = match fs {
        FsType::Ext3 => LayerContent::Ext3 { offset, size },
        FsType::Squashfs => LayerContent::Squashfs { offset, size },
        _ => return None,
    };
    Some(Layer {
        path: path.to_owned(),
        given: given.to_owned(),
        writable: writable && fs == FsType::Ext3,
        content,
    })
}

fn is_writable_file(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Its owner can write to a directory, whatever its mode, once it has capabilities over it.
fn is_writable_directory(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let owner = path.metadata().map(|it| it.uid()).ok();
    owner == Some(rustix::process::geteuid().as_raw()) || is_writable_file(path)
}

/// Whether `inside` is a file in a squashfs layer; what cannot be told is taken for a directory.
fn is_file(layer: &Layer, inside: &Path) -> bool {
    let LayerContent::Squashfs { offset, size } = layer.content else {
        return false;
    };
    let looked = || -> Option<bool> {
        let image = Image::from_file(File::open(&layer.path).ok()?, &layer.path).ok()?;
        let window = Window::new(image.source(), offset, size)?;
        let tree = Squashfs::open(Arc::new(window), SquashfsOptions::default()).ok()?;
        let node = resolve(&tree, inside.as_os_str().as_bytes(), true).ok()??;
        Some(tree.attr(node).ok()?.kind != FileKind::Directory)
    };
    looked().unwrap_or(false)
}

//! What a stage starts from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use skiff_fs::format::sif::{Extra, FsType};
use skiff_fs::format::squashfs::SquashfsOptions;
use skiff_fs::image::{Image, ImageKind};
use skiff_fs::tree::Tree;
use skiff_launcher::request::writing::LayerContent;
use skiff_launcher::room;

use crate::launch::image;
use crate::text::{chain, go_path};

/// What lies below all that a stage changes.
#[derive(Debug)]
pub(super) enum Base {
    /// Nothing: the root is a directory of the build's own.
    Nothing,
    /// An image file, which is served.
    Image(Box<Image>),
    /// A directory, which stays as it is.
    Directory(PathBuf),
}

impl Base {
    /// The image or directory that is called `name` on this machine.
    ///
    /// # Errors
    /// Why it cannot be started from.
    pub(super) fn local(name: &str) -> Result<Self, String> {
        let given = Path::new(name);
        let absolute = go_path(given).map_err(|error| error.to_string())?;
        let path = image::resolve(&absolute).map_err(|reason| {
            reason.replacen(
                &format!("path for {}", absolute.display()),
                &format!("path for {name}"),
                1,
            )
        })?;
        if path == Path::new("/") {
            return Err("/ as sandbox is not authorized".to_owned());
        }
        match image::open(&path)? {
            None => Ok(Self::Directory(path)),
            Some(image) => Self::of_image(image),
        }
    }

    /// `image` as a base.
    ///
    /// # Errors
    /// It has no root that can be served.
    pub(super) fn of_image(image: Image) -> Result<Self, String> {
        match image.kind() {
            ImageKind::Ext3 { .. } => {}
            _ => image.check_mountable().map_err(|error| chain(&error))?,
        }
        image::check_arch(&image)?;
        Ok(Self::Image(Box::new(image)))
    }

    /// As the launcher wants it; `None` where there is nothing to lay a root over.
    pub(super) fn for_room(&self) -> Option<room::Base> {
        match self {
            Self::Nothing => None,
            Self::Directory(path) => Some(room::Base::Directory(path.clone())),
            Self::Image(image) => {
                let (offset, size) = (image.offset(), image.root_size());
                Some(room::Base::Image {
                    path: image.path().to_owned(),
                    content: match is_ext3(image) {
                        true => LayerContent::Ext3 { offset, size },
                        false => LayerContent::Squashfs { offset, size },
                    },
                })
            }
        }
    }

    /// The tree of an image that is read without being mounted.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn tree(&self) -> Result<Option<Arc<dyn Tree>>, String> {
        match self {
            Self::Image(image) if !is_ext3(image) => image
                .tree(&SquashfsOptions::default())
                .map(Some)
                .map_err(|error| chain(&error)),
            _ => Ok(None),
        }
    }
}

fn is_ext3(image: &Image) -> bool {
    match image.kind() {
        ImageKind::Ext3 { .. } => true,
        ImageKind::Sif(sif) => sif.primary().is_some_and(|primary| {
            matches!(
                primary.extra,
                Extra::Partition {
                    fs: FsType::Ext3,
                    ..
                }
            )
        }),
        ImageKind::Sandbox | ImageKind::Squashfs { .. } => false,
    }
}

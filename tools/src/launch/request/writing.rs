//! Flags of [`crate::cli::action::writing`] become a wish.

use std::ffi::OsStr;

use skiff_fs::image::ImageKind;
use skiff_launcher::request::writing::{RootFormat, WritingWish};
use skiff_launcher::request::{ImageRequest, RootKind};

use super::layers;
use crate::cli::action::writing::WritingArgs;
use crate::cli::value::Strings;
use crate::output;
use crate::wire::Served;

/// The wish behind `args`, for a container of `image`, whose file is `served`.
///
/// # Errors
/// One line about the overlay that cannot be used.
pub(super) fn build(
    args: &WritingArgs,
    image: &ImageRequest,
    served: Option<&Served>,
) -> anyhow::Result<WritingWish> {
    if args.underlay {
        output::warning("Flag --underlay has been deprecated, default overlay is preferred");
    }
    // An unpacked image can be written to; what is written is lost with it.
    let unpacked = args.unsquash && image.kind == RootKind::Mounted;
    let mut wish = WritingWish {
        writable: args.writable && !unpacked,
        writable_tmpfs: args.writable_tmpfs || args.writable && unpacked,
        root: match served {
            None => RootFormat::Sandbox,
            Some(Served::Here(image)) if image.sif().is_none() => RootFormat::Squashfs,
            Some(_) => RootFormat::Sif,
        },
        ..WritingWish::default()
    };
    if let Some(Served::Here(served)) = served
        && matches!(served.kind(), ImageKind::Sif(_))
    {
        wish.embedded = layers::embedded(served);
    }
    // Both are refused by the plan; what the overlays are matters no more.
    if wish.writable && Strings::flatten(&args.overlay).next().is_some() {
        return Ok(WritingWish {
            overlays: vec![layers::anything()],
            ..wish
        });
    }
    for item in Strings::flatten(&args.overlay) {
        wish.overlays.extend(layers::overlay(OsStr::new(&item))?);
    }
    Ok(wish)
}

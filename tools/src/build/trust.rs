//! Who has signed the image that a stage starts from.

use skiff_fs::format::sif::DataType;
use skiff_fs::image::Image;
use skiff_fs::integrity::pgp::fingerprint_text;
use skiff_fs::integrity::{Keys, SignedImage, default_tasks, signed_with, verify};

use crate::cli::Context;
use crate::commands::key::trusted_keys;
use crate::definition::Stage;
use crate::output;

/// Checks the signatures of `image`, of which all of the header's `Fingerprints` must have one;
/// where none are named, one that does not hold is only remarked upon.
///
/// # Errors
/// Somebody who has to has not signed it.
pub(super) fn check(stage: &Stage, image: &Image, context: &Context) -> Result<(), String> {
    let wanted: Vec<String> = stage
        .value("fingerprints")
        .unwrap_or_default()
        .split(',')
        .map(|print| print.trim().trim_start_matches("0x").to_uppercase())
        .filter(|print| !print.is_empty())
        .collect();
    if wanted.is_empty() {
        remark(image, stage.value("from").unwrap_or_default(), context);
        return Ok(());
    }
    let list = wanted.join(" ");
    output::info(format_args!(
        "Checking bootstrap image verifies with fingerprint(s): [{list}]"
    ));
    signed_by_all(image, &wanted, context)
        .map_err(|reason| format!("while checking fingerprint: {reason}"))
}

/// Warns where the signatures of `image`, which the user calls `name`, do not hold.
pub(crate) fn remark(image: &Image, name: &str, context: &Context) {
    let Some(sif) = image.sif() else {
        return;
    };
    output::info(format_args!("Verifying bootstrap image {name}"));
    let mut objects = sif.descriptors.iter();
    let is_signed = objects.any(|object| object.data_type == DataType::Signature);
    if let Some(reason) = verified(image, context).err().filter(|_| is_signed) {
        output::warning(reason);
        output::warning("Bootstrap image could not be verified, but build will continue.");
    }
}

/// In Apptainer's words.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn said(error: skiff_fs::integrity::Error) -> String {
    format!("integrity: {error}")
}

/// What is verified is what is built from, whatever is at its path meanwhile.
fn opened(image: &Image) -> Result<SignedImage, String> {
    SignedImage::new(image.source()).map_err(said)
}

fn verified(image: &Image, context: &Context) -> Result<(), String> {
    let all = trusted_keys(context).map_err(|error| format!("{error:#}"))?;
    let keys = Keys {
        pgp: Some(&all),
        raw: None,
    };
    let image = opened(image)?;
    default_tasks(&image, false, false)
        .and_then(|tasks| verify(&image, keys, &tasks, &mut |_| false))
        .map_err(said)
}

fn signed_by_all(image: &Image, wanted: &[String], context: &Context) -> Result<(), String> {
    if image.sif().is_none() {
        return Err("only a SIF can be signed".to_owned());
    }
    let all = trusted_keys(context).map_err(|error| format!("{error:#}"))?;
    // All of it has to be as it was signed, not the root alone.
    let signed = opened(image)?;
    let found = signed_with(&signed, &all, false).map_err(said)?;
    let valid: Vec<String> = found
        .all
        .iter()
        .map(|print| fingerprint_text(print))
        .collect();
    match wanted.iter().all(|wanted| valid.contains(wanted)) {
        true => Ok(()),
        false => Err("image not signed by required entities".to_owned()),
    }
}

//! `key remove`: takes keys out of keyrings.

use anyhow::{anyhow, bail};
use skiff_fs::integrity::pgp::{Ring, parse_fingerprint};

use super::{public_ring, ring_error, secret_ring, word};
use crate::cli::Context;
use crate::cli::signing::RemoveArgs;
use crate::exit::ExitStatus;

/// `key remove FINGERPRINT`
///
/// # Errors
/// When there is no such key, or a ring cannot be changed.
pub(super) fn run(args: &RemoveArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let text = word(&args.words).to_string_lossy().into_owned();
    let from = |ring: anyhow::Result<Ring>| {
        let ring = ring?;
        let missing = || anyhow!("no key matching given fingerprint found");
        let print = parse_fingerprint(&text).ok_or_else(missing)?;
        match ring.remove(print) {
            Ok(true) => Ok(()),
            Ok(false) => Err(missing()),
            Err(error) => Err(ring_error(&ring, &error)),
        }
    };
    let public = || from(public_ring(&args.ring, context));
    let secret = || from(secret_ring(&args.ring, context));
    if args.both {
        match (public(), secret()) {
            (Err(public), Err(secret)) => {
                bail!("Unable to remove neither public key: {public}, nor private key: {secret}")
            }
            _ => return Ok(ExitStatus::Success),
        }
    }
    let (what, done) = if args.secret && !args.public {
        ("private", secret())
    } else {
        ("public", public())
    };
    done.map_err(|error| anyhow!("Unable to remove {what} key: {error:#}"))?;
    Ok(ExitStatus::Success)
}

//! `key list`, and keys as lists show them.

use anyhow::anyhow;
use skiff_fs::integrity::pgp::{PublicKey, Ring, SecretKey, UserId, fingerprint_text};

use super::{folder, global_ring, prepared, ring_error};
use crate::cli::Context;
use crate::cli::signing::ListArgs;
use crate::exit::ExitStatus;
use crate::output;
use crate::text::go_time;

/// `key list`
///
/// # Errors
/// When a keyring cannot be read.
pub(super) fn run(args: &ListArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let secret = args.secret && !args.ring.global;
    let (what, ring, own) = if args.ring.global {
        ("public", global_ring(context), None)
    } else {
        let rings = folder(args.ring.keysdir.as_deref(), context)?;
        if secret {
            ("private", rings.secret(), Some(rings))
        } else {
            ("public", rings.public(), Some(rings))
        }
    };
    let title = if secret { "Private" } else { "Public" };
    output::stdout(format!(
        "{title} key listing ({}):\n\n",
        ring.path().display()
    ))?;
    let failed =
        |error: anyhow::Error| anyhow!("While listing keys: could not list {what} keys: {error:#}");
    if let Some(rings) = own {
        prepared(&rings).map_err(failed)?;
    }
    let text = if secret {
        secret_keys(&ring).map(|keys| secret_text(&keys))
    } else {
        public_keys(&ring).map(|keys| public_text(&keys))
    };
    output::stdout(text.map_err(failed)?)?;
    Ok(ExitStatus::Success)
}

pub(super) fn public_keys(ring: &Ring) -> anyhow::Result<Vec<PublicKey>> {
    ring.public_keys().map_err(|error| ring_error(ring, &error))
}

pub(super) fn secret_keys(ring: &Ring) -> anyhow::Result<Vec<SecretKey>> {
    ring.secret_keys().map_err(|error| ring_error(ring, &error))
}

pub(super) fn public_text(keys: &[PublicKey]) -> String {
    let rows = keys.iter().enumerate().map(|(index, key)| {
        entity(
            index,
            &key.users(),
            key.created(),
            &key.fingerprint(),
            key.bits(),
        )
    });
    rows.collect()
}

pub(super) fn secret_text(keys: &[SecretKey]) -> String {
    let rows = keys.iter().enumerate().map(|(index, key)| {
        entity(
            index,
            &key.users(),
            key.created(),
            &key.fingerprint(),
            key.bits(),
        )
    });
    rows.collect()
}

fn entity(index: usize, users: &[UserId], created: i64, fingerprint: &[u8], bits: usize) -> String {
    let mut text = String::new();
    for user in users {
        text.push_str(&format!(
            "{index})  User:              {} ({}) <{}>\n",
            user.name, user.comment, user.email
        ));
    }
    text.push_str(&format!(
        "    Creation time:     {}\n    Fingerprint:       {}\n    Length (in bits):  {bits}\n\n",
        go_time(created),
        fingerprint_text(fingerprint)
    ));
    text
}

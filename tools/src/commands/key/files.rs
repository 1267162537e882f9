//! `key import` and `key export`: keys from and to files.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use skiff_fs::integrity::pgp::{
    Fingerprint, Ring, SecretKey, armoured, fingerprint_text, read_any,
};

use super::list::{public_keys, public_text, secret_keys, secret_text};
use super::newpair::new_passphrase;
use super::{FAILED, public_ring, report, ring_error, secret_ring, word};
use crate::cli::Context;
use crate::cli::signing::{ExportArgs, ImportArgs};
use crate::exit::ExitStatus;
use crate::output;
use crate::prompt;
use crate::text::os_error;

/// How `key export` ends when it fails.
const EXPORT_FAILED: ExitStatus = ExitStatus::Code(10);

/// Largest file of keys that is read.
const FILE_MAX: u64 = 16 << 20;

/// `key import FILE`
///
/// # Errors
/// When standard output cannot be written.
pub(super) fn import(args: &ImportArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    report("key import command failed", taken(args, context), FAILED)
}

fn taken(args: &ImportArgs, context: &Context) -> anyhow::Result<()> {
    let path = Path::new(word(&args.words));
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes))
        .map_err(|error| anyhow!("open {shown}: {}", os_error(&error)))
        .and_then(|_| Ok(read_any(&bytes)?))
        .and_then(|(publics, secrets)| {
            let public = public_ring(&args.ring, context)?;
            for key in publics {
                added(&public, "public", key.fingerprint(), key.bytes())?;
            }
            for key in secrets {
                if args.ring.global {
                    bail!("secret keys do not belong into the global keyring");
                }
                let secret = secret_ring(&args.ring, context)?;
                absent(&secret, key.fingerprint())?;
                let kept = relocked(&key, args.new_password)?;
                added(&secret, "private", kept.fingerprint(), kept.bytes())?;
                let half = key.public()?;
                added(&public, "public", half.fingerprint(), half.bytes())?;
            }
            Ok(())
        })
        .map_err(|error| match error.downcast_ref::<Settled>() {
            Some(_) => error,
            None => error.context(format!("unable to get entity from: {shown}")),
        })
}

/// A failure that has nothing to do with the file.
#[derive(Debug)]
struct Settled(String);

impl std::fmt::Display for Settled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Settled {}

fn settled(error: &anyhow::Error) -> anyhow::Error {
    Settled(format!("{error:#}")).into()
}

/// A secret key with the passphrase it had, which has to be known, or a new one.
fn relocked(key: &SecretKey, anew: bool) -> anyhow::Result<SecretKey> {
    let inner = || {
        let mut passphrase = String::new();
        let mut open = key.clone();
        if key.is_locked() {
            passphrase = prompt::hidden("Enter your key password : ")?;
            open = key.unlocked(&passphrase)?;
        }
        if anew {
            passphrase = new_passphrase("Enter a new password for this key : ")?;
            return Ok(open.locked(&passphrase)?);
        }
        Ok(if passphrase.is_empty() {
            open
        } else {
            key.clone()
        })
    };
    inner().map_err(|error: anyhow::Error| settled(&error))
}

/// A failure if the ring has the key already.
fn absent(ring: &Ring, print: Fingerprint) -> anyhow::Result<()> {
    let there = ring
        .contains(print)
        .map_err(|error| settled(&ring_error(ring, &error)))?;
    if there {
        return Err(present(print));
    }
    Ok(())
}

fn present(print: Fingerprint) -> anyhow::Error {
    let print = fingerprint_text(&print);
    Settled(format!(
        "the key with fingerprint {print} already belongs to the keyring"
    ))
    .into()
}

fn added(ring: &Ring, what: &str, print: Fingerprint, bytes: &[u8]) -> anyhow::Result<()> {
    let fresh = ring
        .add(print, bytes)
        .map_err(|error| settled(&ring_error(ring, &error)))?;
    if !fresh {
        return Err(present(print));
    }
    let print = fingerprint_text(&print);
    output::stdout(format!(
        "Key with fingerprint {print} successfully added to the {what} keyring\n"
    ))?;
    Ok(())
}

/// `key export FILE`
///
/// # Errors
/// When standard output cannot be written.
pub(super) fn export(args: &ExportArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    report(
        "key export command failed",
        given(args, context),
        EXPORT_FAILED,
    )
}

fn given(args: &ExportArgs, context: &Context) -> anyhow::Result<()> {
    let path = Path::new(word(&args.words));
    if args.secret && !args.ring.global {
        let keys = secret_keys(&secret_ring(&args.ring, context)?)?;
        if keys.is_empty() {
            bail!("no private keys in local store to choose from");
        }
        output::stdout(secret_text(&keys))?;
        let index = prompt::number("Enter # of private key to use : ", keys.len())?;
        let key = keys.get(index).context("index out of range")?;
        if key.is_locked() {
            // Who does not know the passphrase has no business with the key.
            let passphrase = prompt::hidden("Enter key passphrase : ")?;
            key.unlocked(&passphrase)?;
        }
        write(path, key.bytes(), args.armor, true)?;
        return told("Private", key.fingerprint(), path);
    }
    let keys = public_keys(&public_ring(&args.ring, context)?)?;
    if keys.is_empty() {
        bail!("no public keys in local store to choose from");
    }
    output::stdout(public_text(&keys))?;
    let index = prompt::number("Enter # of public key to use : ", keys.len())?;
    let key = keys.get(index).context("index out of range")?;
    write(path, key.bytes(), args.armor, false)?;
    told("Public", key.fingerprint(), path)
}

fn told(what: &str, print: Fingerprint, path: &Path) -> anyhow::Result<()> {
    output::stdout(format!(
        "{what} key with fingerprint {} correctly exported to file: {}\n",
        fingerprint_text(&print),
        path.display()
    ))?;
    Ok(())
}

fn write(path: &Path, key: &[u8], armour: bool, secret: bool) -> anyhow::Result<()> {
    let text;
    let content = if armour {
        text = armoured(key, secret)?;
        text.as_bytes()
    } else {
        key
    };
    let mode = if secret { 0o600 } else { 0o644 };
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(|error| anyhow!("open {}: {}", path.display(), os_error(&error)))
}

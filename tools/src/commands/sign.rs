//! `sign`: adds signatures to a SIF.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use skiff_fs::integrity::pgp::{SecretKey, fingerprint_text};
use skiff_fs::integrity::raw_key::PrivateKey;
use skiff_fs::integrity::{Error, Selection, Signer, sign};
use skiff_launcher::kernel;

use super::key::{folder, prepared};
use crate::cli::Context;
use crate::cli::signing::SignArgs;
use crate::exit::ExitStatus;
use crate::output;
use crate::prompt;
use crate::text::{go_time, os_error};

/// Largest PEM file that is read.
const PEM_MAX: u64 = 1 << 20;

/// Bytes of a SIF that whoever adds to it locks: its header, which no launch does.
const HEADER: u64 = 128;

/// `sign IMAGE`
///
/// # Errors
/// A key that cannot be used, an image that cannot be signed.
pub fn run(args: &SignArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    for (given, remark) in [
        (
            args.all,
            "all has been deprecated, now the default behavior",
        ),
        (
            args.old_id.is_some(),
            "id has been deprecated, use '--sif-id'",
        ),
        (
            args.old_group_id.is_some(),
            "groupid has been deprecated, use '--group-id'",
        ),
    ] {
        if given {
            output::warning(format_args!("Flag --{remark}"));
        }
    }
    let selection = Selection {
        groups: args.group_id.or(args.old_group_id).into_iter().collect(),
        objects: args.sif_id.or(args.old_id).into_iter().collect(),
    };
    let path = Path::new(super::key::word(&args.words));
    if let Some(file) = args
        .key
        .as_deref()
        .filter(|key| !key.as_os_str().is_empty())
    {
        output::info(format_args!(
            "Signing image with key material from '{}'",
            file.display()
        ));
        let key = pem(file)
            .and_then(|text| Ok(PrivateKey::from_pem(&text)?))
            .context("Failed to load key material")?;
        apply(path, Signer::Raw(&key), &selection).map_err(failed)?;
    } else {
        output::info("Signing image with PGP key material");
        let key = own_key(args, context).map_err(failed)?;
        apply(path, Signer::Pgp(&key), &selection).map_err(failed)?;
    }
    output::info(format_args!(
        "Signature created and applied to image '{}'",
        path.display()
    ));
    Ok(ExitStatus::Success)
}

fn failed(error: anyhow::Error) -> anyhow::Error {
    error.context("Failed to sign container")
}

/// The content of a PEM file.
pub(super) fn pem(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PEM_MAX).read_to_end(&mut text))
        .map_err(|error| anyhow!("open {}: {}", path.display(), os_error(&error)))?;
    Ok(text)
}

fn apply(path: &Path, signer: Signer<'_>, selection: &Selection) -> anyhow::Result<()> {
    let shown = path.display();
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| anyhow!("open {shown}: {}", os_error(&error)))?;
    // Places without locks go without.
    if matches!(kernel::lock_range(file.as_fd(), true, 0, HEADER), Ok(false)) {
        bail!("SIF image {shown} is being changed by another command: try again later");
    }
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = time.map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(0));
    sign(&file, signer, selection, time).map_err(|error| reason(&error, path))
}

/// A failure in Apptainer's words: those about integrity say so.
pub(crate) fn reason(error: &Error, path: &Path) -> anyhow::Error {
    use skiff_fs::format::sif::SifError;
    match error {
        Error::Sif(_) if path.is_dir() => anyhow!(
            "reading global header: read {}: is a directory",
            path.display()
        ),
        Error::Sif(SifError::NotSif) => anyhow!("invalid SIF magic"),
        Error::Sif(SifError::TooShort { .. }) => {
            anyhow!("reading global header: unexpected EOF")
        }
        Error::Sif(SifError::Version { .. }) => anyhow!("incompatible SIF version"),
        Error::Sif(SifError::Source(error)) => {
            let what = format!("read {}", path.display());
            anyhow!("reading global header: {what}: {}", os_error(error))
        }
        Error::Sif(error) => anyhow!("{error}"),
        Error::Io(error) => anyhow!("{}: {}", path.display(), os_error(error)),
        Error::Signing(reason) => anyhow!("{reason}"),
        other => anyhow!("integrity: {other}"),
    }
}

/// The secret key that is asked for, without its lock.
fn own_key(args: &SignArgs, context: &Context) -> anyhow::Result<SecretKey> {
    let rings = folder(None, context)?;
    prepared(&rings)?;
    let mut keys = rings
        .secret()
        .secret_keys()
        .map_err(|error| io_error(&error))?;
    if keys.is_empty() {
        bail!("keyring is empty");
    }
    let index = match args.keyidx {
        Some(index) if index >= 0 => usize::try_from(index).unwrap_or(usize::MAX),
        _ if keys.len() == 1 => 0,
        _ => choose(&keys)?,
    };
    if index >= keys.len() {
        bail!("index out of range");
    }
    let key = keys.swap_remove(index);
    if !key.is_locked() {
        return Ok(key);
    }
    let passphrase = prompt::hidden("Enter key passphrase : ")?;
    Ok(key.unlocked(&passphrase)?)
}

fn io_error(error: &io::Error) -> anyhow::Error {
    anyhow!("{}", os_error(error))
}

fn choose(keys: &[SecretKey]) -> anyhow::Result<usize> {
    let mut text = String::new();
    for (index, key) in keys.iter().enumerate() {
        for user in key.users() {
            text.push_str(&format!(
                "{index}) U: {} ({}) <{}>\n",
                user.name, user.comment, user.email
            ));
        }
        text.push_str(&format!(
            "   C: {}\n   F: {}\n   L: {}\n   --------\n",
            go_time(key.created()),
            fingerprint_text(&key.fingerprint()),
            key.bits()
        ));
    }
    output::stdout(text)?;
    prompt::number("Enter # of private key to use : ", keys.len())
}

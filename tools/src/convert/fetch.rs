//! Files that are images already, fetched as a whole.

use std::fs::File;

use skiff_fs::remote::{Client, Digest, Download, Reference, Resolved};
use skiff_fs::temporary;

use super::options::Options;
use super::watch::Watch;

/// Fetches the image to a file without a name.
///
/// # Errors
/// Why it cannot be had, or no room.
pub(crate) fn temporary(
    reference: &Reference,
    options: &Options,
    watch: &Watch,
) -> anyhow::Result<File> {
    let file = tempfile::tempfile_in(temporary::directory())?;
    let client = Client::new(options.remote.clone(), watch.observer())?;
    let (resolved, _) = client.resolve(reference)?;
    into(&client, &resolved, &file, watch)?;
    Ok(file)
}

/// Writes all of `resolved` to `file`, which is empty, and compares it with its digest if there is
/// one. Returns the digest.
///
/// # Errors
/// As [`temporary`].
pub(super) fn into(
    client: &std::sync::Arc<Client>,
    resolved: &Resolved,
    file: &File,
    watch: &Watch,
) -> anyhow::Result<Digest> {
    let blob = client.blob(resolved)?;
    let name = resolved
        .reference
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    let count = watch.layers(&[(name, resolved.size)]);
    let done = Download::save(blob, resolved, file, count);
    watch.finish();
    Ok(done?)
}

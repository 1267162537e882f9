//! `push`: a SIF file goes into a registry, with the digests of its chunks beside it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use skiff_fs::image::ImageKind;
use skiff_fs::remote::digests::Writer;
use skiff_fs::remote::{Client, Digest, DigestHasher, Observer, OrasReference, Reference, Upload};

use crate::cli::Context;
use crate::cli::remote::RemoteArgs;
use crate::exit::ExitStatus;
use crate::launch::image;
use crate::output;
use crate::remote::progress::Progress;
use crate::text::{go_path, os_error};

/// What fails to reach libraries, in Apptainer's words.
pub(super) const NO_LIBRARY: &str = "no default remote with library client in use (see \
    https://apptainer.org/docs/user/latest/endpoint.html#no-default-remote)";

/// Bytes that are digested at a time.
const STEP: usize = 1 << 20;

/// Below this a SIF is fetched as a whole anyway.
const DIGESTS_FROM: u64 = 1 << 20;

/// Arguments of `push`.
#[derive(Args, Clone, Debug)]
pub struct PushArgs {
    /// Push an image that is not signed; registries take them without
    #[arg(long, short = 'U')]
    pub allow_unsigned: bool,
    /// File with credentials for registries
    #[arg(long, value_name = "string")]
    pub authfile: Option<PathBuf>,
    /// Description for libraries, which are not supported
    #[arg(long, short = 'D', value_name = "string")]
    pub description: Option<String>,
    /// Docker daemon to talk to
    #[arg(long, value_name = "string", hide = true)]
    pub docker_host: Option<OsString>,
    /// Library to push to; none are supported
    #[arg(long, value_name = "string", hide = true)]
    pub library: Option<String>,
    /// Use http instead of https for registries
    #[arg(long)]
    pub no_https: bool,
    /// Do not publish the digests of the image's chunks beside it, by which readers of parts check
    /// what they get
    #[arg(long)]
    pub no_chunk_digests: bool,
    /// The image and where it goes.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `push IMAGE URI`
///
/// # Errors
/// Why the image is not there.
pub fn run(args: &PushArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let [path, uri] = args.words.as_slice() else {
        bail!("push takes an image and where it goes");
    };
    let uri = uri.to_string_lossy();
    let Some((scheme, rest)) = uri.split_once(':') else {
        bail!("bad uri {uri}");
    };
    match scheme {
        "oras" => {}
        "library" => bail!("Unable to get library client configuration: {NO_LIBRARY}"),
        other => bail!("Unsupported transport type: {other}"),
    }
    let rest = rest.trim_start_matches("//");
    oras(args, path, rest, context).context("Unable to push image to oci registry")?;
    output::info("Upload complete");
    Ok(ExitStatus::Success)
}

fn oras(args: &PushArgs, path: &OsStr, name: &str, context: &Context) -> anyhow::Result<()> {
    let (file, size) = open(path)?;
    let reference = Reference::parse(&format!("oras://{name}"));
    let Ok(Some(Reference::Oras(reference))) = reference else {
        bail!("could not parse reference: {name}");
    };
    let options = RemoteArgs {
        authfile: args.authfile.clone(),
        no_https: args.no_https,
        ..RemoteArgs::default()
    }
    .settings(context)?;
    let progress = Progress::start(&reference.to_string());
    let observer: Arc<dyn Observer> = progress.clone();
    let pushed = push(args, &reference, (path, file, size), |upload| {
        progress.count(&upload.sent);
        Ok(Client::new(options, observer)?)
    });
    progress.finish();
    pushed
}

fn push(
    args: &PushArgs,
    reference: &OrasReference,
    (path, file, size): (&OsStr, Arc<File>, u64),
    client: impl FnOnce(&Upload) -> anyhow::Result<Arc<Client>>,
) -> anyhow::Result<()> {
    let publishes = !args.no_chunk_digests && size >= DIGESTS_FROM;
    let read = digest(&file, publishes).map_err(|error| {
        anyhow!(
            "reading {}: {}",
            Path::new(path).display(),
            os_error(&error)
        )
    })?;
    if read.size != size {
        bail!("{} changes while it is read", Path::new(path).display());
    }
    let title = Path::new(path).file_name().unwrap_or(path);
    let upload = Upload {
        file,
        size,
        digest: read.digest,
        title: title.to_string_lossy().into_owned(),
        sent: Arc::default(),
    };
    let client = client(&upload)?;
    let pushed = client.push_sif(reference, &upload)?;
    output::verbose(format_args!("Digest of the manifest: {}", pushed.digest));
    let Some(chunks) = read.chunks else {
        return Ok(());
    };
    let published = chunks.finish().map_err(anyhow::Error::new);
    let published = published
        .and_then(|(list, top)| Ok(client.publish_chunk_digests(reference, &pushed, &list, &top)?));
    if let Err(error) = published {
        // The image is there, and as good as any without them.
        output::verbose(format_args!(
            "The digests of the image's chunks were not published: {error:#}"
        ));
    }
    Ok(())
}

/// Opens a SIF.
fn open(path: &OsStr) -> anyhow::Result<(Arc<File>, u64)> {
    let given = Path::new(path).display();
    let absolute = go_path(Path::new(path))?;
    let failed = |reason: String| {
        // The name as the user wrote it.
        let reason = reason.replacen(
            &format!("path for {}", absolute.display()),
            &format!("path for {given}"),
            1,
        );
        anyhow!("could not open image {given} for verification: {reason}")
    };
    let found = image::resolve(&absolute).map_err(failed)?;
    let opened = image::open(&found).map_err(failed)?;
    let is_sif = |image: &skiff_fs::image::Image| matches!(image.kind(), ImageKind::Sif(_));
    let Some(image) = opened.filter(is_sif) else {
        bail!("{:?} is not a SIF", path.to_string_lossy());
    };
    let file = image.file().context("it is no file")?.try_clone()?;
    let size = file.metadata()?.len();
    Ok((Arc::new(file), size))
}

/// What reading a file once tells.
struct Read {
    size: u64,
    digest: Digest,
    chunks: Option<Writer>,
}

fn digest(file: &File, with_chunks: bool) -> std::io::Result<Read> {
    let mut file = file;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(0))?;
    let mut hash = DigestHasher::default();
    let mut chunks = with_chunks.then(Writer::new);
    let mut buffer = vec![0; STEP];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            let digest = hash.finish();
            return Ok(Read {
                size,
                digest,
                chunks,
            });
        }
        let bytes = &buffer[..count];
        hash.update(bytes);
        if let Some(chunks) = &mut chunks {
            chunks.update(bytes);
        }
        size += count as u64;
    }
}

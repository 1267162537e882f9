//! From the name of an image to an open image, with Apptainer's words for what can go wrong.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use skiff_fs::format::sif::{Arch, SifError};
use skiff_fs::image::{Image, ImageError};
use skiff_fs::remote::Reference;
use skiff_launcher::request::{ImageRequest, RootKind};

use super::convert;
use crate::cli::Context;
use crate::cli::remote::RemoteArgs;
use crate::convert::lazy;
use crate::encryption::{self, Material};
use crate::output;
use crate::remote;
use crate::settings;
use crate::text::{chain, go_path, os_error};
use crate::wire::{Served, access_log};

/// Transports of Apptainer whose images have to be converted first.
const TRANSPORTS: &[&str] = &[
    "docker",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
];

/// Whether `name` leads away from this machine.
fn has_scheme(name: &OsStr) -> bool {
    name.to_string_lossy().contains("://")
}

/// Whether `name` begins with one of the transports.
fn has_transport(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| TRANSPORTS.contains(&scheme))
}

/// An image that programs can be started in.
#[derive(Debug)]
pub struct Found {
    /// What the launcher wants to know of it.
    pub request: ImageRequest,
    /// What is served; a sandbox needs no serving.
    pub served: Option<Served>,
}

/// Finds the image called `name` and makes sure that programs can be started in it. `remote` and
/// `context` say how to get at one that is elsewhere, `key` opens an encrypted one.
///
/// # Errors
/// One line that says why not.
pub fn find(
    name: &OsStr,
    remote: &RemoteArgs,
    key: Option<&Material>,
    context: &Context,
) -> anyhow::Result<Found> {
    if let Some(reference) = remote::reference(name)? {
        return find_elsewhere(&reference, remote, key, context);
    }
    if has_transport(name)
        && let Some((spec, source)) = convert::wanted(name)?
    {
        return convert::find(&spec, &source, remote, context);
    }
    find_here(name, remote, key, context)
}

fn find_here(
    name: &OsStr,
    remote: &RemoteArgs,
    key: Option<&Material>,
    context: &Context,
) -> anyhow::Result<Found> {
    refuse_transports(name)?;
    let absolute = go_path(Path::new(name))?;
    let base = absolute.file_name().unwrap_or(OsStr::new("/")).to_owned();
    let could_not_open = |reason: String| {
        anyhow::anyhow!(
            "While checking container encryption: could not open image {}: {reason}",
            absolute.display()
        )
    };
    let path = resolve(&absolute).map_err(could_not_open)?;
    if path == Path::new("/") {
        anyhow::bail!("/ as sandbox is not authorized");
    }
    let opened = open(&path).map_err(could_not_open)?;
    // The name that the container sees keeps its links.
    let request = |kind| ImageRequest {
        path: absolute.clone(),
        name: base,
        kind,
    };
    let Some(mut image) = opened else {
        if access_log::is_wanted() {
            output::warning("$SKIFF_ACCESS_LOG: what is read of a directory is not listed");
        }
        return Ok(Found {
            request: request(RootKind::Sandbox),
            served: None,
        });
    };
    // One that only names another; what that is, it cannot be again.
    if let Some(name) = lazy::reference(&image)?
        && has_scheme(&name)
    {
        return find(&name, remote, key, context);
    }
    encryption::unlock(&mut image, key)?;
    match image.check_mountable() {
        Ok(()) => {}
        Err(error @ ImageError::NoRoot) => anyhow::bail!(
            "While checking container encryption: while getting root filesystem in {}: {error}",
            path.display()
        ),
        Err(error) => return Err(could_not_open(error.to_string())),
    }
    check_arch(&image).map_err(could_not_open)?;
    Ok(Found {
        request: request(RootKind::Mounted),
        served: Some(Served::Here(Box::new(image))),
    })
}

/// The image that `reference` names.
fn find_elsewhere(
    reference: &Reference,
    args: &RemoteArgs,
    key: Option<&Material>,
    context: &Context,
) -> anyhow::Result<Found> {
    settings::adopt()?;
    let options = args.options(reference, context)?;
    let image = remote::locate(reference, &options, args.disable_cache, key)?;
    let name = Path::new(image.name());
    Ok(Found {
        request: ImageRequest {
            path: name.to_owned(),
            name: name.file_name().unwrap_or(name.as_os_str()).to_owned(),
            kind: RootKind::Mounted,
        },
        served: Some(Served::Elsewhere(Box::new(image))),
    })
}

/// Opens what is at `path`, which has no links left; `None` for a directory.
///
/// # Errors
/// The reason in words.
pub fn open(path: &Path) -> Result<Option<Image>, String> {
    let unreadable = || {
        format!(
            "{} is not readable by the current user, check permissions",
            path.display()
        )
    };
    if path.is_dir() {
        return match rustix::fs::access(path, rustix::fs::Access::READ_OK) {
            Ok(()) => Ok(None),
            Err(_) => Err(unreadable()),
        };
    }
    Image::open(path).map(Some).map_err(|error| match error {
        ImageError::Open { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            unreadable()
        }
        ImageError::Open { source, .. } | ImageError::Read { source, .. } => os_error(&source),
        ImageError::Sif(SifError::Version { .. }) => "incompatible SIF version".to_owned(),
        other => chain(&other),
    })
}

/// Follows all links; on failure the reason names the component that is to blame.
///
/// # Errors
/// The reason in words.
pub fn resolve(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| {
        let prefix = format!("failed to retrieve path for {}", path.display());
        match error.raw_os_error() {
            Some(libc::ELOOP) => format!("{prefix}: EvalSymlinks: too many links"),
            Some(libc::ENOTDIR) => format!("{prefix}: {}", os_error(&error)),
            _ => {
                // The shortest prefix of the path that cannot be looked at.
                let blamed = path
                    .ancestors()
                    .filter(|ancestor| ancestor.symlink_metadata().is_err())
                    .last()
                    .unwrap_or(path);
                format!("{prefix}: lstat {}: {}", blamed.display(), os_error(&error))
            }
        }
    })
}

/// Refuses names with a transport in front.
///
/// # Errors
/// Why there is no such image.
pub fn refuse_transports(name: &OsStr) -> anyhow::Result<()> {
    let text = name.to_string_lossy();
    let Some((scheme, rest)) = text.split_once(':') else {
        return Ok(());
    };
    if TRANSPORTS.contains(&scheme) {
        anyhow::bail!("{text}: {scheme} images have to be converted first: see skiff pull");
    }
    match (scheme, rest.strip_prefix("//")) {
        ("instance", Some(_)) => {
            anyhow::bail!("{text} is a running instance: give the image that it was started from")
        }
        (other, Some(_)) => anyhow::bail!("Unsupported transport type: {other}"),
        _ => Ok(()),
    }
}

/// Whether this machine can run the image's programs, by itself or through an emulator that the
/// kernel knows. An image that does not say what it is for is taken at its word.
///
/// # Errors
/// The reason in words.
pub fn check_arch(image: &Image) -> Result<(), String> {
    let host = Arch::host();
    let Some(arch) = image.arch() else {
        return Ok(());
    };
    let runs = arch == Arch::Unknown
        || arch == host
        || matches!(
            (host, arch),
            (Arch::Amd64, Arch::I386) | (Arch::Arm64, Arch::Arm)
        )
        || is_emulated(arch);
    if runs {
        return Ok(());
    }
    Err(format!(
        "the image's architecture ({arch}) could not run on the host's ({host})"
    ))
}

/// Whether QEMU is registered for `arch` (binfmt_misc).
fn is_emulated(arch: Arch) -> bool {
    let name = match arch {
        Arch::I386 => "i386",
        Arch::Amd64 => "x86_64",
        Arch::Arm => "arm",
        Arch::Arm64 => "aarch64",
        Arch::Ppc64 => "ppc64",
        Arch::Ppc64le => "ppc64le",
        Arch::Mips => "mips",
        Arch::Mipsle => "mipsel",
        Arch::Mips64 => "mips64",
        Arch::Mips64le => "mips64el",
        Arch::S390x => "s390x",
        Arch::Riscv64 => "riscv64",
        Arch::Loong64 => "loongarch64",
        Arch::Unknown => return false,
    };
    std::fs::read_to_string(format!("/proc/sys/fs/binfmt_misc/qemu-{name}"))
        .is_ok_and(|entry| entry.starts_with("enabled"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        refuse_transports(OsStr::new(name)).unwrap_err().to_string()
    }

    #[test]
    fn transports() {
        assert!(refuse_transports(OsStr::new("a.sif")).is_ok());
        assert!(refuse_transports(OsStr::new("foo:bar")).is_ok());
        assert_eq!(refusal("foo://bar"), "Unsupported transport type: foo");
        assert_eq!(
            refusal("DOCKER://bar"),
            "Unsupported transport type: DOCKER"
        );
        assert!(refusal("docker://bar").contains("converted first"));
        assert!(refusal("oci:dir").contains("converted first"));
        assert!(refusal("instance://x").contains("is a running instance"));
    }

    #[test]
    fn missing_images() {
        let context = Context {
            personality: crate::program::Personality::Skiff,
            environment: Vec::new(),
            config: None,
            build_config: false,
        };
        let name = OsStr::new("/nonexistent/x.sif");
        let error = find_here(name, &RemoteArgs::default(), None, &context)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "While checking container encryption: could not open image /nonexistent/x.sif: failed \
             to retrieve path for /nonexistent/x.sif: lstat /nonexistent: no such file or directory"
        );
    }
}

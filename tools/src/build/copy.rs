//! `%files`: copying into a root that may be hostile.
//!
//! The source is the host's, as the user sees it, or another root. The target is always looked up
//! inside its root, links included, so that no link of an image leads a copy to the host.

mod archive;
mod expand;
mod glob;
mod target;

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

pub(super) use archive::{everything, from_stage};
use target::Target;

/// What a file of the host may have; the umask of the build takes the rest.
const ALL: u32 = 0o7777;

/// Deeper than any path that can be named.
const DEEPEST: usize = 2000;

/// Copies what `pattern` matches on the host to `target` in the root behind `root`, following all
/// links on the host: `cp -fLr`.
///
/// # Errors
/// The first file that cannot be copied.
pub(super) fn from_host(pattern: &str, target: &str, root: BorrowedFd<'_>) -> Result<(), String> {
    let here = std::env::current_dir().map_err(|error| said(&error))?;
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let target_root = Target::new(root);
    for pattern in expand::words(pattern, Some(&variable)) {
        for source in glob::expand(None, &here.join(&pattern)) {
            // What has no other place goes where it is found: what a pattern matches, not the pattern.
            let own = source
                .strip_prefix(&here)
                .unwrap_or(&source)
                .to_string_lossy();
            let target = if target.is_empty() { &*own } else { target };
            copy_one(&source, target, &target_root).map_err(|reason| {
                format!("while copying [{}] to {target}: {reason}", source.display())
            })?;
        }
    }
    Ok(())
}

fn copy_one(source: &Path, target: &str, root: &Target<'_>) -> Result<(), String> {
    let status = fs::metadata(source).map_err(|error| cannot("stat", source, &error))?;
    let mut path = clean(Path::new(target));
    let into = target.ends_with('/');
    let parent = if into {
        path.clone()
    } else {
        path.parent().map(Path::to_owned).unwrap_or_default()
    };
    root.make_directories(&parent)
        .map_err(|error| cannot("create directory", &parent, &error))?;
    if into || root.is_directory(&path) {
        let name = source.file_name().ok_or("it has no name")?;
        path.push(name);
    }
    copy_tree(source, &status, &path, root, 0)
}

fn copy_tree(
    source: &Path,
    status: &Metadata,
    path: &Path,
    root: &Target<'_>,
    depth: usize,
) -> Result<(), String> {
    let mode = status.permissions().mode() & ALL;
    let kind = status.file_type();
    if kind.is_dir() {
        if depth > DEEPEST {
            return Err(format!("'{}' lies too deep", source.display()));
        }
        let made = root
            .make_directory(path, 0o700 | (mode & 0o777))
            .map_err(|error| cannot("create directory", path, &error))?;
        let mut names = fs::read_dir(source)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.file_name()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .map_err(|error| cannot("access", source, &error))?;
        names.sort();
        for name in names {
            let below = source.join(&name);
            let status = fs::metadata(&below).map_err(|error| cannot("stat", &below, &error))?;
            copy_tree(&below, &status, &path.join(&name), root, depth + 1)?;
        }
        if made {
            root.set_mode(path, mode & !umask())
                .map_err(|error| cannot("set permissions of", path, &error))?;
        }
        return Ok(());
    }
    if kind.is_file() {
        let mut from = File::open(source)
            .map_err(|error| cannot("open", source, &error).replace("' for", "' for reading"))?;
        let mut to = root
            .create(path, mode)
            .map_err(|error| cannot("create regular file", path, &error))?;
        return io::copy(&mut from, &mut to)
            .map(drop)
            .map_err(|error| cannot("copy", source, &error));
    }
    if kind.is_fifo() {
        return root
            .make_fifo(path, mode & !umask())
            .map_err(|error| cannot("create fifo", path, &error));
    }
    let what = if kind.is_socket() { "socket" } else { "device" };
    Err(format!("'{}' is a {what}", source.display()))
}

/// The umask of a build.
const fn umask() -> u32 {
    0o002
}

/// Without `.`, `..` and doubled slashes, by the letters of the path alone, and relative.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                out.pop();
            }
            Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    out
}

/// A new file at `path` in the root behind `root`, in the place of whatever else is there but a
/// directory; no link is followed in its last part.
pub(super) fn place(root: BorrowedFd<'_>, path: &Path, mode: u32) -> io::Result<File> {
    let path = clean(path);
    let target = Target::new(root);
    target.make_directories(path.parent().unwrap_or(Path::new("")))?;
    let file = target.replace(&path, mode)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// A directory at `path`; one that is there stays as it is.
pub(super) fn directory(root: BorrowedFd<'_>, path: &Path, mode: u32) -> io::Result<()> {
    let path = clean(path);
    let target = Target::new(root);
    target.make_directories(path.parent().unwrap_or(Path::new("")))?;
    if target.make_directory(&path, mode)? {
        target.set_mode(&path, mode)?;
    }
    Ok(())
}

/// A link to `to` at `path`, in the place of what is there but a directory.
pub(super) fn link(root: BorrowedFd<'_>, path: &Path, to: &str) -> io::Result<()> {
    let path = clean(path);
    let target = Target::new(root);
    target.make_directories(path.parent().unwrap_or(Path::new("")))?;
    let (parent, name) = target.parent(&path)?;
    target::remove(parent.as_fd(), name)?;
    Ok(rustix::fs::symlinkat(to, &parent, name)?)
}

/// Whether there is anything at `path`, a link that leads nowhere included.
pub(super) fn is_there(root: BorrowedFd<'_>, path: &Path) -> bool {
    let path = clean(path);
    let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    Target::new(root)
        .parent(&path)
        .is_ok_and(|(parent, name)| rustix::fs::statat(&parent, name, nofollow).is_ok())
}

/// Whether there is something at `path` once links are followed.
pub(super) fn leads_somewhere(root: BorrowedFd<'_>, path: &Path) -> bool {
    let flags = rustix::fs::OFlags::PATH;
    Target::new(root).open(&clean(path), flags, 0).is_ok()
}

/// Where the link at `path` leads to, if there is one.
pub(super) fn link_at(root: BorrowedFd<'_>, path: &Path) -> Option<OsString> {
    let path = clean(path);
    let (parent, name) = Target::new(root).parent(&path).ok()?;
    let target = rustix::fs::readlinkat(&parent, name, Vec::new()).ok()?;
    Some(OsString::from_vec(target.into_bytes()))
}

/// Removes what is at `path`, if it is there and no directory.
pub(super) fn remove(root: BorrowedFd<'_>, path: &Path) {
    let path = clean(path);
    if let Ok((parent, name)) = Target::new(root).parent(&path) {
        // It need not be there.
        let _gone = target::remove(parent.as_fd(), name);
    }
}

/// As coreutils say it.
fn cannot(verb: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {verb} '{}': {}", path.display(), said(error))
}

fn said(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

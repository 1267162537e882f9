//! How overlayfs and fuse-overlayfs write down what is gone.

use rustix::fs::{FileType, Stat};

use crate::layers::entry::EntryKind;
use crate::layers::whiteout::{Named, named};
use crate::pack::Xattr;

/// Namespaces in which an overlay keeps its notes: those of the kernel as root and as an ordinary
/// user, and those of fuse-overlayfs.
const PRIVATE: [&[u8]; 3] = [
    b"trusted.overlay.",
    b"user.overlay.",
    b"user.fuseoverlayfs.",
];

/// What a name in an upper directory means.
pub(super) enum Meaning {
    Itself,
    /// Something of lower layers is hidden.
    Hidden(Vec<u8>, EntryKind),
    /// A note that says nothing to us.
    Nothing,
}

/// Meanings that a name and its kind have: device 0/0, and, where names are `marked`, those that begin
/// with `.wh.`.
pub(super) fn by_name(path: &[u8], stat: &Stat, marked: bool) -> Meaning {
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
        return Meaning::Hidden(path.to_vec(), EntryKind::Whiteout);
    }
    if !marked {
        return Meaning::Itself;
    }
    match named(path) {
        Named::File => Meaning::Itself,
        Named::Hidden(path, kind) => Meaning::Hidden(path, kind),
        Named::Reserved | Named::Nothing => Meaning::Nothing,
    }
}

/// Whether an attribute is a note of the overlay's.
pub(super) fn is_private(name: &[u8]) -> bool {
    PRIVATE.iter().any(|prefix| name.starts_with(prefix))
}

/// Value of a note, whoever has made it.
fn note<'a>(xattrs: &'a [Xattr], what: &[u8]) -> Option<&'a [u8]> {
    let of = |prefix: &[u8], name: &[u8]| name.strip_prefix(prefix) == Some(what);
    xattrs
        .iter()
        .find(|(name, _)| PRIVATE.iter().any(|prefix| of(prefix, name)))
        .map(|(_, value)| &**value)
}

/// Whether a directory hides what lower layers have in it.
pub(super) fn is_opaque(xattrs: &[Xattr]) -> Result<bool, &'static str> {
    if note(xattrs, b"redirect").is_some() {
        return Err(
            "it was renamed in an overlay with redirect_dir, which cannot be read from outside",
        );
    }
    // "x" only says that whiteouts by attribute are in it.
    Ok(note(xattrs, b"opaque") == Some(b"y"))
}

/// Files whose content is elsewhere cannot be read.
pub(super) fn check_file(xattrs: &[Xattr]) -> Result<(), &'static str> {
    match note(xattrs, b"metacopy") {
        Some(_) => Err("only its metadata is here, as the overlay had metacopy"),
        None => Ok(()),
    }
}

/// Whether an empty file is a whiteout.
pub(super) fn is_whiteout(xattrs: &[Xattr]) -> bool {
    note(xattrs, b"whiteout").is_some()
}

//! Names that say what lower layers have no longer: the image specification's way.

use super::entry::EntryKind;

/// What a path means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Named {
    /// Itself.
    File,
    /// That something below is hidden: where, and what.
    Hidden(Vec<u8>, EntryKind),
    /// Nothing: it is reserved for notes that other programs make to themselves.
    Reserved,
    /// A whiteout of something that has no name.
    Nothing,
}

/// What a path means: one whose last part begins with `.wh.` is no file.
pub(super) fn named(path: &[u8]) -> Named {
    const PREFIX: &[u8] = b".wh.";
    let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    };
    let Some(hidden) = name.strip_prefix(PREFIX) else {
        return Named::File;
    };
    match hidden {
        b".wh..opq" => Named::Hidden(parent.to_vec(), EntryKind::Opaque),
        b"" | b"." | b".." => Named::Nothing,
        _ if hidden.starts_with(PREFIX) => Named::Reserved,
        _ => {
            let mut path = parent.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(hidden);
            Named::Hidden(path, EntryKind::Whiteout)
        }
    }
}

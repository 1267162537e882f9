//! Paths within a tree, resolved without ever leaving it.
//!
//! Symbolic links are followed as a process would see them whose root is the tree's: absolute ones
//! start at the root again, and the root's `..` is the root.

use super::{FileKind, NodeRef, Segment, Tree, TreeError};

/// Links followed for one path, as in Linux.
const LINKS_MAX: u32 = 40;

/// Why a path could not be followed, or its file not be read. A path that does not exist is no
/// error.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// Links that lead in circles, or too far.
    #[error("too many levels of symbolic links")]
    TooManyLinks,
    /// More content than the caller takes.
    #[error("{len} bytes long, where {max} are read at most")]
    TooLong {
        /// Size of the file.
        len: u64,
        /// The caller's limit.
        max: u64,
    },
    /// The tree failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// The node at `path` (relative paths start at the root too); `None` when it does not exist or
/// leads through something that is no directory. A symbolic link at the end is itself the result
/// unless `follow_last`, or a slash behind it, asks for what it points to.
///
/// # Errors
/// [`PathError`]
pub fn resolve(
    tree: &dyn Tree,
    path: &[u8],
    follow_last: bool,
) -> Result<Option<NodeRef>, PathError> {
    let follow_last = follow_last || path.ends_with(b"/");
    // Names still to be followed, the next one last.
    let mut todo: Vec<Vec<u8>> = Vec::new();
    push(&mut todo, path);
    // The directories on the way here, root first, and the node reached.
    let mut above: Vec<NodeRef> = Vec::new();
    let mut here = tree.root();
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if tree.attr(here)?.kind != FileKind::Directory {
            return Ok(None);
        }
        if name == b"." {
            continue;
        }
        if name == b".." {
            here = above.pop().unwrap_or_else(|| tree.root());
            continue;
        }
        let Some(child) = tree.lookup(here, &name)? else {
            return Ok(None);
        };
        let is_link = tree.attr(child)?.kind == FileKind::Symlink;
        if !is_link || (todo.is_empty() && !follow_last) {
            above.push(here);
            here = child;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(PathError::TooManyLinks);
        }
        let target = tree.read_link(child)?;
        if target.is_empty() {
            return Ok(None);
        }
        if target.starts_with(b"/") {
            above.clear();
            here = tree.root();
        }
        push(&mut todo, &target);
    }
    let wants_directory = path.ends_with(b"/");
    if wants_directory && tree.attr(here)?.kind != FileKind::Directory {
        return Ok(None);
    }
    Ok(Some(here))
}

fn push(todo: &mut Vec<Vec<u8>>, path: &[u8]) {
    let names = path.rsplit(|byte| *byte == b'/');
    todo.extend(names.filter(|name| !name.is_empty()).map(<[u8]>::to_vec));
}

/// Content of the regular file at `path`, links followed; `None` when there is none.
///
/// # Errors
/// [`PathError`]
pub fn read_file(
    tree: &dyn Tree,
    path: &[u8],
    max_len: usize,
) -> Result<Option<Vec<u8>>, PathError> {
    let Some(node) = resolve(tree, path, true)? else {
        return Ok(None);
    };
    let attr = tree.attr(node)?;
    if attr.kind != FileKind::Regular {
        return Ok(None);
    }
    let len = usize::try_from(attr.size).unwrap_or(usize::MAX);
    if len > max_len {
        return Err(PathError::TooLong {
            len: attr.size,
            max: max_len as u64,
        });
    }
    let mut segments = Vec::new();
    tree.read(node, 0, len, &mut segments)?;
    let mut content = Vec::with_capacity(len);
    for segment in segments {
        match segment {
            Segment::Bytes(bytes, range) => {
                content.extend_from_slice(bytes.get(range).unwrap_or_default());
            }
            Segment::Zeros(count) => content.resize(content.len() + count, 0),
        }
    }
    Ok(Some(content))
}

//! Paths that a pattern matches: `*`, `?`, `[…]`, and `**` for directories at any depth.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use rustix::fs::{CWD, Dir, OFlags};

use super::target::Target;

/// Paths at most.
const MAX_PATHS: usize = 1_000_000;

/// What `pattern` matches in the root behind `root`, or on the host; the pattern itself where
/// nothing does.
pub(super) fn expand(root: Option<BorrowedFd<'_>>, pattern: &Path) -> Vec<PathBuf> {
    let mut paths = vec![match root {
        Some(_) => PathBuf::new(),
        None => PathBuf::from("/"),
    }];
    for component in pattern.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::ParentDir => {
                for path in &mut paths {
                    path.push("..");
                }
                continue;
            }
            _ => continue,
        };
        let text = name.to_string_lossy();
        if text == "**" {
            paths = paths
                .iter()
                .flat_map(|path| all_below(root, path))
                .collect();
        } else if text.contains(['*', '?', '[']) {
            let Some(matcher) = matcher(&text) else {
                paths.iter_mut().for_each(|path| path.push(name));
                continue;
            };
            paths = paths
                .iter()
                .flat_map(|path| {
                    names(root, path)
                        .into_iter()
                        .filter(|name| {
                            let hidden = name.as_encoded_bytes().starts_with(b".");
                            (!hidden || text.starts_with('.')) && matcher.is_match(name)
                        })
                        .map(|name| path.join(name))
                        .collect::<Vec<_>>()
                })
                .collect();
        } else {
            paths.iter_mut().for_each(|path| path.push(name));
        }
        paths.truncate(MAX_PATHS);
    }
    let is_pattern = pattern.to_string_lossy().contains(['*', '?', '[']);
    if is_pattern {
        paths.retain(|path| exists(root, path));
        paths.sort();
        paths.dedup();
        if paths.is_empty() {
            paths.push(pattern.to_owned());
        }
    }
    paths
}

fn matcher(text: &str) -> Option<GlobMatcher> {
    let glob = GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .ok()?;
    Some(glob.compile_matcher())
}

fn open(root: Option<BorrowedFd<'_>>, path: &Path, flags: OFlags) -> Option<std::os::fd::OwnedFd> {
    match root {
        Some(root) => Target::new(root).open(path, flags, 0).ok(),
        None => {
            let mode = rustix::fs::Mode::empty();
            rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, mode).ok()
        }
    }
}

fn exists(root: Option<BorrowedFd<'_>>, path: &Path) -> bool {
    open(root, path, OFlags::PATH | OFlags::NOFOLLOW).is_some()
}

/// Names in a directory; one that cannot be read has none.
fn names(root: Option<BorrowedFd<'_>>, path: &Path) -> Vec<OsString> {
    use std::os::unix::ffi::OsStringExt;
    let Some(directory) = open(root, path, OFlags::RDONLY | OFlags::DIRECTORY) else {
        return Vec::new();
    };
    let Ok(entries) = Dir::read_from(directory.as_fd()) else {
        return Vec::new();
    };
    let mut names: Vec<OsString> = entries
        .flatten()
        .map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec()))
        .filter(|name| name != "." && name != "..")
        .collect();
    names.sort();
    names
}

/// `path` and all directories below it that are not hidden.
fn all_below(root: Option<BorrowedFd<'_>>, path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        next += 1;
        for name in names(root, &directory) {
            let below = directory.join(&name);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            if !name.as_encoded_bytes().starts_with(b".")
                && found.len() < MAX_PATHS
                && open(root, &below, flags).is_some()
            {
                found.push(below);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn patterns() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        fs::create_dir_all(here.join("a/b")).unwrap();
        for name in ["x.c", "y.c", ".h.c", "a/z.c", "a/b/w.c"] {
            fs::write(here.join(name), "").unwrap();
        }
        let found = |pattern: &str| -> Vec<String> {
            expand(None, &here.join(pattern))
                .iter()
                .map(|path| path.strip_prefix(here).unwrap().display().to_string())
                .collect()
        };
        assert_eq!(found("*.c"), ["x.c", "y.c"]);
        assert_eq!(found("[x]?c"), ["x.c"]);
        assert_eq!(found("*/*.c"), ["a/z.c"]);
        assert_eq!(found("**/*.c"), ["a/b/w.c", "a/z.c", "x.c", "y.c"]);
        assert_eq!(found("n*"), ["n*"]);
        assert_eq!(found("none"), ["none"]);
        assert_eq!(found(".*.c"), [".h.c"]);
    }
}

//! In what order programs read the files of an image: so they should lie, for whoever fetches only
//! what is read.

use std::collections::HashMap;

/// Paths in the order in which their files are first read.
///
/// As text: a path from the image's root in each line, with or without `/` before it. Empty lines and
/// those that begin with `#` mean nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessProfile {
    ranks: HashMap<Box<[u8]>, u32>,
}

impl AccessProfile {
    /// The profile that `text` is. Of paths that come twice the first place counts.
    pub fn parse(text: &[u8]) -> Self {
        let mut ranks = HashMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.starts_with(b"#") {
                continue;
            }
            let path = clean(line);
            let next = u32::try_from(ranks.len()).unwrap_or(u32::MAX);
            if !path.is_empty() {
                ranks.entry(path.into()).or_insert(next);
            }
        }
        Self { ranks }
    }

    /// The place of `path` in the order, counted from 0: components joined by `/`, without one
    /// before them.
    pub fn rank(&self, path: &[u8]) -> Option<u32> {
        self.ranks.get(path).copied()
    }

    /// Whether it names no file.
    pub fn is_empty(&self) -> bool {
        self.ranks.is_empty()
    }
}

/// Without empty components and `.`.
fn clean(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/');
    let parts: Vec<&[u8]> = parts
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = b"# first\n/usr/bin/a\n\nlib//./b\r\n/usr/bin/a\n/a b \xff\n/\n.";
        let profile = AccessProfile::parse(text);
        for (path, rank) in [
            (&b"usr/bin/a"[..], Some(0)),
            (b"lib/b", Some(1)),
            (b"a b \xff", Some(2)),
            (b"/usr/bin/a", None),
            (b"", None),
            (b"# first", None),
        ] {
            assert_eq!(profile.rank(path), rank, "{}", path.escape_ascii());
        }
        assert!(AccessProfile::parse(b"#\n\n").is_empty());
        assert!(!profile.is_empty());
    }
}

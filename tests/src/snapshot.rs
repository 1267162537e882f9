//! A tree as text, one line a node, so that two views of an image are equal when the texts are.
//!
//! ```text
//! path kind mode owner:group links inode size blocks device mtime ctime atime [target] [digest] [xattrs]
//! ```

use std::ffi::OsStr;
use std::fmt::Write;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::program::hex;

/// What a picture leaves out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Without {
    /// `trusted.*` attributes, which only root may see.
    pub trusted: bool,
    /// Content of files that may not be read; they show `unreadable` instead.
    pub unreadable: bool,
}

/// Takes a picture of everything below `root`, sorted by path.
///
/// # Errors
/// The first node that cannot be looked at, with its path; with `unreadable` set, files and
/// directories without permission are no error.
pub fn snapshot(root: &Path, without: Without) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut folders = vec![PathBuf::new()];
    lines.push(line(root, Path::new(""), without)?);
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let entries = match entries(&path) {
            Err(error) if without.unreadable && error.kind() == io::ErrorKind::PermissionDenied => {
                lines.push(format!("{} unreadable", escaped(folder.as_os_str())));
                continue;
            }
            other => at(&path, other)?,
        };
        for entry in entries {
            let below = folder.join(OsStr::from_bytes(&entry.name));
            let full = root.join(&below);
            let meta = at(&full, full.symlink_metadata())?;
            // What readdir(3) says has to be what stat(2) says.
            if entry.ino != meta.ino() {
                return Err(io::Error::other(format!(
                    "{}: readdir says inode {}, stat {}",
                    full.display(),
                    entry.ino,
                    meta.ino()
                )));
            }
            let kind = rustix::fs::FileType::from_raw_mode(meta.mode());
            if entry.kind != rustix::fs::FileType::Unknown && entry.kind != kind {
                return Err(io::Error::other(format!(
                    "{}: readdir says {:?}, stat {kind:?}",
                    full.display(),
                    entry.kind
                )));
            }
            lines.push(line(root, &below, without)?);
            if meta.is_dir() {
                folders.push(below);
            }
        }
    }
    lines.sort();
    Ok(lines)
}

struct Entry {
    name: Vec<u8>,
    ino: u64,
    kind: rustix::fs::FileType,
}

fn entries(path: &Path) -> io::Result<Vec<Entry>> {
    let folder = rustix::fs::open(
        path,
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY,
        rustix::fs::Mode::empty(),
    )?;
    let mut found = Vec::new();
    let mut dots = 0;
    for entry in rustix::fs::Dir::new(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes().to_vec();
        if name == b"." || name == b".." {
            dots += 1;
            continue;
        }
        found.push(Entry {
            name,
            ino: entry.ino(),
            kind: entry.file_type(),
        });
    }
    if dots != 2 {
        return Err(io::Error::other(format!(
            "{dots} of the entries . and .. were listed"
        )));
    }
    let all = found.len();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found.dedup_by(|one, other| one.name == other.name);
    if found.len() != all {
        return Err(io::Error::other(format!(
            "{} names were listed twice",
            all - found.len()
        )));
    }
    Ok(found)
}

fn line(root: &Path, below: &Path, without: Without) -> io::Result<String> {
    let full = root.join(below);
    let meta = at(&full, full.symlink_metadata())?;
    let kind = match meta.file_type() {
        kind if kind.is_dir() => "directory",
        kind if kind.is_symlink() => "symlink",
        kind if kind.is_file() => "file",
        kind if kind.is_fifo() => "fifo",
        kind if kind.is_socket() => "socket",
        kind if kind.is_block_device() => "block",
        kind if kind.is_char_device() => "char",
        _ => "unknown",
    };
    let name = if below.as_os_str().is_empty() {
        OsStr::new(".")
    } else {
        below.as_os_str()
    };
    let mut line = format!(
        "{} {kind} {:04o} {}:{} links={} ino={} size={} blocks={} dev={:x} mtime={} ctime={} atime={}",
        escaped(name),
        meta.mode() & 0o7777,
        meta.uid(),
        meta.gid(),
        meta.nlink(),
        meta.ino(),
        meta.size(),
        meta.blocks(),
        meta.rdev(),
        meta.mtime(),
        meta.ctime(),
        meta.atime(),
    );
    if meta.is_symlink() {
        let target = at(&full, std::fs::read_link(&full))?;
        write!(line, " -> {}", escaped(target.as_os_str())).map_err(io::Error::other)?;
    }
    if meta.is_file() {
        match digest(&full) {
            Err(error) if without.unreadable && error.kind() == io::ErrorKind::PermissionDenied => {
                line.push_str(" unreadable");
            }
            other => {
                let (digest, read) = at(&full, other)?;
                if read != meta.size() {
                    let text = format!("{}: {read} of {} bytes", full.display(), meta.size());
                    return Err(io::Error::other(text));
                }
                write!(line, " {digest}").map_err(io::Error::other)?;
            }
        }
    }
    for (name, value) in at(&full, attributes(&full, without))? {
        let short = if value.len() > 40 {
            format!("{}b:{}", value.len(), hex(&Sha256::digest(&value)[..16]))
        } else {
            escaped(OsStr::from_bytes(&value))
        };
        write!(line, " {}={short}", escaped(OsStr::from_bytes(&name))).map_err(io::Error::other)?;
    }
    Ok(line)
}

/// SHA-256 of a file, and how much was read.
///
/// # Errors
/// Those of open(2) and read(2).
pub fn digest(path: &Path) -> io::Result<(String, u64)> {
    let mut file = std::fs::File::open(path)?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    let mut total = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hex(&sha.finalize()), total));
        }
        total += read as u64;
        sha.update(&buffer[..read]);
    }
}

fn attributes(path: &Path, without: Without) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; 1 << 16];
    let listed = match rustix::fs::llistxattr(path, &mut names) {
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    names.truncate(listed);
    let mut found = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if without.trusted && name.starts_with(b"trusted.") {
            continue;
        }
        let mut value = vec![0; 1 << 16];
        let size = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value)?;
        value.truncate(size);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

/// `name` with everything but visible ASCII as `\xNN`.
pub fn escaped(name: &OsStr) -> String {
    let mut out = String::new();
    for byte in name.as_bytes() {
        match byte {
            b'!'..=b'~' if *byte != b'\\' => out.push(char::from(*byte)),
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

fn at<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The lines in which two pictures differ, shortened; empty when they are equal.
pub fn differences(wanted: &[String], seen: &[String]) -> String {
    let mut out = String::new();
    let mut count = 0;
    let (mut one, mut other) = (wanted.iter().peekable(), seen.iter().peekable());
    loop {
        let (sign, line) = match (one.peek(), other.peek()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b => {
                one.next();
                other.next();
                continue;
            }
            (Some(a), Some(b)) if a < b => ('-', one.next()),
            (Some(_), None) => ('-', one.next()),
            _ => ('+', other.next()),
        };
        count += 1;
        if count <= 40 {
            out.push_str(&format!("  {sign} {}\n", line.map_or("", |line| cut(line))));
        }
    }
    if count > 40 {
        out.push_str(&format!("  ... and {} lines more\n", count - 40));
    }
    out
}

fn cut(line: &str) -> &str {
    line.get(..300).unwrap_or(line)
}

//! File names that match a pattern.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::super::ast::Text;
use super::super::pattern;

/// Names at most, so that a pattern on a huge directory cannot exhaust memory.
const MAX_NAMES: usize = 100_000;

/// All existing paths that match, in byte order.
pub(super) fn expand(pattern: &[u8]) -> Vec<Text> {
    let mut found: Vec<Text> = Vec::new();
    let mut prefixes: Vec<Text> = vec![Vec::new()];
    let mut rest = pattern;
    while rest.first() == Some(&b'/') {
        rest = rest.get(1..).unwrap_or_default();
        if let Some(prefix) = prefixes.first_mut()
            && prefix.is_empty()
        {
            prefix.push(b'/');
        }
    }
    let components: Vec<&[u8]> = rest.split(|byte| *byte == b'/').collect();
    let last = components.len().saturating_sub(1);
    for (number, component) in components.into_iter().enumerate() {
        found.clear();
        for prefix in &prefixes {
            if pattern::is_active(component) {
                list(prefix, component, number < last, &mut found);
            } else {
                let mut path = prefix.clone();
                unescape_into(component, &mut path);
                let exists = fs::symlink_metadata(as_path(&path)).is_ok();
                if exists || component.is_empty() {
                    found.push(path);
                }
            }
            if found.len() > MAX_NAMES {
                break;
            }
        }
        if number < last {
            for path in &mut found {
                path.push(b'/');
            }
        }
        std::mem::swap(&mut prefixes, &mut found);
    }
    prefixes.sort_unstable();
    prefixes
}

fn list(prefix: &[u8], component: &[u8], directories: bool, found: &mut Vec<Text>) {
    let directory = if prefix.is_empty() {
        b".".as_slice()
    } else {
        prefix
    };
    // A directory that cannot be read has no names; that is how shells see it.
    let Ok(entries) = fs::read_dir(as_path(directory)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_bytes();
        if name.first() == Some(&b'.') && component.first() != Some(&b'.') {
            continue;
        }
        if !pattern::matches(component, name) {
            continue;
        }
        let mut path = prefix.to_vec();
        path.extend_from_slice(name);
        if directories && !as_path(&path).is_dir() {
            continue;
        }
        found.push(path);
    }
}

fn as_path(text: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(text))
}

fn unescape_into(pattern: &[u8], text: &mut Text) {
    let mut bytes = pattern.iter().copied();
    while let Some(byte) = bytes.next() {
        text.push(if byte == b'\\' {
            bytes.next().unwrap_or(byte)
        } else {
            byte
        });
    }
}

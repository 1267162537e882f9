//! Finds shared libraries as the run-time linker would, without running it.

use crate::commands::elf::{self, Elf};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the linkers of glibc and musl look when nobody tells them.
const DEFAULT_DIRS: [&str; 6] = [
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// How deep `include` lines of ld.so.conf may nest.
const MAX_INCLUDES: usize = 8;

/// The directories of this host.
#[derive(Clone, Debug)]
pub(super) struct Linker {
    dirs: Vec<PathBuf>,
}

impl Linker {
    /// Reads the host's configuration.
    pub(super) fn of_host() -> Self {
        let mut dirs = Vec::new();
        read_conf(Path::new("/etc/ld.so.conf"), MAX_INCLUDES, &mut dirs);
        // musl's list: /etc/ld-musl-<architecture>.path, separated by colons or lines.
        for file in list(Path::new("/etc")) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("ld-musl-") && name.ends_with(".path") {
                let text = fs::read_to_string(&file).unwrap_or_default();
                dirs.extend(
                    text.split([':', '\n'])
                        .filter(|dir| dir.starts_with('/'))
                        .map(PathBuf::from),
                );
            }
        }
        dirs.extend(DEFAULT_DIRS.map(PathBuf::from));
        // Debian's own directories are compiled into its linker and named nowhere.
        let architectures = ["/lib", "/usr/lib"]
            .map(Path::new)
            .into_iter()
            .flat_map(list);
        dirs.extend(
            architectures
                .filter(|dir| dir.to_string_lossy().ends_with("-linux-gnu") && dir.is_dir()),
        );
        Self { dirs }
    }

    /// Everything that `programs` need to start: interpreters and libraries, found path by path of
    /// the host, each once. What cannot be found is left out, as the host itself would.
    pub(super) fn closure<'a>(&self, programs: impl IntoIterator<Item = &'a Path>) -> Vec<PathBuf> {
        let mut pending: VecDeque<PathBuf> = programs.into_iter().map(Path::to_owned).collect();
        let mut found: BTreeMap<PathBuf, ()> = BTreeMap::new();
        while let Some(file) = pending.pop_front() {
            let Some(elf) = read_elf(&file) else { continue };
            let libraries = elf
                .needed
                .iter()
                .filter_map(|name| self.find(name, &elf, &file));
            for path in libraries.chain(elf.interpreter.clone().map(PathBuf::from)) {
                if found.insert(path.clone(), ()).is_none() {
                    pending.push_back(path);
                }
            }
        }
        found.into_keys().collect()
    }

    fn find(&self, name: &str, of: &Elf, file: &Path) -> Option<PathBuf> {
        if name.starts_with('/') {
            return Some(PathBuf::from(name));
        }
        let origin = fs::canonicalize(file)
            .ok()?
            .parent()?
            .to_string_lossy()
            .into_owned();
        let own = of.search.iter().map(|dir| {
            PathBuf::from(
                dir.replace("$ORIGIN", &origin)
                    .replace("${ORIGIN}", &origin),
            )
        });
        own.chain(self.dirs.iter().cloned())
            .map(|dir| dir.join(name))
            .find(|path| read_elf(path).is_some_and(|library| library.target == of.target))
    }
}

fn read_elf(path: &Path) -> Option<Elf> {
    elf::parse(&fs::read(path).ok()?)
}

fn list(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// Lines of ld.so.conf(5): directories, comments, and `include` with a pattern in its last part.
fn read_conf(path: &Path, depth: usize, dirs: &mut Vec<PathBuf>) {
    let Ok(text) = fs::read_to_string(path) else {
        return;
    };
    for line in text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
    {
        if let Some(pattern) = line.strip_prefix("include ") {
            if depth > 0 {
                let pattern = Path::new("/etc").join(pattern.trim());
                for file in expand(&pattern) {
                    read_conf(&file, depth - 1, dirs);
                }
            }
        } else if line.starts_with('/') {
            dirs.push(PathBuf::from(line));
        }
    }
}

/// Files that match a pattern with at most one `*`, in its last part.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (pattern.parent(), pattern.file_name()) else {
        return Vec::new();
    };
    let name = name.to_string_lossy();
    match name.split_once('*') {
        None => vec![pattern.to_owned()],
        Some((start, end)) => list(dir)
            .into_iter()
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.len() >= start.len() + end.len()
                    && name.starts_with(start)
                    && name.ends_with(end)
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_needs_its_interpreter_and_libraries() {
        let shell = Path::new("/bin/sh");
        let Some(elf) = read_elf(shell) else { return };
        let found = Linker::of_host().closure([shell]);
        assert!(found.len() >= elf.needed.len(), "{found:?}");
        assert!(found.iter().all(|path| path.is_file()), "{found:?}");
        if let Some(interpreter) = elf.interpreter {
            assert!(found.contains(&PathBuf::from(interpreter)), "{found:?}");
        }
    }
}

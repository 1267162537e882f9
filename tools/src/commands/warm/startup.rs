//! What a container needs to start, told from its tree alone.
//!
//! ```text
//! /.singularity.d ─┐
//! files of /etc ───┼► fetch ─► programs among them ─► interpreters, libraries ─► fetch ─► …
//! shells, words ───┘
//! of the runscript
//! ```
//! Each round fetches at once what the one before it named.

use std::collections::HashMap;

use skiff_fs::tree::path::resolve;
use skiff_fs::tree::{FileKind, NodeRef, TreeError};

use super::glob::Glob;
use super::select::{self, Files};
use super::view::View;
use crate::commands::elf::{self, Elf};

/// Fixed places, as patterns.
const ALWAYS: [&str; 6] = [
    "/.singularity.d",
    "/etc/{passwd,group,hosts,nsswitch.conf,localtime,profile,environment,bash.bashrc,inputrc}",
    "/etc/{ld.so.cache,ld.so.conf,ld.so.preload,ld.so.conf.d,ld-musl-*.path}",
    "/usr/lib/locale/C.{utf8,UTF-8}",
    "/{bin,usr/bin}/{sh,bash,env}",
    "/{environment,singularity}",
];

/// Loaded by name at run time: for the names of users.
const BY_NAME: &str = "libnss_files.so.2";

/// Where programs are looked for, as in `$PATH` without an own one.
const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Where libraries are looked for, besides what `ld.so.conf` says.
const LIBRARIES: [&str; 6] = [
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// Longer files are no programs whose libraries are looked for, longer scripts not read.
const MAX_PROGRAM: u64 = 64 << 20;
const MAX_SCRIPT: u64 = 1 << 20;

/// Libraries of libraries of libraries: no chain is longer.
const MAX_ROUNDS: usize = 12;

/// Fetches what `view`'s image needs to start; `fetch` brings files into the cache.
///
/// # Errors
/// What `fetch` reports, or what is wrong with the image.
pub(super) fn warm(
    view: &View,
    fetch: &mut dyn FnMut(&[NodeRef]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut files = Files::default();
    for pattern in ALWAYS {
        if let Some(glob) = Glob::parse(pattern.as_bytes()) {
            select::by_glob(view.tree(), &glob, &mut files)?;
        }
    }
    let mut round = files.take();
    fetch(&round)?;
    let scripts = Scripts { view };
    for node in scripts.programs_of_runscript()? {
        files.add(node);
    }
    let more = files.take();
    fetch(&more)?;
    round.extend(more);
    let linker = Linker::of(view)?;
    for _ in 0..MAX_ROUNDS {
        for node in &round {
            let Some(content) = view.content(*node, MAX_PROGRAM) else {
                continue;
            };
            let needed = match elf::parse(&content) {
                Some(elf) => linker.needs(&elf)?,
                None => scripts.interpreter(&content)?,
            };
            needed.into_iter().for_each(|node| files.add(node));
        }
        round = files.take();
        if round.is_empty() {
            break;
        }
        fetch(&round)?;
    }
    Ok(())
}

/// The regular file at `path`.
fn file(view: &View, path: &str) -> Result<Option<NodeRef>, TreeError> {
    // A link that leads nowhere leads to no file.
    let Ok(Some(node)) = resolve(view.tree(), path.as_bytes(), true) else {
        return Ok(None);
    };
    let attr = view.tree().attr(node)?;
    Ok((attr.kind == FileKind::Regular).then_some(node))
}

struct Scripts<'a> {
    view: &'a View,
}

impl Scripts<'_> {
    /// Programs that the runscript names: words in the place of a command, those that OCI images
    /// have as their entry point, and paths of executable files.
    fn programs_of_runscript(&self) -> Result<Vec<NodeRef>, TreeError> {
        let Some(node) = file(self.view, "/.singularity.d/runscript")? else {
            return Ok(Vec::new());
        };
        let content = self.view.content(node, MAX_SCRIPT).unwrap_or_default();
        let text = String::from_utf8_lossy(&content);
        let mut found = Vec::new();
        for word in command_words(&text) {
            found.extend(self.program(&word)?);
        }
        Ok(found)
    }

    /// What starts a script: the words of its first line.
    fn interpreter(&self, content: &[u8]) -> Result<Vec<NodeRef>, TreeError> {
        let Some(rest) = content.strip_prefix(b"#!") else {
            return Ok(Vec::new());
        };
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let mut found = Vec::new();
        for word in line.split_whitespace().take(3) {
            found.extend(self.program(word)?);
        }
        Ok(found)
    }

    /// The program called `word`, if there is one.
    fn program(&self, word: &str) -> Result<Option<NodeRef>, TreeError> {
        let paths = if word.starts_with('/') {
            vec![word.to_owned()]
        } else if word.is_empty() || word.contains('/') {
            Vec::new()
        } else {
            PATH.iter().map(|dir| format!("{dir}/{word}")).collect()
        };
        for path in paths {
            if let Some(node) = file(self.view, &path)? {
                let runs = self.view.tree().attr(node)?.permissions & 0o111 != 0;
                return Ok(runs.then_some(node));
            }
        }
        Ok(None)
    }
}

/// Words of a shell script that may name programs.
fn command_words(script: &str) -> Vec<String> {
    let mut words = Vec::new();
    for line in script.lines().map(str::trim) {
        if line.starts_with('#') && !line.starts_with("#!") {
            continue;
        }
        let line = line.trim_start_matches("#!");
        let entry = ["OCI_ENTRYPOINT=", "OCI_CMD="]
            .iter()
            .find_map(|name| line.strip_prefix(name));
        let mut in_place = true;
        for word in entry.unwrap_or(line).split(|c: char| c.is_whitespace()) {
            let bare = word.trim_matches(['"', '\'', ';', '(', ')', '`', '&', '|']);
            if bare.starts_with('/') || (in_place && is_name(bare)) {
                words.push(bare.to_owned());
            }
            in_place = matches!(bare, "exec" | "then" | "do" | "else" | "if" | "!" | "env" | "time")
                || matches!(word, "|" | "||" | "&&" | ";" | "{" | "(")
                || word.ends_with(';')
                // Assignments before a command.
                || (in_place && bare.contains('='));
        }
    }
    words.sort();
    words.dedup();
    words
}

fn is_name(word: &str) -> bool {
    !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'))
}

/// Finds shared libraries as the linker in the image will.
struct Linker<'a> {
    view: &'a View,
    directories: Vec<String>,
    found: std::cell::RefCell<HashMap<String, Option<NodeRef>>>,
}

impl<'a> Linker<'a> {
    fn of(view: &'a View) -> Result<Self, TreeError> {
        let mut directories = Vec::new();
        let mut files = Files::default();
        for pattern in [
            "/etc/ld.so.conf",
            "/etc/ld.so.conf.d/*.conf",
            "/etc/ld-musl-*.path",
        ] {
            if let Some(glob) = Glob::parse(pattern.as_bytes()) {
                select::by_glob(view.tree(), &glob, &mut files)?;
            }
        }
        for node in files.take() {
            let content = view.content(node, MAX_SCRIPT).unwrap_or_default();
            let text = String::from_utf8_lossy(&content);
            let lines = text.split([':', '\n']).map(str::trim);
            directories.extend(
                lines
                    .filter(|line| line.starts_with('/'))
                    .map(str::to_owned),
            );
        }
        directories.extend(LIBRARIES.map(str::to_owned));
        // Debian's own directories are compiled into its linker and named nowhere.
        for parent in ["/lib", "/usr/lib"] {
            let Ok(Some(node)) = resolve(view.tree(), parent.as_bytes(), true) else {
                continue;
            };
            if view.tree().attr(node)?.kind != FileKind::Directory {
                continue;
            }
            view.tree().read_dir(node, 0, &mut |entry| {
                let name = String::from_utf8_lossy(entry.name);
                if name.ends_with("-linux-gnu") || name.ends_with("-linux-gnueabihf") {
                    directories.push(format!("{parent}/{name}"));
                }
                std::ops::ControlFlow::Continue(())
            })?;
        }
        Ok(Self {
            view,
            directories,
            found: std::cell::RefCell::default(),
        })
    }

    /// Interpreter and libraries of a program or library.
    fn needs(&self, elf: &Elf) -> Result<Vec<NodeRef>, TreeError> {
        let mut found = Vec::new();
        if let Some(path) = &elf.interpreter {
            found.extend(file(self.view, path)?);
            found.extend(self.library(BY_NAME, &[])?);
        }
        for name in &elf.needed {
            found.extend(self.library(name, &elf.search)?);
        }
        Ok(found)
    }

    fn library(&self, name: &str, search: &[String]) -> Result<Option<NodeRef>, TreeError> {
        if name.starts_with('/') {
            return file(self.view, name);
        }
        // Directories relative to the program are those of programs that bring all along; that
        // costs them a fetch at the start.
        for directory in search.iter().filter(|directory| directory.starts_with('/')) {
            if let Some(node) = file(self.view, &format!("{directory}/{name}"))? {
                return Ok(Some(node));
            }
        }
        if let Some(known) = self.found.borrow().get(name) {
            return Ok(*known);
        }
        let mut found = None;
        for directory in &self.directories {
            found = file(self.view, &format!("{directory}/{name}"))?;
            if found.is_some() {
                break;
            }
        }
        self.found.borrow_mut().insert(name.to_owned(), found);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_the_place_of_commands() {
        let script = "#!/bin/sh\n# exec not this\nexport A=1\nA=2 exec python3 \"$@\"\n\
                      OCI_ENTRYPOINT='\"/usr/bin/tini\" \"-- \"'\nOCI_CMD='\"bash\"'\n\
                      if test -x /opt/run.sh; then exec /opt/run.sh; fi\n";
        let words = command_words(script);
        for word in [
            "/bin/sh",
            "python3",
            "/usr/bin/tini",
            "bash",
            "/opt/run.sh",
            "test",
        ] {
            assert!(words.iter().any(|found| found == word), "{word}: {words:?}");
        }
        for word in ["not", "this", "-x"] {
            assert!(
                !words.iter().any(|found| found == word),
                "{word}: {words:?}"
            );
        }
    }
}

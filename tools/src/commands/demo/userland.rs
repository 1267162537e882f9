//! What of the host goes into the image: a shell, everyday programs, Python, and what they need.

use super::library::Linker;
use super::tree::{Entry, PackTree};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Everyday programs, taken as far as the host has them.
const PROGRAMS: [&str; 40] = [
    "bash",
    "basename",
    "cat",
    "chmod",
    "cksum",
    "cp",
    "cut",
    "date",
    "df",
    "dirname",
    "du",
    "echo",
    "env",
    "false",
    "find",
    "grep",
    "head",
    "hostname",
    "id",
    "ls",
    "mkdir",
    "mv",
    "pwd",
    "readlink",
    "rm",
    "sed",
    "seq",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tail",
    "touch",
    "tr",
    "true",
    "uname",
    "uniq",
    "wc",
    "whoami",
    "xargs",
];

/// Parts of Python's library that no program needs to run: tests, editors, other people's packages.
const NOT_PACKED: [&str; 9] = [
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "site-packages",
    "dist-packages",
];

/// Directories that are bound over when a container starts, so that an image's own files there
/// would be hidden.
const HIDDEN: [&str; 5] = ["/home", "/root", "/tmp", "/var/tmp", "/dev"];

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Userland {
    /// Number of programs, the shell among them.
    pub(super) programs: usize,
    /// Version of Python, such as `3.11`, when it was packed.
    pub(super) python: Option<String>,
}

/// Python as it describes itself.
struct Python {
    executable: PathBuf,
    version: String,
    library: PathBuf,
    /// `lib`, or `lib64` on Fedora's and SUSE's.
    lib_dir: String,
}

/// Adds all of it to `tree`.
///
/// # Errors
/// When not even a shell can be read.
pub(super) fn collect(tree: &mut PackTree) -> io::Result<Userland> {
    let linker = Linker::of_host();
    let shell = PathBuf::from("/bin/sh");
    let mut programs = vec![shell.clone()];
    programs.extend(PROGRAMS.iter().filter_map(|name| find_program(name)));
    for program in &programs {
        tree.add_host(program)?;
    }
    let mut binaries = programs.clone();
    let python = python();
    if let Some(python) = &python {
        binaries.extend(add_python(tree, python)?);
    }
    add_libraries(tree, &linker.closure(binaries.iter().map(PathBuf::as_path)))?;
    tree.add("etc/passwd", text("root:x:0:0:root:/root:/bin/sh\n"));
    tree.add("etc/group", text("root:x:0:\n"));
    for dir in [
        "dev", "home", "proc", "root", "sys", "tmp", "usr/bin", "var/tmp",
    ] {
        tree.add(dir, Entry::Directory);
    }
    tree.add("bin", Entry::Link("usr/bin".into()));
    Ok(Userland {
        programs: programs.len(),
        python: python.map(|python| python.version),
    })
}

fn text(content: &str) -> Entry {
    Entry::Text {
        bytes: content.as_bytes().to_vec(),
        mode: 0o644,
    }
}

/// Programs where every user finds them; one in somebody's home would be hidden in the container.
fn find_program(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
}

/// Libraries under their own paths; those that would be hidden beside the C library instead.
fn add_libraries(tree: &mut PackTree, libraries: &[PathBuf]) -> io::Result<()> {
    let is_libc = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libc.so") || name.starts_with("libc.musl")
    };
    let system_dir = libraries
        .iter()
        .find(is_libc)
        .and_then(|path| path.parent())
        .unwrap_or(Path::new("/usr/lib"));
    for library in libraries {
        if is_hidden(library) {
            let name = library.file_name().unwrap_or_default();
            tree.add_content(&fs::canonicalize(system_dir)?.join(name), library)?;
        } else {
            tree.add_host(library)?;
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| home.parent().is_some());
    HIDDEN
        .iter()
        .map(PathBuf::from)
        .chain(home)
        .any(|dir| real.starts_with(dir))
}

/// The system's Python, else the first on PATH that tells where its library is.
fn python() -> Option<Python> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(PathBuf::from("/usr/bin"))
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join("python3"))
        .filter(|program| program.is_file())
        .find_map(|program| ask_python(&program))
}

const QUESTION: &str = "import sys, sysconfig\n\
print(getattr(sys, '_base_executable', None) or sys.executable)\n\
print('%d.%d' % sys.version_info[:2])\n\
print(sysconfig.get_path('stdlib', vars={'base': sys.base_prefix, 'installed_base': sys.base_prefix}))\n\
print(getattr(sys, 'platlibdir', 'lib'))\n";

fn ask_python(program: &Path) -> Option<Python> {
    let output = Command::new(program)
        .args(["-I", "-c", QUESTION])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout)
        .ok()
        .filter(|_| output.status.success())?;
    let mut lines = text.lines();
    let executable = fs::canonicalize(lines.next()?).ok()?;
    let version = lines.next()?.to_owned();
    let library = fs::canonicalize(lines.next()?).ok()?;
    let lib_dir = lines.next()?.to_owned();
    library.join("os.py").is_file().then_some(Python {
        executable,
        version,
        library,
        lib_dir,
    })
}

/// Puts Python below /usr, where it finds its library relative to itself; returns its binaries.
fn add_python(tree: &mut PackTree, python: &Python) -> io::Result<Vec<PathBuf>> {
    let name = format!("python{}", python.version);
    tree.add_content(&Path::new("/usr/bin").join(&name), &python.executable)?;
    tree.add("/usr/bin/python3", Entry::Link(PathBuf::from(&name)));
    let mut binaries = vec![python.executable.clone()];
    let image_dir = Path::new("/usr").join(&python.lib_dir).join(&name);
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(python.library.join(&dir))? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), dir.join(entry.file_name()));
            let source = entry.path();
            let metadata = match fs::metadata(&source) {
                Ok(metadata) if !is_left_out(&name) => metadata,
                _ => continue,
            };
            if metadata.is_dir() {
                pending.push(path);
            } else if metadata.is_file() && fs::File::open(&source).is_ok() {
                tree.add_content(&image_dir.join(&path), &source)?;
                if source.extension() == Some(OsStr::new("so")) {
                    binaries.push(source);
                }
            }
        }
    }
    Ok(binaries)
}

fn is_left_out(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    NOT_PACKED.contains(&name.as_ref()) || name.starts_with("config-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_at_least_a_shell() {
        let mut tree = PackTree::default();
        let userland = collect(&mut tree).unwrap();
        assert!(userland.programs > 10, "{userland:?}");
        let names: Vec<_> = tree.iter().map(|(path, _)| path.to_owned()).collect();
        assert!(names.contains(&PathBuf::from("bin")), "{}", names.len());
        assert!(tree.total_len() > 1 << 20);
    }
}

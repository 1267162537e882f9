//! Builds the trees and images that are measured.

use crate::actor::Actor;
use crate::generate::{self, Random, Words};
use crate::locate;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How much is generated.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Scale {
    /// Python packages; each has 10 subpackages of 25 modules.
    pub packages: usize,
    /// Bytes of the one big file.
    pub big_bytes: u64,
}

impl Scale {
    /// 10,440 Python files and 512 MiB.
    pub const FULL: Self = Self {
        packages: 40,
        big_bytes: 512 << 20,
    };
    /// 10,440 Python files and 128 MiB.
    pub const QUICK: Self = Self {
        packages: 40,
        big_bytes: 128 << 20,
    };
}

/// Name of the big file inside the image.
pub const BIG_FILE: &str = "data/big.bin";
/// Name of the directory with the Python packages inside the image.
pub const PYTHON_DIR: &str = "python";

const SUBPACKAGES: usize = 10;
const MODULES: usize = 25;

/// Python program that imports every third module below its argument and prints a pass as JSON.
pub const IMPORT_DRIVER: &str = r#"import importlib, json, sys, time
root = sys.argv[1]
sys.path.insert(0, root)
with open(root + "/modules.txt") as f:
    names = f.read().split()
cpu = time.process_time()
start = time.perf_counter()
for name in names:
    importlib.import_module(name)
seconds = time.perf_counter() - start
cpu = time.process_time() - cpu
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "amount": len(names)}))
"#;

/// Writes the tree that all mount benchmarks use below `root`.
///
/// # Errors
/// What the file system reports.
pub fn write_tree(root: &Path, scale: Scale) -> Result<()> {
    let python = root.join(PYTHON_DIR);
    let words = Words::new(4000);
    let mut random = Random::new(3);
    let mut imported = String::new();
    let mut number = 0;
    for package in 0..scale.packages {
        let package_dir = python.join(format!("pkg{package:02}"));
        write_module(&package_dir, "__init__", &mut random, &words)?;
        for sub in 0..SUBPACKAGES {
            let sub_dir = package_dir.join(format!("sub{sub}"));
            write_module(&sub_dir, "__init__", &mut random, &words)?;
            for module in 0..MODULES {
                write_module(&sub_dir, &format!("mod{module:02}"), &mut random, &words)?;
                number += 1;
                if number % 3 == 0 {
                    writeln!(imported, "pkg{package:02}.sub{sub}.mod{module:02}")?;
                }
            }
        }
    }
    fs::write(python.join("modules.txt"), imported)?;
    let big = root.join(BIG_FILE);
    fs::create_dir_all(root.join("data"))?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&big)?);
    generate::fill_mixed(&mut out, scale.big_bytes, 11)
        .with_context(|| format!("writing {}", big.display()))?;
    Ok(out.flush()?)
}

/// Sizes as in real packages: half below 2 KB, a tail up to 20 KB.
fn write_module(dir: &Path, name: &str, random: &mut Random, words: &Words) -> Result<()> {
    fs::create_dir_all(dir)?;
    let len = 300 + random.skewed(19_700);
    let path = dir.join(format!("{name}.py"));
    fs::write(&path, generate::python_module(len, words, random))
        .with_context(|| format!("writing {}", path.display()))
}

/// Puts byte code beside the modules, as package managers do.
///
/// # Errors
/// When Python fails.
pub fn compile_python(root: &Path, python: &Path) -> Result<()> {
    run(Command::new(python)
        .args(["-S", "-m", "compileall", "-q", "-j", "2"])
        .arg(root.join(PYTHON_DIR)))
}

/// Packs `tree` with mksquashfs and its default block size, 128 KiB.
///
/// # Errors
/// When mksquashfs is missing or fails.
pub fn pack(tree: &Path, image: &Path, compressor: &str) -> Result<()> {
    let program = locate::system("mksquashfs")
        .context("mksquashfs is missing: apt install squashfs-tools")?;
    run(Command::new(program).arg(tree).arg(image).args([
        "-comp",
        compressor,
        "-noappend",
        "-no-progress",
        "-quiet",
        "-all-root",
        "-no-xattrs",
    ]))?;
    readable(image)
}

/// Writes a root directory with `true`, `sh` and the libraries they need, for bwrap and as an image.
///
/// # Errors
/// When the host's own programs cannot be copied.
pub fn write_userland(root: &Path, actor: &Actor) -> Result<()> {
    let home = actor.home.strip_prefix("/").unwrap_or(&actor.home);
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "var/tmp"]
        .iter()
        .map(Path::new)
        .chain([home])
    {
        fs::create_dir_all(root.join(dir))?;
    }
    for file in [
        "etc/hosts",
        "etc/localtime",
        "etc/resolv.conf",
        "etc/passwd",
        "etc/group",
    ] {
        File::create(root.join(file))?;
    }
    for program in ["true", "sh"] {
        let path =
            locate::system(program).with_context(|| format!("no {program} on this machine"))?;
        copy(&path, &root.join("bin").join(program))?;
        for library in libraries(&path)? {
            copy(
                &library,
                &root.join(library.strip_prefix("/").unwrap_or(&library)),
            )?;
        }
    }
    Ok(())
}

/// Absolute paths that ldd(1) prints for one of the host's own programs.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("starting ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Lets real Apptainer build a SIF from a directory.
///
/// # Errors
/// When it fails.
pub fn build_sif(apptainer: &Path, tree: &Path, sif: &Path) -> Result<()> {
    run(Command::new(apptainer)
        .args(["--silent", "build", "--force"])
        .arg(sif)
        .arg(tree)
        .stderr(Stdio::null()))?;
    readable(sif)
}

fn readable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{status}: {command:?}");
    }
    Ok(())
}

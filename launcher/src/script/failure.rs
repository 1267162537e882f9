//! Why a program could not be started, in Apptainer's words.

use std::io;
use std::path::{Path, PathBuf};

/// What `execve` was asked for when it failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecFailure {
    /// The interpreter or loader the program names is not in the image.
    #[error("exec {} failed: a shared library is likely missing in the image", program.display())]
    MissingLibrary {
        /// The program.
        program: PathBuf,
    },
    /// The image was made for another machine.
    #[error("image targets '{image}', cannot run on '{host}'")]
    Architecture {
        /// The image's architecture.
        image: String,
        /// The machine's.
        host: &'static str,
    },
    /// Anything else.
    #[error("exec {} failed: {reason}", program.display())]
    Other {
        /// The program.
        program: PathBuf,
        /// The kernel's answer in C's words.
        reason: String,
    },
}

/// Words a failed `execve` of `program`. Apptainer judges the architecture by the image's shell,
/// `/bin/sh` under `root` unless `--shell` named one.
pub fn describe_exec_failure(
    program: &Path,
    error: &io::Error,
    root: &Path,
    shell: Option<&Path>,
) -> ExecFailure {
    let shell = super::lookup::inside(root, shell.unwrap_or(Path::new("/bin/sh")));
    if let Some(image) = elf_architecture(&shell)
        && image != host_architecture()
    {
        return ExecFailure::Architecture {
            image,
            host: host_architecture(),
        };
    }
    let program = program.to_path_buf();
    if error.raw_os_error() == Some(libc::ENOENT) {
        return ExecFailure::MissingLibrary { program };
    }
    ExecFailure::Other {
        program,
        reason: reason(error),
    }
}

/// The architecture an ELF file is for, in Go's names; `None` where the file tells nothing.
fn elf_architecture(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut header = [0_u8; 20];
    std::fs::File::open(path)
        .ok()?
        .read_exact(&mut header)
        .ok()?;
    let (magic, rest) = header.split_first_chunk::<4>()?;
    if magic != b"\x7fELF" {
        return None;
    }
    let little = *rest.get(1)? == 1;
    let bytes = [*header.get(18)?, *header.get(19)?];
    let machine = if little {
        u16::from_le_bytes(bytes)
    } else {
        u16::from_be_bytes(bytes)
    };
    let name = match (machine, little) {
        (3, _) => "386",
        (8, false) => "mips",
        (20, _) => "ppc",
        (21, false) => "ppc64",
        (21, true) => "ppc64le",
        (22, _) => "s390x",
        (40, _) => "arm",
        (62, _) => "amd64",
        (183, _) => "arm64",
        (243, _) => "riscv64",
        (258, _) => "loong64",
        _ => return None,
    };
    Some(name.to_owned())
}

/// This machine's architecture, in Go's names.
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// An error of the kernel in C's words, beginning in lower case as Go prints it.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

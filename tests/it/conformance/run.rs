//! Carrying out one case with one program, and comparing.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use skiff_tests::image::Images;
use skiff_tests::program::Program;
use skiff_tests::user::{User, ordinary};

use super::case::{Case, Observed};
use super::keys;
use super::normal::{Names, without_noise};

/// What every script finds in its folder.
const PRELUDE: &str = r#"
mkdir -p data/sub other home/user work
echo data >data/x
echo deeper >data/sub/y
echo other >other/z
echo file >file.txt
printf 'FROM_FILE=file\nGREETING="from file"\nexport EXPORTED=$FROM_FILE-e\n' >env.sh
umask 022
"#;

/// Whoever runs the tests may have left descriptors open, which a container would show.
const CLOSE_INHERITED: &str = r#"
for fd in /proc/$BASHPID/fd/*; do
  fd=${fd##*/}
  ((fd < 3)) || eval "exec $fd>&-"
done
"#;

/// Runs `case` and looks at what it did.
pub(super) fn observe(case: &Case, program: &Program, images: &Images) -> Observed {
    let user = ordinary();
    let folder = Folder::new(user);
    let names = Names::of(&folder.0.display().to_string(), program, images, user);
    let script = |text: &str| {
        // A signal that the tests' caller ignores (nohup) would be ignored by every program below.
        let mut cmd = user.command("/usr/bin/env");
        cmd.cwd(&folder.0)
            .env(
                "PATH",
                format!("{}:/usr/local/bin:/usr/bin:/bin", program.folder.display()),
            )
            .env("LC_ALL", "C")
            .env("T", &folder.0)
            .env("IMAGES", &images.folder)
            .env("IMG", &images.sif)
            .env("SANDBOX", &images.sandbox)
            .args(["--default-signal", "/bin/bash", "-c", text])
            .limit(Duration::from_secs(60));
        cmd
    };
    // Only those that speak of keys have them.
    let keys = if case.run.contains("keys/") {
        keys::PRELUDE
    } else {
        ""
    };
    script(&format!("{PRELUDE}{keys}"))
        .run()
        .expect_success("the prelude of a case");
    let before = listing(&folder.0);
    let outcome = script(&format!("{CLOSE_INHERITED}umask 022\n{}", case.run)).run();
    let after = listing(&folder.0);
    let files: Vec<_> = after
        .iter()
        .filter(|line| !before.contains(line))
        .cloned()
        .collect();
    Observed {
        stdout: names.put_into(&outcome.stdout),
        stderr: without_noise(&names.put_into(&outcome.stderr)),
        code: outcome.code(),
        files: names.put_into(files.concat().as_bytes()),
    }
}

/// A folder of one case, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(user: &User) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // In /tmp, which is bound into containers, and nobody's home.
        let path = PathBuf::from(format!("/tmp/skiff-case-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("just made");
        user.own(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind, it would only take room.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// `name kind mode size content` of everything below `root`, sorted.
fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = path.symlink_metadata() else {
                continue;
            };
            let name = path.strip_prefix(root).unwrap_or(&path).display();
            let mode = meta.permissions().mode() & 0o7777;
            if meta.is_dir() {
                lines.push(format!("{name}/ {mode:o}\n"));
                folders.push(path);
            } else if meta.is_symlink() {
                let target = std::fs::read_link(&path).unwrap_or_default();
                lines.push(format!("{name} -> {}\n", target.display()));
            } else {
                lines.push(format!("{name} {mode:o} {} bytes\n", meta.len()));
            }
        }
    }
    lines.sort();
    lines
}

/// How a program fell short of a case.
pub(super) struct Difference {
    name: String,
    run: String,
    parts: Vec<(&'static str, String, String)>,
}

/// Compares.
pub(super) fn judge(case: &Case, seen: &Observed, program: &Program) -> Option<Difference> {
    let differs = case.skiff.as_ref().filter(|_| program.title == "skiff");
    let stdout = differs
        .and_then(|d| d.stdout.as_ref())
        .unwrap_or(&case.stdout);
    let code = differs.and_then(|d| d.code).or(case.code);
    let stderr_has = differs
        .and_then(|d| d.stderr_has.as_ref())
        .or(case.stderr_has.as_ref());
    let mut parts = Vec::new();
    if seen.code != code {
        parts.push(("exit code", format!("{code:?}"), format!("{:?}", seen.code)));
    }
    if seen.stdout != *stdout {
        parts.push(("stdout", stdout.clone(), seen.stdout.clone()));
    }
    if seen.files != case.files {
        parts.push(("files", case.files.clone(), seen.files.clone()));
    }
    match stderr_has {
        Some(wanted) if wanted.iter().any(|part| !seen.stderr.contains(part)) => {
            parts.push(("stderr with", wanted.join("\n"), seen.stderr.clone()));
        }
        Some(_) => {}
        None if seen.stderr != case.stderr => {
            parts.push(("stderr", case.stderr.clone(), seen.stderr.clone()));
        }
        None => {}
    }
    if !parts.is_empty() && !parts.iter().any(|(what, ..)| what.starts_with("stderr")) {
        parts.push(("(its stderr)", String::new(), seen.stderr.clone()));
    }
    (!parts.is_empty()).then(|| Difference {
        name: case.name.clone(),
        run: case.run.clone(),
        parts,
    })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "* {}\n    {}",
            self.name,
            self.run.trim_end().replace('\n', "\n    ")
        )?;
        for (what, wanted, seen) in &self.parts {
            writeln!(f, "  {what} wanted:\n{}", indent(wanted))?;
            writeln!(f, "  {what} seen:\n{}", indent(seen))?;
        }
        Ok(())
    }
}

fn indent(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .take(60)
        .map(|line| format!("    | {line}"))
        .collect();
    lines.join("\n")
}

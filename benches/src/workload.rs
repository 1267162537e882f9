//! What is done with a mounted image, always in a child process of the ordinary user.
//!
//! The benchmark calls itself as `peers worker …` for what it measures with its own loops, so that no
//! descriptor of the benchmark keeps a mount busy and the user's identity is the child's.

use crate::actor::Actor;
use crate::procs;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One pass over the mount.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Pass {
    /// Wall time.
    pub seconds: f64,
    /// CPU time of the reader, the kernel's work in its name included.
    pub cpu_seconds: f64,
    /// Names seen or bytes read; equal for all contenders, or the comparison is void.
    pub amount: u64,
}

/// Starts workloads.
#[derive(Clone, Debug)]
pub struct Workloads {
    /// Copy of this benchmark that the user may execute.
    pub worker: PathBuf,
    /// The host's Python, if any.
    pub python: Option<PathBuf>,
    /// File with the import driver.
    pub driver: PathBuf,
    /// Who runs them.
    pub actor: Actor,
}

impl Workloads {
    /// Lists every directory and calls lstat(2) on every name, twice: cold, then warm.
    ///
    /// # Errors
    /// What the child reports.
    pub fn walk(&self, dir: &Path) -> Result<Vec<Pass>> {
        self.run_worker("walk", dir)
    }

    /// Reads a file from start to end in 256 KiB steps, twice.
    ///
    /// # Errors
    /// What the child reports.
    pub fn read(&self, file: &Path) -> Result<Vec<Pass>> {
        self.run_worker("read", file)
    }

    fn run_worker(&self, what: &str, path: &Path) -> Result<Vec<Pass>> {
        let mut command = self.actor.command(&self.worker);
        command.arg("worker").arg(what).arg(path);
        let text = output(&mut command)?;
        serde_json::from_str(&text)
            .with_context(|| format!("reading the answer of the {what} worker"))
    }

    /// `tar cf - . | cat`, once.
    ///
    /// # Errors
    /// When tar fails.
    pub fn archive(&self, dir: &Path) -> Result<Pass> {
        let mut command = self.actor.command("sh");
        // The pipe matters: GNU tar reads no data when it writes to /dev/null.
        command
            .args(["-c", "tar cf - -C \"$1\" . | wc -c", "sh"])
            .arg(dir);
        let before = procs::children_cpu_time();
        let started = Instant::now();
        let text = output(&mut command)?;
        Ok(Pass {
            seconds: started.elapsed().as_secs_f64(),
            cpu_seconds: procs::children_cpu_time()
                .saturating_sub(before)
                .as_secs_f64(),
            amount: text.trim().parse().context("counting bytes of tar")?,
        })
    }

    /// Imports the generated modules below `dir`; with `sources` the byte code beside them is ignored.
    /// The time is that of the imports, without the interpreter's own start.
    ///
    /// # Errors
    /// When Python fails.
    pub fn import(&self, dir: &Path, sources: bool) -> Result<Pass> {
        let python = self.python.as_ref().context("no python3")?;
        let mut command = self.actor.command(python);
        if sources {
            // Byte code is looked for elsewhere, and not found there.
            command.args(["-X", "pycache_prefix=/nonexistent"]);
        }
        command
            .arg("-S")
            .arg(&self.driver)
            .arg(dir)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let text = output(&mut command)?;
        serde_json::from_str(&text).context("reading the answer of the import driver")
    }
}

impl Workloads {
    /// Brings the interpreter and what the driver imports into the page cache.
    ///
    /// # Errors
    /// When Python fails.
    pub fn warm_python(&self) -> Result<()> {
        let python = self.python.as_ref().context("no python3")?;
        output(
            self.actor
                .command(python)
                .args(["-S", "-c", "import importlib, json, sys, time"]),
        )
        .map(drop)
    }

    /// Brings the programs of the workloads into the page cache.
    pub fn warm_tools(&self) {
        for mut command in [
            self.actor.command(&self.worker),
            self.actor.command("tar"),
            self.actor.command("wc"),
        ] {
            // Whether it knows the option does not matter, it has been loaded.
            let _any = command.arg("--version").stderr(Stdio::null()).status();
        }
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .output()
        .context("starting a workload")?;
    if !output.status.success() {
        bail!("workload failed: {}: {command:?}", output.status);
    }
    String::from_utf8(output.stdout).context("workload wrote something else than text")
}

/// The other side of [`Workloads::walk`] and [`Workloads::read`]: does the work, returns the passes.
///
/// # Errors
/// What the file system reports, or an unknown name of work.
pub fn work(what: &OsStr, path: &Path) -> Result<Vec<Pass>> {
    let once = || -> Result<Pass> {
        let (before, started) = (procs::own_cpu_time(), Instant::now());
        let amount = match what.to_str() {
            Some("walk") => walk(path)?,
            Some("read") => read(path)?,
            _ => bail!("no such work: {}", what.display()),
        };
        Ok(Pass {
            seconds: started.elapsed().as_secs_f64(),
            cpu_seconds: procs::own_cpu_time().saturating_sub(before).as_secs_f64(),
            amount,
        })
    };
    Ok(vec![once()?, once()?])
}

fn walk(dir: &Path) -> Result<u64> {
    let mut names = 0;
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in
            std::fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))?
        {
            let entry = entry?;
            names += 1;
            // DirEntry::metadata is lstat(2) relative to the open directory.
            if entry.metadata()?.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    Ok(names)
}

fn read(file: &Path) -> Result<u64> {
    let mut file = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(total),
            len => total += len as u64,
        }
    }
}

/// Runs a command to its end and returns the wall time.
///
/// # Errors
/// When it cannot be started or fails.
pub fn time(command: &mut Command) -> Result<Duration> {
    let started = Instant::now();
    let status = command
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    let elapsed = started.elapsed();
    if !status.success() {
        bail!("{status}: {command:?}");
    }
    Ok(elapsed)
}

//! Starts programs in the image by this very program, and asks its server what it has read.

use anyhow::{Context, Result, bail};
use skiff_fs::image::Image;
use skiff_launcher::holder::key::HolderKey;
use skiff_launcher::holder::{LINGER_VARIABLE, client};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Seconds for which the demo's server stays unused: long enough for the next step, short enough
/// to be gone with the demo.
const LINGER_SECONDS: &str = "2";

/// One program that ran to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Start {
    /// What it wrote.
    pub(super) output: String,
    /// From the command line to its end.
    pub(super) wall: Duration,
}

impl Start {
    /// Runs `skiff exec image program…`.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub(super) fn exec(image: &Path, program: &[String]) -> Result<Self> {
        Self::run(image.as_os_str(), program, |_| {})
    }

    /// As [`Start::exec`], of an image on a web server on this machine, with `cache` as the only
    /// cache.
    ///
    /// # Errors
    /// As [`Start::exec`].
    pub(super) fn exec_from(url: &str, cache: &Path, program: &[String]) -> Result<Self> {
        Self::run(OsStr::new(url), program, |command| {
            command.env("SKIFF_CACHE_DIR", cache);
            command.env("SKIFF_SHARED_CACHE", "");
            command.env_remove("SKIFF_OFFLINE");
            // No proxy can reach this machine's loopback interface.
            for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
                command.env_remove(name);
            }
        })
    }

    fn run(image: &OsStr, program: &[String], prepare: impl FnOnce(&mut Command)) -> Result<Self> {
        let own = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(own);
        command
            .arg("exec")
            .arg(image)
            .args(program)
            .env(LINGER_VARIABLE, LINGER_SECONDS);
        prepare(&mut command);
        command.stdin(Stdio::null()).stderr(Stdio::inherit());
        let started = Instant::now();
        let output = command.output().context("starting skiff exec")?;
        let wall = started.elapsed();
        if !output.status.success() {
            bail!(
                "skiff exec {}: {}; `skiff doctor` may tell why",
                program.join(" "),
                output.status
            );
        }
        Ok(Self {
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            wall,
        })
    }
}
/// Bytes of the image that its server has read; `None` when no server runs any more.
///
/// # Errors
/// When the image or the server cannot be asked.
pub(super) fn bytes_read(image: &Path) -> Result<Option<u64>> {
    let image = Image::open(image)?;
    let key = image
        .file()
        .context("the image is no file")?
        .metadata()
        .and_then(|metadata| HolderKey::new(&metadata, image.offset()))
        .context("looking for the server")?;
    let Some(figures) = client::statistics(&key).context("asking the server")? else {
        return Ok(None);
    };
    let figures: serde_json::Value =
        serde_json::from_str(&figures).context("reading the server's figures")?;
    Ok(figures
        .get("bytes_read")
        .and_then(serde_json::Value::as_u64))
}

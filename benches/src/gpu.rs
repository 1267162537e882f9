//! What `--nv` costs: `exec true` with and without it, on a host with a made-up driver of 40
//! libraries.
//!
//! skiff reads the host's list of libraries; the made-up one is laid over it in a mount namespace, in
//! which the benchmark's own program runs once more ([`measure`]).

use crate::actor::Actor;
use crate::locate;
use crate::workload;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Libraries of the made-up driver: names from the default list.
const LIBRARIES: [&str; 40] = [
    "cuda",
    "cudadebugger",
    "EGL_installertest",
    "EGL_nvidia",
    "EGL",
    "GLdispatch",
    "GLESv1_CM_nvidia",
    "GLESv1_CM",
    "GLESv2_nvidia",
    "GLESv2",
    "GL",
    "GLX_installertest",
    "GLX_nvidia",
    "glx",
    "GLX",
    "nvcuvid",
    "nvidia-cbl",
    "nvidia-cfg",
    "nvidia-compiler",
    "nvidia-eglcore",
    "nvidia-egl-wayland",
    "nvidia-encode",
    "nvidia-fatbinaryloader",
    "nvidia-fbc",
    "nvidia-glcore",
    "nvidia-glsi",
    "nvidia-glvkspirv",
    "nvidia-gpucomp",
    "nvidia-gtk2",
    "nvidia-gtk3",
    "nvidia-ifr",
    "nvidia-ml",
    "nvidia-nvvm",
    "nvidia-opencl",
    "nvidia-opticalflow",
    "nvidia-ptxjitcompiler",
    "nvidia-rtcore",
    "nvidia-tls",
    "nvoptix",
    "OpenCL",
];

/// What is measured inside the namespace; passed on as arguments of the hidden subcommand.
#[derive(Clone, Debug, clap::Args)]
pub struct GpuArgs {
    /// Binary to measure
    #[arg(long)]
    pub skiff: PathBuf,
    /// Image to start `true` in
    #[arg(long)]
    pub image: PathBuf,
    /// Ordinary user to measure with
    #[arg(long)]
    pub user: String,
    /// Rounds that count
    #[arg(long)]
    pub rounds: usize,
}

/// Wall times in seconds.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Times {
    /// `exec true`.
    pub without: Vec<f64>,
    /// `exec --nv true`.
    pub with: Vec<f64>,
}

/// Makes the driver in `work` up and measures with `worker`, this program; an error's text tells
/// why that is not possible here.
///
/// # Errors
/// When something that is there fails.
pub fn run(worker: &Path, work: &Path, args: &GpuArgs) -> Result<Result<Times, &'static str>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Err("needs root, to lay a made-up driver over the host's"));
    }
    let (Some(cc), Some(ldconfig)) = (locate::system("cc"), locate::system("ldconfig")) else {
        return Ok(Err("needs cc and ldconfig"));
    };
    let cache = make_up(&cc, &ldconfig, &work.join("driver"))?;
    let script = "mount --bind \"$1\" /etc/ld.so.cache && shift && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(&cache)
        .arg(worker)
        .arg("gpu-worker")
        .arg("--skiff")
        .arg(&args.skiff)
        .arg("--image")
        .arg(&args.image)
        .args(["--user", &args.user, "--rounds", &args.rounds.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .context("starting unshare")?;
    if !output.status.success() {
        bail!("measuring --nv: {}", output.status);
    }
    Ok(Ok(serde_json::from_slice(&output.stdout)?))
}

/// Measures, in the namespace that [`run`] has made.
///
/// # Errors
/// When a launch fails.
pub fn measure(args: &GpuArgs) -> Result<Times> {
    let actor = Actor::choose(Some(&args.user))?;
    let once = |options: &[&str]| -> Result<Duration> {
        let mut command = actor.command(&args.skiff);
        command
            .arg("exec")
            .args(options)
            .arg(&args.image)
            .arg("/bin/true")
            .env("SKIFF_LINGER", "1");
        workload::time(&mut command)
    };
    let mut times = Times::default();
    for round in 0..=args.rounds {
        let (without, with) = (once(&[])?, once(&["--nv"])?);
        // Round 0 warms the caches and does not count.
        if round > 0 {
            times.without.push(without.as_secs_f64());
            times.with.push(with.as_secs_f64());
        }
    }
    Ok(times)
}

/// The loader's cache of a driver in `folder`.
fn make_up(cc: &Path, ldconfig: &Path, folder: &Path) -> Result<PathBuf> {
    let cache = folder.join("ld.so.cache");
    if cache.exists() {
        return Ok(cache);
    }
    let directory = folder.join("lib");
    fs::create_dir_all(&directory)?;
    let source = folder.join("empty.c");
    fs::write(&source, "int driver(void) { return 0; }\n")?;
    for name in LIBRARIES {
        succeed(
            Command::new(cc)
                .args(["-shared", "-fPIC"])
                .arg(format!("-Wl,-soname,lib{name}.so.1"))
                .arg("-o")
                .arg(directory.join(format!("lib{name}.so.550.1")))
                .arg(&source),
        )?;
    }
    let list = folder.join("ld.so.conf");
    fs::write(&list, format!("{}\n", directory.display()))?;
    succeed(Command::new(ldconfig).arg("-n").arg(&directory))?;
    let made = Command::new(ldconfig)
        .args(["-X", "-f"])
        .arg(&list)
        .arg("-C")
        .arg(&cache)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        bail!("ldconfig could not make {}", cache.display());
    }
    Ok(cache)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{status}: {command:?}");
    }
    Ok(())
}

//! What a stage starts from, found and at hand: images by conversion, the rest by programs that
//! fetch packages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use skiff_fs::image::Image;
use skiff_launcher::room::{Build, StepError};

use super::Job;
use super::base::Base;
use crate::commands::build::PLATFORM_VARIABLES;
use crate::convert::{self, Options, Spec};
use crate::definition::{Agent, Stage};
use crate::dot_singularity::ImageConfig;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Files.
    pub(super) base: Base,
    /// What an OCI image says is to be run.
    pub(super) config: Option<ImageConfig>,
    /// Its configuration, as a SIF carries it.
    pub(super) oci_config: Option<Vec<u8>>,
}

impl Found {
    fn of(base: Base) -> Self {
        Self {
            base,
            config: None,
            oci_config: None,
        }
    }
}

/// What the process that fetches says to the build.
#[derive(Serialize, Deserialize)]
struct Answer {
    /// An image file.
    path: PathBuf,
    config: Option<Config>,
    oci_config: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct Config {
    env: Vec<String>,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// Finds what `stage` starts from, whose directory in the bundle is `directory`.
pub(super) fn find(
    job: &Job<'_>,
    build: &Build,
    stage: &Stage,
    agent: Agent,
    directory: &Path,
) -> Result<Found, StepError> {
    let from = stage.value("from").unwrap_or_default();
    match agent {
        Agent::LocalImage => Base::local(from).map(Found::of).map_err(StepError::Failed),
        agent if agent.is_oci() || agent.is_image() => {
            let answer = build.outside(|| {
                let answer = fetch(job, stage, directory).map_err(|error| format!("{error:#}"))?;
                serde_json::to_vec(&answer).map_err(|error| error.to_string())
            })?;
            taken(&answer).map_err(|error| StepError::Failed(format!("{error:#}")))
        }
        _ => Ok(Found::of(Base::Nothing)),
    }
}

/// Gets an image that is elsewhere, or of another kind, in a process that may have threads.
fn fetch(job: &Job<'_>, stage: &Stage, directory: &Path) -> anyhow::Result<Answer> {
    let bootstrap = stage.value("bootstrap").unwrap_or_default();
    let spec = Spec::new(bootstrap, &whole_name(stage))?;
    let args = job.args;
    let options = Options::new(
        &args.remote,
        &args.platform,
        PLATFORM_VARIABLES,
        job.context,
    )?
    .for_source(&spec.source);
    let base = convert::base(&spec, &options)?;
    let path = match &base.root {
        convert::Root::Directory(path) => path.clone(),
        convert::Root::Image(image) => lasting(image, directory)?,
    };
    Ok(Answer {
        path,
        config: base.oci.map(|config| Config {
            env: config.env,
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            labels: config.labels,
        }),
        oci_config: base.oci_config,
    })
}

/// The name behind `From`, with the registry and namespace of their own header lines.
fn whole_name(stage: &Stage) -> String {
    let mut name = stage.value("from").unwrap_or_default().to_owned();
    for key in ["namespace", "registry"] {
        if let Some(prefix) = stage.value(key).filter(|prefix| !prefix.is_empty()) {
            name = format!("{prefix}/{name}");
        }
    }
    name
}

/// Where `image` can be opened by its name: one that has none, as nothing is kept, is copied.
fn lasting(image: &Image, directory: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let identity = |file: &File| file.metadata().map(|it| (it.dev(), it.ino())).ok();
    let file = image.file().context("the base has no file")?;
    let named = std::path::absolute(image.path())?;
    if File::open(&named).is_ok_and(|found| identity(&found) == identity(file)) {
        return Ok(named);
    }
    let copy = directory.join("base.sif");
    let mut from = file.try_clone()?;
    io::Seek::rewind(&mut from)?;
    io::copy(&mut from, &mut File::create_new(&copy)?)
        .with_context(|| format!("writing {}", copy.display()))?;
    Ok(copy)
}

fn taken(answer: &[u8]) -> anyhow::Result<Found> {
    let answer: Answer = serde_json::from_slice(answer)?;
    let base = if answer.path.is_dir() {
        Base::Directory(answer.path)
    } else {
        Base::of_image(Image::open(&answer.path)?).map_err(anyhow::Error::msg)?
    };
    Ok(Found {
        base,
        config: answer.config.map(|config| ImageConfig {
            env: config.env,
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            labels: config.labels,
        }),
        oci_config: answer.oci_config,
    })
}

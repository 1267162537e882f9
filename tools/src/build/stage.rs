//! One stage of a definition, from its base to its tested root.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode as Bits, OFlags};
use skiff_launcher::room::{Build, Room, RootWish, StepError, lay_out};

use super::base::Base;
use super::bootstrap::{self, Found};
use super::listen::Failure;
use super::scripts::{self, ENVIRONMENT, Inside};
use super::{Job, copy, metadata, recipe, trust};
use crate::convert;
use crate::definition::{FileGroup, Origin, Section, Stage};
use crate::dot_singularity::{Begun, ImageConfig};
use crate::launch::report;
use crate::output;
use crate::text::os_error;
use crate::wire::Provider;

/// A stage that is made.
#[derive(Debug)]
pub(super) struct Made {
    /// Its root, where the room has it.
    pub(super) root: PathBuf,
    /// What its root starts from.
    pub(super) base: Base,
    /// What was changed over the base; `None`: the root itself holds all.
    pub(super) changes: Option<PathBuf>,
    /// Configuration of the OCI image that it starts from.
    pub(super) config: Option<ImageConfig>,
    /// The same, as a SIF carries it.
    pub(super) oci_config: Option<Vec<u8>>,
    /// The root is that of the target as it was.
    pub(super) updated: bool,
    /// The root has the files of an image, though no base.
    of_image: bool,
}

impl Made {
    /// What its root began as.
    fn begun(&self) -> Begun<'_> {
        match (&self.config, &self.base) {
            (Some(config), _) => Begun::Oci(config),
            (None, Base::Nothing) if !self.of_image => Begun::Agent,
            (None, _) => Begun::Image,
        }
    }
}

/// A failure with the words that Apptainer puts before it.
pub(super) fn worded(error: StepError, words: &str) -> StepError {
    match error {
        StepError::Failed(reason) => StepError::Failed(format!("{words}{reason}")),
        other => other,
    }
}

/// Does something in the room that has nothing to say but that it failed.
pub(super) fn inside(
    room: &Room<'_>,
    work: impl FnOnce() -> Result<(), String>,
) -> Result<(), StepError> {
    room.inside(|| work().map(|()| Vec::new())).map(drop)
}

/// Makes a stage in its own directory of the bundle; `earlier` are those before it.
pub(super) fn make(
    job: &Job<'_>,
    build: &Build,
    room: &Room<'_>,
    stage: &Stage,
    earlier: &[Made],
) -> Result<Made, StepError> {
    let number = earlier.len();
    let is_last = number + 1 == job.definition.stages.len();
    let directory = job.bundle.path().join(number.to_string());
    make_directory(&directory, 0o700)?;
    let root = directory.join("rootfs");
    let of_file = |section: &Section, failure: Failure| job.at(section, failure);

    if !stage.pre.is_empty() {
        output::info("Running pre scriptlet");
        let script = directory.join("pre");
        inside(room, || {
            on_host(&stage.pre, "pre", &script, &root)
                .map_err(|failure| of_file(&stage.pre, failure))
        })
        .map_err(|error| worded(error, "failed to run %pre script: "))?;
    }
    let updated = is_last && job.args.target.update && !job.args.target.force;
    let made = if updated {
        update(job)
    } else {
        begin(job, build, room, stage, &directory, root)?
    };
    let root = &made.root;
    inside(room, || metadata::prepare(stage, &made, made.begun()))
        .map_err(|error| worded(error, "packer failed to pack: "))?;
    for app in &stage.apps {
        inside(room, || metadata::app_files(app, &made))
            .map_err(|error| worded(error, "unable to copy files from host to container fs: "))?;
    }
    if job.sections.has("files") {
        from_stages(job, room, stage, earlier, root)?;
    }
    if job.sections.has("setup") && !stage.setup.is_empty() {
        output::info("Running setup scriptlet");
        let script = directory.join("setup");
        inside(room, || {
            on_host(&stage.setup, "setup", &script, root)
                .map_err(|failure| of_file(&stage.setup, failure))
        })
        .map_err(|error| worded(error, "failed to run %setup script: "))?;
    }
    if job.sections.has("files") {
        from_host(room, stage, root)?;
    }
    let binds = network_files(&directory);
    let launch = Inside {
        personality: job.context.personality,
        args: &job.args.definition,
        config: job.context.config.as_deref(),
        mode: &job.mode,
        root,
        binds: &binds,
    };
    let post = stage.post_script();
    if !post.is_empty() {
        output::info("Running post scriptlet");
        inside(room, || {
            run_post(stage, &post, &launch).map_err(|failure| of_file(&stage.post, failure))
        })
        .map_err(|error| worded(error, "while running engine: "))?;
    }
    inside(room, || metadata::insert(job, stage, &made))
        .map_err(|error| worded(error, "while inserting metadata to bundle: "))?;
    let tests = job.sections.has("test") && !job.args.definition.notest;
    if tests && !stage.test.is_empty() {
        output::info("Running testscript");
        inside(room, || {
            launch
                .test()
                .map_err(|failure| of_file(&stage.test, failure))
        })
        .map_err(|error| worded(error, "failed to execute %test script: "))?;
    }
    Ok(made)
}

fn make_directory(path: &Path, mode: u32) -> Result<(), StepError> {
    fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .map_err(|error| {
            StepError::Failed(format!("mkdir {}: {}", path.display(), os_error(&error)))
        })
}

/// The target of `--update` as the root.
fn update(job: &Job<'_>) -> Made {
    output::info(format_args!(
        "Building into existing container: {}",
        job.target.display()
    ));
    Made {
        root: job.target.clone(),
        base: Base::Nothing,
        changes: None,
        config: None,
        oci_config: None,
        updated: true,
        of_image: true,
    }
}

/// Makes the root from the stage's base.
fn begin(
    job: &Job<'_>,
    build: &Build,
    room: &Room<'_>,
    stage: &Stage,
    directory: &Path,
    root: PathBuf,
) -> Result<Made, StepError> {
    let conveyor = |reason: String| StepError::Failed(format!("conveyor failed to get: {reason}"));
    let agent = stage.agent().map_err(conveyor)?;
    let found = bootstrap::find(job, build, stage, agent, directory)
        .map_err(|error| worded(error, "conveyor failed to get: "))?;
    let Found {
        base,
        config,
        mut oci_config,
    } = found;
    if let (None, Base::Image(image)) = (&oci_config, &base) {
        // What the image was made of stays known.
        oci_config = convert::oci_config(image).map_err(|error| conveyor(format!("{error:#}")))?;
    }
    if let Base::Image(image) = &base
        && agent.is_image()
    {
        build
            .outside(|| trust::check(stage, image, job.context).map(|()| Vec::new()))
            .map_err(|error| worded(error, "conveyor failed to get: "))?;
    }
    make_directory(&root, 0o755)?;
    if let Base::Directory(path) = &base
        && !job.mode.has_owners_in(path)
    {
        // An overlay would show files of nobody's, which not even its root could change.
        output::info(format_args!(
            "Copying {}: files of other users cannot be built upon in place",
            path.display()
        ));
        inside(room, || {
            let source = open_root(path)?;
            copy::everything(source.as_fd(), open_root(&root)?.as_fd())
        })
        .map_err(|error| worded(error, "packer failed to pack: "))?;
        return Ok(Made {
            root,
            base: Base::Nothing,
            changes: None,
            config,
            oci_config,
            updated: false,
            of_image: true,
        });
    }
    let Some(lower) = base.for_room() else {
        recipe::follow(job, build, room, stage, agent, &root)
            .map_err(|error| worded(error, "conveyor failed to get: "))?;
        return Ok(Made {
            root,
            base,
            changes: None,
            config,
            oci_config,
            updated: false,
            of_image: false,
        });
    };
    let changes = directory.join("changes");
    make_directory(&changes, 0o700)?;
    inside(room, || {
        lay_out(
            &RootWish {
                base: &lower,
                changes: &changes,
                place: &root,
                ids: job.mode.ids.as_ref(),
                user_namespace: job.mode.user_namespace,
            },
            &mut Provider::new(None),
            &mut report,
        )
        .map_err(|error| crate::text::chain(&error))
    })
    .map_err(|error| worded(error, "packer failed to pack: "))?;
    Ok(Made {
        root,
        base,
        changes: Some(changes.join("upper")),
        config,
        oci_config,
        updated: false,
        of_image: true,
    })
}

/// Runs a section on the host.
fn on_host(section: &Section, name: &str, script: &Path, root: &Path) -> Result<(), Failure> {
    scripts::write(script, &section.body)?;
    let command = section.shell_command(name, &script.to_string_lossy())?;
    let variables: [(&str, &OsStr); 4] = [
        ("APPTAINER_ROOTFS", root.as_os_str()),
        ("SINGULARITY_ROOTFS", root.as_os_str()),
        ("APPTAINER_ENVIRONMENT", ENVIRONMENT.as_ref()),
        ("SINGULARITY_ENVIRONMENT", ENVIRONMENT.as_ref()),
    ];
    scripts::on_host(&command, &variables)
}

/// Opens a root in the room.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Bits::empty())
        .map_err(|error| format!("{}: {}", path.display(), os_error(&error.into())))
}

fn from_stages(
    job: &Job<'_>,
    room: &Room<'_>,
    stage: &Stage,
    earlier: &[Made],
    root: &Path,
) -> Result<(), StepError> {
    let words = "unable to copy files from stage to container fs: ";
    for group in &stage.files {
        let Origin::Stage(name) = group.origin() else {
            continue;
        };
        let failed = |reason: String| StepError::Failed(format!("{words}{reason}"));
        let found = job.definition.stage_called(name);
        let number = found.map_err(|error| failed(error.to_string()))?;
        let source = earlier
            .get(number)
            .ok_or_else(|| failed(format!("stage {name} was not found")))?;
        for file in &group.files {
            if file.source.is_empty() {
                output::warning("Attempt to copy file with no name, skipping.");
                continue;
            }
            output::info(format_args!("Copying {} to {}", file.source, file.target));
            inside(room, || {
                let source = open_root(&source.root)?;
                let root = open_root(root)?;
                copy::from_stage(&file.source, &file.target, source.as_fd(), root.as_fd())
            })
            .map_err(|error| worded(error, words))?;
        }
    }
    Ok(())
}

fn from_host(room: &Room<'_>, stage: &Stage, root: &Path) -> Result<(), StepError> {
    let groups = |group: &&FileGroup| group.origin() == Origin::Host;
    for file in stage
        .files
        .iter()
        .filter(groups)
        .flat_map(|group| &group.files)
    {
        if file.source.is_empty() {
            output::warning("Attempt to copy file with no name, skipping.");
            continue;
        }
        output::info(format_args!("Copying {} to {}", file.source, file.target));
        inside(room, || {
            let root = open_root(root)?;
            copy::from_host(&file.source, &file.target, root.as_fd())
        })
        .map_err(|error| worded(error, "unable to copy files from host to container fs: "))?;
    }
    Ok(())
}

/// Copies of what the container needs to find the network: what the build changes in them is
/// nobody else's.
fn network_files(directory: &Path) -> Vec<(PathBuf, &'static str)> {
    [("resolv.conf", "/etc/resolv.conf"), ("hosts", "/etc/hosts")]
        .into_iter()
        .filter_map(|(name, path)| {
            let copy = directory.join(name);
            // A host without one has a container without one.
            let content = fs::read(path).ok()?;
            fs::write(&copy, content).ok()?;
            Some((copy, path))
        })
        .collect()
}

fn run_post(stage: &Stage, text: &str, launch: &Inside<'_>) -> Result<(), Failure> {
    let root = open_root(launch.root)?;
    let name = scripts::POST;
    metadata::place_file(root.as_fd(), name, text.as_bytes(), 0o755)?;
    let command = stage.post.shell_command("post", name)?;
    let done = launch.post(&command);
    metadata::remove_file(root.as_fd(), name);
    done.map_err(|failure| Failure {
        reason: format!("while running %post section: {}", failure.reason),
        ..failure
    })
}

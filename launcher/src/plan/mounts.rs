//! The ordered mount steps and the bind points that they need (compat reference, sections 5-11).
//!
//! A bind point is asked for only where no step before covers the place: what lies in a bound
//! directory is made there, and the fewer bind points, the more launches share a view.

mod drivers;
mod site;

use std::path::{Path, PathBuf};

use super::identity::IdentityPlan;
use super::namespaces::{NamespacePlan, UserNamespace};
use super::userbinds::{self, DevState, UserBinds};
use super::{WritingPlan, clean, host_home, working};
use crate::config::{Config, DevWish};
use crate::error::LaunchError;
use crate::fakeroot;
use crate::gpu::GpuPlan;
use crate::host::{HostFacts, HostPaths, PathKind};
use crate::identity::{self, GroupEdit, PasswdEdit};
use crate::mount::device::BASIC_NODES;
use crate::mount::{
    Condition, CreateDirectory, DeviceDirectory, FileContent, MissingDestination, MountFlags,
    MountSource, MountStep, MountTag,
};
use crate::report::{Level, Report};
use crate::request::{HomeWish, LaunchRequest};
use crate::rootfs::{BindPoint, BindPointKind};

/// Group of terminals on every distribution.
const TTY_GROUP: u32 = 5;

/// Names that `--no-mount` knows.
const NO_MOUNT_NAMES: [&str; 9] = [
    "proc",
    "sys",
    "dev",
    "devpts",
    "home",
    "tmp",
    "hostfs",
    "cwd",
    "bind-paths",
];

/// Temporary directories and their names below `--workdir`.
const TMP: [(&str, &str); 2] = [("/tmp", "tmp"), ("/var/tmp", "var_tmp")];

/// What the steps depend on.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) request: &'a LaunchRequest,
    pub(super) config: &'a Config,
    pub(super) facts: &'a HostFacts,
    pub(super) paths: &'a dyn HostPaths,
    pub(super) namespaces: &'a NamespacePlan,
    pub(super) identity: &'a IdentityPlan,
    pub(super) writing: &'a WritingPlan,
    pub(super) home: &'a Path,
}

impl Inputs<'_> {
    /// Whether the container is in the machine's own user namespace.
    fn has_all_ids(&self) -> bool {
        self.namespaces.user == UserNamespace::Host && !self.facts.is_mapped_root
    }

    /// Whether `--no-mount` names it.
    fn unwanted(&self, name: &str) -> bool {
        self.request.no_mount.iter().any(|item| item == name)
    }

    /// `path` counted from the working directory.
    fn absolute(&self, path: &Path) -> PathBuf {
        clean(&self.request.host_cwd.join(path))
    }

    /// `--workdir`.
    fn workdir(&self) -> Option<PathBuf> {
        Some(self.absolute(self.request.workdir.as_deref()?))
    }
}

/// Plans all steps.
pub(super) fn plan(
    inputs: &Inputs<'_>,
    mut gpu: GpuPlan,
    report: &mut Report<'_>,
) -> Result<(Vec<MountStep>, Vec<BindPoint>), LaunchError> {
    for name in &inputs.request.no_mount {
        if !NO_MOUNT_NAMES.contains(&name.as_str()) && !name.starts_with('/') {
            report(
                Level::Warning,
                &format!("Ignoring unknown mount type '{name}'"),
            );
        }
    }
    let mut list = StepList::default();
    drivers::add_named(&mut gpu, inputs)?;
    let binds = dev(inputs, std::mem::take(&mut gpu.devices), &mut list, report)?;
    site::hostfs(inputs, &mut list, report);
    site::config_binds(inputs, &mut list, report)?;
    kernel(inputs, &mut list);
    // A home below /tmp would be hidden by it.
    let home_in_tmp = TMP.iter().any(|(tmp, _)| {
        let home = clean(inputs.home);
        home.starts_with(tmp) && home != Path::new(tmp)
    });
    if !home_in_tmp {
        home(inputs, &mut list, report)?;
    }
    tmp(inputs, &mut list, report);
    if home_in_tmp {
        home(inputs, &mut list, report)?;
    }
    scratch(inputs, &mut list)?;
    files(inputs, &mut list);
    drivers::add(gpu, inputs, &binds, &mut list, report);
    fakeroot_files(inputs, &mut list);
    user_binds(inputs, &binds, &mut list);
    cwd(inputs, &mut list, report);
    Ok((list.steps, list.points))
}

/// Steps and bind points so far.
#[derive(Default)]
struct StepList {
    steps: Vec<MountStep>,
    points: Vec<BindPoint>,
    /// Directories whose content is certainly not the image's.
    covered: Vec<PathBuf>,
}

/// How a step's destination comes to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Point {
    /// The image has it or it is made.
    Made(PathKind),
    /// As `Made`, unless a link or a file is on the way.
    MadeThroughDirectories,
    /// Only the image can have it.
    Image,
}

impl StepList {
    fn add(&mut self, step: MountStep, point: Point) {
        let path = &step.destination;
        if !self.covered.iter().any(|covered| path.starts_with(covered)) {
            let (kind, only_through_directories) = match point {
                Point::Made(PathKind::Directory) => (Some(BindPointKind::Directory), false),
                Point::Made(PathKind::File) => (Some(BindPointKind::File), false),
                Point::MadeThroughDirectories => (Some(BindPointKind::Directory), true),
                Point::Image => (None, false),
            };
            if let Some(kind) = kind
                && !self.points.iter().any(|point| point.path == *path)
            {
                self.points.push(BindPoint {
                    path: path.clone(),
                    kind,
                    only_through_directories,
                });
            }
        }
        if point == Point::Made(PathKind::Directory) {
            self.covered.push(path.clone());
        }
        self.steps.push(step);
    }
}

fn step(tag: MountTag, source: MountSource, destination: &Path) -> MountStep {
    MountStep {
        tag,
        source,
        destination: destination.to_owned(),
        flags: MountFlags::BIND,
        missing: MissingDestination::Warn,
        condition: Condition::Always,
    }
}

fn host(path: impl Into<PathBuf>) -> MountSource {
    MountSource::Host { path: path.into() }
}

/// /dev, and with it the user's binds, because some of them are about /dev.
fn dev(
    inputs: &Inputs<'_>,
    gpus: Vec<PathBuf>,
    list: &mut StepList,
    report: &mut Report<'_>,
) -> Result<UserBinds, LaunchError> {
    let Inputs {
        request, config, ..
    } = inputs;
    let minimal = request.contain || config.mount_dev == DevWish::Minimal;
    let nodes: Vec<PathBuf> = BASIC_NODES.iter().map(PathBuf::from).chain(gpus).collect();
    let mut binds = if config.user_bind_control {
        let state = DevState {
            minimal,
            nodes: &nodes,
        };
        userbinds::resolve(request, inputs.paths, state, report)?
    } else {
        for bind in &request.binds {
            let source = inputs.absolute(&bind.source);
            report(
                Level::Warning,
                &format!(
                    "Ignoring {} bind mount: user bind control disabled by system administrator",
                    source.display()
                ),
            );
        }
        UserBinds::default()
    };
    if inputs.unwanted("dev") || config.mount_dev == DevWish::No {
        return Ok(binds);
    }
    let directory = Path::new("/dev");
    let source = if minimal && !binds.whole_dev {
        let mut nodes = nodes;
        nodes.append(&mut binds.devices);
        MountSource::Devices(DeviceDirectory {
            nodes,
            console: inputs.facts.terminal.clone(),
            pts: config.mount_devpts && !inputs.unwanted("devpts"),
            message_queues: inputs.namespaces.ipc,
            tty_group: inputs.has_all_ids().then_some(TTY_GROUP),
        })
    } else {
        host(directory)
    };
    list.add(
        MountStep {
            flags: MountFlags::KEEP,
            ..step(MountTag::Dev, source, directory)
        },
        Point::Made(PathKind::Directory),
    );
    Ok(binds)
}

fn kernel(inputs: &Inputs<'_>, list: &mut StepList) {
    let mut add = |source, path: &str| {
        list.add(
            MountStep {
                flags: MountFlags::KEEP,
                ..step(MountTag::Kernel, source, Path::new(path))
            },
            Point::Made(PathKind::Directory),
        );
    };
    if inputs.config.mount_proc && !inputs.unwanted("proc") {
        let source = if inputs.namespaces.pid.is_some() {
            MountSource::Proc
        } else {
            host("/proc")
        };
        add(source, "/proc");
    }
    if inputs.config.mount_sys && !inputs.unwanted("sys") {
        let source = if inputs.has_all_ids() {
            MountSource::Sysfs
        } else {
            host("/sys")
        };
        add(source, "/sys");
    }
}

fn home(
    inputs: &Inputs<'_>,
    list: &mut StepList,
    report: &mut Report<'_>,
) -> Result<(), LaunchError> {
    let Inputs {
        request, config, ..
    } = inputs;
    if !config.mount_home || inputs.unwanted("home") {
        return Ok(());
    }
    let custom = match &request.home {
        HomeWish::None => return Ok(()),
        HomeWish::Default => None,
        HomeWish::Custom { .. } if !config.user_bind_control => {
            return Err(LaunchError::HomeRefused);
        }
        HomeWish::Custom {
            source,
            destination,
        } => {
            let source = inputs.absolute(source);
            if !destination.is_absolute() {
                return Err(LaunchError::RelativeHome {
                    source_path: source,
                    path: destination.clone(),
                });
            }
            Some(source)
        }
    };
    let destination = clean(inputs.home);
    if destination == Path::new("/") {
        report(
            Level::Warning,
            "Skipping impossible home directory mount to '/'",
        );
        return Ok(());
    }
    let source = match (custom, request.contain, inputs.workdir()) {
        (None, true, Some(workdir)) => MountSource::HostDirectory {
            path: workdir.join("home"),
            mode: 0o700,
            create: CreateDirectory::Last,
        },
        (None, true, None) => MountSource::EmptyDirectory { mode: 0o755 },
        (custom, _, _) => {
            let source = custom.unwrap_or_else(|| host_home(request, inputs.facts));
            if inputs.paths.kind(&source).is_ok() {
                host(source)
            } else {
                MountSource::EmptyDirectory { mode: 0o755 }
            }
        }
    };
    list.add(
        MountStep {
            missing: MissingDestination::CreateOrFail,
            ..step(MountTag::Home, source, &destination)
        },
        Point::Made(PathKind::Directory),
    );
    Ok(())
}

fn tmp(inputs: &Inputs<'_>, list: &mut StepList, report: &mut Report<'_>) {
    if !inputs.config.mount_tmp || inputs.unwanted("tmp") {
        return;
    }
    // The home directory below it is used all the same, as Apptainer does.
    if inputs.request.contain && inputs.workdir().is_some() && !inputs.config.user_bind_control {
        report(
            Level::Warning,
            "User bind control is disabled by system administrator",
        );
        return;
    }
    for (path, name) in TMP {
        let source = match (inputs.request.contain, inputs.workdir()) {
            (true, Some(workdir)) => MountSource::HostDirectory {
                path: workdir.join(name),
                mode: 0o1777,
                create: CreateDirectory::Last,
            },
            (true, None) => MountSource::EmptyDirectory { mode: 0o1777 },
            (false, _) => host(path),
        };
        let mut step = step(MountTag::Tmp, source, Path::new(path));
        if path != "/tmp" {
            step.condition = Condition::UnlessSameAs(PathBuf::from("/tmp"));
        }
        list.add(step, Point::Image);
    }
}

fn scratch(inputs: &Inputs<'_>, list: &mut StepList) -> Result<(), LaunchError> {
    if !inputs.config.user_bind_control {
        return Ok(());
    }
    for path in &inputs.request.scratch {
        if !path.is_absolute() {
            return Err(LaunchError::RelativeScratch { path: path.clone() });
        }
        let destination = clean(path);
        if list
            .steps
            .iter()
            .any(|step| step.tag == MountTag::Scratch && step.destination == destination)
        {
            continue;
        }
        let source = match inputs.workdir() {
            Some(workdir) => MountSource::HostDirectory {
                path: workdir
                    .join("scratch")
                    .join(destination.strip_prefix("/").unwrap_or(&destination)),
                mode: 0o750,
                create: CreateDirectory::All,
            },
            None => MountSource::EmptyDirectory { mode: 0o755 },
        };
        list.add(
            MountStep {
                missing: MissingDestination::CreateOrFail,
                ..step(MountTag::Scratch, source, &destination)
            },
            Point::Made(PathKind::Directory),
        );
    }
    Ok(())
}

fn files(inputs: &Inputs<'_>, list: &mut StepList) {
    let Inputs {
        request,
        config,
        facts,
        identity: who,
        ..
    } = inputs;
    let mut add = |content, path: &str, point| {
        list.add(
            MountStep {
                // What root's generated files may hold is no different, but devices have no
                // business among them.
                flags: MountFlags::BIND,
                ..step(MountTag::Files, MountSource::File(content), Path::new(path))
            },
            point,
        );
    };
    if config.config_resolv_conf && !inputs.unwanted("/etc/resolv.conf") {
        let content = if request.dns.is_empty() {
            FileContent::HostCopy(PathBuf::from("/etc/resolv.conf"))
        } else {
            FileContent::Text(identity::resolv_conf(&request.dns))
        };
        add(content, "/etc/resolv.conf", Point::Made(PathKind::File));
    }
    if let Some(name) = request.hostname.as_ref().filter(|_| inputs.namespaces.uts) {
        add(
            FileContent::Text(format!("{name}\n")),
            "/etc/hostname",
            Point::Made(PathKind::File),
        );
    }
    // Whoever is root of a root that he writes to manages its users himself.
    if who.uid == 0 && inputs.writing.is_writable() {
        return;
    }
    if config.config_passwd {
        let edit = PasswdEdit {
            name: who.user.name.clone(),
            uid: who.uid,
            seen_as: who.ids.as_ref().map_or(who.uid, |ids| ids.ids().0),
            gid: who.gid,
            gecos: who.user.gecos.clone(),
            home: inputs.home.to_string_lossy().into_owned(),
            shell: who.user.shell.clone(),
        };
        add(FileContent::Passwd(edit), "/etc/passwd", Point::Image);
    }
    if config.config_group {
        let edit = GroupEdit {
            user: facts.user.name.clone(),
            groups: who
                .groups
                .iter()
                .map(|group| (group.name.clone(), group.gid))
                .collect(),
        };
        add(FileContent::Group(edit), "/etc/group", Point::Image);
    }
}

/// A place for the fakeroot command, which comes by binds, or for what replaces it.
fn fakeroot_files(inputs: &Inputs<'_>, list: &mut StepList) {
    if inputs.identity.command.is_none() && !inputs.identity.pretends {
        return;
    }
    let directory = Path::new(if inputs.identity.pretends {
        fakeroot::SETTINGS
    } else {
        fakeroot::LIBRARIES
    });
    if !list.steps.iter().any(|step| step.destination == directory) {
        list.add(
            MountStep {
                // A directory that is written to gets it, empty.
                missing: MissingDestination::CreateOrFail,
                ..step(
                    MountTag::Files,
                    MountSource::EmptyDirectory { mode: 0o755 },
                    directory,
                )
            },
            Point::Made(PathKind::Directory),
        );
    }
    if inputs.identity.pretends {
        let text = FileContent::Text(fakeroot::APT_SETTINGS.to_owned());
        list.add(
            MountStep {
                missing: MissingDestination::CreateOrFail,
                ..step(
                    MountTag::Files,
                    MountSource::File(text),
                    Path::new(fakeroot::APT_CONFIGURATION),
                )
            },
            Point::Made(PathKind::File),
        );
    }
}

fn user_binds(inputs: &Inputs<'_>, binds: &UserBinds, list: &mut StepList) {
    for bind in &binds.binds {
        let source = match &bind.image {
            Some((layer, inside)) => MountSource::Image {
                number: inputs
                    .writing
                    .images
                    .iter()
                    .position(|image| image == layer)
                    .unwrap_or(usize::MAX),
                image: bind.source.clone(),
                inside: inside.clone(),
            },
            None => host(&bind.source),
        };
        list.add(
            MountStep {
                flags: MountFlags {
                    read_only: bind.read_only,
                    ..MountFlags::BIND
                },
                missing: MissingDestination::CreateOrFail,
                ..step(MountTag::Userbinds, source, &bind.destination)
            },
            Point::Made(bind.kind),
        );
    }
}

fn cwd(inputs: &Inputs<'_>, list: &mut StepList, report: &mut Report<'_>) {
    let Inputs {
        request, config, ..
    } = inputs;
    if request.contain {
        return;
    }
    if !config.user_bind_control {
        report(
            Level::Warning,
            "Not mounting current directory: user bind control is disabled by system administrator",
        );
        return;
    }
    if inputs.unwanted("cwd") {
        return;
    }
    let path = &request.host_cwd;
    let Ok(real) = inputs.paths.canonical(path) else {
        return;
    };
    if !working::may_be_mounted(path) || !working::may_be_mounted(&real) {
        return;
    }
    list.add(
        MountStep {
            missing: MissingDestination::Skip,
            condition: Condition::UnlessPresent,
            ..step(MountTag::Cwd, host(path), &clean(path))
        },
        Point::MadeThroughDirectories,
    );
}

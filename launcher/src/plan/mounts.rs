//! The ordered mount steps and the bind points that they need (compat reference, sections 5-11).
//!
//! A bind point is asked for only where no step before covers the place: what lies in a bound
//! directory is made there, and the fewer bind points, the more launches share a view.

use std::path::{Path, PathBuf};

use super::namespaces::{NamespacePlan, UserNamespace};
use super::userbinds::{self, DevState, UserBinds};
use super::{clean, host_home, working};
use crate::config::{Config, DevWish};
use crate::error::{LaunchError, reason};
use crate::host::{HostFacts, HostPaths, PathKind};
use crate::identity::{self, GroupEdit, LOCAL_HOSTS, PasswdEdit};
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

/// Mounts under `/` that `mount hostfs` leaves to the container.
const NOT_HOSTFS: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/boot", "/var"];

/// What the steps depend on.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) request: &'a LaunchRequest,
    pub(super) config: &'a Config,
    pub(super) facts: &'a HostFacts,
    pub(super) paths: &'a dyn HostPaths,
    pub(super) namespaces: &'a NamespacePlan,
    pub(super) home: &'a Path,
}

impl Inputs<'_> {
    /// Whether `--no-mount` names it.
    fn unwanted(&self, name: &str) -> bool {
        self.request.no_mount.iter().any(|item| item == name)
    }

    /// `path` counted from the working directory.
    fn absolute(&self, path: &Path) -> PathBuf {
        clean(&self.request.host_cwd.join(path))
    }

    /// `--workdir`, where the user may choose it.
    fn workdir(&self) -> Option<PathBuf> {
        let workdir = self.request.workdir.as_deref()?;
        self.config
            .user_bind_control
            .then(|| self.absolute(workdir))
    }
}

/// Plans all steps.
pub(super) fn plan(
    inputs: &Inputs<'_>,
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
    let binds = dev(inputs, &mut list, report)?;
    hostfs(inputs, &mut list, report);
    config_binds(inputs, &mut list, report);
    kernel(inputs, &mut list);
    // A home below /tmp would be hidden by it.
    let home_in_tmp = TMP.iter().any(|(tmp, _)| {
        let home = clean(inputs.home);
        home.starts_with(tmp) && home != Path::new(tmp)
    });
    if !home_in_tmp {
        home(inputs, &mut list, report)?;
    }
    tmp(inputs, &mut list);
    if home_in_tmp {
        home(inputs, &mut list, report)?;
    }
    scratch(inputs, &mut list)?;
    files(inputs, &mut list);
    user_binds(&binds, &mut list);
    cwd(inputs, &mut list);
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
    list: &mut StepList,
    report: &mut Report<'_>,
) -> Result<UserBinds, LaunchError> {
    let Inputs {
        request, config, ..
    } = inputs;
    let minimal = request.contain || config.mount_dev == DevWish::Minimal;
    let nodes: Vec<PathBuf> = BASIC_NODES.iter().map(PathBuf::from).collect();
    let mut binds = if config.user_bind_control {
        let state = DevState {
            minimal,
            nodes: &nodes,
        };
        userbinds::resolve(request, inputs.paths, state, report)?
    } else {
        if !request.binds.is_empty() {
            report(
                Level::Warning,
                "Ignoring user bind request: user bind control disabled by system administrator",
            );
        }
        UserBinds::default()
    };
    if inputs.unwanted("dev") || config.mount_dev == DevWish::No && !request.contain {
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
            tty_group: (inputs.namespaces.user == UserNamespace::Host).then_some(TTY_GROUP),
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

fn hostfs(inputs: &Inputs<'_>, list: &mut StepList, report: &mut Report<'_>) {
    if !inputs.config.mount_hostfs || inputs.request.contain || inputs.unwanted("hostfs") {
        return;
    }
    let mounts = inputs.paths.root_mounts().unwrap_or_else(|error| {
        report(
            Level::Warning,
            &format!("Skipping hostfs mounts: {}", reason(&error)),
        );
        Vec::new()
    });
    for path in mounts {
        if NOT_HOSTFS.iter().any(|not| path == Path::new(not)) {
            continue;
        }
        if let Ok(kind) = inputs.paths.kind(&path) {
            list.add(
                step(MountTag::Hostfs, host(&path), &path),
                Point::Made(kind),
            );
        }
    }
}

/// Binds of the configuration. Contained runs only get the clock and the hosts file; with a
/// network of its own even the hosts file is another one.
fn config_binds(inputs: &Inputs<'_>, list: &mut StepList, report: &mut Report<'_>) {
    let Inputs {
        request, config, ..
    } = inputs;
    if inputs.unwanted("bind-paths") {
        return;
    }
    let hosts = Path::new("/etc/hosts");
    for (source, destination) in &config.bind_paths {
        let destination = clean(destination);
        let named = destination.to_string_lossy();
        if inputs.unwanted(&named) {
            continue;
        }
        if request.contain && destination != hosts && destination != Path::new("/etc/localtime") {
            continue;
        }
        if request.contain && inputs.namespaces.net && destination == hosts {
            list.add(
                step(
                    MountTag::Binds,
                    MountSource::File(FileContent::Text(LOCAL_HOSTS.to_owned())),
                    hosts,
                ),
                Point::Made(PathKind::File),
            );
            continue;
        }
        match inputs.paths.kind(source) {
            Ok(kind) => list.add(
                step(MountTag::Binds, host(source), &destination),
                Point::Made(kind),
            ),
            Err(error) => report(
                Level::Verbose,
                &format!(
                    "Skipping mount {} [binds]: {}",
                    source.display(),
                    reason(&error)
                ),
            ),
        }
    }
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
        let source = if inputs.namespaces.user == UserNamespace::Host {
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

fn tmp(inputs: &Inputs<'_>, list: &mut StepList) {
    if !inputs.config.mount_tmp || inputs.unwanted("tmp") {
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
    if config.config_passwd {
        let edit = PasswdEdit {
            name: facts.user.name.clone(),
            uid: facts.uid,
            gid: facts.gid,
            gecos: facts.user.gecos.clone(),
            home: inputs.home.to_string_lossy().into_owned(),
            shell: facts.user.shell.clone(),
        };
        add(FileContent::Passwd(edit), "/etc/passwd", Point::Image);
    }
    if config.config_group {
        let edit = GroupEdit {
            user: facts.user.name.clone(),
            groups: facts
                .groups
                .iter()
                .map(|group| (group.name.clone(), group.gid))
                .collect(),
        };
        add(FileContent::Group(edit), "/etc/group", Point::Image);
    }
}

fn user_binds(binds: &UserBinds, list: &mut StepList) {
    for bind in &binds.binds {
        list.add(
            MountStep {
                flags: MountFlags {
                    read_only: bind.read_only,
                    ..MountFlags::BIND
                },
                missing: MissingDestination::CreateOrFail,
                ..step(MountTag::Userbinds, host(&bind.source), &bind.destination)
            },
            Point::Made(bind.kind),
        );
    }
}

fn cwd(inputs: &Inputs<'_>, list: &mut StepList) {
    let Inputs {
        request, config, ..
    } = inputs;
    if request.contain || inputs.unwanted("cwd") || !config.user_bind_control {
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

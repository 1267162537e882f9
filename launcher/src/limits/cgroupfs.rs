//! Control groups made by hand: by root anywhere, by others in a subtree that belongs to them.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Access;
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use super::convert::{self, Setting, Version};
use crate::error::reason;
use crate::kernel::{self, Fork};
use crate::request::limits::Resources;

/// Where groups of root are gathered, below the mounts of each hierarchy.
pub(super) const PARENT: &str = "skiff";

/// The control groups of a machine, and where the calling process stands in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Machine {
    /// `/sys/fs/cgroup`.
    mounts: PathBuf,
    /// Mount of the version 2 hierarchy.
    two: Option<PathBuf>,
    /// Group of the calling process in it.
    own: String,
}

impl Machine {
    /// This machine.
    pub(super) fn here() -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup")
            .map_err(|error| format!("open /proc/self/cgroup: {}", reason(&error)))?;
        Ok(Self::of(Path::new("/sys/fs/cgroup"), &own))
    }

    fn of(mounts: &Path, own: &str) -> Self {
        let two = [mounts.to_owned(), mounts.join("unified")]
            .into_iter()
            .find(|mount| mount.join("cgroup.controllers").exists());
        Self {
            mounts: mounts.to_owned(),
            two,
            own: group_in(own, None).unwrap_or("/").to_owned(),
        }
    }

    /// Whether version 2 is all there is.
    pub(super) fn is_unified(&self) -> bool {
        self.two.as_deref() == Some(&self.mounts)
    }

    /// The directories of those groups in the text of a `/proc/N/cgroup` that `wanted` holds for.
    pub(super) fn groups(&self, text: &str, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        text.lines()
            .filter_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
                let mount = match names {
                    "" if number == "0" => self.two.clone()?,
                    names => self
                        .mounts
                        .join(names.strip_prefix("name=").unwrap_or(names)),
                };
                wanted(path).then(|| below(&mount, path))
            })
            .collect()
    }

    /// The version 2 group of the calling process, as it is now.
    pub(super) fn own_group(&self) -> Result<PathBuf, String> {
        let text = fs::read_to_string("/proc/self/cgroup")
            .map_err(|error| format!("open /proc/self/cgroup: {}", reason(&error)))?;
        let two = self.two.as_deref().unwrap_or(&self.mounts);
        Ok(below(two, group_in(&text, None).unwrap_or("/")))
    }
}

/// The group named in the text of a `/proc/N/cgroup`: of the version 1 hierarchy with
/// `controller`, or of version 2.
pub(super) fn group_in<'a>(text: &'a str, controller: Option<&str>) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let number = fields.next()?;
        let names = fields.next()?;
        let path = fields.next()?;
        let fits = match controller {
            None => number == "0" && names.is_empty(),
            Some(wanted) => names.split(',').any(|name| name == wanted),
        };
        fits.then_some(path)
    })
}

pub(super) fn below(mount: &Path, group: &str) -> PathBuf {
    mount.join(group.trim_start_matches('/'))
}

fn has_word(file: &Path, word: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|found| found == word))
}

fn wrote(file: &Path, value: &str) -> Result<(), String> {
    try_write(file, value).map_err(|error| {
        format!(
            "failed to write {value:?}: write {}: {}",
            file.display(),
            reason(&error)
        )
    })
}

/// One write, never making the file: that is the kernel's.
fn try_write(file: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(value.as_bytes())
}

/// Moves the calling process into `group`.
pub(super) fn add_self(group: &Path) -> Result<(), String> {
    wrote(&group.join("cgroup.procs"), "0")
}

/// Directories made so far, the innermost last; they go unless the group is entered.
#[derive(Default)]
struct Made {
    groups: Vec<PathBuf>,
    kept: bool,
}

impl Made {
    /// Makes a directory; one that is there stays there.
    fn group(&mut self, path: &Path) -> Result<(), String> {
        // The launcher has no mask of its own at this point.
        match fs::DirBuilder::new().mode(0o755).create(path) {
            Ok(()) => {
                self.groups.push(path.to_owned());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(format!("mkdir {}: {}", path.display(), reason(&error))),
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.kept {
            for group in self.groups.iter().rev() {
                // Where it does not go, it stays: empty and harmless.
                fs::remove_dir(group).ok();
            }
        }
    }
}

/// Writes `settings` to the files of `group`.
fn apply(group: &Path, settings: &[Setting]) -> Result<(), String> {
    for Setting {
        controller,
        files,
        value,
        optional,
    } in settings
    {
        let existing = files
            .iter()
            .map(|name| group.join(name))
            .find(|path| path.exists());
        match existing {
            Some(path) => match wrote(&path, value) {
                Err(reason) if !optional => {
                    return Err(format!("while setting cgroup limits: {reason}"));
                }
                _ => {}
            },
            None if *optional => {}
            None => {
                return Err(format!(
                    "while setting cgroup limits: this kernel has no {} for the cgroup controller \
                     {controller} of {}",
                    files.join(" or "),
                    group.display()
                ));
            }
        }
    }
    Ok(())
}

/// Writes all limits to the version 2 `group`, which exists.
pub(super) fn limit(group: &Path, resources: &Resources) -> Result<(), String> {
    let mut names = convert::controllers(resources);
    for name in &names {
        if !has_word(&group.join("cgroup.controllers"), name) {
            return Err(format!(
                "the cgroup controller {name} is not available in {}; an administrator can \
                 delegate it (systemd: Delegate= of user@.service)",
                group.display()
            ));
        }
    }
    names.push("cgroup".to_owned());
    for name in names {
        apply(group, &convert::settings(resources, &name, Version::Two)?)?;
    }
    Ok(())
}

/// Hands `controller` down from `group` to its children.
fn enable(group: &Path, controller: &str) -> Result<(), String> {
    let file = group.join("cgroup.subtree_control");
    if has_word(&file, controller) {
        return Ok(());
    }
    wrote(&file, &format!("+{controller}"))
}

/// A name for a group that nobody else has: what an earlier process of the same number left
/// behind may still be in use.
fn fresh_name() -> String {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    format!("{}-{:x}{:08x}", std::process::id(), now.tv_sec, now.tv_nsec)
}

/// Controllers that tell what a group has used, where they are not needed to limit it.
const TELLING: [&str; 4] = ["cpu", "memory", "pids", "io"];

/// Their names in version 1.
const OLD_TELLING: [&str; 4] = ["cpuacct", "memory", "pids", "blkio"];

/// For root: a group below `skiff` in each hierarchy that limits or tells something; in version 2
/// in any case, so that it can be found.
pub(super) fn enter_as_root(resources: &Resources, machine: &Machine) -> Result<(), String> {
    let mut made = Made::default();
    let name = fresh_name();
    let mut joined = Vec::new();
    let controllers = convert::controllers(resources);
    if let Some(two) = &machine.two {
        let parent = two.join(PARENT);
        made.group(&parent)?;
        let group = parent.join(&name);
        let mut settings = convert::settings(resources, "cgroup", Version::Two)?;
        for controller in &controllers {
            if has_word(&two.join("cgroup.controllers"), controller) {
                enable(two, controller)?;
                enable(&parent, controller)?;
                settings.extend(convert::settings(resources, controller, Version::Two)?);
            }
        }
        for controller in TELLING {
            if has_word(&two.join("cgroup.controllers"), controller)
                && enable(two, controller).is_ok()
            {
                // Without it only a figure is missing.
                enable(&parent, controller).ok();
            }
        }
        made.group(&group)?;
        apply(&group, &settings)?;
        joined.push(group);
    }
    let is_old = |controller: &str| {
        let two = machine.two.as_deref();
        !two.is_some_and(|two| has_word(&two.join("cgroup.controllers"), controller))
    };
    for controller in controllers.iter().filter(|controller| is_old(controller)) {
        let group = old_group(machine, convert::old_name(controller), &name, &mut made)?;
        apply(
            &group,
            &convert::settings(resources, controller, Version::One)?,
        )?;
        joined.push(group);
    }
    for controller in OLD_TELLING {
        let there = joined
            .iter()
            .any(|group| group.starts_with(machine.mounts.join(controller)));
        if !there
            && machine
                .mounts
                .join(controller)
                .join("cgroup.procs")
                .exists()
        {
            joined.push(old_group(machine, controller, &name, &mut made)?);
        }
    }
    let rules = convert::device_rules(resources);
    if !rules.is_empty() {
        if machine.is_unified() {
            return Err(
                "rules for devices are not supported by skiff with version 2 of cgroups; \
                        remove [[devices]]"
                    .to_owned(),
            );
        }
        let group = old_group(machine, "devices", &name, &mut made)?;
        for (file, line) in rules {
            wrote(&group.join(file), &line)?;
        }
        joined.push(group);
    }
    join(&joined, made)
}

/// A new group in the version 1 hierarchy of `controller`.
fn old_group(
    machine: &Machine,
    controller: &str,
    name: &str,
    made: &mut Made,
) -> Result<PathBuf, String> {
    let mount = machine.mounts.join(controller);
    if !mount.join("cgroup.procs").exists() {
        return Err(format!(
            "the cgroup controller {controller} is not available on this machine"
        ));
    }
    let parent = mount.join(PARENT);
    let group = parent.join(name);
    for path in [&parent, &group] {
        made.group(path)?;
        if controller == "cpuset" {
            inherit_sets(path)?;
        }
    }
    Ok(group)
}

/// A version 1 group starts without processors and memory nodes and takes no process as long.
fn inherit_sets(group: &Path) -> Result<(), String> {
    let Some(parent) = group.parent() else {
        return Ok(());
    };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = fs::read_to_string(group.join(file)).unwrap_or_default();
        if own.trim().is_empty() {
            let text = fs::read_to_string(parent.join(file)).unwrap_or_default();
            wrote(&group.join(file), text.trim())?;
        }
    }
    Ok(())
}

/// For others: a group beside or below the caller's own, where both belong to the caller and the
/// controllers are there. `None`: nowhere.
pub(super) fn enter_delegated(
    resources: &Resources,
    machine: &Machine,
) -> Option<Result<(), String>> {
    let two = machine.two.as_deref()?;
    let own = below(two, &machine.own);
    let controllers = convert::controllers(resources);
    let base = own
        .ancestors()
        .take_while(|group| group.starts_with(two) && *group != two)
        .find(|group| {
            writable(group)
                && writable(&group.join("cgroup.procs"))
                && controllers.iter().all(|name| {
                    has_word(&group.join("cgroup.controllers"), name) && enable(group, name).is_ok()
                })
        })?;
    let mut made = Made::default();
    let group = base.join(format!("{PARENT}-{}", fresh_name()));
    let result = made
        .group(&group)
        .and_then(|()| limit(&group, resources))
        .and_then(|()| join(&[group], made));
    Some(result)
}

fn writable(path: &Path) -> bool {
    rustix::fs::access(path, Access::WRITE_OK).is_ok()
}

/// Moves the calling process into `groups`, and has somebody remove what was made afterwards.
fn join(groups: &[PathBuf], mut made: Made) -> Result<(), String> {
    // The shared parents stay: another launch may be about to use them.
    let gone_later: Vec<PathBuf> = made
        .groups
        .iter()
        .filter(|group| groups.contains(group))
        .cloned()
        .collect();
    leave_a_sweeper(&gone_later)?;
    for group in groups {
        add_self(group)?;
    }
    made.kept = true;
    Ok(())
}

/// Starts a process outside the groups that removes them once the calling one is gone and they
/// are empty. Nobody else could: the calling process becomes the program.
fn leave_a_sweeper(groups: &[PathBuf]) -> Result<(), String> {
    let failed = |error: io::Error| format!("starting a helper process: {}", reason(&error));
    let caller = rustix::process::getpid();
    match kernel::fork().map_err(failed)? {
        Fork::Parent(child) => {
            // The one in between ends at once; whoever ignores SIGCHLD has nobody to wait for.
            rustix::process::waitpid(Pid::from_raw(child), WaitOptions::empty()).ok();
            Ok(())
        }
        Fork::Child => {
            let grandchild = matches!(kernel::fork(), Ok(Fork::Child));
            if grandchild {
                sweep(caller, groups);
            }
            kernel::exit_now(0)
        }
    }
}

/// Longest pause between two looks at a group that is still in use.
const MAX_PAUSE: Duration = Duration::from_secs(1);

fn sweep(caller: Pid, groups: &[PathBuf]) {
    let Ok(watched) = rustix::process::pidfd_open(caller, PidfdFlags::empty()) else {
        return;
    };
    // Nothing of the caller's is kept open, its terminal and pipes least of all.
    if rustix::stdio::dup2_stdin(&watched).is_err() || kernel::close_from(1).is_err() {
        return;
    }
    std::mem::forget(watched);
    rustix::process::setsid().ok();
    rustix::process::chdir("/").ok();
    rustix::thread::set_name(c"skiff-limits").ok();
    let stdin = rustix::stdio::stdin();
    let mut ends = [rustix::event::PollFd::new(
        &stdin,
        rustix::event::PollFlags::IN,
    )];
    while matches!(
        rustix::event::poll(&mut ends, None),
        Err(rustix::io::Errno::INTR)
    ) {}
    let mut pause = Duration::from_millis(5);
    loop {
        let busy = groups.iter().map(fs::remove_dir).any(
            |result| matches!(result, Err(error) if error.raw_os_error() == Some(libc::EBUSY)),
        );
        if !busy {
            return;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "9:name=systemd:/\n4:memory:/a/b\n2:cpu,cpuacct:/c\n0::/user/x\n";

    #[test]
    fn groups_of_a_process() {
        assert_eq!(group_in(HYBRID, None), Some("/user/x"));
        assert_eq!(group_in(HYBRID, Some("memory")), Some("/a/b"));
        assert_eq!(group_in(HYBRID, Some("cpuacct")), Some("/c"));
        assert_eq!(group_in(HYBRID, Some("pids")), None);
        assert_eq!(group_in("0::/p:q\n", None), Some("/p:q"));
    }

    fn looks_like_cgroups(controllers: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("cgroup.controllers"), controllers).expect("written");
        folder
    }

    #[test]
    fn kinds_of_machines() {
        let folder = looks_like_cgroups("cpu memory\n");
        let machine = Machine::of(folder.path(), "0::/\n");
        assert!(machine.is_unified());
        let empty = tempfile::tempdir().expect("a folder");
        let machine = Machine::of(empty.path(), HYBRID);
        assert!(!machine.is_unified());
        assert_eq!(machine.two, None);
        fs::create_dir(empty.path().join("unified")).expect("made");
        fs::write(empty.path().join("unified/cgroup.controllers"), "").expect("written");
        let machine = Machine::of(empty.path(), HYBRID);
        assert!(!machine.is_unified());
        assert_eq!(machine.two, Some(empty.path().join("unified")));
        assert_eq!(machine.own, "/user/x");
    }

    #[test]
    fn limits_are_written_where_they_belong() {
        let folder = looks_like_cgroups("memory pids\n");
        for file in ["memory.max", "memory.swap.max", "pids.max"] {
            fs::write(folder.path().join(file), "").expect("written");
        }
        let mut resources = Resources::default();
        resources.memory.limit = Some(1 << 20);
        resources.memory.swap = Some(1 << 21);
        resources.pids.limit = 9;
        limit(folder.path(), &resources).expect("accepted");
        let read = |file: &str| fs::read_to_string(folder.path().join(file)).expect("there");
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("memory.swap.max"), "1048576");
        assert_eq!(read("pids.max"), "9");
        resources.cpu.cpus = "0".to_owned();
        let error = limit(folder.path(), &resources).unwrap_err();
        assert!(
            error.contains("controller cpuset is not available"),
            "{error}"
        );
        resources.cpu.cpus.clear();
        resources.memory.reservation = Some(5);
        let error = limit(folder.path(), &resources).unwrap_err();
        assert!(error.contains("no memory.low"), "{error}");
    }
}

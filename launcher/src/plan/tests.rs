mod identity;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;

use super::*;
use crate::host::{GroupRecord, PathKind, UserRecord};
use crate::mount::{Condition, MountFlags, MountSource, MountTag};
use crate::report::Level;
use crate::request::{Action, Bind, EnvironmentWish, ImageRequest, NamespaceWish};
use crate::rootfs::BindPointKind;

/// A host made of a table.
struct FakePaths(BTreeMap<PathBuf, PathKind>);

impl FakePaths {
    fn new() -> Self {
        use PathKind::{Directory, File};
        let table = [
            ("/home/ann", Directory),
            ("/home/ann/work", Directory),
            ("/tmp", Directory),
            ("/data", Directory),
            ("/data/f", File),
            ("/etc/hosts", File),
            ("/etc/localtime", File),
            ("/dev", Directory),
            ("/dev/null", File),
            ("/dev/fuse", File),
            ("/usr", Directory),
        ];
        Self(
            table
                .into_iter()
                .map(|(path, kind)| (PathBuf::from(path), kind))
                .collect(),
        )
    }
}

impl HostPaths for FakePaths {
    fn kind(&self, path: &Path) -> io::Result<PathKind> {
        let missing = || io::Error::from_raw_os_error(libc::ENOENT);
        self.0.get(path).copied().ok_or_else(missing)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.kind(path).map(|_| path.to_owned())
    }

    fn root_mounts(&self) -> io::Result<Vec<PathBuf>> {
        Ok(vec!["/data".into(), "/proc".into()])
    }
}

fn facts() -> HostFacts {
    HostFacts {
        uid: 1001,
        gid: 100,
        user: UserRecord {
            name: "ann".into(),
            gecos: "Ann".into(),
            home: "/home/ann".into(),
            shell: "/bin/zsh".into(),
        },
        groups: vec![GroupRecord {
            gid: 100,
            name: "users".into(),
        }],
        umask: 0o027,
        privileged: false,
        terminal: None,
        ..HostFacts::default()
    }
}

fn request() -> LaunchRequest {
    LaunchRequest {
        action: Action::Exec(vec![OsString::from("true")]),
        image: ImageRequest {
            path: "/images/a.sif".into(),
            name: "a.sif".into(),
            kind: RootKind::Mounted,
        },
        prompt: "skiff> ".into(),
        binds: Vec::new(),
        home: HomeWish::Default,
        contain: false,
        no_mount: Vec::new(),
        workdir: None,
        scratch: Vec::new(),
        cwd: None,
        host_cwd: "/home/ann/work".into(),
        namespaces: NamespaceWish::default(),
        hostname: None,
        dns: Vec::new(),
        environment: EnvironmentWish::default(),
        no_umask: false,
        shell: None,
        app: None,
        instance: None,
        writing: Default::default(),
        identity: Default::default(),
        gpu: Default::default(),
        limits: Default::default(),
    }
}

fn bind(source: &str, destination: &str) -> Bind {
    Bind {
        source: source.into(),
        destination: destination.into(),
        read_only: false,
        image: None,
    }
}

fn plan_with(
    request: &LaunchRequest,
    config: &Config,
    facts: &HostFacts,
) -> (Result<LaunchPlan, String>, Vec<String>) {
    let mut messages = Vec::new();
    let inputs = PlanInputs {
        request,
        config,
        facts,
        paths: &FakePaths::new(),
        environment_files: &[],
    };
    let plan = plan(&inputs, &mut |level, text| {
        if level >= Level::Info {
            messages.push(text.to_owned());
        }
    });
    (plan.map_err(|error| error.to_string()), messages)
}

#[track_caller]
fn planned(request: &LaunchRequest) -> LaunchPlan {
    let (plan, messages) = plan_with(request, &Config::default(), &facts());
    assert_eq!(messages, Vec::<String>::new());
    plan.unwrap()
}

/// The lines of the readable form that begin with `word`.
fn lines(plan: &LaunchPlan, word: &str) -> Vec<String> {
    plan.to_string()
        .lines()
        .filter_map(|line| line.strip_prefix(word).map(|rest| rest.trim().to_owned()))
        .collect()
}

#[test]
fn the_default_run() {
    let plan = planned(&request());
    // How many variables there are is the environment's own business.
    let text: String = plan
        .to_string()
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("environment "))
        .collect();
    assert_eq!(
        text,
        "\
image        /images/a.sif (mounted by the image server)
namespaces   user: the image's, mount
bind point   /dev (directory)
bind point   /etc/localtime (file)
bind point   /etc/hosts (file)
bind point   /proc (directory)
bind point   /sys (directory)
bind point   /home/ann (directory)
bind point   /etc/resolv.conf (file)
mount        [dev] /dev -> /dev
mount        [binds] /etc/localtime -> /etc/localtime (nosuid,nodev)
mount        [binds] /etc/hosts -> /etc/hosts (nosuid,nodev)
mount        [kernel] /proc -> /proc
mount        [kernel] /sys -> /sys
mount        [home] /home/ann -> /home/ann (nosuid,nodev)
mount        [tmp] /tmp -> /tmp (nosuid,nodev)
mount        [tmp] /var/tmp -> /var/tmp (nosuid,nodev) unless it is /tmp
mount        [files] copy of /etc/resolv.conf -> /etc/resolv.conf (nosuid,nodev)
mount        [files] image's file with user ann -> /etc/passwd (nosuid,nodev)
mount        [files] image's file with 1 groups -> /etc/group (nosuid,nodev)
mount        [cwd] /home/ann/work -> /home/ann/work (nosuid,nodev) unless present
directory    /home/ann/work, else /home/ann, else /
home         /home/ann
umask        0027
privileges   no new ones, no capabilities
program      exec true
"
    );
    assert!(
        serde_json::to_string(&plan)
            .unwrap()
            .contains("\"tag\":\"cwd\"")
    );
}

#[test]
fn a_contained_run() {
    let mut request = request();
    request.contain = true;
    request.namespaces.pid = true;
    request.namespaces.ipc = true;
    let plan = planned(&request);
    assert_eq!(
        lines(&plan, "mount "),
        [
            "[dev] 5 device nodes -> /dev",
            "[binds] /etc/localtime -> /etc/localtime (nosuid,nodev)",
            "[binds] /etc/hosts -> /etc/hosts (nosuid,nodev)",
            "[kernel] new proc -> /proc",
            "[kernel] /sys -> /sys",
            "[home] empty directory 0755 -> /home/ann (nosuid,nodev)",
            "[tmp] empty directory 1777 -> /tmp (nosuid,nodev)",
            "[tmp] empty directory 1777 -> /var/tmp (nosuid,nodev) unless it is /tmp",
            "[files] copy of /etc/resolv.conf -> /etc/resolv.conf (nosuid,nodev)",
            "[files] image's file with user ann -> /etc/passwd (nosuid,nodev)",
            "[files] image's file with 1 groups -> /etc/group (nosuid,nodev)",
        ]
    );
    assert_eq!(
        lines(&plan, "namespaces"),
        ["user: the image's, mount, pid (with init), ipc"]
    );
    assert_eq!(plan.working_directory.path, Path::new("/home/ann"));

    request.workdir = Some("w".into());
    request.scratch = vec!["/scratch".into()];
    let plan = planned(&request);
    let mounts = lines(&plan, "mount ");
    for expected in [
        "[home] /home/ann/work/w/home (made if missing) -> /home/ann (nosuid,nodev)",
        "[tmp] /home/ann/work/w/tmp (made if missing) -> /tmp (nosuid,nodev)",
        "[scratch] /home/ann/work/w/scratch/scratch (made if missing) -> /scratch (nosuid,nodev)",
    ] {
        assert!(mounts.iter().any(|line| line == expected), "{mounts:#?}");
    }
}

#[test]
fn root_stays_in_its_user_namespace() {
    let facts = HostFacts {
        uid: 0,
        gid: 0,
        privileged: true,
        ..facts()
    };
    let (plan, _) = plan_with(&request(), &Config::default(), &facts);
    let plan = plan.unwrap();
    assert_eq!(plan.namespaces.user, UserNamespace::Host);
    assert_eq!(plan.home, Path::new("/root"));
    assert_eq!(plan.security.capabilities, u64::MAX);
    assert!(lines(&plan, "mount ").contains(&"[kernel] new sysfs -> /sys".to_owned()));
    assert!(
        lines(&plan, "mount ").contains(&"[home] /home/ann -> /root (nosuid,nodev)".to_owned())
    );
}

#[test]
fn user_binds_are_sorted_and_unique() {
    let mut request = request();
    request.binds = vec![
        bind("/data", "/x/y"),
        bind("/data", "/longer"),
        bind("/data/f", "/x"),
        bind("/data", "/x/"),
    ];
    let (plan, messages) = plan_with(&request, &Config::default(), &facts());
    assert_eq!(
        messages,
        ["While bind mounting '/data:/x': destination is already in the mount point list"]
    );
    let plan = plan.unwrap();
    let binds: Vec<_> = plan
        .mounts
        .iter()
        .filter(|step| step.tag == MountTag::Userbinds)
        .map(|step| step.destination.to_str().unwrap())
        .collect();
    assert_eq!(binds, ["/x", "/longer", "/x/y"]);
    let kinds: Vec<_> = plan
        .bind_points
        .iter()
        .filter(|point| point.path.starts_with("/x"))
        .map(|point| point.kind)
        .collect();
    assert_eq!(kinds, [BindPointKind::File, BindPointKind::Directory]);
}

#[track_caller]
fn check_bind(source: &str, destination: &str, expected: Result<&str, &str>, messages: &[&str]) {
    let mut request = request();
    request.binds = vec![bind(source, destination)];
    let (plan, said) = plan_with(&request, &Config::default(), &facts());
    let plan = plan.map(|plan| {
        plan.mounts
            .iter()
            .filter(|step| step.tag == MountTag::Userbinds)
            .map(ToString::to_string)
            .collect::<String>()
    });
    assert_eq!(plan.as_deref().map_err(String::as_str), expected);
    assert_eq!(said, messages);
}

#[test]
fn what_a_bind_becomes() {
    check_bind(
        "../../../data",
        "/a/../b",
        Ok("[userbinds] /data -> /b (nosuid,nodev)"),
        &[],
    );
    check_bind(
        "/none",
        "/b",
        Err(
            "container creation failed: mount hook function failure: mount /none->/b error: while \
             mounting /none: mount source /none doesn't exist",
        ),
        &["skipping mount of /none: stat /none: no such file or directory"],
    );
    check_bind(
        "/data",
        "rel",
        Err(
            "container creation failed: unable to add /data to mount list: destination must be an \
             absolute path",
        ),
        &[],
    );
    check_bind("/dev", "/dev", Ok(""), &[]);
    check_bind("/dev/null", "/dev/null", Ok(""), &[]);
    check_bind(
        "/dev/null",
        "/dev/other",
        Ok(""),
        &[
            "Skipping /dev/null bind mount: source and destination must be identical when binding \
             to /dev",
        ],
    );
    check_bind(
        "/dev/fuse",
        "/data",
        Ok("[userbinds] /dev/fuse -> /data (nosuid,nodev)"),
        &[],
    );
}

#[test]
fn devices_of_a_contained_run() {
    let mut request = request();
    request.contain = true;
    request.binds = vec![
        bind("/dev/fuse", "/dev/fuse"),
        bind("/dev/null", "/dev/null"),
        bind("/dev/none", "/dev/none"),
        bind("/dev/shm", "/dev/shm"),
    ];
    let (plan, messages) = plan_with(&request, &Config::default(), &facts());
    assert_eq!(
        messages,
        [
            "Skipping /dev/null bind mount: already mounted",
            "Skipping /dev/none bind mount: lstat /dev/none: no such file or directory",
            "Skipping /dev/shm bind mount: already mounted",
        ]
    );
    let plan = plan.unwrap();
    let MountSource::Devices(wish) = &plan.mounts[0].source else {
        panic!("{:?}", plan.mounts[0]);
    };
    assert!(wish.nodes.contains(&PathBuf::from("/dev/fuse")));
    assert!(wish.pts);

    request.binds = vec![bind("/dev", "/dev")];
    let plan = planned(&request);
    assert_eq!(
        plan.mounts[0].source,
        MountSource::Host {
            path: "/dev".into()
        }
    );
    assert_eq!(plan.mounts[0].flags, MountFlags::KEEP);
}

#[test]
fn working_directories_that_are_never_mounted() {
    for (path, mounted) in [
        ("/home/ann/work", true),
        ("/usr", false),
        ("/dev", false),
        ("/nowhere", false),
        ("/data", true),
    ] {
        let mut request = request();
        request.host_cwd = path.into();
        let plan = planned(&request);
        let step = plan.mounts.iter().find(|step| step.tag == MountTag::Cwd);
        assert_eq!(step.is_some(), mounted, "{path}");
        assert!(step.is_none_or(|step| step.condition == Condition::UnlessPresent));
        let point = plan
            .bind_points
            .iter()
            .find(|point| point.only_through_directories);
        assert_eq!(point.is_some(), path == "/data", "{path}");
    }
    let mut request = request();
    request.cwd = Some("/x".into());
    let plan = planned(&request);
    assert_eq!(plan.working_directory.path, Path::new("/x"));
    assert!(plan.working_directory.fallbacks.is_empty());
}

#[test]
fn homes() {
    let mut request = request();
    request.home = HomeWish::Custom {
        source: "/data".into(),
        destination: "/hh".into(),
    };
    let plan = planned(&request);
    assert_eq!(plan.home, Path::new("/hh"));
    assert!(lines(&plan, "mount ").contains(&"[home] /data -> /hh (nosuid,nodev)".to_owned()));

    request.home = HomeWish::Custom {
        source: "rel".into(),
        destination: "rel".into(),
    };
    let (plan, _) = plan_with(&request, &Config::default(), &facts());
    assert_eq!(
        plan.unwrap_err(),
        "container creation failed: failed to add /home/ann/work/rel as session directory: path \
         rel is not an absolute path"
    );

    request.home = HomeWish::Custom {
        source: "/".into(),
        destination: "/".into(),
    };
    let (_, messages) = plan_with(&request, &Config::default(), &facts());
    assert_eq!(
        messages,
        ["Skipping impossible home directory mount to '/'"]
    );

    request.home = HomeWish::None;
    let plan = planned(&request);
    assert_eq!(plan.home, Path::new("/home/ann"));
    assert!(!plan.mounts.iter().any(|step| step.tag == MountTag::Home));
}

#[test]
fn no_mount_and_configuration() {
    let mut request = request();
    request.no_mount = [
        "proc",
        "sys",
        "dev",
        "tmp",
        "home",
        "cwd",
        "/etc/hosts",
        "odd",
    ]
    .map(str::to_owned)
    .to_vec();
    let (plan, messages) = plan_with(&request, &Config::default(), &facts());
    assert_eq!(messages, ["Ignoring unknown mount type 'odd'"]);
    let tags: Vec<_> = plan
        .unwrap()
        .mounts
        .iter()
        .map(|step| step.destination.to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        tags,
        [
            "/etc/localtime",
            "/etc/resolv.conf",
            "/etc/passwd",
            "/etc/group"
        ]
    );

    let config = Config {
        mount_hostfs: true,
        config_passwd: false,
        config_group: false,
        user_bind_control: false,
        ..Config::default()
    };
    let mut request = super::tests::request();
    request.binds = vec![bind("/data", "/d")];
    let (plan, messages) = plan_with(&request, &config, &facts());
    assert_eq!(
        messages,
        [
            "Ignoring /data bind mount: user bind control disabled by system administrator",
            "Not mounting current directory: user bind control is disabled by system administrator"
        ]
    );
    let mounts = lines(&plan.unwrap(), "mount ");
    assert!(mounts.contains(&"[hostfs] /data -> /data (nosuid,nodev)".to_owned()));
    assert!(
        !mounts
            .iter()
            .any(|line| line.contains("cwd") || line.contains("passwd"))
    );
}

#[test]
fn refusals() {
    let mut request = request();
    request.image.kind = RootKind::Sandbox;
    request.image.path = "/".into();
    let (plan, _) = plan_with(&request, &Config::default(), &facts());
    assert_eq!(plan.unwrap_err(), "/ as sandbox is not authorized");

    let mut request = super::tests::request();
    request.hostname = Some("bad_host".into());
    let (plan, _) = plan_with(&request, &Config::default(), &facts());
    assert_eq!(
        plan.unwrap_err(),
        "container creation failed: unable to add bad_host to hostname file: bad_host is not a \
         valid hostname"
    );
}

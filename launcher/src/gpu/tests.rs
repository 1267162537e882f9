//! Planning against a made-up driver installation.

use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::OnceLock;

use super::*;
use crate::request::gpu::GpuWish;
use crate::request::{
    Action, EnvironmentWish, HomeWish, ImageRequest, LaunchRequest, NamespaceWish, RootKind,
};

/// A small shared library: the machine's own C library would do, but for its size.
fn some_library() -> Option<&'static [u8]> {
    static BYTES: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    BYTES
        .get_or_init(|| {
            [
                "/lib/x86_64-linux-gnu/libdl.so.2",
                "/lib64/libdl.so.2",
                "/lib/aarch64-linux-gnu/libdl.so.2",
            ]
            .iter()
            .find_map(|path| std::fs::read(path).ok())
        })
        .as_deref()
}

fn request(gpu: GpuWish) -> LaunchRequest {
    LaunchRequest {
        action: Action::Exec(vec![OsString::from("true")]),
        image: ImageRequest {
            path: "/images/a.sif".into(),
            name: "a.sif".into(),
            kind: RootKind::Mounted,
        },
        prompt: "> ".into(),
        binds: Vec::new(),
        home: HomeWish::Default,
        contain: false,
        no_mount: Vec::new(),
        workdir: None,
        scratch: Vec::new(),
        cwd: None,
        host_cwd: "/".into(),
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
        gpu,
        limits: Default::default(),
    }
}

fn nv() -> GpuWish {
    GpuWish {
        nvidia: true,
        ..GpuWish::default()
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A host with a driver below a directory.
fn host() -> Option<tempfile::TempDir> {
    let library = some_library()?;
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    write(&at("usr/lib/libcuda.so.550.1"), library);
    symlink("libcuda.so.550.1", at("usr/lib/libcuda.so.1")).unwrap();
    symlink("libcuda.so.1", at("usr/lib/libcuda.so")).unwrap();
    write(&at("usr/lib/libnvidia-ml.so.1"), library);
    write(&at("usr/lib/libGL.so.1"), b"INPUT(-lGL)");
    write(&at("usr/lib/libother.so.1"), library);
    write(
        &at("etc/ld.so.cache"),
        &ldcache::tests_cache(&[
            ("libother.so.1", "/usr/lib/libother.so.1"),
            ("libnvidia-ml.so.1", "/usr/lib/libnvidia-ml.so.1"),
            ("libcuda.so.1", "/usr/lib/libcuda.so.1"),
            ("libcuda.so.1", "/usr/lib/second/libcuda.so.1"),
            ("libcuda.so", "/usr/lib/libcuda.so"),
            ("libGL.so.1", "/usr/lib/libGL.so.1"),
            ("libEGL.so.1", "/usr/lib/gone/libEGL.so.1"),
        ]),
    );
    write(&at("opt/nv/nvidia-smi"), b"#!/bin/sh\n");
    std::fs::set_permissions(
        at("opt/nv/nvidia-smi"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    write(&at("usr/bin/nvidia-debugdump"), b"not executable");
    write(&at("usr/share/nvidia/nvoptix.bin"), b"x");
    write(&at("dev/nvidia0"), b"");
    write(&at("dev/nvidiactl"), b"");
    write(&at("dev/null"), b"");
    write(&at("dev/dri/card0"), b"");
    write(&at("dev/dri/renderD128"), b"");
    write(&at("dev/kfd"), b"");
    Some(root)
}

fn planned(
    request: &LaunchRequest,
    config: &Config,
    root: &Path,
) -> (Result<GpuPlan, LaunchError>, Vec<(Level, String)>) {
    let mut said = Vec::new();
    let plan = plan(request, config, root, &mut |level, text| {
        said.push((level, text.to_owned()));
    });
    (plan, said)
}

fn names(plan: &GpuPlan) -> Vec<&str> {
    plan.libraries
        .iter()
        .map(|library| library.name.as_str())
        .collect()
}

#[test]
fn nothing_is_looked_at_unless_asked_for() {
    let missing = Path::new("/nonexistent");
    let (plan, said) = planned(&request(GpuWish::default()), &Config::default(), missing);
    assert_eq!(plan.unwrap(), GpuPlan::default());
    assert_eq!(said, []);
}

#[test]
fn a_driver_by_its_list() {
    let Some(root) = host() else { return };
    let mut request = request(nv());
    request.environment.host = vec![("PATH".into(), "/opt/nv:/usr/bin".into())];
    let (plan, said) = planned(&request, &Config::default(), root.path());
    let plan = plan.unwrap();
    assert_eq!(
        names(&plan),
        ["libnvidia-ml.so.1", "libcuda.so.1", "libcuda.so"]
    );
    assert_eq!(
        plan.libraries.get(1).unwrap().path,
        root.path().join("usr/lib/libcuda.so.1")
    );
    assert_eq!(
        plan.files,
        [
            HostFile {
                source: root.path().join("opt/nv/nvidia-smi"),
                destination: "/usr/bin/nvidia-smi".into(),
                writable: false,
            },
            HostFile {
                source: root.path().join("usr/share/nvidia/nvoptix.bin"),
                destination: "/usr/share/nvidia/nvoptix.bin".into(),
                writable: false,
            }
        ]
    );
    assert_eq!(
        plan.devices,
        ["/dev/nvidia0", "/dev/nvidiactl"].map(PathBuf::from)
    );
    let verbose: Vec<_> = said
        .iter()
        .filter(|(level, _)| *level == Level::Verbose)
        .map(|(_, text)| text.as_str())
        .collect();
    assert_eq!(
        verbose,
        ["persistenced socket /var/run/nvidia-persistenced/socket not found"]
    );
}

#[test]
fn rocm_and_its_devices() {
    let Some(root) = host() else { return };
    let wish = GpuWish {
        rocm: true,
        ..GpuWish::default()
    };
    let (plan, _) = planned(&request(wish), &Config::default(), root.path());
    let plan = plan.unwrap();
    assert_eq!(plan.libraries, []);
    assert_eq!(
        plan.devices,
        ["/dev/dri/card0", "/dev/dri/renderD128", "/dev/kfd"].map(PathBuf::from)
    );
}

#[test]
fn the_configuration_may_ask_and_the_user_may_refuse() {
    let Some(root) = host() else { return };
    let config = Config {
        always_nv: true,
        ..Config::default()
    };
    let (plan, said) = planned(&request(GpuWish::default()), &config, root.path());
    assert_eq!(plan.unwrap().libraries.len(), 3);
    assert_eq!(
        said.first().unwrap().1,
        "'always use nv = yes' found in apptainer.conf"
    );
    let refused = GpuWish {
        no_nvidia: true,
        ..GpuWish::default()
    };
    let (plan, _) = planned(&request(refused), &config, root.path());
    assert_eq!(plan.unwrap(), GpuPlan::default());
    let insisted = GpuWish {
        no_nvidia: true,
        ..nv()
    };
    let (plan, _) = planned(&request(insisted), &config, root.path());
    assert_eq!(plan.unwrap().libraries.len(), 3);
}

#[test]
fn absolute_libraries_bring_their_links() {
    let Some(root) = host() else { return };
    write(
        &root.path().join("etc/skiff/nvliblist.conf"),
        b"/usr/lib/libcuda.so.550.1\n/usr/lib/libGL.so.1\n",
    );
    let (plan, _) = planned(&request(nv()), &Config::default(), root.path());
    assert_eq!(
        names(&plan.unwrap()),
        ["libcuda.so.550.1", "libcuda.so", "libcuda.so.1"]
    );
}

#[test]
fn a_cache_that_is_none() {
    let Some(root) = host() else { return };
    write(
        &root.path().join("etc/ld.so.cache"),
        b"glibc-ld.so.cache1.1garbage",
    );
    let (plan, said) = planned(&request(nv()), &Config::default(), root.path());
    assert_eq!(plan.unwrap().libraries, []);
    assert!(said.iter().all(|(level, _)| *level != Level::Warning));
    std::fs::remove_file(root.path().join("etc/ld.so.cache")).unwrap();
    let (plan, _) = planned(&request(nv()), &Config::default(), root.path());
    assert_eq!(plan.unwrap().libraries, []);
}

#[test]
fn steps_are_read_only_and_each_place_once() {
    let plan = GpuPlan {
        libraries: vec![HostLibrary {
            name: "liba.so".into(),
            path: "/lib/liba.so".into(),
            needs: None,
        }],
        files: vec![
            HostFile {
                source: "/a".into(),
                destination: "/usr/bin/x".into(),
                writable: false,
            },
            HostFile {
                source: "/b".into(),
                destination: "/usr/bin/x".into(),
                writable: false,
            },
        ],
        ..GpuPlan::default()
    };
    let steps = plan.into_steps();
    assert_eq!(steps.len(), 2);
    assert!(steps.iter().all(|step| step.flags.read_only
        && step.flags.no_suid
        && step.missing == MissingDestination::Warn));
    assert_eq!(
        steps.first().unwrap().destination,
        Path::new("/.singularity.d/libs")
    );
}

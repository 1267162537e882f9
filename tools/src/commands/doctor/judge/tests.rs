use super::super::check::Verdict;
use super::super::disk::Candidate;
use super::super::facts::NvidiaFacts;
use super::super::trial::{Attempt, Trial};
use super::*;

fn healthy() -> Facts {
    Facts {
        release: "6.18.44".to_owned(),
        user: "ada".to_owned(),
        is_root: false,
        fuse_device: FuseDevice::Open,
        max_user_namespaces: Some(1000),
        unprivileged_clone: None,
        apparmor_restricts: Some(0),
        trial: Trial {
            user_namespace: Attempt::Works,
            fuse_mount: Attempt::Works,
            overlay: Attempt::Works,
            fuse_flags: 1 << RESEND_BIT,
            fuse_minor: 45,
        },
        uring_enabled: Some(false),
        subids: (65_536, 65_536),
        idmap_programs: HelperProgram::Ready("/usr/bin/newuidmap".into()),
        fusermount: HelperProgram::Ready("/usr/bin/fusermount3".into()),
        cache: vec![Candidate {
            dir: "/var/tmp".into(),
            kind: FsKind::Local("ext4"),
            writable: true,
            free_bytes: 50 << 30,
        }],
        runtime_dir: None,
        nvidia: NvidiaFacts {
            device: false,
            driver: None,
            libcuda: false,
        },
    }
}

/// Changes a healthy host and expects this verdict and remedy from the check called `name`, and
/// nothing worse from all others than a consequence of it.
fn check(name: &str, verdict: Verdict, remedy: &str, harm: impl FnOnce(&mut Facts)) {
    let mut facts = healthy();
    harm(&mut facts);
    let checks = judge(&facts);
    let found = checks
        .iter()
        .find(|check| check.name == name)
        .expect("check exists");
    assert_eq!(found.verdict, verdict, "{found:?}");
    assert!(
        found.remedy.as_deref().unwrap_or_default().contains(remedy),
        "{found:?}"
    );
}

fn denied(step: &str) -> Attempt {
    Attempt::Failed {
        step: step.to_owned(),
        errno: 1,
    }
}

#[test]
fn a_healthy_host_has_nothing_to_mend() {
    for check in judge(&healthy()) {
        assert_eq!(
            (check.verdict, &check.remedy),
            (Verdict::Ok, &None),
            "{check:?}"
        );
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = judge(&healthy()).iter().map(|check| check.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn kernels() {
    check("kernel", Verdict::Fail, "5.12", |facts| {
        facts.release = "4.18.0-553.el8".to_owned();
    });
    check("kernel", Verdict::Ok, "", |facts| {
        facts.release = "5.14.0-427.el9".to_owned();
    });
    check("kernel", Verdict::Ok, "", |facts| {
        facts.release = "nonsense".to_owned();
    });
    check("fuse-resend", Verdict::Warn, "6.9", |facts| {
        facts.trial.fuse_flags = 0;
    });
}

#[test]
fn devices() {
    check("fuse-device", Verdict::Fail, "modprobe", |facts| {
        facts.fuse_device = FuseDevice::Missing;
    });
    check("fuse-device", Verdict::Fail, "chmod", |facts| {
        facts.fuse_device = FuseDevice::Closed(0o600);
    });
}

#[test]
fn each_obstacle_to_user_namespaces_has_its_own_line() {
    let name = "user-namespaces";
    check(name, Verdict::Fail, "max_user_namespaces", |facts| {
        facts.trial.user_namespace = denied("unshare");
        facts.max_user_namespaces = Some(0);
    });
    check(name, Verdict::Fail, "unprivileged_userns_clone", |facts| {
        facts.trial.user_namespace = denied("unshare");
        facts.unprivileged_clone = Some(0);
    });
    check(name, Verdict::Fail, "apparmor", |facts| {
        facts.trial.user_namespace = denied("mount");
        facts.apparmor_restricts = Some(1);
    });
    check(name, Verdict::Fail, "seccomp", |facts| {
        facts.trial.user_namespace = denied("unshare");
    });
    check("fuse-mount", Verdict::Fail, "/dev/fuse", |facts| {
        facts.trial.fuse_mount = denied("mount");
    });
}

#[test]
fn fakeroot_and_mount_only_warn() {
    check("subordinate-ids", Verdict::Warn, "usermod", |facts| {
        facts.subids = (0, 65_536);
    });
    check("subordinate-ids", Verdict::Ok, "", |facts| {
        (facts.subids, facts.is_root) = ((0, 0), true);
    });
    check("newuidmap", Verdict::Warn, "uidmap", |facts| {
        facts.idmap_programs = HelperProgram::Missing;
    });
    check("newuidmap", Verdict::Warn, "chmod u+s /x", |facts| {
        facts.idmap_programs = HelperProgram::Powerless("/x".into());
    });
    check("fusermount3", Verdict::Warn, "fuse3", |facts| {
        facts.fusermount = HelperProgram::Missing;
    });
    check("overlay", Verdict::Warn, "overlay", |facts| {
        facts.trial.overlay = denied("overlay");
    });
}

#[test]
fn caches() {
    check("cache-disk", Verdict::Warn, "SKIFF_CACHE_DIR", |facts| {
        facts.cache.clear();
    });
    check("cache-disk", Verdict::Warn, "SKIFF_CACHE_DIR", |facts| {
        facts.cache[0].free_bytes = 1;
    });
    check("cache-disk", Verdict::Warn, "SKIFF_CACHE_DIR", |facts| {
        facts.cache[0].kind = FsKind::Memory("tmpfs");
    });
}

#[test]
fn graphics() {
    check("nvidia", Verdict::Ok, "", |facts| {
        facts.nvidia = NvidiaFacts {
            device: true,
            driver: Some("550.1".to_owned()),
            libcuda: true,
        };
    });
    check("nvidia", Verdict::Warn, "ldconfig", |facts| {
        facts.nvidia = NvidiaFacts {
            device: true,
            driver: Some("550.1".to_owned()),
            libcuda: false,
        };
    });
    check("nvidia", Verdict::Warn, "nvidia-modprobe", |facts| {
        facts.nvidia = NvidiaFacts {
            device: false,
            driver: Some("550.1".to_owned()),
            libcuda: true,
        };
    });
}

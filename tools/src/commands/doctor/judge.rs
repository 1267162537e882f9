//! From facts to verdicts; pure.

use super::check::Check;
use super::disk::{self, FsKind};
use super::facts::{Facts, FuseDevice, HelperProgram};

/// Detached mounts joined through descriptors: `open_tree` and `move_mount` across user namespaces.
const KERNEL_NEEDED: (u32, u32) = (5, 12);
/// `FUSE_NOTIFY_RESEND`.
const KERNEL_RESEND: (u32, u32) = (6, 9);

/// `FUSE_INIT` flags, by bit (linux/fuse.h).
const PASSTHROUGH_BIT: u32 = 37;
const RESEND_BIT: u32 = 39;
const IO_URING_BIT: u32 = 41;

/// Ids that a distribution's packages expect to exist.
const SUBIDS_NEEDED: u64 = 65_536;
/// Below this the cache would evict while it fills.
const CACHE_ROOM_BYTES: u64 = 2 << 30;

/// All checks, the essential ones first.
pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    vec![
        kernel(facts),
        fuse_device(facts),
        user_namespaces(facts),
        fuse_mount(facts),
        overlay(facts),
        resend(facts),
        passthrough(facts),
        io_uring(facts),
        subordinate_ids(facts),
        idmap_programs(facts),
        fusermount(facts),
        cache(facts),
        runtime_dir(facts),
        nvidia(facts),
    ]
}

/// The first two numbers of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn kernel(facts: &Facts) -> Check {
    const NAME: &str = "kernel";
    let release = &facts.release;
    match version(release) {
        Some(found) if found < KERNEL_NEEDED => Check::fail(
            NAME,
            format!("Linux {release}, older than {}.{}", KERNEL_NEEDED.0, KERNEL_NEEDED.1),
            "a mounted image cannot be handed from the server to a container",
        )
        .mend("install a kernel of 5.12 or later, such as your distribution's current one, and reboot"),
        Some(found) if found < KERNEL_RESEND => Check::ok(
            NAME,
            format!("Linux {release}"),
            "new enough for everything but surviving the death of the server",
        ),
        _ => Check::ok(NAME, format!("Linux {release}"), "new enough for everything"),
    }
}

fn fuse_device(facts: &Facts) -> Check {
    const NAME: &str = "fuse-device";
    let meaning = "images are served through /dev/fuse; without it none can be mounted";
    match facts.fuse_device {
        FuseDevice::Open => Check::ok(NAME, "/dev/fuse can be opened", meaning),
        FuseDevice::Missing => {
            Check::fail(NAME, "/dev/fuse is missing", meaning).mend("sudo modprobe fuse")
        }
        FuseDevice::Closed(mode) => {
            Check::fail(NAME, format!("/dev/fuse has mode {mode:04o}"), meaning)
                .mend("sudo chmod 0666 /dev/fuse")
        }
    }
}

fn user_namespaces(facts: &Facts) -> Check {
    const NAME: &str = "user-namespaces";
    let attempt = &facts.trial.user_namespace;
    let meaning = "containers of ordinary users live in user namespaces";
    if attempt.works() {
        return Check::ok(
            NAME,
            "a user namespace could be made and mounted in",
            meaning,
        );
    }
    let failed = |why: &str| Check::fail(NAME, format!("{} ({why})", attempt.describe()), meaning);
    if facts.max_user_namespaces == Some(0) {
        failed("user.max_user_namespaces is 0")
            .mend("sudo sysctl -w user.max_user_namespaces=15000")
    } else if facts.unprivileged_clone == Some(0) {
        failed("kernel.unprivileged_userns_clone is 0")
            .mend("sudo sysctl -w kernel.unprivileged_userns_clone=1")
    } else if facts.apparmor_restricts == Some(1) {
        failed("AppArmor restricts them")
            .mend("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")
    } else {
        failed("a security module or the container around us forbids it")
            .mend("inside Docker or Podman, start the outer container with --security-opt seccomp=unconfined")
    }
}

fn fuse_mount(facts: &Facts) -> Check {
    const NAME: &str = "fuse-mount";
    let trial = &facts.trial;
    let meaning = "every image is mounted this way";
    if trial.fuse_mount.works() {
        return Check::ok(
            NAME,
            format!(
                "mounted in a user namespace, protocol 7.{}",
                trial.fuse_minor
            ),
            meaning,
        );
    }
    if !trial.user_namespace.works() {
        return Check::fail(NAME, "could not be tried without a user namespace", meaning);
    }
    Check::fail(NAME, trial.fuse_mount.describe(), meaning)
        .mend("allow FUSE for containers: pass --device /dev/fuse to the outer container, or sudo modprobe fuse")
}

fn overlay(facts: &Facts) -> Check {
    const NAME: &str = "overlay";
    let meaning = "only writable runs (--writable-tmpfs, --overlay) need it; read-only runs do not";
    let attempt = &facts.trial.overlay;
    if attempt.works() {
        Check::ok(NAME, "overlayfs works in a user namespace", meaning)
    } else {
        Check::warn(
            NAME,
            format!("overlayfs in a user namespace: {}", attempt.describe()),
            meaning,
        )
        .mend("sudo modprobe overlay")
    }
}

fn offers(facts: &Facts, bit: u32) -> bool {
    facts.trial.fuse_flags & (1 << bit) != 0
}

fn resend(facts: &Facts) -> Check {
    const NAME: &str = "fuse-resend";
    let meaning = "a program keeps running when the server of its image is killed";
    if offers(facts, RESEND_BIT) {
        Check::ok(NAME, "offered", meaning)
    } else if !facts.trial.fuse_mount.works() {
        Check::warn(NAME, "unknown, no FUSE mount was possible", meaning)
    } else {
        let lost = "reads in flight when the server of an image is killed are lost";
        Check::warn(NAME, "not offered by this kernel", lost)
            .mend("install a kernel of 6.9 or later and reboot")
    }
}

fn passthrough(facts: &Facts) -> Check {
    let finding = if offers(facts, PASSTHROUGH_BIT) {
        "offered"
    } else {
        "not offered"
    };
    let meaning = "only root may use it, and skiff does not need it";
    Check::ok("fuse-passthrough", finding, meaning)
}

fn io_uring(facts: &Facts) -> Check {
    const NAME: &str = "fuse-io-uring";
    let meaning = "a faster way to the kernel, which skiff does without for now";
    if offers(facts, IO_URING_BIT) {
        return Check::ok(NAME, "offered", meaning);
    }
    let finding = match facts.uring_enabled {
        Some(true) => "enabled, but not offered",
        Some(false) => "known to the kernel and switched off",
        None => "unknown to this kernel",
    };
    Check::ok(NAME, finding, meaning)
}

fn subordinate_ids(facts: &Facts) -> Check {
    const NAME: &str = "subordinate-ids";
    let meaning = "--fakeroot maps more than one user id with them";
    let (uids, gids) = facts.subids;
    if facts.is_root {
        return Check::ok(NAME, "not needed by root", meaning);
    }
    if uids >= SUBIDS_NEEDED && gids >= SUBIDS_NEEDED {
        return Check::ok(NAME, format!("{uids} user ids, {gids} group ids"), meaning);
    }
    let without = "--fakeroot has only one id: installing packages that chown will fail";
    Check::warn(
        NAME,
        format!("{uids} user ids, {gids} group ids for {}", facts.user),
        without,
    )
    .mend(format!(
        "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}",
        facts.user
    ))
}

fn idmap_programs(facts: &Facts) -> Check {
    const NAME: &str = "newuidmap";
    let meaning = "--fakeroot needs newuidmap and newgidmap to use subordinate ids";
    match &facts.idmap_programs {
        HelperProgram::Ready(path) => Check::ok(NAME, path.display().to_string(), meaning),
        HelperProgram::Powerless(path) => Check::warn(
            NAME,
            format!("{} is neither setuid nor has capabilities", path.display()),
            meaning,
        )
        .mend(format!("sudo chmod u+s {}", path.display())),
        HelperProgram::Missing => Check::warn(NAME, "newuidmap or newgidmap is missing", meaning)
            .mend("sudo apt install uidmap   # or: sudo dnf install shadow-utils"),
    }
}

fn fusermount(facts: &Facts) -> Check {
    const NAME: &str = "fusermount3";
    let meaning = "only `skiff mount` needs it; exec, run and shell do not";
    match &facts.fusermount {
        HelperProgram::Ready(path) => Check::ok(NAME, path.display().to_string(), meaning),
        HelperProgram::Powerless(path) => {
            Check::warn(NAME, format!("{} is not setuid", path.display()), meaning)
                .mend(format!("sudo chmod u+s {}", path.display()))
        }
        HelperProgram::Missing => Check::warn(NAME, "missing", meaning)
            .mend("sudo apt install fuse3   # or: sudo dnf install fuse3"),
    }
}

fn cache(facts: &Facts) -> Check {
    const NAME: &str = "cache-disk";
    let meaning =
        "images from network file systems and registries are cached on a disk of this node";
    let Some(found) = disk::choose(&facts.cache) else {
        return Check::warn(NAME, "no writable local directory", meaning)
            .mend("export SKIFF_CACHE_DIR=/path/on/a/local/disk");
    };
    let free = format!(
        "{:.1} GiB free",
        found.free_bytes as f64 / f64::from(1 << 30)
    );
    let dir = found.dir.display();
    match found.kind {
        FsKind::Memory(kind) => Check::warn(
            NAME,
            format!("{dir} ({kind}, {free})"),
            "the cache would take memory from programs",
        )
        .mend("export SKIFF_CACHE_DIR=/path/on/a/local/disk"),
        _ if found.free_bytes < CACHE_ROOM_BYTES => Check::warn(
            NAME,
            format!("{dir} ({free})"),
            "the cache would evict while it fills",
        )
        .mend("export SKIFF_CACHE_DIR=/path/with/more/room"),
        FsKind::Local(kind) | FsKind::Remote(kind) => {
            Check::ok(NAME, format!("{dir} ({kind}, {free})"), meaning)
        }
        FsKind::Other => Check::ok(NAME, format!("{dir} ({free})"), meaning),
    }
}

fn runtime_dir(facts: &Facts) -> Check {
    const NAME: &str = "runtime-dir";
    let meaning = "execs of one image find their common server through a socket there";
    match &facts.runtime_dir {
        Some(dir) => Check::ok(NAME, dir.display().to_string(), meaning),
        None => Check::ok(
            NAME,
            "none from the session; skiff makes a private one in /dev/shm",
            meaning,
        ),
    }
}

fn nvidia(facts: &Facts) -> Check {
    const NAME: &str = "nvidia";
    let meaning = "--nv brings the host's driver libraries into the container";
    let nvidia = &facts.nvidia;
    match (&nvidia.driver, nvidia.device, nvidia.libcuda) {
        (None, false, _) => Check::ok(NAME, "no NVIDIA driver on this host", meaning),
        (Some(version), true, true) => {
            Check::ok(NAME, format!("driver {version}, libcuda found"), meaning)
        }
        (Some(version), true, false) => Check::warn(
            NAME,
            format!("driver {version}, but libcuda.so.1 is not in the linker's cache"),
            meaning,
        )
        .mend("sudo ldconfig"),
        (driver, device, _) => {
            let loaded = driver
                .as_ref()
                .map_or("no driver loaded".to_owned(), |version| {
                    format!("driver {version}")
                });
            let node = if device {
                "/dev/nvidiactl exists"
            } else {
                "/dev/nvidiactl is missing"
            };
            Check::warn(NAME, format!("{loaded}, {node}"), meaning)
                .mend("sudo nvidia-modprobe -c 0 -u")
        }
    }
}

#[cfg(test)]
mod tests;

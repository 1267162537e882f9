//! Mounts that go away with their guards, and the helper program run as root or user.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use skiff_tests::command::Cmd;
use skiff_tests::program;
use skiff_tests::user::ordinary;

/// Who mounts and looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// The tests themselves.
    Root,
    /// The ordinary user.
    User,
}

/// Runs the helper program.
pub(crate) fn probe(by: By, what: &[&str], flags: &[&str], args: &[&Path]) -> String {
    let helper = program::probe(env!("CARGO_BIN_EXE_skiff-probe"));
    let mut cmd = match by {
        By::Root => Cmd::new(&helper),
        By::User => ordinary().command(&helper),
    };
    cmd.args(what)
        .args(flags)
        .args(args)
        .limit(Duration::from_secs(300));
    cmd.run()
        .expect_success(&format!("{what:?} {args:?} by {by:?}"))
        .stdout_text()
}

fn folder(kind: &str, by: By) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(format!("/tmp/skiff-{kind}-{}-{number}", std::process::id()));
    std::fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if by == By::User {
        ordinary().own(&path);
    }
    path
}

/// An image mounted by the kernel's own driver through a loop device.
pub(crate) struct KernelMount(pub(crate) PathBuf);

impl KernelMount {
    pub(crate) fn of(image: &Path) -> Self {
        let folder = folder("kernel", By::Root);
        Cmd::new("/bin/mount")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["-t", "squashfs", "-o", "loop,ro"])
            .args([image, &folder])
            .run()
            .expect_success("mount -o loop");
        Self(folder)
    }
}

impl Drop for KernelMount {
    fn drop(&mut self) {
        Cmd::new("/bin/umount").arg(&self.0).run();
        // Left over, it is an empty folder.
        std::fs::remove_dir(&self.0).ok();
    }
}

/// An image mounted by `skiff mount`.
pub(crate) struct SkiffMount {
    pub(crate) folder: PathBuf,
    by: By,
    mounted: bool,
}

impl SkiffMount {
    pub(crate) fn of(image: &Path, by: By) -> Self {
        let folder = folder("mount", by);
        skiff(by)
            .arg("mount")
            .args([image, &folder])
            .run()
            .expect_success("skiff mount");
        let mount = Self {
            folder,
            by,
            mounted: true,
        };
        assert!(
            mount.is_mounted(),
            "skiff mount came back before it was mounted"
        );
        mount
    }

    fn is_mounted(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc");
        let name = self.folder.display().to_string();
        mounts
            .lines()
            .any(|line| line.split(' ').nth(1) == Some(name.as_str()))
    }

    /// Unmounts with `skiff umount`; the server has to end too.
    pub(crate) fn unmount(mut self) {
        skiff(self.by)
            .arg("umount")
            .arg(&self.folder)
            .run()
            .expect_success("skiff umount");
        assert!(!self.is_mounted(), "still mounted after skiff umount");
        self.mounted = false;
    }
}

impl Drop for SkiffMount {
    fn drop(&mut self) {
        if self.mounted {
            Cmd::new("/bin/umount").arg("-l").arg(&self.folder).run();
        }
        // Left over, it is an empty folder.
        std::fs::remove_dir(&self.folder).ok();
    }
}

fn skiff(by: By) -> Cmd {
    let program = program::skiff().expect("required").called("skiff");
    match by {
        By::Root => {
            let mut cmd = Cmd::new(program);
            cmd.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("HOME", "/root");
            cmd
        }
        By::User => ordinary().command(program),
    }
}

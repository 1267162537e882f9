//! Classes of holes that launchers of containers had, each tried on skiff from inside and outside
//! and expected to fail:
//!
//! ```text
//! descriptors  what leaks into a container leads out of it        (CVE-2024-21626)
//! program      /proc/N/exe leads to the launcher's own file       (CVE-2019-5736)
//! points       links of an image under bind points                (CVE-2024-0132, -2025-23359)
//! kernel       links of an image under /proc, /dev and terminals  (CVE-2025-31133, -52565, -52881)
//! helpers      the image's environment in programs of the host    (CVE-2025-23266)
//! overlays     links where a program of the host removes what it finds
//! places       session and runtime directories of others          (CVE-2019-19724, -2020-25039)
//! accounts     lines smuggled into passwd and group files
//! limits       paths compared as text                             (CVE-2026-48785)
//! ```

mod accounts;
mod descriptors;
mod helpers;
mod kernel;
mod limits;
mod overlays;
mod places;
mod points;
mod program;

use std::path::{Path, PathBuf};

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::image::{digest, keep, mksquashfs};
use skiff_tests::program as programs;
use skiff_tests::user::{User, ordinary};
use skiff_tests::userland::{add_programs, lay_out};

/// A folder of the attacked user, with images that an attacker made and things that are not to be
/// reached from inside.
struct Den {
    folder: PathBuf,
    user: User,
}

impl Den {
    fn new(name: &str) -> Self {
        Self::of(name, ordinary())
    }

    fn of(name: &str, user: &User) -> Self {
        let folder = PathBuf::from(format!("/tmp/skiff-attack-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("fresh");
        user.own(&folder);
        let den = Self {
            folder,
            user: user.clone(),
        };
        let victim = den.make("victim");
        std::fs::write(victim.join("precious"), "as it was\n").expect("room");
        den.user.own(&victim.join("precious"));
        den
    }

    /// A folder of the user's.
    fn make(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::create_dir_all(&path).expect("room");
        self.user.own(&path);
        path
    }

    /// What nothing in a container may touch.
    fn victim(&self) -> PathBuf {
        self.folder.join("victim")
    }

    fn assert_victim_is_well(&self, what: &str) {
        let names: Vec<_> = std::fs::read_dir(self.victim())
            .expect("it is there")
            .map(|entry| entry.expect("readable").file_name())
            .collect();
        assert_eq!(names, ["precious"], "{what}");
        let text = std::fs::read_to_string(self.victim().join("precious")).expect("readable");
        assert_eq!(text, "as it was\n", "{what}");
    }

    /// A sandbox in which `spoil` was done to a plain userland.
    fn sandbox(&self, name: &str, spoil: impl FnOnce(&Path)) -> PathBuf {
        let root = self.folder.join(name);
        Cmd::new("/bin/cp")
            .arg("-a")
            .arg(userland())
            .arg(&root)
            .run()
            .expect_success("a copy of the userland");
        spoil(&root);
        Cmd::new("/bin/chown")
            .args(["-R", "-h"])
            .arg(format!("{}:{}", self.user.uid, self.user.gid))
            .arg(&root)
            .run()
            .expect_success("chown");
        root
    }

    /// The same as an image.
    fn image(&self, name: &str, spoil: impl FnOnce(&Path)) -> PathBuf {
        let root = self.sandbox(&format!("{name}.d"), spoil);
        let image = self.folder.join(format!("{name}.sqsh"));
        mksquashfs(&root, &image, &["-all-root", "-comp", "lz4"]);
        std::fs::remove_dir_all(&root).expect("just made");
        image
    }

    /// skiff under Apptainer's name, with homes and runtime directories of the den's own.
    fn apptainer(&self, args: &[&str]) -> Cmd {
        let program = programs::skiff().expect("required").called("apptainer");
        let mut cmd = self.user.command(program);
        cmd.cwd(&self.folder)
            .env("SKIFF_LINGER", "0")
            .env("LC_ALL", "C")
            .args(args);
        cmd
    }

    /// Runs `script` in `image`, with `flags`.
    fn run(&self, flags: &[&str], image: &Path, script: &str) -> Outcome {
        let image = image.display().to_string();
        let mut args = vec!["exec"];
        args.extend(flags);
        args.extend([image.as_str(), "sh", "-c", script]);
        self.apptainer(&args).run()
    }
}

impl Drop for Den {
    fn drop(&mut self) {
        // Left over, it only takes room.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// A userland without anything unusual in it.
fn userland() -> PathBuf {
    let recipe = digest(&[include_str!("../src/userland.rs")]);
    keep(&format!("attacked-{recipe}"), |folder| {
        lay_out(&folder.join("root"));
        add_programs(&folder.join("root"), &["python3"]);
    })
    .join("root")
}

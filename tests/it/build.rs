//! Building from definition files, from outside: every section, several stages, what is left of
//! builds that fail or are ended, and images that try to get out.

mod agents;
mod ends;
mod escapes;
mod sections;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::program::{self, Program};
use skiff_tests::user::ordinary;
use skiff_tests::userland::lay_out;

/// Who builds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    /// With subordinate ids.
    User,
    /// Root of a namespace with no other ids.
    Alone,
    Root,
}

/// A folder in /var/tmp, gone afterwards; builds have their own directories in `tmp` of it.
struct Folder {
    path: PathBuf,
    skiff: &'static Program,
}

impl Folder {
    fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!(
            "/var/tmp/skiff-build-{}-{number}-{name}",
            std::process::id()
        ));
        for directory in [path.clone(), path.join("tmp")] {
            std::fs::create_dir(&directory).expect("fresh");
            std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).expect("ours");
            ordinary().own(&directory);
        }
        let skiff = program::skiff().unwrap_or_else(|error| panic!("{error}"));
        Self { path, skiff }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.at(name);
        std::fs::write(&path, text).expect("ours");
        ordinary().own(&path);
        path
    }

    /// A definition over the base.
    fn definition(&self, name: &str, text: &str) {
        let base = base().display().to_string();
        self.write(name, &text.replace("BASE", &base));
    }

    fn command(&self, who: Who, args: &[&str]) -> Cmd {
        let name = self.skiff.called("apptainer");
        let mut cmd = match who {
            Who::User | Who::Alone => ordinary().command(name),
            Who::Root => {
                let mut cmd = Cmd::new(name);
                cmd.env("HOME", "/root");
                cmd
            }
        };
        cmd.cwd(&self.path)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("SKIFF_LINGER", "1")
            .env("APPTAINER_TMPDIR", self.at("tmp"))
            .args(args)
            .limit(Duration::from_secs(120));
        cmd
    }

    fn build_command(&self, who: Who, args: &[&str]) -> Cmd {
        let mut all = vec!["build"];
        if who == Who::Alone {
            all.extend(["--ignore-subuid", "--ignore-fakeroot-command"]);
        }
        all.extend(args);
        self.command(who, &all)
    }

    fn build(&self, who: Who, args: &[&str]) -> Outcome {
        self.build_command(who, args).run()
    }

    /// Builds what has to succeed.
    fn built(&self, who: Who, args: &[&str]) -> Outcome {
        let outcome = self.build(who, args);
        assert_eq!(
            outcome.code(),
            Some(0),
            "{args:?}: {}",
            outcome.stderr_text()
        );
        self.assert_clean();
        outcome
    }

    fn run(&self, who: Who, args: &[&str]) -> Outcome {
        self.command(who, args).run()
    }

    /// What a program in an image says.
    fn says(&self, args: &[&str]) -> String {
        let outcome = self.run(Who::User, args);
        assert_eq!(
            outcome.code(),
            Some(0),
            "{args:?}: {}",
            outcome.stderr_text()
        );
        outcome.stdout_text()
    }

    /// Nothing is left of builds that have ended.
    fn assert_clean(&self) {
        assert_eq!(names(&self.at("tmp")), Vec::<String>::new());
        let left: Vec<String> = names(&self.path)
            .into_iter()
            .filter(|name| name.starts_with("build-temp") || name.contains(".skiff-new-"))
            .collect();
        assert_eq!(left, Vec::<String>::new());
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .expect("it is there")
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into()
        })
        .collect();
    names.sort();
    names
}

/// A small userland as a directory, which everybody may build from.
fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let shared = program::shared_folder().expect("it can be made");
        let done = shared.join("build-base");
        if !done.is_dir() {
            let fresh = shared.join(format!("build-base.{}", std::process::id()));
            std::fs::create_dir(&fresh).expect("fresh");
            std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o755)).expect("ours");
            lay_out(&fresh);
            // Somebody else may have been first.
            if std::fs::rename(&fresh, &done).is_err() {
                std::fs::remove_dir_all(&fresh).ok();
            }
        }
        done
    })
}

/// Who can build here: root of the tests can be all of them.
fn everybody() -> Vec<Who> {
    let mut all = vec![Who::User, Who::Alone];
    if skiff_tests::require::is_root() {
        all.push(Who::Root);
    }
    all
}

//! The ordinary user that programs are run as.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::command::Cmd;
use crate::require::is_root;

/// A user of this machine.
#[derive(Clone, Debug)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// Whether programs have to be started as this user by changing to it.
    switch: bool,
}

/// The user that stands for anyone: `SKIFF_TEST_USER` (default `skiff-test`) when the tests run as
/// root, else whoever runs them.
///
/// # Panics
/// When that user does not exist.
pub fn ordinary() -> &'static User {
    static USER: OnceLock<User> = OnceLock::new();
    USER.get_or_init(|| {
        let root = is_root();
        let wanted = std::env::var("SKIFF_TEST_USER").unwrap_or_else(|_| "skiff-test".to_owned());
        let own = rustix::process::geteuid().as_raw().to_string();
        let found = account(|fields| match root {
            true => fields.first() == Some(&wanted.as_str()),
            false => fields.get(2) == Some(&own.as_str()),
        });
        found.unwrap_or_else(|| panic!("no user {wanted}: tests/run makes it"))
    })
}

/// Somebody else on the same machine, whom only root can become: `SKIFF_TEST_SECOND_USER` (default
/// `skiff-other`).
pub fn second() -> Option<User> {
    let wanted =
        std::env::var("SKIFF_TEST_SECOND_USER").unwrap_or_else(|_| "skiff-other".to_owned());
    account(|fields| is_root() && fields.first() == Some(&wanted.as_str()))
}

/// The machine's root, for tests that run as root.
///
/// # Panics
/// On a machine without one.
pub fn root() -> User {
    account(|fields| fields.get(2) == Some(&"0")).expect("every machine has a root")
}

fn account(wanted: impl Fn(&[&str]) -> bool) -> Option<User> {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| wanted(fields))
        .and_then(|fields| {
            Some(User {
                name: (*fields.first()?).to_owned(),
                uid: fields.get(2)?.parse().ok()?,
                gid: fields.get(3)?.parse().ok()?,
                home: PathBuf::from(fields.get(5)?),
                switch: is_root(),
            })
        })
}

impl User {
    /// A command of this user with an environment as after login and nothing else in it. The
    /// working directory is the home.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Cmd {
        let mut cmd = if self.switch {
            let mut cmd = Cmd::new("/usr/bin/setpriv");
            cmd.arg(format!("--reuid={}", self.uid));
            cmd.arg(format!("--regid={}", self.gid));
            cmd.args(["--init-groups", "--"]);
            cmd.arg(program);
            cmd.owner(self.uid, self.gid);
            cmd
        } else {
            Cmd::new(program)
        };
        cmd.cwd(&self.home);
        cmd.env("HOME", &self.home);
        cmd.env("USER", &self.name);
        cmd.env("LOGNAME", &self.name);
        cmd.env("SHELL", "/bin/bash");
        cmd.env("TERM", "xterm");
        cmd.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        cmd
    }

    /// Makes `path` (a file or directory, not what is in it) belong to this user.
    ///
    /// # Panics
    /// When it cannot.
    pub fn own(&self, path: &Path) {
        if self.switch {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
                .unwrap_or_else(|error| panic!("chown {}: {error}", path.display()));
        }
    }

    /// Makes a tree theirs, where the caller can.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn own_all(&self, tree: &Path) {
        if self.switch {
            Cmd::new("/bin/chown")
                .args(["-Rh", &format!("{}:{}", self.uid, self.gid)])
                .arg(tree)
                .run()
                .expect_success("chown");
        }
    }
}

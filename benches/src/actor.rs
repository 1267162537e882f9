//! The ordinary user in whose name everything but the kernel's own mount is measured.

use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A user account.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// Whether a child must change to this user (we are root).
    switch: bool,
}

impl Actor {
    /// The caller; when that is root, the account called `name`, else the first ordinary account.
    ///
    /// # Errors
    /// When no such account is in /etc/passwd.
    pub fn choose(name: Option<&str>) -> Result<Self> {
        let passwd = std::fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        let own = rustix::process::getuid().as_raw();
        let wanted = |account: &Self| match name {
            _ if own != 0 => account.uid == own,
            Some(name) => account.name == name,
            None => (1000..60_000).contains(&account.uid),
        };
        passwd
            .lines()
            .filter_map(parse_account)
            .find(wanted)
            .map(|account| Self { switch: own == 0, ..account })
            .context("no ordinary user account to measure with: make one with `useradd -m probe` and name it with --user")
    }

    /// A command of this user with a small, fixed environment and no terminal.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", &self.home)
            .env("USER", &self.name)
            .env("LANG", "C.UTF-8")
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if self.switch {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Gives `path` to this user.
    ///
    /// # Errors
    /// What chown(2) reports.
    pub fn give(&self, path: &Path) -> Result<()> {
        if self.switch {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
                .with_context(|| format!("giving {} to {}", path.display(), self.name))?;
        }
        Ok(())
    }
}

fn parse_account(line: &str) -> Option<Actor> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = PathBuf::from(fields.nth(1)?);
    Some(Actor {
        name,
        uid,
        gid,
        home,
        switch: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_passwd_lines() {
        let account = parse_account("ada:x:1001:1002:Ada,,,:/home/ada:/bin/sh").unwrap();
        assert_eq!((account.uid, account.gid), (1001, 1002));
        assert_eq!(account.home, Path::new("/home/ada"));
        assert!(parse_account("broken:x").is_none());
    }
}

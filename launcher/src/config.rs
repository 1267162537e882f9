//! The administrator's configuration, in the syntax of `apptainer.conf` (compat reference,
//! section 3): `key = value` lines, `#` comments, list keys repeated or separated by commas.
//!
//! Directives that concern set-user-id mode, networks or tools are accepted and ignored here, so
//! that an existing file can be used as it is.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::LaunchError;

/// Where a configuration is looked for when none is named, first one that exists.
pub const SEARCH: [&str; 2] = ["/etc/skiff/skiff.conf", "/etc/apptainer/apptainer.conf"];

/// How much of /dev a container sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DevWish {
    /// All of the host's.
    #[default]
    Yes,
    /// None.
    No,
    /// A small one of its own.
    Minimal,
}

/// What the administrator allows and prescribes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// `allow user ns`.
    pub allow_user_ns: bool,
    /// `allow pid ns`.
    pub allow_pid_ns: bool,
    /// `allow ipc ns`.
    pub allow_ipc_ns: bool,
    /// `allow uts ns`.
    pub allow_uts_ns: bool,
    /// `config passwd`.
    pub config_passwd: bool,
    /// `config group`.
    pub config_group: bool,
    /// `config resolv_conf`.
    pub config_resolv_conf: bool,
    /// `mount proc`.
    pub mount_proc: bool,
    /// `mount sys`.
    pub mount_sys: bool,
    /// `mount dev`.
    pub mount_dev: DevWish,
    /// `mount devpts`.
    pub mount_devpts: bool,
    /// `mount home`.
    pub mount_home: bool,
    /// `mount tmp`.
    pub mount_tmp: bool,
    /// `mount hostfs`.
    pub mount_hostfs: bool,
    /// `bind path`: source and destination.
    pub bind_paths: Vec<(PathBuf, PathBuf)>,
    /// `user bind control`.
    pub user_bind_control: bool,
    /// `enable overlay` (`try` and `driver` count as yes).
    pub enable_overlay: bool,
    /// `mount slave`.
    pub mount_slave: bool,
    /// `sessiondir max size`, in MiB.
    pub session_size_mib: u64,
    /// `allow container sif`.
    pub allow_sif: bool,
    /// `allow container squashfs`.
    pub allow_squashfs: bool,
    /// `allow container extfs`.
    pub allow_extfs: bool,
    /// `allow container dir`.
    pub allow_dir: bool,
    /// `allow container encrypted`.
    pub allow_encrypted: bool,
}

impl Default for Config {
    fn default() -> Self {
        let same = |path: &str| (PathBuf::from(path), PathBuf::from(path));
        Self {
            allow_user_ns: true,
            allow_pid_ns: true,
            allow_ipc_ns: true,
            allow_uts_ns: true,
            config_passwd: true,
            config_group: true,
            config_resolv_conf: true,
            mount_proc: true,
            mount_sys: true,
            mount_dev: DevWish::Yes,
            mount_devpts: true,
            mount_home: true,
            mount_tmp: true,
            mount_hostfs: false,
            bind_paths: vec![same("/etc/localtime"), same("/etc/hosts")],
            user_bind_control: true,
            enable_overlay: true,
            mount_slave: true,
            session_size_mib: 64,
            allow_sif: true,
            allow_squashfs: true,
            allow_extfs: true,
            allow_dir: true,
            allow_encrypted: true,
        }
    }
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or a directive has an impossible value.
    pub fn read(path: &Path) -> Result<Self, LaunchError> {
        let text = std::fs::read(path).map_err(|source| LaunchError::Config {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&String::from_utf8_lossy(&text), path)
    }

    /// Reads the first file of [`SEARCH`] that exists; the defaults where none does.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn find() -> Result<Self, LaunchError> {
        for path in SEARCH.map(Path::new) {
            match Self::read(path) {
                Err(LaunchError::Config { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                result => return result,
            }
        }
        Ok(Self::default())
    }

    /// Parses the text of a configuration; `path` is for messages.
    ///
    /// # Errors
    /// A directive has an impossible value.
    pub fn parse(text: &str, path: &Path) -> Result<Self, LaunchError> {
        let mut config = Self::default();
        let mut bind_paths = None::<Vec<_>>;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let (key, value) = (key.trim(), value.trim());
            let wrong = || LaunchError::ConfigValue {
                path: path.to_owned(),
                line: index + 1,
                key: key.to_owned(),
                value: value.to_owned(),
            };
            if let Some(field) = config.flag(key) {
                *field = yes_or_no(value).ok_or_else(wrong)?;
                continue;
            }
            match key {
                "mount dev" => {
                    config.mount_dev = match value {
                        "minimal" => DevWish::Minimal,
                        _ if yes_or_no(value).ok_or_else(wrong)? => DevWish::Yes,
                        _ => DevWish::No,
                    };
                }
                "enable overlay" => {
                    config.enable_overlay =
                        matches!(value, "try" | "driver") || yes_or_no(value).ok_or_else(wrong)?;
                }
                "sessiondir max size" => {
                    config.session_size_mib = value.parse().map_err(|_| wrong())?;
                }
                "bind path" => {
                    let list = bind_paths.get_or_insert_default();
                    list.extend(value.split(',').map(str::trim).filter_map(bind_path));
                }
                _ => {}
            }
        }
        if let Some(list) = bind_paths {
            config.bind_paths = list;
        }
        Ok(config)
    }

    /// The field behind a directive that is yes or no.
    fn flag(&mut self, key: &str) -> Option<&mut bool> {
        Some(match key {
            "allow user ns" => &mut self.allow_user_ns,
            "allow pid ns" => &mut self.allow_pid_ns,
            "allow ipc ns" => &mut self.allow_ipc_ns,
            "allow uts ns" => &mut self.allow_uts_ns,
            "config passwd" => &mut self.config_passwd,
            "config group" => &mut self.config_group,
            "config resolv_conf" => &mut self.config_resolv_conf,
            "mount proc" => &mut self.mount_proc,
            "mount sys" => &mut self.mount_sys,
            "mount devpts" => &mut self.mount_devpts,
            "mount home" => &mut self.mount_home,
            "mount tmp" => &mut self.mount_tmp,
            "mount hostfs" => &mut self.mount_hostfs,
            "user bind control" => &mut self.user_bind_control,
            "mount slave" => &mut self.mount_slave,
            "allow container sif" => &mut self.allow_sif,
            "allow container squashfs" => &mut self.allow_squashfs,
            "allow container extfs" => &mut self.allow_extfs,
            "allow container dir" => &mut self.allow_dir,
            "allow container encrypted" => &mut self.allow_encrypted,
            _ => return None,
        })
    }
}

fn yes_or_no(value: &str) -> Option<bool> {
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// `src[:dst]`; an empty item is nothing.
fn bind_path(text: &str) -> Option<(PathBuf, PathBuf)> {
    let (source, destination) = text.split_once(':').unwrap_or((text, text));
    (!source.is_empty()).then(|| (PathBuf::from(source), PathBuf::from(destination)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, LaunchError> {
        Config::parse(text, Path::new("x.conf"))
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(
            parse("# nothing\n\nmount home=").map_err(|e| e.to_string()),
            Err("x.conf: line 3: \"mount home\" cannot be \"\"".to_owned())
        );
        assert_eq!(parse("# nothing\n").unwrap(), Config::default());
    }

    #[test]
    fn values_replace_defaults() {
        let config = parse(
            "mount home = no\nmount dev = minimal\nenable overlay = try\nsessiondir max size = 16\n\
             bind path = /etc/hosts, /opt/site:/opt\nbind path = /etc/localtime\nunknown = 1\n",
        )
        .unwrap();
        assert!(!config.mount_home);
        assert!(config.enable_overlay);
        assert_eq!(config.mount_dev, DevWish::Minimal);
        assert_eq!(config.session_size_mib, 16);
        let pair = |a: &str, b: &str| (PathBuf::from(a), PathBuf::from(b));
        assert_eq!(
            config.bind_paths,
            [
                pair("/etc/hosts", "/etc/hosts"),
                pair("/opt/site", "/opt"),
                pair("/etc/localtime", "/etc/localtime")
            ]
        );
    }
}

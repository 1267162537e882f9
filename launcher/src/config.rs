//! The administrator's configuration, in the syntax of `apptainer.conf` (compat reference,
//! section 3), so that an existing file can be used as it is.
//!
//! ```text
//! capabilities capability.json, which lies beside it
//! directives   every directive: values, default, what it does here
//! parse        text → raw values → Config
//! write        one directive of a text changed, the rest as it was
//! ```

pub mod capabilities;
pub mod directives;
pub mod parse;
pub mod write;

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

/// What root keeps in a container.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RootCapabilities {
    /// All that it has.
    #[default]
    Full,
    /// What `capability.json` gives it.
    File,
    /// Nothing.
    No,
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
    /// `enable fusemount`.
    pub enable_fusemount: bool,
    /// `enable overlay` (`try` and `driver` count as yes).
    pub enable_overlay: bool,
    /// `enable overlay = driver`: never the kernel's overlayfs.
    pub overlay_driver: bool,
    /// `mount slave`.
    pub mount_slave: bool,
    /// `sessiondir max size`, in MiB; 0 is no limit.
    pub session_size_mib: u64,
    /// `memory fs type = ramfs`.
    pub ramfs: bool,
    /// `limit container owners`: names.
    pub limit_owners: Vec<String>,
    /// `limit container groups`: names.
    pub limit_groups: Vec<String>,
    /// `limit container paths`.
    pub limit_paths: Vec<PathBuf>,
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
    /// `allow net users`: names.
    pub net_users: Vec<String>,
    /// `allow net groups`: names.
    pub net_groups: Vec<String>,
    /// `allow net networks`.
    pub net_networks: Vec<String>,
    /// `allow netns paths`.
    pub netns_paths: Vec<PathBuf>,
    /// `always use nv`.
    pub always_nv: bool,
    /// `use nvidia-container-cli`.
    pub nvidia_container_cli: bool,
    /// `always use rocm`.
    pub always_rocm: bool,
    /// `root default capabilities`.
    pub root_capabilities: RootCapabilities,
    /// `systemd cgroups`.
    pub systemd_cgroups: bool,
    /// Directives of the file that say something and change nothing.
    pub unheeded: Vec<&'static directives::Directive>,
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
            enable_fusemount: true,
            enable_overlay: true,
            overlay_driver: false,
            mount_slave: true,
            session_size_mib: 64,
            ramfs: false,
            limit_owners: Vec::new(),
            limit_groups: Vec::new(),
            limit_paths: Vec::new(),
            allow_sif: true,
            allow_squashfs: true,
            allow_extfs: true,
            allow_dir: true,
            allow_encrypted: true,
            net_users: Vec::new(),
            net_groups: Vec::new(),
            net_networks: Vec::new(),
            netns_paths: Vec::new(),
            always_nv: false,
            nvidia_container_cli: false,
            always_rocm: false,
            root_capabilities: RootCapabilities::Full,
            systemd_cgroups: true,
            unheeded: Vec::new(),
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

    /// The file that [`Config::find`] would read.
    pub fn path() -> Option<&'static Path> {
        SEARCH.map(Path::new).into_iter().find(|path| path.exists())
    }

    /// Parses the text of a configuration; `path` is for messages.
    ///
    /// # Errors
    /// A directive has an impossible value.
    pub fn parse(text: &str, path: &Path) -> Result<Self, LaunchError> {
        parse::config(&parse::Directives::read(text)).map_err(|reason| LaunchError::ConfigValue {
            path: path.to_owned(),
            reason,
        })
    }

    /// For building containers: nothing of the host is bound.
    pub fn for_building(&mut self) {
        self.bind_paths.clear();
        self.config_resolv_conf = false;
        self.mount_home = false;
        self.mount_devpts = false;
    }
}
